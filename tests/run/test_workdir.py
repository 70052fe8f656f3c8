"""What a workdir says of its run, and what becomes of files that were changed."""

import dataclasses
import json

import pytest

from msajax.data.spec import Spec
from msajax.run import recipe, saved, workdir

SPEC = Spec(dims=(3, 4, 5), lengths=(5, 7, 6), num_train=22)


def load(*overrides):
    return recipe.load("lf_dnn:demo", overrides)


@pytest.fixture
def folder(tmp_path):
    workdir.claim(tmp_path, load(), SPEC, "data")
    return tmp_path


BAD = {  # contents that are no config.json and no spec.json
    **{text: "is no JSON" for text in ("", "{", "[" * 10**5, "NaN", "\x00")},
    **{text: "is no JSON|should be" for text in ("[]", "null", "3", '"text"')},
    "{}": "is missing",
}


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("name", ["config.json", "spec.json"])
def test_files_of_another_shape_are_errors(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}.* ({BAD[text]})") as error:
        workdir.claim(folder, load(), SPEC, "data")
    assert "\n" not in str(error.value)


def change(path, key, value):
    *parents, last = key.split(".")
    node = values = json.loads(path.read_text())
    for name in parents:
        node = node[name]
    node[last] = value
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "key,value",
    [
        *(("data", None), ("data", []), ("data.dims", [1, "2", 3]), ("data.dims", 5)),
        *(("data.dataset", "mosy"), ("data.truncate", 1), ("data.other", 1)),
        *(("train", "x"), ("train.epochs", 2.5), ("train.epochs", -1)),
        *(("train.seeds", []), ("train.seeds", [True]), ("train.seeds", ["1"])),
        *(("model", [1]), ("model.audio_dropout", 2), ("model.text_out", "wide")),
        *(("model.text_out", -4), ("model.hidden_dims", [1]), ("model.other", 1)),
        *(
            ("optimizer.extra", 1),
            ("optimizer.learning_rate", "1"),
            ("optimizer", None),
        ),
        *(("optimizer.groups", [[1]]), ("optimizer.groups", 3), ("phases", [3])),
        *(("phases", [{"epoch": 1}]), ("system", 1), ("system", "tnf"), ("cycles", 0)),
        *(("text.max_length", 10**30), ("checkpoint.seconds", None), ("parallel", 1)),
        *(
            ("data.modalities", ["smell"]),
            ("data.modalities", []),
            ("data.split", [1, 2]),
        ),
        *(
            ("data.fraction", -3),
            ("model.text_out", 10**9),
            ("model.hidden_dims", [0, 1, 1]),
        ),
        *(
            ("model.hidden_dims", value)
            for value in (
                [None, 1, 1],
                ["x", 1, 1],
                [[], 1, 1],
                [{}, 1, 1],
                [1.5, 1, 1],
            )
        ),
        *(
            ("model.hidden_dims", [1, 1, True]),
            ("model.class_weights", ["x"]),
            ("optimizer.b1", 10**30),
            ("optimizer.eps", -1),
            ("optimizer.plateau_patience", -1),
        ),
        *(("precision", "float8"), ("deterministic", "yes"), ("init_from", None)),
    ],
)
def test_a_wrong_value_in_the_config_is_named(folder, key, value):
    change(folder / "config.json", key, value)
    with pytest.raises(ValueError) as error:
        workdir.load_options(folder)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{folder / 'config.json'}: ")
    assert key.split(".")[-1] in line.removeprefix(str(folder))
    assert line.endswith("the file was changed, or is of another version of msajax")


@pytest.mark.parametrize(
    "key,value",
    [
        *(("dims", [1, 2]), ("dims", [0, 1, 2]), ("lengths", [-1, 1, 1])),
        *(("num_train", 1.5), ("num_train", 10**12), ("fields", ["texxt"])),
        *(("fields", []), ("fields", "text"), ("label_range", [1]), ("classes", [1])),
        ("label_range", [1, -1]),
        *(("data_sha256", None), ("phase_data", []), ("other", 1)),
    ],
)
def test_a_wrong_value_in_the_spec_is_named(folder, key, value):
    change(folder / "spec.json", key, value)
    with pytest.raises(ValueError) as error:
        workdir.load_spec(folder)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{folder / 'spec.json'}: ")
    assert key in line.removeprefix(str(folder))


def test_files_that_are_folders(folder):
    (folder / "spec.json").unlink()
    (folder / "spec.json").mkdir()
    with pytest.raises(ValueError, match="spec.json cannot be read"):
        workdir.load_spec(folder)


def test_the_order_of_fields_makes_no_other_run(folder):
    """As versions wrote it that took the order of a file, or of its cache."""
    path = folder / "spec.json"
    change(path, "fields", json.loads(path.read_text())["fields"][::-1])
    workdir.claim(folder, load(), SPEC, "data")
    assert json.loads(path.read_text())["fields"] == list(SPEC.fields)


@pytest.mark.parametrize(
    "spec,data,message",
    [
        (SPEC, "other", "other content of the data file"),
        (dataclasses.replace(SPEC, num_train=23), "data", "data.num_train: 22 -> 23"),
        (dataclasses.replace(SPEC, fields=SPEC.fields[1:]), "data", "data.fields"),
    ],
)
def test_other_data_is_another_run(folder, spec, data, message):
    with pytest.raises(ValueError, match=f"holds another run, with {message}"):
        workdir.claim(folder, load(), spec, data)


def test_checkpoints_know_their_seed_and_recipe(folder):
    known = saved.sha256(load())
    assert workdir.checkpoints(folder, 3)._owner == workdir.Owner(3, known)
    # The hash is the one of the version that made the folder.
    change(folder / "spec.json", "recipe_sha256", "older")
    workdir.claim(folder, load(), SPEC, "data")
    assert workdir.checkpoints(folder, 3)._owner == workdir.Owner(3, "older")


def test_a_folder_of_an_older_version(folder):
    path = folder / "spec.json"
    values = json.loads(path.read_text())
    del values["recipe_sha256"], values["phase_data"]
    path.write_text(json.dumps(values))
    assert workdir.load_spec(folder) == SPEC
    assert workdir.checkpoints(folder, 1)._owner.recipe == ""
    workdir.claim(folder, load(), SPEC, "data")
    assert workdir.checkpoints(folder, 1)._owner.recipe == saved.sha256(load())


FILES = {"a.npz": "1", "b.npz": "2"}


def on_files(unlabelled="a.npz", phase="b.npz"):
    phases = f"({{'name': 'first', 'data': '{phase}'}}, {{'name': 'second'}})"
    return load(("data.unlabelled", unlabelled), ("phases", phases))


@pytest.fixture
def on_others(tmp_path):
    """A run on its data file and further files, and its spec.json."""
    workdir.claim(tmp_path, on_files(), SPEC, "data", FILES)
    return tmp_path / "spec.json"


SPELLINGS = {"./a.npz": "1", "/moved/b.npz": "2"}


@pytest.mark.parametrize("older", [False, True])
def test_other_spellings_of_files_are_the_same_run(on_others, older):
    known = json.loads(on_others.read_text())["phase_data"]
    assert known == {"config.data.unlabelled": "1", "phase first": "2"}
    if older:  # which had their names as keys
        change(on_others, "phase_data", FILES)
    again = on_files("./a.npz", "/moved/b.npz")
    for files in (SPELLINGS, {**SPELLINGS, "c.npz": "3"}):
        workdir.claim(on_others.parent, again, SPEC, "data", files)
        assert json.loads(on_others.read_text())["phase_data"] == known
    assert workdir.load_options(on_others.parent).data.unlabelled == "./a.npz"


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    "files,use",
    [
        ({**FILES, "a.npz": "3"}, "config.data.unlabelled"),
        ({**FILES, "b.npz": "3"}, "phase first"),
    ],
)
def test_other_content_of_files_is_another_run(on_others, older, files, use):
    if older:
        change(on_others, "phase_data", FILES)
    message = f"with other content of the file of {use}. Take"
    with pytest.raises(ValueError, match=message):
        workdir.claim(on_others.parent, on_files(), SPEC, "data", files)
    swapped = {"a.npz": "2", "b.npz": "1"}
    with pytest.raises(
        ValueError, match="the file of config.* the file of phase first"
    ):
        workdir.claim(on_others.parent, on_files(), SPEC, "data", swapped)


def test_a_claim_that_was_killed_halfway_is_repeated(on_others, monkeypatch):
    change(on_others, "phase_data", FILES)
    again, write = on_files("./a.npz", "/moved/b.npz"), workdir.write

    def one(path, text):
        write(path, text)
        raise KeyboardInterrupt

    monkeypatch.setattr(workdir, "write", one)
    with pytest.raises(KeyboardInterrupt):
        workdir.claim(on_others.parent, again, SPEC, "data", SPELLINGS)
    monkeypatch.undo()
    for config, files in ((on_files(), FILES), (again, SPELLINGS)):
        workdir.claim(on_others.parent, config, SPEC, "data", files)
