"""The encoder of waves of a recipe: found, kept, its weights read."""

import dataclasses

import numpy as np
import pytest

from msajax import encoders
from msajax.data.spec import Spec
from msajax.run import pretrained, recipe, voice
from msajax.run.options import build
from msajax.train import optim
from tests.encoders import checkpoints
from tests.encoders.test_voice import facts_of, made, write

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
