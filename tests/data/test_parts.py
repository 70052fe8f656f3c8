"""Files and folders in the making: whole at their place, or gone."""

import errno
import fcntl
import os
import subprocess
import sys
import time

import pytest

from msajax.data import durable, parts


def names(folder):
    return sorted(os.listdir(folder))


def test_a_file_takes_its_place_when_it_is_written(tmp_path):
    final = tmp_path / "a.json"
    final.write_text("old")
    with parts.replacing(final) as part:
        part.write_text("new")
        assert final.read_text() == "old"
    assert final.read_text() == "new" and names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing(tmp_path, error):
    (tmp_path / "a").write_text("old")
    with pytest.raises(type(error)), parts.replacing(tmp_path / "a") as part:
        part.mkdir()
        (part / "in").write_text("half")
        raise error
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_an_error_names_the_file(tmp_path):
    with pytest.raises(OSError, match="No space left on device: .*/a'"):
        with parts.replacing(tmp_path / "a"):
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_replaces_an_older_one(tmp_path):
    final, made = tmp_path / "store", tmp_path / "made"
    for folder, text in ((final, "old"), (made, "new")):
        folder.mkdir()
        (folder / text).write_text(text)
    parts.settle(made, final)
    assert names(tmp_path) == ["store"] and names(final) == ["new"]


def test_an_older_folder_stays_where_the_disk_is_full(tmp_path, monkeypatch):
    final = tmp_path / "store"
    final.mkdir()
    (final / "old").write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "replace", full)
    with pytest.raises(OSError, match="No space"), parts.beside(final) as part:
        part.mkdir()
        parts.settle(part, final)
    assert names(tmp_path) == ["store"] and names(final) == ["old"]


def test_a_link_at_the_place_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "a").symlink_to("precious")
    with parts.replacing(tmp_path / "a") as part:
        part.write_text("new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "a").is_symlink()


def test_all_go_where_the_process_ends(tmp_path):
    with parts.beside(tmp_path / "a") as file, parts.beside(tmp_path / "b") as folder:
        file.write_text("half")
        (folder / "in").mkdir(parents=True)
        try:
            parts.remove_all()
        finally:
            parts._lock.release()  # the process would have ended
        assert names(tmp_path) == []


WRITER = """
import pathlib, sys
from msajax.data import parts

folder = pathlib.Path(sys.argv[1])
with parts.beside(folder / "file") as file, parts.beside(folder / "store") as store:
    file.write_text("half")
    (store / "in").mkdir(parents=True)
    (store / "in" / "x").write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """A process that writes a file and a folder, for more than a day."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout and process.stdout.readline() == b"writing\n"
        for part in tmp_path.iterdir():
            os.utime(part, (0, 0))
        yield process
        process.kill()


def test_parts_of_a_killed_process_are_removed_at_once(writer, tmp_path):
    def write():
        with parts.replacing(tmp_path / "a") as part:
            part.write_text("")
        return [name for name in names(tmp_path) if name != "a"]

    assert len(write()) == 2
    writer.kill()
    writer.wait()
    assert write() == []


def left(folder, name="x", machine=None, age=0):
    """A part of a process that is gone, made so many seconds ago."""
    home = folder / f".{name}{parts._SUFFIX}"
    home.mkdir()
    (home / parts._PART).write_text("half")
    if machine is not None:
        (home / parts._LOCK_FILE).write_text(machine)
    os.utime(home, (0, time.time() - age))
    return home


@pytest.mark.parametrize("age", [3600, 100_000])
@pytest.mark.parametrize("machine", [None, "", "another\none"])
def test_where_a_lock_says_nothing_age_decides(tmp_path, machine, age):
    """Of older versions, of a process that is about to lock, of another machine."""
    home = left(tmp_path, machine=machine, age=age)
    parts.sweep(tmp_path)
    assert home.exists() == (age == 3600)


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    mine = next(iter(parts._machine()))
    monkeypatch.setattr(fcntl, "flock", flock)
    with parts.replacing(tmp_path / "a") as part:
        part.write_text("new")
        (lock,) = tmp_path.glob(f"*/{parts._LOCK_FILE}")
        assert lock.read_text() == ""
        assert left(tmp_path, "y", mine).exists()
        parts.sweep(tmp_path)
        assert left(tmp_path, "z", mine, age=100_000)
        parts.sweep(tmp_path)
    assert names(tmp_path) == [f".y{parts._SUFFIX}", "a"]


@pytest.mark.parametrize("name", ["", parts._LOCK_FILE])
def test_links_among_parts_are_not_followed(tmp_path, name):
    precious = tmp_path / "precious"
    precious.mkdir()
    mine = next(iter(parts._machine()))
    for file in (parts._PART, parts._LOCK_FILE):
        (precious / file).write_text(mine)
    home = tmp_path / f".x{parts._SUFFIX}"
    if name:
        home.mkdir()
        (home / name).symlink_to(precious / name)
    else:
        home.symlink_to(precious)
    parts.sweep(tmp_path)
    assert names(precious) == [parts._LOCK_FILE, parts._PART]


def test_few_descriptors_are_no_reason_to_fail(tmp_path, monkeypatch):
    def few(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", few)
    with parts.beside(tmp_path / "a") as part:
        part.write_text("x")
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="/no/a'"):
        with parts.replacing(tmp_path / "no" / "a"):
            pass


def test_parts_of_older_versions_are_removed_after_a_day(tmp_path):
    for name, age in (("new", 3600), ("old", 100_000)):
        part = tmp_path / f".{name}{parts._SUFFIX}"
        part.mkdir()
        os.utime(part, (0, time.time() - age))
    (tmp_path / "b.part").write_text("of another program")
    with parts.replacing(tmp_path / "a") as part:
        part.write_text("")
    assert names(tmp_path) == [f".new{parts._SUFFIX}", "a", "b.part"]
