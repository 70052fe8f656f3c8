import numpy as np
import pytest
import soundfile

from msajax.encoders.wav2vec2 import Wav2Vec2Config
from tools.bench import voice

TINY = Wav2Vec2Config(
    hidden_size=4,
    num_hidden_layers=1,
    num_attention_heads=1,
    intermediate_size=4,
    conv_dim=(2,),
    conv_kernel=(400,),
    conv_stride=(320,),
    num_conv_pos_embeddings=2,
    num_conv_pos_embedding_groups=1,
)


@pytest.fixture
def clips(tmp_path):
    for name, samples in (("a.wav", 2000), ("b.flac", 1600)):
        sound = np.random.default_rng(0).normal(size=(samples, 2)) * 0.1
        soundfile.write(tmp_path / name, sound, 16_000)
    return tmp_path


def test_the_command_reads_sound_and_prints_speeds(clips, monkeypatch, capsys):
    monkeypatch.setitem(voice.CONFIGS, "tiny", TINY)
    waves, mask = voice.read(clips, 5)
    assert waves.shape == (2, 2000) and mask.sum(axis=1).tolist() == [2000, 1600]
    command = [str(clips), "--encoders", "tiny", "--train", "--remat", "--batch", "1"]
    assert voice.main(command) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "2 clips, 0.2 s; longest 0.1 s"
    assert second.startswith("tiny") and second.endswith(" GB")


def test_what_it_cannot_measure(clips, tmp_path, capsys):
    assert voice.main([str(clips), "--encoders", "bert"]) == 2
    assert "no encoder bert; there are wav2vec2" in capsys.readouterr().err
    soundfile.write(clips / "a.wav", np.zeros(100), 8_000)
    assert voice.main([str(clips)]) == 2
    assert "a.wav has 8000 Hz; convert it to 16000" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert voice.main([str(tmp_path / "empty")]) == 2
    assert "has no wav or flac files" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--clips", "--batch"])
def test_numbers_of_nothing(option, clips, capsys):
    assert voice.main([str(clips), option, "0"]) == 2
    assert f"{option} is 0; give 1 or more" in capsys.readouterr().err


def test_clips_that_are_too_short(clips, capsys):
    for name in ("a.wav", "b.flac"):
        soundfile.write(clips / name, np.zeros(399), 16_000)
    assert voice.main([str(clips), "--encoders", "hubert"]) == 2
    assert "399 samples, but" in capsys.readouterr().err


def test_only_whole_batches_count(clips, monkeypatch, capsys):
    soundfile.write(clips / "c.wav", np.zeros(1600), 16_000)
    given = []

    def measured(_, waves, mask, options):
        del mask, options
        given.append(waves.shape)
        return 1, 1, 1

    monkeypatch.setattr(voice, "measure", measured)
    assert voice.main([str(clips), "--encoders", "wavlm", "--batch", "2"]) == 0
    assert capsys.readouterr().out.startswith("2 clips, 0.2 s")
    assert given == [(2, 2000)]
