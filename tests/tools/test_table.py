import csv
import errno
import re
import signal
from typing import ClassVar

import numpy as np
import pytest

from msajax import main, models
from msajax.data import demo
from msajax.run import recipe, signals
from tools import table

LF_DNN, EF_LSTM = "lf_dnn:demo", "ef_lstm:demo"
SHORT = ["--config.train.seeds=1,2", "--config.train.epochs=1"]


@pytest.fixture
def trained(monkeypatch):
    """Names of the recipes that are trained, in this process."""
    names = []

    def train(entry, home):
        names.append(entry.name)
        arguments = ["--config", entry.recipe, "--workdir", str(entry.folder(home))]
        return main.main([*arguments, *entry.values])

    monkeypatch.setattr(table, "train", train)
    return names


def run(folder, *arguments):
    return table.main(["--workdir", str(folder), *SHORT, *arguments])


def test_a_table_of_two_systems_beside_one_that_fails(tmp_path, trained, capfd):
    fails = "tfn:demo --config.data.path=nowhere.npz"
    assert run(tmp_path, LF_DNN, fails, f"{EF_LSTM} --config.train.seeds=3") == 1
    assert trained == ["lf_dnn", "tfn", "ef_lstm"]
    assert "tfn failed (exit status 1)" in capfd.readouterr().err
    text = (tmp_path / "table.md").read_text()
    lines = text.splitlines()
    assert lines[0].startswith("demo corpus, test: mean ± std")
    assert [line.split()[1] for line in lines[4:6]] == ["lf_dnn", "ef_lstm"]
    assert "- lf_dnn: seeds 1, 2; " in text and "- ef_lstm: seeds 3; " in text
    assert lines[-1] == "- tfn failed (exit status 1)"
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["system"] for row in rows} == {"lf_dnn", "ef_lstm"}
    assert {row["split"] for row in rows} == {"valid", "test"}
    mae = [row["mean"] for row in rows if row["metric"] == "mae"]
    assert len(set(mae)) == 4 and all(0 < float(value) < 3 for value in mae)

    # What is finished is not run again; a seed more is.
    trained.clear()
    assert run(tmp_path, LF_DNN) == 0
    assert trained == []
    assert run(tmp_path, f"{LF_DNN} --config.train.seeds=1,3") == 0
    assert trained == ["lf_dnn"]
    assert "lf_dnn: seeds 1, 2, 3" in (tmp_path / "table.md").read_text()
    # Another recipe does not take the folder, and its figures are not shown.
    assert run(tmp_path, LF_DNN, "--config.model.text_out=5") == 1
    assert "another run" in capfd.readouterr().err


def test_data_that_is_not_there_is_said_once(tmp_path, trained, capfd):
    assert run(tmp_path, LF_DNN, EF_LSTM, "--config.data.path=nowhere.npz") == 1
    assert trained == []
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: nowhere.npz: no such file, and no prepared store")


def test_a_list_with_values_of_its_own(tmp_path):
    file = tmp_path / "systems.txt"
    file.write_text(f"# systems\n\n{LF_DNN} --config.train.epochs=7  # longer\n")
    first, second = table.read_list(["misa:demo/no_text"], str(file), SHORT)
    assert (first.name, second.name) == ("misa/no_text", "lf_dnn")
    assert first.folder(tmp_path) == tmp_path / "misa_no_text"
    assert [e.options.train.epochs for e in (first, second)] == [1, 7]
    (row,) = table.read_list(["configs/misa.py:mosi/no_text"], None, [])
    assert row.name == "misa/no_text"


def test_all_systems_of_a_data_set(capsys):
    """Every recipe but those that lack an encoder; one that is given stands in its place."""
    systems = [name.split(":") for name in recipe.names() if "/" not in name]
    for dataset in ("demo", "poria"):
        entries = table.read_list([], None, SHORT, every=dataset)
        names = [entry.name for entry in entries]
        lacking = set(re.findall(r"left out: (\w+):", capsys.readouterr().out))
        assert {*names} | lacking == {name for name, of in systems if of == dataset}
        of_demo = {"mag_bert", "mag_xlnet"} if dataset == "demo" else set()
        assert lacking == {"unimse"} | of_demo
        assert names[:4] == ["text_only", "ef_lstm", "lf_dnn", "tfn"]
        assert {entry.options.train.epochs for entry in entries} == {1}
    given = [
        "mag_bert:demo --config.text.encoder=x",
        "mult:demo --config.train.seeds=7",
    ]
    entries = table.read_list([*given, "misa:demo/no_text"], None, [], every="demo")
    names = [entry.name for entry in entries]
    assert len({*names}) == len(names)
    assert (names[0], names[1]) == ("misa/no_text", "text_only")
    assert names.index("mult") < names.index("misa")
    assert names.index("mag_bert") == names.index("misa") + 1
    assert entries[names.index("mult")].options.train.seeds == (7,)
    assert "mag_xlnet" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match='--all dem: no recipe is of it; did you mean "demo"'
    ):
        table.read_list([], None, [], every="dem")
    assert set(table._ORDER) <= set(models.names())


def test_systems_out_of_the_order_come_last(monkeypatch):
    monkeypatch.setattr(table, "_ORDER", ("tfn",))
    first, second, *_ = table._systems("poria")
    assert first == "tfn" and second in ("almt", "alr")


@pytest.mark.parametrize(
    "recipes,message",
    [
        ([], "no recipe; give one"),
        ([LF_DNN, LF_DNN], "lf_dnn is in the list twice"),
        ([LF_DNN, "tfn:mosi"], "one dataset, .* demo, mosi"),
        (["mulT:demo"], 'did you mean "mult"'),
        ([f"{LF_DNN} epochs=3"], "got epochs=3, expected --config"),
        ([f"{LF_DNN} --config.train.epoch=3"], 'did you mean "epochs"'),
    ],
)
def test_lists_that_are_wrong(recipes, message, tmp_path, trained, capsys):
    with pytest.raises(ValueError, match=message):
        table.read_list(recipes, None, [])
    assert run(tmp_path / "runs", *recipes) == 1
    assert trained == [] and "error: " in capsys.readouterr().err
    assert run(tmp_path / "runs", "--list", "none.txt") == 1
    assert "error: --list none.txt: no such file" in capsys.readouterr().err


def test_a_signal_ends_the_list(tmp_path, monkeypatch, capsys):
    statuses = iter([0, 143])
    monkeypatch.setattr(table, "train", lambda entry, home: next(statuses))
    assert run(tmp_path, LF_DNN, EF_LSTM, "tfn:demo") == 143
    assert "rerun the command to resume" in capsys.readouterr().out


def test_a_full_disk_is_told_in_a_line(tmp_path, trained, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "table.md")

    monkeypatch.setattr(table, "train", lambda *_: 0)
    monkeypatch.setattr(table, "write", full)
    assert run(tmp_path, LF_DNN) == 1
    assert "error: No space left on device (table.md): make" in capsys.readouterr().err


class Process:
    """A run that hears of a signal, and ends well all the same."""

    returncode = None
    heard: ClassVar[list[int]] = []

    def __init__(self, command, env):
        del command, env

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def send_signal(self, number):
        self.heard.append(number)

    def wait(self):
        self.returncode = 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_not_lost_where_the_run_ends_well(number, tmp_path, monkeypatch):
    def wait(process):
        if not Process.heard:
            Process.heard.append(0)
            signals._hear(number)  # as the watching thread does
        process.returncode = 0

    monkeypatch.setattr(Process, "wait", wait)
    monkeypatch.setattr(Process, "heard", [])
    monkeypatch.setattr(table.subprocess, "Popen", Process)
    assert run(tmp_path, LF_DNN, EF_LSTM) == 128 + number
    forwarded = [number] if number == signal.SIGTERM else []
    assert Process.heard == [0, *forwarded]
    assert signals._hear is signals.end


@pytest.mark.slow
def test_a_run_on_another_file_is_not_finished(tmp_path, trained):
    file = tmp_path / "clips.npz"
    corpus = demo.generate(0, num=(40, 10, 10))
    arrays = {
        name: np.concatenate([s.arrays[name] for s in corpus.splits.values()])
        for name in ("text", "audio", "vision", "label")
    }
    split = np.repeat(["train", "valid", "test"], [40, 10, 10])
    np.savez(file, id=np.arange(60), split=split, **arrays)
    on = f"{LF_DNN} --config.data.path={{}}"
    assert run(tmp_path / "runs", on.format(file)) == 0
    file.rename(tmp_path / "moved.npz")
    assert run(tmp_path / "runs", on.format(tmp_path / "moved.npz")) == 0
    assert trained == ["lf_dnn", "lf_dnn"]
    assert run(tmp_path / "runs", LF_DNN) == 1  # of the generated corpus
    # Nor is one whose file has changed; rows of two corpora are told.
    moved = on.format(tmp_path / "moved.npz")
    trained.clear()
    assert run(tmp_path / "runs", moved, EF_LSTM) == 0
    assert trained == ["ef_lstm"]
    text = (tmp_path / "runs" / "table.md").read_text()
    assert "- other data than that of lf_dnn: ef_lstm" in text
    (tmp_path / "moved.npz").unlink()
    table._fingerprint.cache_clear()
    assert run(tmp_path / "runs", moved) == 0  # what is finished needs no data
    assert trained == ["ef_lstm"]
    arrays["label"] = -arrays["label"]
    np.savez(tmp_path / "moved.npz", id=np.arange(60), split=split, **arrays)
    table._fingerprint.cache_clear()
    assert run(tmp_path / "runs", moved) == 1
    assert trained == ["ef_lstm", "lf_dnn"]


def test_a_run_has_a_process_of_its_own(tmp_path, capfd):
    (entry,) = table.read_list([LF_DNN], None, [])
    entry = entry._replace(recipe="nowhere.py")
    assert table.train(entry, tmp_path) == 1
    assert 'no recipe file "nowhere.py"' in capfd.readouterr().err
