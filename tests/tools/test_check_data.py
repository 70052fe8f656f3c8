import pathlib
import pickle
import re
import runpy
from typing import Any

import numpy as np
import pytest

_TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_data.py"
_CONFIG = """
from ml_collections import ConfigDict

def get_config():
    data = dict(dataset="{dataset}", dims={dims}, lengths={lengths}, truncate=False)
    return ConfigDict(dict(data=dict(data, modalities=("text", "audio", "vision"))))
"""


@pytest.fixture(scope="module")
def tool():
    return runpy.run_path(str(_TOOL))["main"]


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()

    def write(name, dataset="mosi", dims=(), lengths=()):
        text = _CONFIG.format(dataset=dataset, dims=dims, lengths=lengths)
        (folder / f"{name}.py").write_text(text)

    write("any_mosi")
    write("mult_mosi", dims=(768, 5, 20), lengths=(50, 50, 50))
    write("tfn_mosi", dims=(768, 74, 20), lengths=(50, 50, 50))
    write("lmf_mosi", dims=(768, 5, 20), lengths=(50, 30, 50))
    write("mult_sims", dataset="sims")
    (folder / "common.py").write_text("raise RuntimeError")
    (folder / "__init__.py").write_text("")
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
    assert line(out, "label") == (["label", "-3 to 3", "-2 to 2.5"], False)
    assert "note: non-finite values set to 0: 2 in train audio" in out


def test_which_recipes_fit(tool, source, configs, capsys):
    tool([str(source), "--configs", configs])
    out = capsys.readouterr().out
    assert "fits any_mosi.py\n" in out and "fits mult_mosi.py\n" in out
    assert re.search(
        "does not fit tfn_mosi.py: audio has 5 features per step.* 74", out
    )
    assert re.search("does not fit lmf_mosi.py: audio has sequences of up to 50", out)
    assert "sims" not in out and "common" not in out


def test_a_file_that_training_refuses(tool, source, configs, capsys):
    data = pickle.loads(source.read_bytes())
    data["test"]["regression_labels"][0] = 5
    source.write_bytes(pickle.dumps(data))
    assert tool([str(source), "--dataset", "mosi", "--configs", configs]) == 1
    out = capsys.readouterr().out
    label = ["label", "-3 to 3", "-2 to 5", "out of range"]
    assert line(out, "label")[0] == label
    assert 'label of "test0" is 5, but CMU-MOSI has labels from -3 to 3' in out


def test_a_named_encoding(tool, configs, tmp_path, capsys):
    path = tmp_path / "label.csv"
    lines = [
        "video_id,clip_id,text,label",
        *(f"v,{i},我不想嫁给李茶,0" for i in range(4)),
    ]
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
    assert tool([str(path), "--dataset", "mosi", "--configs", configs]) == 0
    out = capsys.readouterr().out
    assert line(out, "rows of train") == (["rows of train", "1284", "missing"], True)
    assert line(out, "audio")[0][2] == "[N, 1, 9]"


def test_the_real_files(tool, shared, configs, capsys):
    for name in ("mosi/MOSI-label.csv", "mosei/MOSEI-label.csv", "meld"):
        assert tool([str(shared / "data" / name), "--configs", configs]) == 0
        out = capsys.readouterr().out
        for split in ("train", "valid", "test"):
            assert not line(out, f"rows of {split}")[1]


def test_the_recipes_of_this_project_are_read(tool, source, capsys):
    assert tool([str(source), "--dataset", "demo"]) == 0
    assert "fits demo.py" in capsys.readouterr().out
