"""The cache of compiled programs: damaged entries do not stay."""

import warnings

import jax
import pytest

from msajax.run import compiled


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    monkeypatch.setattr(warnings, "showwarning", lambda *_: pytest.fail("shown"))
    compiled.keep(tmp_path)
    for name in ("jit_init-1-cache", "jit_init-2-cache", "jit__fun-3-cache"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def warn(doing):
    text = (
        f"Error {doing} persistent compilation cache entry for 'jit_init': OSError: x"
    )
    warnings.showwarning(text, UserWarning, "file", 1)


@pytest.mark.parametrize("doing", ["reading", "writing"])
def test_entries_of_the_program_are_removed(folder, capsys, doing):
    warn(doing)
    warn(doing)
    assert [path.name for path in folder.iterdir()] == ["jit__fun-3-cache"]
    told = "compiled programs are not kept: OSError: x\n"
    assert capsys.readouterr().err == (told if doing == "writing" else "")


def test_jax_warns_in_these_words():
    from jax._src import compiler

    with open(compiler.__file__, encoding="utf-8") as file:
        source = file.read()
    for doing in ("reading", "writing"):
        assert f'"Error {doing} persistent compilation cache entry for "' in source
