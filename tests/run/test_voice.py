"""The encoder of waves of a recipe: found, kept, its weights read."""

import dataclasses
import functools
import shutil

import jax
import numpy as np
import pytest

import msajax
from msajax import encoders
from msajax.data.spec import Corpus, Spec
from msajax.encoders import frozen
from msajax.media import settings
from msajax.run import corpora, opened, pretrained, recipe, voice
from msajax.run.options import build
from msajax.train import optim
from tests.encoders import checkpoints
from tests.encoders.test_voice import empty, facts_of, made, write

SPEC = Spec((5, 1, 1), (4, 60, 1), 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("encoders") / "voice"
    _, state = made("data2vec-audio", place)
    checkpoints.write(place, state=state)
    return place


def chosen(folder, name="mmml:demo", **values):
    start = [("audio.encoder", str(folder))]
    return recipe.change(recipe.load(name, start), {"model.heads": 2, **values})


def test_weights_and_what_the_workdir_keeps(folder, tmp_path):
    options = chosen(folder)
    config = voice.encoder_of(options, None, SPEC)
    assert config == encoders.read_voice(folder)
    model = build(options, SPEC, **pretrained.configs(options, tmp_path, SPEC))
    values, (report,) = pretrained.weights(options, model)
    assert report.loaded == len(values) and not report.missing
    params, _ = made("data2vec-audio", tmp_path / "again")
    for path, value in checkpoints.flat(params).items():
        np.testing.assert_array_equal(values[f"voice/{path}"], value)
    run = tmp_path / "run"
    run.mkdir()
    pretrained.keep(options, run)
    gone = chosen(tmp_path / "gone")
    assert voice.encoder_of(gone, run, SPEC) == config
    with pytest.raises(ValueError, match="there is no folder .*gone"):
        voice.encoder_of(gone, tmp_path, SPEC)


@pytest.mark.parametrize(
    "changes", [dict(dims=(5, 3, 1)), dict(lengths=(4, 9, 1)), dict(lengths=(4, 1, 1))]
)
def test_features_are_no_waves(folder, changes):
    spec = dataclasses.replace(SPEC, **changes)
    with pytest.raises(
        ValueError, match="reads waves: .* at least 19 samples, but the"
    ):
        voice.encoder_of(chosen(folder), None, spec)


def test_a_system_without_waves(folder):
    with pytest.raises(ValueError, match="lf_dnn reads features of the audio, not wav"):
        recipe.load("lf_dnn:demo", [("audio.encoder", str(folder))])
    with pytest.raises(ValueError, match='audio.encoder is set, but .* lacks "audio"'):
        chosen(folder, **{"data.modalities": ("text",)})
    with pytest.raises(ValueError, match="describes a network of type .bert"):
        write(folder.parent / "text", {**facts_of("hubert"), "model_type": "bert"})
        voice.encoder_of(chosen(folder.parent / "text"), None, SPEC)


def test_groups_of_an_encoder_that_is_not_there_are_passed_over():
    """The frozen layers of one encoder excuse no group of the other."""
    rules = (("voice/front/.*", None), ("encoder/bais", {}), (".*", {}))
    optimizer = optim.Optimizer(groups=rules)
    paths = ["voice/front/kernel", "encoder/bias", "head/bias"]
    with pytest.raises(ValueError, match='group "encoder/bais" matches no parameter'):
        optim.assign(optimizer, paths)
    found = optim.assign(optimizer, ["head/bias"], encoders=("head",))
    assert found == {"head/bias": 2}


def waves(rows):
    """Waves of 40 to 60 samples; the fourth has none."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(40, 61, rows)
    lengths[3] = 0
    audio = rng.normal(size=(rows, 60, 1)).astype(np.float32)
    audio *= (np.arange(60) < lengths[:, None])[..., None]
    return audio, lengths


@pytest.fixture
def short(monkeypatch, tmp_path):
    """Sizes of a voice that is heard in fractions of a millisecond."""
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "root"))
    monkeypatch.setattr(frozen, "RATE", 80)  # waves are padded to 10 samples or more
    monkeypatch.setattr(frozen, "_SAMPLES", 130)  # of two waves
    monkeypatch.setattr(frozen, "_WAVES", 8)


def test_features_of_a_frozen_encoder(folder, monkeypatch, short):
    """Each wave as it is alone, means of frames; from the cache the same, whatever the padding."""
    audio, lengths = waves(11)
    mask = np.arange(60) < lengths[:, None]
    config = encoders.read_voice(folder)
    features = frozen.WaveFeatures(folder, config, 2)
    found, real = features(audio, mask)
    encoder = config.encoder()
    params, _ = encoders.load(folder, encoder, empty(encoder))
    assert found.shape == (11, features.steps(60), config.hidden_size)
    assert not found[~real].any() and not real[3].any()
    hear = jax.jit(functools.partial(encoder.apply, train=False))
    for i in np.flatnonzero(lengths):
        alone = hear({"params": params}, audio[i : i + 1, :, 0], mask=mask[i : i + 1])
        frames = np.asarray(alone.last)[0, : config.frames(int(lengths[i]))]
        steps = [frames[k : k + 2].mean(axis=0) for k in range(0, len(frames), 2)]
        np.testing.assert_allclose(found[i][real[i]], steps, atol=1e-4)
    np.testing.assert_allclose(
        features.alone(audio[5, : lengths[5]]), found[5][real[5]], atol=1e-5
    )
    assert features.alone(np.zeros((60, 1), np.float32)).shape == (0, 12)
    for steps in (1, 3):
        assert features.steps(features.samples(steps)) == steps
        assert features.steps(features.samples(steps) + 1) == steps + 1

    monkeypatch.setattr(frozen, "_forward", None)  # nothing is computed again
    again = frozen.WaveFeatures(folder, config, 2)
    padded = np.pad(audio, [(0, 0), (0, 40), (0, 0)])
    np.testing.assert_array_equal(
        again(padded, np.pad(mask, [(0, 0), (0, 40)]))[0][:, : found.shape[1]], found
    )
    other = audio.copy()
    other[9, 3] += 1
    for features, x in (
        (again, other),
        (frozen.WaveFeatures(folder, config, 3), audio),
    ):
        with pytest.raises(TypeError):
            features(x, mask)


def test_a_run_on_the_features_of_a_frozen_encoder(folder, tmp_path, short):
    """It is trained, evaluated, and refuses other weights; longer waves are cut as the recipe says."""
    place = shutil.copytree(folder, tmp_path / "encoder")
    audio, lengths = waves(12)
    names = np.repeat(["train", "valid", "test"], 4)
    text = np.ones((12, 3, 5), np.float32)
    labels = np.linspace(-2, 2, 12, dtype=np.float32)
    data = dict(split=names, label=labels, text=text, audio=audio, audio_length=lengths)
    np.savez(tmp_path / "waves.npz", id=np.arange(12), **data)
    changes = {"audio.encoder": str(place), "audio.frozen": True, "audio.frames": 2}
    changes |= {"data.path": str(tmp_path / "waves.npz"), "data.dataset": "mosi"}
    changes |= {"data.modalities": ("text", "audio"), "train.batch_size": 4}
    options = recipe.change(recipe.load("tfn:demo"), changes)
    place_of = dict(workdir=tmp_path / "run", seeds=(1,), epochs=1, quiet=True)
    run = msajax.fit(options, **place_of)
    config = encoders.read_voice(place)
    features = frozen.WaveFeatures(place, config, 2)
    assert run.spec.dims[1] == config.hidden_size
    assert run.spec.lengths[1] == features.steps(int(lengths.max()))
    assert (tmp_path / "run" / "voice" / "weights.sha256").is_file()
    expected = run.evaluate("test")["mae"]
    assert msajax.open_run(tmp_path / "run").evaluate("test")["mae"] == expected
    with pytest.raises(ValueError, match="trained with .*audio.frames: 2 -> 5; leave"):
        opened.open_run(tmp_path / "run", pairs=[("audio.frames", "5")])
    cut = {"data.truncate": True, "data.lengths": (3, 2, 1), "data.dims": (5, 1, 1)}
    cut = recipe.change(options, cut)
    corpus = corpora.read_corpus(cut, tmp_path)
    assert corpus.splits["train"].arrays["audio"].shape[1] == 2
    assert corpora.make_spec(cut, corpus).lengths[1] == 2
    path = next(place.glob("*.safetensors"))
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match="weights in .* are not those that the run in"):
        msajax.open_run(tmp_path / "run").evaluate("test")


def test_sound_of_another_rate_is_refused():
    slow = settings.MediaFeatures(settings.audio("wave:rate=8000")).to_json()
    good = settings.MediaFeatures(settings.audio("wave")).to_json()
    for media in ("", good):
        voice.check_rate(Corpus("mosi", {}, media=media))
    with pytest.raises(
        ValueError, match=r"reads waves of 16000 .* is wave \(rate=8000"
    ):
        voice.check_rate(Corpus("mosi", {}, media=slow))
