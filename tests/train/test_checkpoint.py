"""Checkpoints: whole or not there, checked when read, the one before where damaged."""

import json
import pathlib
import re
import shutil
import zlib

import jax
import jax.numpy as jnp
import pytest

from msajax import parallel
from msajax.train import checkpoint
from msajax.train.checkpoint import Checkpoints, Owner
from msajax.train.plan import Book


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
        checkpoints.save(Book(epoch=i), state=tree(i))
    return checkpoints, found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a checkpoint."""
    home = tmp_path_factory.mktemp("made")
    Checkpoints(home).save(Book(epoch=1), state=tree(1))
    return home / "1"


def arrays_of(folder: pathlib.Path):
    """The files that hold array bytes, the largest first."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.parent.name == "d"]
    return sorted(files, key=lambda p: -p.stat().st_size)


def test_round_trip_keeps_the_last_two(saved):
    checkpoints, warnings = saved
    book, trees = checkpoints.restore(like)
    assert book == Book(epoch=3) and checkpoints.numbers() == [2, 3] and not warnings
    assert jax.tree.all(
        jax.tree.map(lambda x, y: bool((x == y).all()), trees["state"], tree(3))
    )


def test_items_that_are_not_wanted_or_not_there_are_left_out(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Book(), best=tree(1.0))
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


def manifest_is(text):
    def damage(folder):
        (folder / "manifest.json").write_text(text)

    return damage


def manifest_says(**changes):
    """With the checksum that belongs to it."""

    def damage(folder):
        path = folder / "manifest.json"
        values = json.loads(path.read_text()) | changes | {"own": None}
        text = json.dumps(values, sort_keys=True)
        values["own"] = zlib.crc32(text.encode())
        path.write_text(json.dumps(values))

    return damage


def book_is(text):
    """With the checksums that belong to it."""

    def damage(folder):
        (folder / "book" / "metadata").write_text(text)
        sums = checkpoint._checksums(folder)
        manifest_says(files=sums)(folder)

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        *(damage_truncate, damage_flip, damage_missing, damage_book),
        *(manifest_is(text) for text in ("", "[]", "null", "3", "{}", "[" * 9999)),
        *(manifest_says(files=x) for x in ({}, [], {"a": "b"}, {"a": float("nan")})),
        *(manifest_says(shapes=None), manifest_says(place=[0, 0, 9, 9])),
        *(book_is(text) for text in ("[]", '{"epoch": "3"}', '{"other": 1}')),
    ],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(saved, tmp_path, damage):
    checkpoints, warnings = saved
    damage(tmp_path / "c" / "3")
    book, trees = checkpoints.restore(like)
    assert book == Book(epoch=2) and float(trees["state"]["a"]["k"][0, 0]) == 2
    assert len(warnings) == 1 and "taking the one before" in warnings[0]
    # What is damaged does not count as one of the two that are kept.
    checkpoints.save(Book(epoch=4), state=tree(4))
    assert checkpoints.numbers() == [2, 3] and checkpoints.restore(like)[0].epoch == 4


def test_two_damaged_checkpoints_are_an_error(saved, tmp_path):
    checkpoints, _ = saved
    damage_missing(tmp_path / "c" / "2")
    damage_missing(tmp_path / "c" / "3")
    with pytest.raises(ValueError, match="delete this folder and run the same command"):
        checkpoints.restore(like)


@pytest.mark.parametrize("left", ["4.part", "4.part.orbax-checkpoint-tmp", "9.part"])
def test_a_half_written_checkpoint_is_not_one(saved, tmp_path, left):
    checkpoints, _ = saved
    # What a killed save leaves behind.
    (tmp_path / "c" / left).mkdir()
    (tmp_path / "c" / left / "bytes").write_text("x")
    assert checkpoints.numbers() == [2, 3]
    checkpoints.save(Book(epoch=4), state=tree(4))
    assert checkpoints.restore(like)[0] == Book(epoch=4)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["3", "4"]


@pytest.mark.parametrize("name", ["\u00b2", "\u0663", "-1", "01", "5.old", "x" * 50])
def test_other_folders_are_no_checkpoints(saved, tmp_path, name):
    (tmp_path / "c" / name).mkdir()
    (tmp_path / "c" / "7").write_text("a file")
    assert saved[0].numbers() == [2, 3] and saved[0].restore(like)[0].epoch == 3


# [1] is a pattern to Orbax, a backslash separates folders, gs: is a kind of storage.
@pytest.mark.parametrize("name", ["a[1]", "a\\b", "gs:", "a b", "\u00e9\u4f60", "a*?"])
def test_a_folder_may_have_any_name(tmp_path, name):
    home = tmp_path / name / "seed_1"
    Checkpoints(home).save(Book(epoch=1), state=tree(7))
    book, trees = Checkpoints(home).restore(like)
    assert book.epoch == 1 and float(trees["state"]["a"]["k"][0, 0]) == 7
    assert [p.name for p in home.iterdir()] == ["1"]


def test_what_cannot_be_read_back_is_an_error_at_the_first_save(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise KeyError("a.b/.zarray")

    checkpoints = Checkpoints(tmp_path / "c")
    monkeypatch.setattr(checkpoints._handler, "restore", broken)
    with pytest.raises(ValueError, match="cannot be read back .*take another workdir"):
        checkpoints.save(Book(), state=tree(1))
    assert list((tmp_path / "c").iterdir()) == []


def test_only_the_first_save_is_read_back(saved, monkeypatch):
    monkeypatch.setattr(saved[0]._handler, "restore", None)
    saved[0].save(Book(epoch=4), state=tree(4))


@pytest.mark.parametrize(
    "owner,message",
    [
        (
            Owner(2, "aa"),
            "is a checkpoint of seed 1, not of seed 2: folders were renamed",
        ),
        (Owner(1, "bb"), "is a checkpoint of another recipe"),
    ],
)
def test_a_checkpoint_of_another_is_refused(tmp_path, owner, message):
    Checkpoints(tmp_path, owner=Owner(1, "aa")).save(Book(), state=tree(1))
    assert Checkpoints(tmp_path, owner=Owner(1, "aa")).restore(like)
    with pytest.raises(ValueError, match=message):
        Checkpoints(tmp_path, owner=owner).restore(like)


def test_checkpoints_of_before_they_had_owners_are_read(saved, tmp_path):
    path = tmp_path / "c" / "3" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({k: manifest[k] for k in ("files", "shapes")}))
    again = Checkpoints(tmp_path / "c", owner=Owner(5, "cc"))
    assert again.restore(like)[0].epoch == 3


def lose_names(manifest):
    manifest["files"] = dict([*manifest["files"].items()][:-1])


def no_change(_):
    pass


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize(
    "change,message",
    [
        (
            lose_names,
            "its manifest was changed|state/.* is missing, changed or not listed",
        ),
        (lambda manifest: manifest["owner"].update(seed=7), "its manifest was changed"),
        (no_change, ""),
    ],
)
def test_a_manifest_that_was_changed(made, tmp_path, change, message, older):
    """Files of other programs are no damage, but in the folder of an older one's item."""
    home = shutil.copytree(made, tmp_path / "1")
    path = home / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    if older:
        del manifest["own"]
        message = "" if change is not lose_names else message
    path.write_text(json.dumps(manifest))
    (home / "notes.txt").write_text("mine")
    (home / "state" / ".DS_Store").write_text("of a file browser")
    if not older:
        (home / "state" / "copy").write_text("of whatever program")
    assert re.fullmatch(message, checkpoint._damage(home))


def test_a_full_disk_keeps_the_checkpoint_before(saved, monkeypatch):
    checkpoints, _ = saved

    def full(*_, **__):
        raise OSError("write failed: No space left on device")

    monkeypatch.setattr(checkpoints._handler, "save", full)
    with pytest.raises(OSError, match="the disk is full .* run the same command again"):
        checkpoints.save(Book(epoch=4), state=tree(4))
    assert checkpoints.restore(like)[0] == Book(epoch=3)


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


@pytest.mark.parametrize("error", [KeyError("a\nb"), ValueError("x"), OSError("y")])
def test_a_checkpoint_that_cannot_be_restored_counts_as_damaged(
    saved, monkeypatch, error
):
    saved, numbers = saved[0], [2, 3]
    folder = saved._folder
    restore, told = Checkpoints._restore, []

    def failing(self, name, like):
        if name in bad:
            raise error
        return restore(self, name, like)

    monkeypatch.setattr(Checkpoints, "_restore", failing)
    bad = [str(n) for n in numbers]
    with pytest.raises(ValueError, match="no checkpoint in .* is whole"):
        Checkpoints(folder, warn=told.append).restore(like)
    assert len(told) == len(numbers) and saved.numbers() == numbers
    bad = bad[-1:]
    told.clear()
    assert Checkpoints(folder, warn=told.append).restore(like)
    (line,) = told
    assert f"{numbers[-1]} is damaged" in line and "\n" not in line
    assert saved.numbers() == numbers[:-1]


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_failure_of_the_machine_is_no_damage(saved, monkeypatch, error):
    monkeypatch.setattr(
        Checkpoints, "_restore", lambda *_: (_ for _ in ()).throw(error)
    )
    with pytest.raises(error):
        saved[0].restore(like)
