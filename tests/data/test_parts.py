"""Files and folders in the making: whole at their place, or gone."""

import errno
import os
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


def test_parts_of_killed_processes_are_removed_after_a_day(tmp_path):
    for name, age in (("new", 3600), ("old", 100_000)):
        part = tmp_path / f".{name}{parts._SUFFIX}"
        part.mkdir()
        os.utime(part, (0, time.time() - age))
    (tmp_path / "b.part").write_text("of another program")
    with parts.replacing(tmp_path / "a") as part:
        part.write_text("")
    assert names(tmp_path) == [f".new{parts._SUFFIX}", "a", "b.part"]
