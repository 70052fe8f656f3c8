"""Clips to scores: by the features, the words and the lengths of a run's training."""

import csv
import dataclasses
import re
import sys
import types

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

import msajax
from msajax import main, metrics
from msajax.data import loader
from msajax.data.errors import DataError
from msajax.media import settings
from msajax.models.base import Model
from msajax.nn.pooling import mean_pool
from msajax.run import (
    corpora,
    features,
    opened,
    pretrained,
    recipe,
    text,
    voice,
    workdir,
)
from msajax.run.run import Run
from msajax.train.step import State
from tests import small_encoders
from tests.encoders import checkpoints, test_voice
from tools import extract_features, make_demo_clips

RATE = 8000
TEXTS = ("good good film", "good bad film", "bad bad film film")
LONG = 3  # the clip that no split holds: longer than the others
rng = np.random.default_rng(0)


class Toy(Model):
    """A sum of what each modality has; the text counts its words' numbers."""

    @nn.compact
    def __call__(self, batch, *, train):
        del train
        scale = self.param("scale", nn.initializers.ones, ())
        means = [mean_pool(batch[m], batch[f"{m}_mask"]) for m in ("audio", "vision")]
        parts = [jnp.sum(batch["text_ids"], axis=1) / 10]
        parts += [jnp.sum(mean, axis=1) for mean in means]
        total = scale * sum(parts)
        if self.spec.classes:
            total = jnp.stack([total * k for k in range(self.spec.num_outputs)], axis=1)
        return {"pred": total}

    @property
    def reports(self):
        return {"pairs": ("cor_a", "cor_b")}

    def pairs(self, batch, *, train):
        del train
        own = jnp.sum(batch["text_mask"], axis=1)
        return {"pred": jnp.stack([own, 2 * own], axis=1)}


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory):
    """Clips, their label.csv, and features that were extracted and standardized."""
    folder = tmp_path_factory.mktemp("clips 你好")
    home = folder / "Raw" / "v"
    home.mkdir(parents=True)
    for i, seconds in enumerate((1, 1, 1, 2)):
        sound = (0.2 * rng.normal(size=seconds * RATE)).astype(np.float32)
        shown = rng.integers(0, 256, (5 * seconds, 32, 32, 3), np.uint8)
        path = home / f"{i}.mp4"
        make_demo_clips.write(path, pictures=shown, sound=sound, fps=5, rate=RATE)
    make_demo_clips.write(home / "mute.mp4", pictures=shown, fps=5)
    silence = np.zeros(RATE, np.float32)
    make_demo_clips.write(home / "quiet.wav", sound=silence, rate=RATE)
    faint = (0.01 * rng.normal(size=RATE)).astype(np.float32)
    make_demo_clips.write(home / "faint.mkv", sound=faint, rate=RATE)
    modes = ("train", "valid", "test")
    lines = [
        f"v,{i},{text},0,{mode}"
        for i, (text, mode) in enumerate(zip(TEXTS, modes, strict=True))
    ]
    header = "video_id,clip_id,text,label,mode"
    (folder / "label.csv").write_text("\n".join([header, *lines]), "utf-8")
    given = ["--labels", folder / "label.csv", "--media", folder / "Raw"]
    given += ["--out", folder / "f", "--audio", "wave:rate=1000", "--workers", 0]
    given += ["--vision", "grey:rate=5,size=2", "--standardize"]
    assert extract_features.main([*map(str, given)]) == 0
    return folder


def make_run(folder, data, monkeypatch, *, name="mult:demo", dataset="mosi", **changes):
    """A run whose system is `Toy`, with two seeds of known parameters."""
    pairs = {"data.path": str(data), "data.dataset": dataset, "text.vocabulary": "True"}
    pairs |= {"text.max_length": "6", "train.seeds": "1,2"} | changes
    options = recipe.load(name, [*pairs.items()])
    corpus = corpora.read_corpus(options, folder)
    spec = loader.make_spec(corpus)
    folder.mkdir(exist_ok=True)
    workdir.claim(folder, options, spec, corpus.sha256)
    pretrained.keep(options, folder, corpus.vocabulary)
    features.keep(folder, corpus)

    def best(run, seed, like):
        del run, like
        return State({"scale": np.float32(seed)}, {}, {})

    monkeypatch.setattr(Run, "best", best)
    real = opened.make

    def make(*args, **options):
        run = real(*args, **options)
        return dataclasses.replace(run, model=Toy(run.spec))

    monkeypatch.setattr(opened, "make", make)
    return msajax.open_run(folder)


@pytest.fixture
def run(tmp_path, corpus_folder, monkeypatch):
    return make_run(tmp_path / "run", corpus_folder / "f.npz", monkeypatch)


def test_a_clip_is_scored_as_its_row_in_the_data(run, corpus_folder):
    rows = run.predict(corpus_folder / "f.npz")
    for i, said in enumerate(TEXTS):
        made = run.predict_clip(corpus_folder / "Raw" / "v" / f"{i}.mp4", said)
        np.testing.assert_allclose(made.score, rows.mean[i], rtol=1e-4, atol=1e-4)
        assert made.seeds.keys() == {1, 2}
        np.testing.assert_allclose(made.seeds[2], 2 * made.seeds[1], rtol=1e-5)
        words = len(said.split())
        assert made.figures == {"cor_a": words, "cor_b": 2 * words}
        # Toy is a sum, and so the parts are.
        assert list(made.without) == ["text", "audio", "vision"]
        np.testing.assert_allclose(
            sum(made.contributions.values()), made.score, rtol=1e-4, atol=1e-4
        )
        assert made.label == metrics.polarity("mosi", made.score)
        assert made.scale == (-3, 3) and made.transcript == said
        assert {*made.seconds} == {"audio", "vision", "text", "load", "score"}
        assert made.audio.shape == (run.spec.lengths[1], 1)
        assert made.vision.shape == (5, 4)


def test_a_clip_of_a_run_with_context_stands_alone(
    tmp_path, corpus_folder, monkeypatch, tokenizer_in_process
):
    small_encoders.bert(tmp_path / "bert", [*TEXTS])
    changes = {"text.vocabulary": "False", "text.encoder": str(tmp_path / "bert")}
    changes |= {"text.context": "2", "text.max_length": "16"}
    data = corpus_folder / "f.npz"
    folder = tmp_path / "run"
    run = make_run(folder, data, monkeypatch, name="misa:demo", **changes)
    rows = run.predict(data)  # each is alone in its split
    made = run.predict_clip(corpus_folder / "Raw" / "v" / "1.mp4", TEXTS[1])
    np.testing.assert_allclose(made.score, rows.mean[1], rtol=1e-4)
    pieces = len(TEXTS[1].split())
    assert made.figures["cor_a"] == pieces + 4  # [CLS] [SEP] [SEP] ... [SEP]


def test_a_clip_of_a_run_with_a_frozen_voice(tmp_path, corpus_folder, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "root"))
    monkeypatch.setattr(voice, "RATE", 1000)  # that of the clips' features
    _, state = test_voice.made("hubert", tmp_path / "voice")
    checkpoints.write(tmp_path / "voice", state=state)
    changes = {"audio.encoder": str(tmp_path / "voice"), "audio.frozen": "True"}
    changes |= {"audio.frames": "9", "data.lengths": "()", "data.dims": "()"}
    data = corpus_folder / "f.npz"
    run = make_run(tmp_path / "run", data, monkeypatch, **changes)
    rows = run.predict(data)
    home = corpus_folder / "Raw" / "v"
    made = run.predict_clip(home / "1.mp4", TEXTS[1])
    np.testing.assert_allclose(made.score, rows.mean[1], rtol=1e-4)
    assert made.audio.shape[1] == run.spec.dims[1] == 12
    (kept,) = (tmp_path / "root" / "cache").glob("features")
    files = {*kept.iterdir()}
    made = run.predict_clip(home / f"{LONG}.mp4", TEXTS[1])
    assert len(made.audio) == run.spec.lengths[1]
    assert any("the audio is cut from" in note for note in made.notes)
    assert {*kept.iterdir()} == files  # nothing of new clips is kept


def test_what_a_clip_lacks_is_said(run, corpus_folder):
    home = corpus_folder / "Raw" / "v"
    made = run.predict_clip(home / f"{LONG}.mp4")
    assert "no transcript: the text is missing" in made.notes
    cut = f"to the {run.spec.lengths[1]} steps of the training"
    assert any("the audio is cut from" in x and cut in x for x in made.notes)
    assert list(made.without) == ["audio", "vision"]
    made = run.predict_clip(home / "mute.mp4", "good film")
    assert made.notes[0] == "no audio track: the modality is missing"
    assert list(made.without) == ["text", "vision"]
    made = run.predict_clip(home / "quiet.wav", "good film")
    assert "the audio is silent" in made.notes


def test_a_clip_without_anything_the_run_reads(tmp_path, corpus_folder, monkeypatch):
    changes = {"data.modalities": "text,audio"}
    data = corpus_folder / "f.npz"
    made = make_run(tmp_path / "two", data, monkeypatch, **changes)
    with pytest.raises(ValueError, match="no audio track|nothing to score"):
        made.predict_clip(corpus_folder / "Raw" / "v" / "mute.mp4")


def test_the_pictures_of_a_clip_are_limited(run, corpus_folder, monkeypatch):
    monkeypatch.setattr("msajax.media.clips.audio.read", lambda path, **_: np.ones(9))
    with pytest.raises(ValueError, match="more than 6 pictures, the limit of a clip"):
        run.clips.read(corpus_folder / "Raw" / "v" / f"{LONG}.mp4", longest=1)


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(weights="w.pth"), "grey do not read weights; leave it out"),
        (dict(vision_file="a.csv"), "grey do not read vision_file"),
        (dict(word_times="a.csv"), "do not read word_times"),
        (dict(transcript="none.srt"), "there is no file none.srt"),
        (dict(transcript=""), "the transcript has no words"),
        (dict(path="none.mp4"), "there is no file none.mp4"),
        (dict(path="."), "is a folder, expected a media file"),
        (dict(longest=0.5), "more than 0.5 s of sound"),
    ],
)
def test_wrong_clips_are_refused(run, corpus_folder, options, message):
    given = {"path": corpus_folder / "Raw" / "v" / "0.mp4"} | options
    with pytest.raises(ValueError, match=message):
        run.predict_clip(**given)


def test_a_wrong_network_is_told_before_the_first_clip(
    run, corpus_folder, tmp_path, monkeypatch, capsys
):
    wanted = settings.MediaFeatures(None, settings.vision("resnet50"))
    monkeypatch.setattr(features, "of_run", lambda _: wanted)
    np.savez(tmp_path / "other.npz", kernel=np.ones(3))
    table = corpus_folder / "label.csv"
    for options, message in (
        (["--weights", tmp_path / "other.npz"], "is no ResNet with bottlenecks"),
        ([], "resnet50 need weights"),
    ):
        assert call(run, table, *options) == 1
        error = capsys.readouterr().err
        assert message in error and "left out" not in error and "v$_$" not in error


@pytest.fixture
def whisper(tmp_path, monkeypatch):
    """The folder of a model that hears two words for each second of sound."""

    class WhisperModel:
        def __init__(self, folder, **options):
            assert options.pop("local_files_only")
            if "broken" in folder:
                raise RuntimeError("unsupported model binary version")

        def transcribe(self, wave, **options):
            assert options["temperature"] == 0
            said = [" good", " bad ", "."] * round(len(wave) / 16_000)
            said = said if np.abs(wave).max() > 0.05 else [" . ."]
            return [types.SimpleNamespace(text=x) for x in said], None

    made = types.ModuleType("faster_whisper")
    made.WhisperModel = WhisperModel
    monkeypatch.setitem(sys.modules, "faster_whisper", made)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / "broken").mkdir(exist_ok=True)
        (tmp_path / name).touch()
        (tmp_path / "broken" / name).touch()
    return tmp_path


def test_a_missing_transcript_is_recognized(run, corpus_folder, whisper, capsys):
    home = corpus_folder / "Raw" / "v"
    made = run.predict_clip(home / f"{LONG}.mp4", speech_model=whisper)
    assert made.transcript == "good bad . good bad ."
    assert "the transcript is recognized" in made.notes
    said = run.predict_clip(home / f"{LONG}.mp4", made.transcript)
    assert said.score == made.score
    own = run.predict_clip(home / f"{LONG}.mp4", "film", speech_model=whisper)
    assert own.transcript == "film"  # what is given counts
    for name in ("mute.mp4", "quiet.wav", "faint.mkv"):
        made = run.clips.read(home / name, speech_model=whisper)
        assert "no speech is recognized: the text is missing" in made.notes
    for folder, message in (
        ("none", "there is no file none/model.bin; expected the folder of a Whisper"),
        (whisper / "broken", "holds no Whisper model: unsupported model binary"),
    ):
        assert call(run, home / "0.mp4", "--speech-model", folder) == 1
        assert message in capsys.readouterr().err


def test_recognition_is_optional(run, corpus_folder, whisper, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ValueError, match=r"pip install 'msajax\[asr\]'"):
        run.predict_clip(corpus_folder / "Raw" / "v" / "0.mp4", speech_model=whisper)
    monkeypatch.setattr(run.clips, "_reads", ("audio", "vision"))
    with pytest.raises(ValueError, match="reads no text; leave speech_model out"):
        run.predict_clip(corpus_folder / "Raw" / "v" / "0.mp4", speech_model=whisper)


def test_a_frozen_encoder_is_loaded_once(run, corpus_folder, monkeypatch):
    """Reading a clip's text does not read the encoder's weights again."""
    loaded, given, plain, real = [], [], run.options, corpora.read_corpus

    def read(options, *args, encoder, **keys):
        given.append(encoder)
        return real(plain, *args, **keys)

    frozen = dataclasses.replace(plain.text, encoder="x", frozen=True, vocabulary=False)
    changed = dataclasses.replace(
        run, options=dataclasses.replace(plain, text=frozen), model=run.model
    )
    monkeypatch.setattr(corpora, "read_corpus", read)
    monkeypatch.setattr(text, "frozen_encoder", lambda *_: loaded.append(1) or "once")
    for i in range(2):
        changed.predict_clip(corpus_folder / "Raw" / "v" / f"{i}.mp4", TEXTS[i])
    assert loaded == [1] and {*given} == {"once"}


def test_other_features_are_refused_with_both_descriptions(
    run, corpus_folder, tmp_path
):
    with np.load(corpus_folder / "f.npz") as file:
        arrays = dict(file)
    known = settings.of_json(str(arrays["media_settings"]), name="x")
    for changes, message in (
        (dict(audio=settings.audio("wave:rate=2000")), r"rate=2000.*rate=1000"),
        (dict(standard={}), "features are: none, and those of the training: audio, v"),
    ):
        other = dataclasses.replace(known, **changes)
        np.savez(
            tmp_path / "o.npz",
            **{**arrays, "media_settings": np.array(other.to_json())},
        )
        for scored in (run.predict, lambda data: run.evaluate("test", data)):
            with pytest.raises(ValueError, match=message):
                scored(tmp_path / "o.npz")
    np.savez(tmp_path / "o.npz", **{**arrays, "media_settings": np.arange(3)})
    with pytest.raises(DataError, match="media_settings is an array .* expected one"):
        run.predict(tmp_path / "o.npz")


def test_a_run_that_does_not_know_its_features(tmp_path, corpus_folder, monkeypatch):
    with np.load(corpus_folder / "f.npz") as file:
        arrays = dict(file)
    del arrays["media_settings"]
    np.savez(tmp_path / "plain.npz", **arrays)
    made = make_run(tmp_path / "plain", tmp_path / "plain.npz", monkeypatch)
    with pytest.raises(ValueError, match="does not record how the audio features"):
        made.predict_clip(corpus_folder / "Raw" / "v" / "0.mp4", "good")


def test_classes_have_probabilities(tmp_path, corpus_folder, monkeypatch):
    with np.load(corpus_folder / "f.npz") as file:
        arrays = {**file, "label": np.array([0, 1, 2])}
    np.savez(tmp_path / "c.npz", **arrays)
    made = make_run(
        tmp_path / "c", tmp_path / "c.npz", monkeypatch, dataset="mosi_classes"
    )
    found = made.predict_clip(corpus_folder / "Raw" / "v" / "0.mp4", TEXTS[0])
    assert list(found.probabilities) == ["negative", "neutral", "positive"]
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.score == max(found.probabilities.values())
    assert found.probabilities[found.label] == found.score


@pytest.mark.parametrize(
    "score,figures,label,note",
    [
        (np.nan, {}, "none", "is no number: the training diverged"),
        (0.0, {"unread": 0.5}, "neutral", "wrote is no label, for 50% of the seeds"),
    ],
)
def test_scores_that_are_none_are_told(run, corpus_folder, score, figures, label, note):
    sample = run.clips.read(corpus_folder / "Raw" / "v" / "0.mp4", TEXTS[0])
    scores = {1: np.full(4, score), 2: np.zeros(4)}
    made = run.clips._prediction(sample, scores, figures, {}, ())
    assert made.label == label and any(note in x for x in made.notes)


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def call(run, *args):
    given = ["--mode", "predict", "--workdir", run.folder, "--media", *args]
    return main.main([*map(str, given)])


def test_the_command_line(run, corpus_folder, tmp_path, capsys):
    home = corpus_folder / "Raw" / "v"
    assert call(run, home / "0.mp4", "--transcript", TEXTS[0]) == 0
    shown = capsys.readouterr().out
    assert "  score " in shown and "  without vision " in shown and "cor_b 6" in shown
    assert not (run.folder / "scores.csv").exists()
    table = tmp_path / "many.csv"
    table.write_text(
        f"media,transcript\n{home}/0.mp4,{TEXTS[0]}\n{home}/mute.mp4,\nnone.mp4,x\n,x\n"
    )
    assert call(run, table, "--output", tmp_path / "m.csv") == 0
    first, second = rows(tmp_path / "m.csv")
    rows_of_file = run.predict(corpus_folder / "f.npz")
    assert float(first["score"]) == pytest.approx(rows_of_file.mean[0], abs=1e-5)
    assert second["without_audio"] == "" and "no audio track" in second["notes"]
    lines = capsys.readouterr().err
    assert "left out, 2 clips" in lines and "row 5 of many.csv: media is empty" in lines
    assert f"there is no file {tmp_path / 'none.mp4'}" in lines
    assert call(run, corpus_folder / "label.csv") == 0
    found = rows(run.folder / "scores.csv")
    assert [row["id"] for row in found] == ["v$_$0", "v$_$1", "v$_$2"]
    scores = [float(row["score"]) for row in found]
    np.testing.assert_allclose(scores, rows_of_file.mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "text,message",
    [
        ("media\na.mp4\na.mp4\n", 'the clip "a.mp4" is already in row 2 of t.csv'),
        ("file,text\na.mp4,x\n", "columns file, text; expected media and transcript"),
        ("media,transcript\n", "has no rows"),
        ("media\na.mp4\nb.mp4\n", "none of 2 clips can be read; a.mp4: there is no"),
        ("video_id,clip_id,text\nv,1,x\n", "there is no file .*1.mp4"),
    ],
)
def test_wrong_tables_of_clips(run, tmp_path, capsys, text, message):
    (tmp_path / "t.csv").write_text(text)
    assert call(run, tmp_path / "t.csv") == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error


def test_arguments_for_one_clip_are_no_use_for_many(run, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("media\na.mp4\n")
    assert call(run, tmp_path / "t.csv", "--transcript", "x") == 1
    assert "put it into the column transcript" in capsys.readouterr().err
