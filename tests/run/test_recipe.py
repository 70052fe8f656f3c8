"""Recipes: found and changed by name, lists with commas, rows, what a wrong one says."""

import dataclasses
import shutil
from collections.abc import Mapping

import pytest

from msajax.run import init_from, recipe, saved, training
from msajax.run.options import Options, TextOptions

DEMO = "lf_dnn:demo"


def load(**overrides):
    pairs = [(key.replace("__", "."), text) for key, text in overrides.items()]
    return recipe.load(DEMO, pairs)


def test_overrides_take_the_type_of_the_option():
    options = load(
        train__seeds="4,5",
        train__batch_size="16",
        optimizer__learning_rate="1",
        model__text_out="9",
        data__path="some/file=odd.pkl",
        deterministic="False",
    )
    assert options.train.seeds == (4, 5) and options.train.batch_size == 16
    assert options.optimizer.learning_rate == 1.0
    assert isinstance(options.optimizer.learning_rate, float)
    assert options.model["text_out"] == 9 and options.data.path == "some/file=odd.pkl"
    assert options.deterministic is False
    assert load(train__seeds_at_once="2").train.seeds_at_once == 2


@pytest.mark.parametrize(
    "key,text,value",
    [
        *(("train.seeds", text, (1, 2, 3)) for text in ("1,2,3", "1, 2, 3", "(1,2,3)")),
        *(("train.seeds", text, (7,)) for text in ("7", "7,", "[7]")),
        *(("data.modalities", t, ("text", "audio")) for t in ("text,audio", "text, audio")),
        ("data.modalities", "('text','audio')", ("text", "audio")),
        *(("data.modalities", text, ("text",)) for text in ("text", "text,", "'text'")),
        ("data.dims", "3,4,5", (3, 4, 5)),
        ("data.dims", "()", ()),
        ("data.split", "0.7,0.15,0.15", (0.7, 0.15, 0.15)),
        ("model.hidden_dims", "3,4,5", (3, 4, 5)),
        ("model.class_weights", "1,2", (1.0, 2.0)),
    ],
)  # fmt: skip
def test_lists_are_written_with_commas(key, text, value):
    options = recipe.load(DEMO, [(key, text)])
    section, _, name = key.partition(".")
    node = getattr(options, section)
    found = node[name] if isinstance(node, Mapping) else getattr(node, name)
    assert found == value and [*map(type, found)] == [*map(type, value)]


@pytest.mark.parametrize(
    "texts,gates",
    [
        (["()"], ()),
        (["('text','vision')"], ("text", "vision")),
        (["text,vision"], ("text", "vision")),
        (["()", "text"], ("text",)),
    ],
)
def test_lists_of_any_length(texts, gates):
    pairs = [("model.gates", text) for text in texts]
    assert recipe.load("msg_mba:mosi", pairs).model["gates"] == gates


@pytest.mark.parametrize("text", ["2024", "1,2", "1e5", "None", "True", "(", "007", ""])
def test_text_that_looks_like_a_number_stays_text(text):
    options = load(data__path=text, init_from=text, data__variant=text)
    assert options.data.path == options.init_from == options.data.variant == text


def test_the_last_of_two_values_counts():
    assert recipe.load(DEMO, [("cycles", "2"), ("cycles", "3")]).cycles == 3


@pytest.mark.parametrize(
    "text,message",
    [
        ("dict(train=dict(epochz=3))", 'unknown key "epochz" in config.train; did you mean "epochs"'),
        ("dict(trian=dict(epochs=3))", 'unknown key "trian" in config; did you mean "train"'),
        ("dict(train=3)", "config.train is 3, but must be a dict"),
        ("dict(model=dict(widht=3))", 'unknown key "widht" in config.model'),
        ("dict(model=dict(text_out='wide'))", "config.model.text_out is 'wide'"),
        ("dict(phases=(dict(name='a', epoch=1),))", r'"epoch" in config.phases\[0\]; did you mean "epochs"'),
        ("dict(phases=(dict(), dict()))", "config.phases has a name twice: main, main"),
    ],
)  # fmt: skip
def test_wrong_recipes_are_errors(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(
        "from msajax.run import recipe\n\n\ndef get_config(argument=''):\n"
        f"    return recipe.make('lf_dnn', {text})\n"
    )
    with pytest.raises(ValueError, match=message):
        recipe.load(str(path))


@pytest.mark.parametrize(
    "text,message",
    [
        ("def get_config(:\n", "fails with SyntaxError"),
        ("x = 1\n", "fails with AttributeError.*get_config"),
        ("def get_config():\n    return 1 / 0\n", "fails with ZeroDivisionError"),
        ("def get_config():\n    return {}\n", "returns dict; let get_config return"),
        ("import nowhere\n", "fails with ModuleNotFoundError: No module named 'nowhere'"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe_says_so(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"the recipe {path} {message}"):
        recipe.load(str(path))


@pytest.mark.parametrize(
    "name,message",
    [
        ("configs/mulr.py:mosi", 'there is no recipe file "configs/mulr.py"; did you mean "mult.py"'),
        ("mult:mosy", '^the recipe mult:mosy: unknown data set "mosy"'),
        ("mulr:mosi", 'no recipe "mulr"; did you mean "mult"'),
        ("nowhere/mult.py:mosi", 'no recipe file "nowhere/mult.py"; give its path, or `mult:mosi`, which works in any folder$'),
        ("nowhere/demo.py", 'no recipe file "nowhere/demo.py"; give its path, or `demo`, which works in any folder$'),
        ("nowhere/mine.py", 'no recipe file "nowhere/mine.py"$'),
        ("demo:x", 'the recipe demo:x: "demo" is a whole name, without ":x"; for the demo recipe of a system, give SYSTEM:demo, for example tfn:demo'),
        ("tnf:demo", 'no recipe "tnf"; did you mean "tfn"'),
        ("mult:mosy", 'unknown data set "mosy"; did you mean "mosi"'),
        ("mult", "name a data set. Known: .*demo.*mosi"),
        ("lf_dnn:mosi/paper", "this system has no rows; leave out \"/paper\""),
        ("tfn:sims/bert_features", 'the row "bert_features" is for mosi, mosei, demo, not for sims; leave it out'),
        ("tfn:mosi/bert_features+xlnet_features", 'nothing of the row "bert_features" is left'),
        ("mfon:mosi/no_promts", 'unknown row "no_promts"; did you mean "no_prompts"'),
    ],
)  # fmt: skip
def test_wrong_names_say_the_nearest(name, message):
    with pytest.raises(ValueError, match=message):
        recipe.load(name)


def test_a_recipe_is_found_from_any_folder(tmp_path, monkeypatch):
    """By its name from the package's own, by a file from where one is."""
    here = recipe.load("configs/lf_dnn.py:demo")
    shutil.copy(recipe.home() / "lf_dnn.py", tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    for name in (DEMO, "mine.py:demo"):
        assert recipe.load(name) == here


def test_every_name_is_a_recipe_and_no_other():
    names = recipe.names()
    assert len(names) == len({*names}) > 200
    assert {DEMO, "mfon:mosi/no_prompts", "cormult:mosi/strategy_a"} <= {*names}
    assert not any(name.startswith(("demo", "_", "common")) for name in names)


ROWS = {
    "a": {"text_out": 5, "train.epochs": 3},
    "b": {"text_out": 7, "cycles": 2},
    "audio": {"modalities": ("audio",)},
    "no_text": {"modalities": ("audio", "vision")},
    "text": {"modalities": ("text",)},
}


def values(argument, **more):
    datasets = {
        "mosi": dict(train=dict(epochs=9)),
        "x": dict(data=dict(dataset="sims")),
    }
    return recipe.values(argument, datasets, rows=ROWS, **more)


@pytest.mark.parametrize("system", ["tfn", "lmf", "mfn", "mfm", "mult", "misa"])
def test_rows_on_the_features_of_a_frozen_encoder(system):
    plain = recipe.load(f"{system}:mosi")
    for encoder in ("bert-base-uncased", "xlnet-base-cased"):
        name, raw = f"{encoder.partition('-')[0]}_features", encoder.startswith("x")
        found = recipe.load(f"{system}:mosi/{name}")
        text = TextOptions(encoder=encoder, frozen=True, raw=raw)
        assert found == dataclasses.replace(plain, text=text)
        listed = {n for n in recipe.names() if n.startswith(system) and name in n}
        assert listed == {f"{system}:{d}/{name}" for d in ("mosi", "mosei", "demo")}
    assert recipe.FEATURES["bert_features"]["text"] == dict(
        encoder="bert-base-uncased", frozen=True
    )


def test_rows_change_the_values_of_a_data_set():
    assert values("mosi")["train"] == dict(epochs=9, patience=8)
    assert values("x")["data"] == dict(variant="unaligned", dataset="sims")
    both = values("mosi/a+b")
    assert both["model"] == dict(text_out=7) and both["cycles"] == 2
    assert both["train"] == dict(epochs=3, patience=8)
    alone = values("mosi/audio+no_text")
    assert alone["data"]["modalities"] == ("audio",)
    numbered = values("mosi/n7", numbered=lambda name: {"text_out": int(name[1:])})
    assert numbered["model"] == dict(text_out=7)
    assert recipe.MMSA == dict(data=dict(variant="unaligned"), train=dict(epochs=100, patience=8))  # fmt: skip


@pytest.mark.parametrize(
    "argument,message",
    [
        ("mosi/c", 'unknown row "c"'),
        ("mosi/audio+text", 'the rows "audio.text" together leave no modality'),
        ("mosi/a+a2", 'unknown row "a2"; did you mean "a"'),
    ],
)
def test_rows_that_cannot_be(argument, message):
    with pytest.raises(ValueError, match=message):
        values(argument)


def test_a_row_of_which_nothing_is_left_is_refused():
    rows = {"a": {"text_out": 5}, "b": {"text_out": 7}}
    with pytest.raises(ValueError, match='nothing of the row "a" is left in "a.b"'):
        recipe.values("mosi/a+b", {"mosi": {}}, rows=rows)


def test_merging_shares_nothing():
    a, b = {"x": {"y": 1}}, {"x": {"z": [2]}, "w": 3}
    both = recipe.merge(a, b)
    assert both == {"x": {"y": 1, "z": [2]}, "w": 3}
    both["x"]["y"] = 5
    assert a == {"x": {"y": 1}} and b["x"] == {"z": [2]}


def test_widths_of_a_published_file_are_known():
    made = recipe.make("lf_dnn", dict(data=dict(dataset="mosi", variant="unaligned")))
    assert made.data.dims == (768, 5, 20) and made.data.lengths == (50, 375, 500)
    own = dict(dataset="mosi", variant="unaligned", dims=())
    assert recipe.make("lf_dnn", dict(data=own)).data.dims == ()


def test_a_recipe_that_starts_from_another_run_asks_for_it(tmp_path):
    options = recipe.load("cormult:mosi/fuse")
    message = r"another run's \(statistics/\)\?mce/\.\*; name its workdir: config.init"
    with pytest.raises(ValueError, match=message):
        training.train(options, tmp_path)
    init_from.check(recipe.change(options, {"init_from": "w"}))


def test_another_system_has_keys_of_its_own():
    options = recipe.load("text_only:demo")
    changes = [("model.layer", "1"), ("model.gates", "text"), ("system", "msg_mba")]
    changed = recipe.override(options, changes)
    assert changed.system == "msg_mba"
    assert changed.model == {"layer": 1, "gates": ("text",)}
    assert recipe.change(options, {"model.layer": 1, "system": "msg_mba"}).model
    with pytest.raises(ValueError, match='unknown key "layr" in config.model; did you'):
        recipe.override(options, [("model.layr", "1"), ("system", "msg_mba")])
    with pytest.raises(ValueError, match='unknown system "tnf"; did you mean "tfn"'):
        recipe.override(options, [("model.layer", "1"), ("system", "tnf")])
    with pytest.raises(ValueError, match='unknown key "text_out" in config.model'):
        recipe.change(recipe.load(DEMO), {"system": "mult", "model.text_out": 3})


def test_changes_by_name_equal_the_command_lines():
    texts = {
        "train.epochs": "3",
        "data.modalities": "text,audio",
        "model.text_out": "5",
    }
    values = {
        "train.epochs": 3,
        "data.modalities": ["text", "audio"],
        "model.text_out": 5,
    }
    changed = recipe.change(recipe.load(DEMO), values)
    assert isinstance(changed, Options)
    assert changed == recipe.load(DEMO, texts.items())
    assert saved.sha256(changed) != saved.sha256(recipe.load(DEMO))
    with pytest.raises(ValueError, match='"epoch" in config.train; did you mean'):
        recipe.change(changed, {"train.epoch": 3})
    with pytest.raises(ValueError, match="config.train is a group"):
        recipe.change(changed, {"train": {"epochs": 3}})
