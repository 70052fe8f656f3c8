"""The registry: what the file of a system must hold."""

import sys

import pytest

from msajax import models

HEAD = "from msajax.models.base import Model\n"
ONE = "class One(Model):\n    dim: int = 4\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "broken.py has 0 subclasses of Model; a system is exactly one"),
        (
            HEAD + ONE + "class Two(Model):\n    dim: int = 4\n",
            "broken.py has 2 subclasses of Model: One, Two; a system is exactly one",
        ),
        (
            HEAD + ONE + "    dropout = 0.1\n",
            "One.dropout has no type, so it is no field; write dropout: float = 0.1",
        ),
    ],
)
def test_a_file_that_is_no_system(tmp_path, monkeypatch, text, message):
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.setattr(models, "__path__", [str(tmp_path)])
    try:
        with pytest.raises(ValueError, match=message):
            models.get("broken")
    finally:
        sys.modules.pop("msajax.models.broken", None)


def test_constants_of_a_class_are_no_fields(tmp_path, monkeypatch):
    text = f"from typing import ClassVar\n{HEAD}{ONE}    k: ClassVar[int] = 3\n"
    (tmp_path / "whole.py").write_text(text + "    static_length = True\n")
    monkeypatch.setattr(models, "__path__", [str(tmp_path)])
    try:
        assert models.get("whole").__name__ == "One"
    finally:
        sys.modules.pop("msajax.models.whole", None)
