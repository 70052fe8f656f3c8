"""Files and folders in the making: beside their place until they are whole, and gone where that fails.

Their names are drawn, so that no file or link that lies there is written to.
"""

import contextlib
import os
import pathlib
import shutil
import threading
import time
from collections.abc import Iterator

from msajax.data import durable

_SUFFIX = ".msajax-part"
# Seconds after which a part belongs to a process that was killed.
_OLD = 86_400.0

# Held while a part gets its name: who ends the process waits for that.
_lock = threading.RLock()
_parts: set[pathlib.Path] = set()


@contextlib.contextmanager
def beside(final: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path beside another for the time of a `with` block; what is there is removed at its end.

    Args:
      final: whose folder exists. Parts of killed processes are removed from there.
    """
    _sweep(final.parent)
    part = final.with_name(f".{os.urandom(8).hex()}{_SUFFIX}")
    with _lock:
        _parts.add(part)
    try:
        yield part
    finally:
        with _lock:
            _remove(part)
            _parts.discard(part)


@contextlib.contextmanager
def replacing(final: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path to write a file or folder to, which takes its place where the `with` block succeeds.

    Args:
      final: its place; a file there is replaced, a link is not followed.

    Raises:
      OSError: the disk is full, or not writable; `final` is as it was.
    """
    with beside(final) as part:
        try:
            yield part
            settle(part, final)
        except OSError as error:
            if not error.filename2:  # errors of writing name no file
                error.filename = str(final)
            raise


def settle(part: pathlib.Path, final: pathlib.Path) -> None:
    """Moves what is written to its place, in place of a file or a folder there.

    Args:
      part: the finished file or folder.
      final: its place.

    Raises:
      OSError: the disk is full, or not writable; `final` is as it was.
    """
    with _lock:
        if part.is_dir() and final.is_dir():
            with beside(final) as both:
                both.mkdir()
                # All is on the disk before there is a moment without either.
                durable.replace(part, both / "new")
                os.replace(final, both / "old")
                durable.replace(both / "new", final)
        else:
            durable.replace(part, final)


def remove_all() -> None:
    """Removes every part, and holds up all who would make or finish one: the process ends next."""
    _lock.acquire(timeout=10)
    for part in _parts:
        _remove(part)


def _remove(part: pathlib.Path) -> None:
    for _ in range(3):  # another thread may be writing to the folder
        with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
            part.unlink()
        shutil.rmtree(part, ignore_errors=True)
        if not os.path.lexists(part):
            return


def _sweep(folder: pathlib.Path) -> None:
    for part in folder.glob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - part.lstat().st_mtime > _OLD:
                _remove(part)
