"""Options as JSON text: the same again, of older versions too; what makes another run."""

import dataclasses
import json

import pytest

from msajax.run import recipe, saved
from msajax.run.options import Options

DEMO = "lf_dnn:demo"


def load(**overrides):
    pairs = [(key.replace("__", "."), text) for key, text in overrides.items()]
    return recipe.load(DEMO, pairs)


def test_every_recipe_is_the_same_again():
    for name in recipe.names():
        options = recipe.load(name)
        again = saved.from_json(saved.to_json(options))
        assert again == options and again.plan == options.plan, name
        assert saved.sha256(again) == saved.sha256(options), name


def test_nested_values_are_the_same_again():
    groups = (("a/.*", None), (".*", {"learning_rate": 0.1}))
    phases = (dict(name="a", optimizer=dict(groups=groups)), dict(name="b", epochs=2))
    options = recipe.change(load(train__seeds="4,5"), {"phases": phases})
    again = saved.from_json(saved.to_json(options))
    assert again == options and again.phases[0]["optimizer"]["groups"] == groups
    assert saved.differences(again, options) == []


LATER = {
    "epochs_scale": 1.0,
    "init_from": "",
    "init_parameters": ".*",
    "text.context": 0,
    "text.context_behind": 0,
    "text.context_mark": "auto",
    "text.context_speaker": False,
    "text.prefix": "",
    "text.reinit_layers": 0,
    "data.also": (),
    "optimizer.layer_decay": 1.0,
    "optimizer.encoder_rate": 0.0,
    "train.ema": 0.0,
    "optimizer.lora_rank": 0,
    "optimizer.lora_rate": 3e-4,
    "optimizer.lora_alpha": 16.0,
    "optimizer.lora_targets": (),
    "data.weak": 0.0,
    "data.encoding": "",
    "data.unlabelled": "",
    "data.split": (),
    "data.fraction": 1.0,
    "text.vocabulary": False,
    "audio.encoder": "",
    "audio.frozen": False,
    "audio.frames": 5,
}


def without(options, *paths):
    """A saved text that lacks some keys."""
    values = json.loads(saved.to_json(options))
    for path in paths:
        section, _, name = path.rpartition(".")
        del (values[section] if section else values)[name]
    return json.dumps(values)


# A section of later keys alone may lack too.
@pytest.mark.parametrize(
    "lacking",
    [
        *([path] for path in LATER),
        [*LATER],
        [*(path for path in LATER if path.startswith("audio.")), "audio"],
    ],
)
def test_texts_of_before_a_key_was_there_mean_what_they_meant(lacking):
    assert {*LATER} == {*saved._LATER, *saved._HASHED}
    options = load()
    again = saved.from_json(without(options, *lacking))
    assert again == options
    for path, value in LATER.items():
        section, _, name = path.rpartition(".")
        assert getattr(getattr(again, section) if section else again, name) == value


# Of Options(system="lf_dnn"), by the version before the keys of `saved._LATER`.
OLDER = "d7108c049f4783c06a4de894660eb8506cfee258f38b5b21c156dcd068f6e7f2"


def test_the_hash_of_a_run_is_that_of_before_a_key_was_there():
    options = Options(system="lf_dnn")
    assert saved.sha256(options) == OLDER
    for key, value in (("train.ema", 0.5), ("data.weak", 0.5)):
        assert saved.sha256(recipe.change(options, {key: value})) != OLDER


def keys(options):
    """Every key of a saved text."""
    for key, value in saved.to_dict(options).items():
        yield key
        if isinstance(value, dict) and key != "model":
            yield from (f"{key}.{name}" for name in value)


def test_a_missing_key_is_named():
    options = load()
    needed = {*keys(options)} - {*LATER} - {"audio"}
    assert {"train", "train.epochs", "optimizer.b1", "phases", "model"} < needed
    for path in needed:
        with pytest.raises(ValueError) as error:
            saved.from_json(without(options, path), name="w/config.json")
        text = str(error.value)
        assert text.startswith(f'w/config.json: "{path}" is missing; the file was')


def test_systems_keep_the_defaults_that_they_were_trained_with():
    """Older texts lack fields whose defaults are others now."""
    for system, fields in saved._BEFORE.items():
        options = recipe.load(f"{system}:demo")
        values = json.loads(saved.to_json(options))
        again = saved.from_json(json.dumps(values))
        assert fields.items().isdisjoint(again.model.items())
        del values["epochs_scale"]
        for name in fields:
            values["model"].pop(name, None)
        older = saved.from_json(json.dumps(values))
        assert fields.items() <= dict(older.model).items()


def test_what_makes_another_run():
    options = load()
    free = load(train__seeds="9", data__path="moved.pkl", parallel__devices="1")
    free = recipe.change(free, {"checkpoint.seconds": 0, "train.seeds_at_once": 2})
    assert saved.differences(free, options) == []
    assert saved.sha256(free) == saved.sha256(options)
    other = load(train__batch_size="7", model__text_out="5")
    changed = saved.differences(other, options)
    assert "train.batch_size: 32 -> 7" in changed and len(changed) == 2
    assert saved.sha256(other) != saved.sha256(options)
    changed = saved.differences(load(data__encoding="gbk"), options)
    assert changed == ["data.encoding: '' -> 'gbk'"]
    # Of two systems the hyperparameters differ anyway.
    changed = saved.differences(load(train__batch_size="7"), recipe.load("tfn:demo"))
    assert changed == ["system: 'tfn' -> 'lf_dnn'", "train.batch_size: 32 -> 7"]


def test_a_whole_number_is_the_same_run_as_its_fraction():
    one = recipe.change(load(), {"optimizer.learning_rate": 1, "data.weak": 1})
    other = load(optimizer__learning_rate="1.0", data__weak="1.0")
    assert one == other and saved.sha256(one) == saved.sha256(other)


def test_another_spelling_of_a_folder_is_no_other_run(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    first = load(init_from=str(tmp_path / "a"))
    for same in ("a/", "b/../a", "link"):
        assert not saved.differences(load(init_from=f"{tmp_path}/{same}"), first)
    for other in (f"{tmp_path}/b", f"{tmp_path}/none", ""):
        (changed,) = saved.differences(load(init_from=other), first)
        assert changed.startswith("init_from")


def test_which_file_is_trained_on_is_no_other_run():
    """Its content is: see `workdir.claim`."""
    phases = {
        rows: f"({{'data': '{rows}'}},)" for rows in ("train", "x.pkl", "./x.pkl")
    }
    first = load(data__unlabelled="x.pkl", phases=phases["x.pkl"])
    for unlabelled in ("./x.pkl", "moved/x.pkl"):
        same = load(data__unlabelled=unlabelled, phases=phases["./x.pkl"])
        assert not saved.differences(same, first)
    (changed,) = saved.differences(load(phases=phases["x.pkl"]), first)
    assert changed == "data.unlabelled: 'a file' -> ''"
    other = load(data__unlabelled="train_mix", phases=phases["train"])
    rows, phase = saved.differences(other, first)
    assert rows == "data.unlabelled: 'a file' -> 'train_mix'"
    assert phase.startswith("phases: ") and "'a file'" in phase


def test_options_hold_plain_values():
    """So that JSON has them; dataclasses stand for sections alone."""
    options = load()
    for value in saved.to_dict(options).values():
        assert not dataclasses.is_dataclass(value)
    assert json.loads(saved.to_json(options)) == json.loads(
        json.dumps(saved.to_dict(options), allow_nan=False)
    )
