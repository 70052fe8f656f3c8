import os

import pytest

from msajax.data import durable


@pytest.fixture
def events(monkeypatch):
    """What was synced and renamed, in order."""
    found = []
    fsync, rename = os.fsync, os.replace

    def synced(number):
        found.append(os.path.basename(os.readlink(f"/proc/self/fd/{number}")))
        fsync(number)

    def renamed(part, final):
        found.append("renamed")
        rename(part, final)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    return found


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, events):
    (tmp_path / "a").write_text("old")
    (tmp_path / "a.part").write_text("new")
    durable.replace(tmp_path / "a.part", tmp_path / "a")
    assert (tmp_path / "a").read_text() == "new" and os.listdir(tmp_path) == ["a"]
    assert events == ["a.part", "renamed", tmp_path.name]


def test_a_folder_is_on_the_disk_with_all_that_is_in_it(tmp_path, events):
    (tmp_path / "b.part" / "in").mkdir(parents=True)
    (tmp_path / "b.part" / "in" / "x").write_text("1")
    (tmp_path / "b.part" / "y").write_text("2")
    durable.replace(tmp_path / "b.part", tmp_path / "b")
    assert (tmp_path / "b" / "in" / "x").read_text() == "1"
    assert events == ["x", "in", "y", "b.part", "renamed", tmp_path.name]
