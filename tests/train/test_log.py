"""What the log of a group of seeds says: rates of the seeds at work, one file for each seed."""

import errno
import io
import json

import pytest
from rich.console import Console

from msajax.train import log
from msajax.train.plan import Book, Phase


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """A log of seeds 1 and 2, its clock and what it printed."""
    clock, printed = [100.0], io.StringIO()
    monkeypatch.setattr(log.time, "monotonic", lambda: clock[0])
    folders = {seed: tmp_path / f"seed_{seed}" for seed in (1, 2)}
    made = log.Log(folders, title="toy", console=Console(file=printed, width=200))
    yield made, clock, printed
    made.close()


def row(epoch, loss):
    return {"epoch": epoch, "train_loss": loss, "valid_loss": loss, "best": True}


def test_the_rate_counts_the_seeds_at_work(opened):
    made, clock, printed = opened
    books = [
        Book(history=[row(0, 1.0)], best=0.5),
        Book(history=[row(0, 3.0)], best=1.5),
    ]
    made.begin([book.history for book in books])
    phase = Phase(epochs=10, batch_size=8)
    made.steps(books, phase, 10, 10, active=1)  # holds the compilation
    clock[0] += 10
    made.steps(books, phase, 20, 10, active=1)  # holds that of the evaluation
    clock[0] += 5
    made.steps(books, phase, 30, 10, active=1)
    line = printed.getvalue().splitlines()[-1]
    assert "toy seeds 1, 2: epoch 3/10  loss 2.0000  best 1.0000" in line
    assert "16 samples/s  0:35 left" in line


def test_a_place_before_begins_the_rate_anew(opened):
    made, clock, printed = opened
    books = [Book(), Book()]
    made.begin([[], []])
    phase = Phase(epochs=10, batch_size=8)
    for done in (50, 60, 10, 20):  # the second cycle of one phase
        made.steps(books, phase, done, 10, active=2)
        clock[0] += 10
    assert "-" not in printed.getvalue().split("samples/s")[-2].split()[-1]
    assert "16 samples/s  1:20 left" in printed.getvalue().splitlines()[-1]


@pytest.mark.parametrize("wrong", ["nan", "inf"])
def test_each_seed_has_its_file(opened, tmp_path, wrong, caplog):
    made, _, _ = opened
    made.begin([[row(0, 1.0)], []])
    made.epoch(1, Book(history=[row(0, float(wrong))]))
    assert not caplog.text  # the board warns of what is not finite
    paths = [tmp_path / f"seed_{seed}/log.jsonl" for seed in (1, 2)]
    rows = [[json.loads(x) for x in path.read_text().splitlines()] for path in paths]
    assert rows[0] == [row(0, 1.0)]
    assert rows[1] == [row(0, None)]


def test_compiling_is_told_where_it_is_long(opened):
    made, clock, printed = opened
    made.begin([[], []])
    for name in ("teach", "main"):
        for seconds, done in ((75, 1), (60, 100)):  # the phase itself takes a minute
            clock[0] += seconds
            phase = Phase(name=name, epochs=10)
            made.steps([Book(), Book()], phase, done, 10, active=2)
        clock[0] += 30  # the end of the dispatch, and the validation
        made.epoch(0, Book(history=[row(0, 1.0)]))
    assert "seeds 1, 2: teach compiled in 1:15\n" in printed.getvalue()
    assert "seeds 1, 2: compiled in 1:15\n" in printed.getvalue()


def test_the_end_names_the_phase_of_the_best_epoch(opened):
    made, _, printed = opened
    history = [row(0, 1.0), row(1, 1.0) | {"best": False}, row(0, 1.0)]
    books = [
        Book(history=[r | {"phase": phase} for r in history], seconds=2.0)
        for phase in ("main", "fuse")
    ]
    made.end(books)
    made.end(books, earlier=True)
    assert printed.getvalue().splitlines() == [
        "toy seed 1: 3 epochs in 0:02, best epoch 1",
        "toy seed 2: 3 epochs in 0:02, best epoch 1 of fuse",
        "toy seed 1: 3 epochs in 0:02 (finished earlier), best epoch 1",
        "toy seed 2: 3 epochs in 0:02 (finished earlier), best epoch 1 of fuse",
    ]


class Full:
    """A file on a full disk."""

    name = "seed_1/log.jsonl"

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_names_the_log(opened):
    made, _, _ = opened
    made.begin([[], []])
    made._files[0] = (Full(), made._files[0][1])
    with pytest.raises(OSError, match="No space left on device: 'seed_1/log.jsonl'"):
        made.epoch(0, Book(history=[row(0, 1.0)]))


def test_a_log_that_is_a_link_leaves_its_target(opened, tmp_path):
    made, _, _ = opened
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "seed_1").mkdir()
    (tmp_path / "seed_1" / "log.jsonl").symlink_to(tmp_path / "precious")
    made.begin([[row(0, 1.0)], []])
    assert (tmp_path / "precious").read_text() == "precious"
