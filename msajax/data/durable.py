"""Files and folders that survive a power cut: their bytes are on the disk before they are named."""

import errno
import os
import pathlib


def replace(part: pathlib.Path, final: pathlib.Path) -> None:
    """Moves what is written to its name, in place of a file (or an empty folder) there.

    Args:
      part: the finished file or folder, on the same file system.
      final: its name from now on.

    Raises:
      OSError: the disk is full, or not writable; `final` is as it was.
    """
    for folder, _, files in os.walk(part, topdown=False):
        for name in (*files, ""):
            _sync(os.path.join(folder, name))
    if part.is_file():
        _sync(part)
    os.replace(part, final)
    _sync(final.parent)


def _sync(path: str | os.PathLike) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that cannot sync a folder
            raise
    finally:
        os.close(number)
