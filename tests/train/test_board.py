"""TensorBoard's events: one for each epoch, with the finite figures."""

import errno

import pytest
from tensorboardX.proto import event_pb2

from msajax.train.board import Board


def events(path):
    """The events of a file of records: length, its checksum, data, their checksum."""
    data, found = path.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "little")
        found.append(event_pb2.Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    return found


def test_figures_are_curves(tmp_path):
    board = Board(tmp_path)
    board.add({"epoch": 0, "train_loss": 1.5, "valid_mae": None, "lr_main": 0.1}, 0)
    board.add({"epoch": 1, "train_loss": 0.5, "valid_mae": 2.0, "best": True}, 1)
    board.close()
    (path,) = tmp_path.iterdir()
    version, *rest = events(path)
    assert version.file_version == "brain.Event:2"
    values = [{v.tag: v.simple_value for v in e.summary.value} for e in rest]
    assert values == [
        {"train/loss": 1.5, "lr/main": pytest.approx(0.1)},
        {"train/loss": 0.5, "valid/mae": 2.0},
    ]
    assert [event.step for event in rest] == [0, 1]


def test_a_full_disk_is_heard(tmp_path, monkeypatch):
    board = Board(tmp_path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(board._writer, "write_event", full)
    with pytest.raises(OSError, match="No space left"):
        board.add({"train_loss": 1.0}, 0)
    board.close()
