"""Files that are mapped to memory, so that of a large array only what is looked at takes any."""

import codecs
import mmap
import os
import tempfile
from typing import Any, BinaryIO

import numpy as np

from msajax.data.errors import DataError

# A file of fewer bytes is read: a mapped one must not become shorter meanwhile.
_FILE = 2**25
# Of a mapped file byte strings of so many bytes, the content of arrays, are not read.
_STRING = 2**20
# Nor are texts of so many bytes, which are written to a file as soon as they are bytes.
_TEXT = 2**25
_PIECE = 2**20


def opened(file: BinaryIO) -> Any:
    """The file, mapped where it is large: it reads and seeks the same."""
    if os.fstat(file.fileno()).st_size < _FILE:
        return file
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class Text:
    """A long text of a mapped file, which is not decoded before it is encoded again.

    Python 3 writes the bytes of an array so in protocols 0 to 2.
    """

    def __init__(self, content: memoryview):
        self._content = content

    def __len__(self) -> int:
        return len(self._content)

    def encode(self) -> memoryview:
        """Its characters as bytes, latin-1, in a temporary file that is mapped.

        Raises:
          DataError: no space for that file.
          UnicodeError: other characters.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        with tempfile.TemporaryFile() as file:
            try:
                for start in range(0, len(self), _PIECE):
                    text = decoder.decode(self._content[start : start + _PIECE])
                    file.write(text.encode("latin-1"))
                    _release(self._content)
                decoder.decode(b"", final=True)
                file.flush()
            except OSError as error:
                raise DataError(
                    f"an array that is written as text (pickle protocol 2) needs a file in "
                    f"{tempfile.gettempdir()}: {error.strerror}; set TMPDIR to a folder on "
                    "a disk with more space"
                ) from error
            size = os.fstat(file.fileno()).st_size
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))


def following(file: mmap.mmap, length: int, *, text: bool) -> memoryview | Text | None:
    """The next bytes of a mapped file, which then stands behind them; None where they are few.

    Raises:
      EOFError: there are not as many.
    """
    if length < (_TEXT if text else _STRING):
        return None
    start = file.tell()
    if start + length > len(file):
        raise EOFError
    file.seek(start + length)
    found = memoryview(file)[start : start + length]
    return Text(found) if text else found


def release(array: np.ndarray) -> None:
    """Gives back the memory of what was looked at of an array of a mapped file; no-op for others."""
    base = array.base
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        _release(base)


def _release(content: memoryview) -> None:
    # Windows has no such call.
    if isinstance(content.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        content.obj.madvise(mmap.MADV_DONTNEED)
