import pathlib
import pickle
import re
import runpy
import tracemalloc
from typing import Any

import numpy as np
import pytest

from msajax.data import store

_TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_data.py"
_CONFIG = """
from configs import common

def get_config():
    config = common.get_config("{system}", "{dataset}")
    config.data.update(dims={dims}, lengths={lengths})
    config.train.update(batch_size={batch_size}, select="{select}")
    config.text.update(encoder="{encoder}", max_length=9, frozen={frozen})
    return config
"""


@pytest.fixture(scope="module")
def tool():
    return runpy.run_path(str(_TOOL))["main"]


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "recipes"
    folder.mkdir()

    def write(name, **values):
        known = dict(system="lf_dnn", dataset="mosi", dims=(), lengths=(), batch_size=3)
        known |= dict(select="loss", encoder="", frozen=False)
        (folder / f"{name}.py").write_text(_CONFIG.format(**known | values))

    write("any_mosi")
    write("mult_mosi", dims=(768, 5, 20), lengths=(50, 50, 50))
    write("tfn_mosi", dims=(768, 74, 20), lengths=(50, 50, 50))
    write("lmf_mosi", dims=(768, 5, 20), lengths=(50, 30, 50))
    write("mult_sims", dataset="sims")
    for dataset in ("mosei", "sims", "simsv2", "meld"):
        write(f"text_{dataset}", system="text_only", dataset=dataset, encoder="none")
    write("large_mosi", batch_size=4, select="mae")
    write("text_mosi", system="text_only", encoder="none-of-that-name")
    write("frozen_mosi", encoder="none-of-that-name", frozen=True, dims=(1, 5, 20))
    write("misa_mosi", system="misa", encoder="none-of-that-name")
    (folder / "common.py").write_text("raise RuntimeError")
    return str(folder)


@pytest.fixture
def source(tmp_path):
    """A small file with the widths and lengths of MOSI, aligned."""
    rng = np.random.default_rng(0)
    data = {}
    for split, rows in (("train", 3), ("valid", 2), ("test", 2)):
        entry: dict[str, Any] = {"id": [f"{split}{i}" for i in range(rows)]}
        entry["regression_labels"] = np.linspace(-2, 2.5, rows)
        for key, width in (("text", 768), ("audio", 5), ("vision", 20)):
            entry[key] = rng.normal(size=(rows, 50, width))
        data[split] = entry
    data["train"]["audio"][0, 3, :2] = -np.inf
    path = tmp_path / "aligned_50.pkl"
    path.write_bytes(pickle.dumps(data))
    return path


def line(out, key):
    (found,) = [x for x in out.splitlines() if re.match(rf"[! ] {key} ", x)]
    return re.split(r"  +", found[2:]), found[0] == "!"


def test_expected_against_found(tool, source, configs, capsys):
    assert tool([str(source), "--configs", configs]) == 0
    out = capsys.readouterr().out
    assert out.startswith("CMU-MOSI, compared with mosi/aligned\n")
    assert line(out, "rows of train") == (["rows of train", "1284", "3"], True)
    shape = "[N, 50, 5]"
    assert line(out, "audio") == (
        ["audio", shape, shape, "float64, 2 not finite"],
        False,
    )
    assert out.count("note: ") == 1
    assert line(out, "label") == (["label", "-3 to 3", "-2 to 2.5"], False)
    assert "note: non-finite values set to 0: 2 in train audio" in out


def recipes(out):
    """{recipe: why it does not fit, '' where it does}."""
    lines = [x.partition(".py")[::2] for x in out.splitlines() if "fit" in x[:12]]
    return {
        name.split()[-1]: reason.removeprefix(": ")
        for name, reason in lines
        if name.startswith(("fits ", "does not fit "))
    }


def test_which_recipes_fit(tool, source, configs, capsys):
    tool([str(source), "--configs", configs])
    assert recipes(capsys.readouterr().out) == {
        "any_mosi": "",
        "mult_mosi": "",
        "tfn_mosi": "audio 5 wide, not 74",
        "lmf_mosi": "audio 50 steps, over 30",
        "large_mosi": "3 rows, under a batch of 4",
        "text_mosi": "no raw text, nor word pieces, for the text encoder",
        "frozen_mosi": "no raw text, nor word pieces, for the text encoder",
        "misa_mosi": "no raw text, nor word pieces, for the text encoder",
    }


def test_recipes_with_an_encoder_of_the_raw_text(tool, configs, tmp_path, capsys):
    """As the README trains them: the encoder makes the text's arrays, and need not be at hand."""
    names = ["train", "train", "train", "valid", "test"]
    lines = [f"v{i},0,well well,{i / 2},{name}" for i, name in enumerate(names)]
    path = tmp_path / "label.csv"
    path.write_text("\n".join(["video_id,clip_id,text,label,mode", *lines]))
    assert tool([str(path), "--dataset", "mosi", "--configs", configs]) == 0
    found = recipes(capsys.readouterr().out)
    assert found["text_mosi"] == found["frozen_mosi"] == ""
    assert found["any_mosi"].startswith("the data has no feature arrays for text")
    assert found["misa_mosi"].startswith("misa compares modalities")
    rows = len(names)
    arrays = dict(id=np.arange(rows), split=names, label=np.zeros(rows))
    pieces = np.tile(np.ones((3, 4), int), (rows, 1, 1))
    for more, reason in (
        (dict(), "no raw text, nor word pieces, for the text encoder"),
        (dict(raw_text=["x"] * rows), ""),
        (dict(text_bert=pieces), ""),
    ):
        np.savez(tmp_path / "x.npz", **arrays, audio=np.ones((rows, 5)), **more)
        tool([str(tmp_path / "x.npz"), "--dataset", "mosi", "--configs", configs])
        found = recipes(capsys.readouterr().out)
        assert found["text_mosi"] == found["frozen_mosi"] == reason
    assert found["any_mosi"] == "the data has word pieces of the text but no features"


def test_datasets_of_classes_share_the_recipes(tool, source, configs, capsys):
    data = pickle.loads(source.read_bytes())
    for entry in data.values():
        entry["annotations"] = ["Neutral"] * len(entry.pop("regression_labels"))
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source), "--configs", configs]) == 1
    assert "of a tool: --dataset mosi_classes)" in capsys.readouterr().out
    options = ("--dataset", "mosi_classes", "--configs", configs)
    assert tool([str(source), *options]) == 0
    out = capsys.readouterr().out
    assert line(out, "label") == (["label", "0 to 2", "[N]", "by name"], False)
    assert recipes(out)["any_mosi"] == ""
    assert recipes(out)["large_mosi"] == "3 rows, under a batch of 4"


def test_a_file_without_labelled_rows(tool, source, configs, capsys):
    data = pickle.loads(source.read_bytes())
    entry = {k: v for k, v in data["train"].items() if "label" not in k}
    source.write_bytes(pickle.dumps({"unlabeled": entry}))
    assert tool([str(source), "--configs", configs]) == 0
    out = capsys.readouterr().out
    assert re.search("^  rows of unlabelled +3$", out, re.MULTILINE)
    assert not recipes(out)
    assert out.endswith(
        f"--config.data.path=LABELLED --config.data.unlabelled={source}\n"
    )
    assert out.count("without labels") == 1


def test_rows_without_labels_are_noted_once(tool, source, configs, capsys):
    data = pickle.loads(source.read_bytes())
    data["unlabeled"] = data["test"] | {"id": ["x", "y"]}
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source), "--configs", configs]) == 0
    out = capsys.readouterr().out
    assert out.count("note: left out: 2 rows without labels") == 1
    assert recipes(out)["any_mosi"] == ""


def test_the_exit_status_is_1_where_no_recipe_fits(tool, source, configs, capsys):
    for dataset, folder in (("mosi", f"{configs}/none"), ("demo", configs)):
        assert tool([str(source), "--dataset", dataset, "--configs", folder]) == 1
        assert f"with --config.data.dataset={dataset}" in capsys.readouterr().out
    data = pickle.loads(source.read_bytes())
    source.write_bytes(pickle.dumps({k: v for k, v in data.items() if k != "valid"}))
    assert tool([str(source), "--configs", configs]) == 1
    assert 'no split "valid". Known: test, train' in capsys.readouterr().out


def test_a_file_is_read_once(tool, source, configs, monkeypatch):
    read, calls = tool.__globals__["read"], []
    load = read.load
    monkeypatch.setattr(read, "load", lambda *a, **k: calls.append(k) or load(*a, **k))
    assert tool([str(source), "--configs", configs]) == 0
    assert len(calls) == 1


def test_features_are_counted_without_a_copy(tool):
    x = np.ones((300, 500, 8), np.float32)
    x[7, 3, :2] = np.nan, -np.inf
    tracemalloc.start()
    try:
        assert tool.__globals__["_values"]([x, x]) == "float32, 4 not finite"
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 20
    finally:
        tracemalloc.stop()


def test_labels_say_the_dataset_before_widths(tool, source, configs, capsys):
    """MulT's IEMOCAP has the widths of MOSEI."""
    hot = np.eye(4)[[1, 3, 0]]
    for shape in (hot, np.stack([1 - hot, hot], axis=-1)):
        data = pickle.loads(source.read_bytes())
        for name, entry in data.items():
            entry["audio"] = np.zeros((len(entry["id"]), 50, 74))
            entry["labels"] = shape[: len(entry.pop("id"))]
            data[name] = {k: v for k, v in entry.items() if k != "regression_labels"}
        path = source.with_name("iemocap.pkl")
        path.write_bytes(pickle.dumps(data))
        assert tool([str(path), "--configs", configs]) == 1  # there is no such recipe
        out = capsys.readouterr().out
        assert out.startswith("IEMOCAP (four emotions), ")
        assert "one-hot, taken as neutral, happy, sad, angry" in out


def test_labels_of_single_modalities_hint_at_ch_sims(tool, configs, tmp_path, capsys):
    path = tmp_path / "label.csv"
    header = "video_id,clip_id,text,label,label_T,label_A,label_V,mode"
    splits = ("train", "train", "train", "valid", "test")
    rows = [f"v,{i},well,0,1,0,1,{name}" for i, name in enumerate(splits)]
    path.write_text("\n".join([header, *rows]))
    assert tool([str(path), "--configs", configs]) == 1
    assert "--dataset sims, or --dataset simsv2" in capsys.readouterr().out
    for dataset in ("sims", "simsv2"):
        assert tool([str(path), "--dataset", dataset, "--configs", configs]) == 0


def test_a_prepared_store_names_its_dataset(tool, source, configs, tmp_path, capsys):
    folder = store.prepare(source, dataset="mosei", name="x", root=tmp_path / "root")
    assert tool([str(folder), "--configs", configs]) == 1
    assert capsys.readouterr().out.startswith("CMU-MOSEI, ")


def test_files_that_do_not_match_are_refused_not_a_crash(
    tool, source, configs, tmp_path, capsys
):
    data = pickle.loads(source.read_bytes())
    data["train"]["regression_labels"] = np.zeros(2)
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source), "--configs", configs]) == 1
    assert 'of the split "train" has 2 rows, but' in capsys.readouterr().out
    path = tmp_path / "label.csv"
    path.write_text("video_id,clip_id,text,label\n")
    assert tool([str(path), "--dataset", "sims", "--configs", configs]) == 1
    assert "the file has no rows" in capsys.readouterr().out


def test_a_file_that_training_refuses(tool, source, configs, capsys):
    data = pickle.loads(source.read_bytes())
    data["test"]["regression_labels"][0] = 5
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source), "--dataset", "mosi", "--configs", configs]) == 1
    out = capsys.readouterr().out
    label = ["label", "-3 to 3", "-2 to 5", "out of range"]
    assert line(out, "label") == (label, True)
    assert 'label of "test0" is 5, but CMU-MOSI has labels from -3 to 3' in out


def test_a_named_encoding(tool, configs, tmp_path, capsys):
    path = tmp_path / "label.csv"
    splits = ("train", "train", "train", "valid", "test")
    rows = [f"v,{i},我不想嫁给李茶,0,{name}" for i, name in enumerate(splits)]
    lines = ["video_id,clip_id,text,label,mode", *rows]
    path.write_bytes("\n".join(lines).encode("gbk"))
    args = [str(path), "--dataset", "sims", "--configs", configs]
    assert tool(args) == 1
    assert "is likely gbk, which reads" in capsys.readouterr().out
    assert tool([*args, "--encoding", "gbk"]) == 0
    assert tool([*args, "--encoding", "gkb"]) == 1
    assert 'unknown encoding "gkb"' in capsys.readouterr().out


def test_a_file_of_no_known_dataset(tool, configs, tmp_path, capsys):
    path = tmp_path / "x.npz"
    np.savez(path, id=np.array(["a"]), label=np.zeros(1), audio=np.ones((1, 9)))
    assert tool([str(path)]) == 1
    assert "of which dataset? give --dataset (mosi, " in capsys.readouterr().out
    assert tool([str(path), "--dataset", "mosi", "--configs", configs]) == 1
    out = capsys.readouterr().out
    assert "not divided into train, valid and test" in out and not recipes(out)
    assert line(out, "rows of train") == (["rows of train", "1284", "missing"], True)
    assert line(out, "audio")[0][2] == "[N, 1, 9]"


def test_the_real_files(tool, shared, configs, capsys, monkeypatch):
    # Whether a recipe fits is tested above.
    monkeypatch.setitem(tool.__globals__, "_refusal", lambda *_: "")
    for name in ("mosi/MOSI-label.csv", "mosei/MOSEI-label.csv", "meld"):
        assert tool([str(shared / "data" / name), "--configs", configs]) == 0
        out = capsys.readouterr().out
        for split in ("train", "valid", "test"):
            assert not line(out, f"rows of {split}")[1]


def test_the_recipes_of_this_project_are_read(tool, source, capsys):
    tool([str(source), "--dataset", "demo"])
    assert recipes(capsys.readouterr().out) == {"demo": "3 rows, under a batch of 32"}
