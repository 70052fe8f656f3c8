"""Files and folders in the making: beside their place until they are whole, and gone where that fails.

Each is in a folder of its own, whose name is drawn, so that no file or link that lies
there is written to. A lock in that folder says whether its process still lives.
"""

import contextlib
import fcntl
import functools
import os
import pathlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator

from msajax.data import durable

_SUFFIX = ".msajax-part"
# In a part's folder: the machine of its process, which holds a lock on the file, and
# the file or folder in the making.
_LOCK_FILE, _PART = "lock", "part"
# Seconds after which a part whose lock says nothing belongs to a process that was killed.
_OLD = 86_400.0

# Held while a part gets its name: who ends the process waits for that.
_lock = threading.RLock()
# The folders of the parts, each with its open lock.
_homes: dict[pathlib.Path, int | None] = {}


@contextlib.contextmanager
def beside(final: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path near another for the time of a `with` block; what is there is removed at its end.

    Args:
      final: whose folder exists. Parts of killed processes are removed from there.

    Raises:
      OSError: its folder is missing or not writable, or the disk is full.
    """
    sweep(final.parent)
    home = final.with_name(f".{os.urandom(8).hex()}{_SUFFIX}")
    with _lock:
        try:
            home.mkdir(mode=0o700)
        except OSError as error:
            error.filename = str(final)
            raise
        _homes[home] = _hold(home)
    try:
        yield home / _PART
    finally:
        with _lock:
            if home in _homes:  # else `remove_all` was here
                _discard(home, _homes.pop(home))


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
    for home in [*_homes]:
        _discard(home, _homes.pop(home))


def _discard(home: pathlib.Path, lock: int | None) -> None:
    """Removes the folder of a part, whose lock is closed first: NFS keeps files that are open."""
    if lock is not None:
        os.close(lock)
    with contextlib.suppress(
        OSError
    ):  # without descriptors, of which there may be none
        (home / _LOCK_FILE).unlink(missing_ok=True)
        (home / _PART).unlink(missing_ok=True)
        home.rmdir()
    _remove(home)


def _remove(path: pathlib.Path) -> None:
    for _ in range(3):  # another thread may be writing to the folder
        with contextlib.suppress(OSError):
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.lexists(path):
            return


def _hold(home: pathlib.Path) -> int | None:
    """Locks the folder of a part for as long as this process lives; where it cannot, age decides."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        lock = os.open(home / _LOCK_FILE, flags, 0o600)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Only now: a free lock that names a machine was held, and its process is gone.
        os.write(lock, "\n".join(_machine()).encode())
    return lock


def sweep(folder: pathlib.Path) -> None:
    """Removes the parts that killed processes left in a folder."""
    for home in folder.glob(f".*{_SUFFIX}"):
        lock = None
        with contextlib.suppress(OSError):
            # In a folder for all users it may be anybody's link or pipe.
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            lock = os.open(home / _LOCK_FILE, flags)
        ended = None if lock is None else _has_ended(lock)
        if lock is not None:
            os.close(lock)
        if ended or (ended is None and _is_old(home)):
            _remove(home)


def _has_ended(lock: int) -> bool | None:
    """Whether the process that locked a file is gone; None where that cannot be told."""
    try:
        machine = os.read(lock, 1000).decode("utf-8", "replace").split("\n")
        if _machine().isdisjoint(machine):
            return None  # some file systems do not share their locks between machines
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_old(home: pathlib.Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - home.lstat().st_mtime > _OLD
    return False


@functools.cache
def _machine() -> frozenset[str]:
    """What this machine is known by: its boot in all its containers, its name after a restart."""
    found = {socket.gethostname()}
    with contextlib.suppress(OSError):
        path = pathlib.Path("/proc/sys/kernel/random/boot_id")
        found.add(path.read_text("utf-8").strip())
    return frozenset(found - {""})
