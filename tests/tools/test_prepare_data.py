import pathlib
import runpy

import numpy as np
import pytest

from msajax.data import store

_TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "prepare_data.py"


@pytest.fixture
def tool(tmp_path, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "root"))
    return runpy.run_path(str(_TOOL))["main"]


@pytest.fixture
def source(tmp_path):
    audio = np.ones((4, 3, 2))
    audio[0, 0] = np.nan
    splits = np.array(["train", "train", "valid", "test"])
    ids = np.array(["a", "b", "c", "d"])
    path = tmp_path / "x.npz"
    np.savez(path, id=ids, split=splits, label=np.zeros(4), audio=audio)
    return str(path)


def test_a_store_is_made(tool, source, tmp_path, capsys):
    assert tool(["--format", "npz", "--source", source, "--name", "mosi/mine"]) == 0
    out = capsys.readouterr().out
    assert "note: non-finite values set to 0: 2 in train audio" in out
    assert (
        f"{tmp_path / 'root' / 'mosi' / 'mine'}: train 2, valid 1, test 1; sha256"
        in out
    )
    corpus = store.open_corpus("mosi/mine", dataset="mosi")
    assert corpus.splits["train"].ids.tolist() == ["a", "b"]


def test_another_dataset_and_root(tool, source, tmp_path):
    args = ["--source", source, "--name", "mine", "--dataset", "sims"]
    assert tool([*args, "--root", str(tmp_path / "other")]) == 0
    root = tmp_path / "other"
    assert store.open_corpus("mine", dataset="sims", root=root).dataset == "sims"


def test_a_named_encoding(tool, tmp_path, capsys):
    path = tmp_path / "label.csv"
    lines = [
        "video_id,clip_id,text,label",
        *(f"v,{i},我不想嫁给李茶,0" for i in range(4)),
    ]
    path.write_bytes("\n".join(lines).encode("gbk"))
    args = ["--source", str(path), "--name", "sims/text"]
    assert tool(args) == 1
    assert "likely gbk, which reads" in capsys.readouterr().err
    assert tool([*args, "--encoding", "gbk"]) == 0
    corpus = store.open_corpus("sims/text", dataset="sims")
    assert corpus.splits["all"].raw_text.tolist() == ["我不想嫁给李茶"] * 4


def test_errors(tool, source, capsys):
    assert tool(["--source", source, "--name", "mossi/x"]) == 1
    assert 'unknown dataset "mossi"; did you mean "mosi"?' in capsys.readouterr().err
    assert tool(["--source", "nope.pkl", "--name", "mosi/x"]) == 1
    assert capsys.readouterr().err == "error: nope.pkl: no such file\n"
    with pytest.raises(SystemExit):
        tool(["--name", "mosi/x"])


def test_help_has_examples(tool, capsys):
    with pytest.raises(SystemExit):
        tool(["--help"])
    out = capsys.readouterr().out
    assert "--format mmsa --source unaligned_50.pkl --name mosi/unaligned" in out
