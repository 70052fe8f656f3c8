"""Checkpoints: whole or not there, checked when read, the one before where damaged."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from msajax import parallel
from msajax.checkpoint import Checkpoints


def tree(value):
    return {"a": {"k": jnp.full((40, 30), float(value))}, "n": jnp.int32(value)}


def like(_):
    return {"state": parallel.replicate(tree(0.0), parallel.find_devices(1))}


@pytest.fixture
def saved(tmp_path):
    """Three saves: 1 is dropped, 2 and 3 stay."""
    found = []
    checkpoints = Checkpoints(tmp_path / "c", warn=found.append)
    for i in (1, 2, 3):
        checkpoints.save({"epoch": i}, state=tree(i))
    return checkpoints, found


def arrays_of(folder: pathlib.Path):
    """The files that hold array bytes, the largest first."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.parent.name == "d"]
    return sorted(files, key=lambda p: -p.stat().st_size)


def test_round_trip_keeps_the_last_two(saved):
    checkpoints, warnings = saved
    book, trees = checkpoints.restore(like)
    assert book == {"epoch": 3} and checkpoints.numbers() == [2, 3] and not warnings
    assert jax.tree.all(
        jax.tree.map(lambda x, y: bool((x == y).all()), trees["state"], tree(3))
    )


def test_items_that_are_not_wanted_or_not_there_are_left_out(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({}, best=tree(1.0))
    _, trees = checkpoints.restore(lambda book: {**like(book), "best": tree(0.0)})
    assert set(trees) == {"best"}


def damage_truncate(folder):
    for path in arrays_of(folder):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_flip(folder):
    path = arrays_of(folder)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def damage_missing(folder):
    for path in arrays_of(folder):
        path.unlink()


def damage_book(folder):
    (folder / "book" / "metadata").write_text('{"epoch": ')


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_flip, damage_missing, damage_book]
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(saved, tmp_path, damage):
    checkpoints, warnings = saved
    damage(tmp_path / "c" / "3")
    book, trees = checkpoints.restore(like)
    assert book == {"epoch": 2} and float(trees["state"]["a"]["k"][0, 0]) == 2
    assert len(warnings) == 1 and "taking the one before" in warnings[0]
    # What is damaged does not count as one of the two that are kept.
    checkpoints.save({"epoch": 4}, state=tree(4))
    assert (
        checkpoints.numbers() == [2, 3] and checkpoints.restore(like)[0]["epoch"] == 4
    )


def test_two_damaged_checkpoints_are_an_error(saved, tmp_path):
    checkpoints, _ = saved
    damage_missing(tmp_path / "c" / "2")
    damage_missing(tmp_path / "c" / "3")
    with pytest.raises(ValueError, match="delete this folder and run the same command"):
        checkpoints.restore(like)


@pytest.mark.parametrize("left", ["4.part", "4.part.orbax-checkpoint-tmp"])
def test_a_half_written_checkpoint_is_not_one(saved, tmp_path, left):
    checkpoints, _ = saved
    # What a killed save leaves behind.
    (tmp_path / "c" / left).mkdir()
    assert checkpoints.numbers() == [2, 3]
    checkpoints.save({"epoch": 4}, state=tree(4))
    assert checkpoints.restore(like)[0] == {"epoch": 4}


def test_a_full_disk_keeps_the_checkpoint_before(saved, monkeypatch):
    checkpoints, _ = saved

    def full(*_, **__):
        raise OSError("write failed: No space left on device")

    monkeypatch.setattr(checkpoints._handler, "save", full)
    with pytest.raises(OSError, match="the disk is full .* run the same command again"):
        checkpoints.save({"epoch": 4}, state=tree(4))
    assert checkpoints.restore(like)[0] == {"epoch": 3}


def test_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(like) is None


def test_other_shapes_are_refused(saved):
    checkpoints, _ = saved
    with pytest.raises(
        ValueError,
        match=r"at \['a'\]\['k'\] it holds float32\[40, 30\], where this one has float32\[3\]",
    ):
        checkpoints.restore(
            lambda _: {"state": {"a": {"k": jnp.zeros(3)}, "n": jnp.int32(0)}}
        )
