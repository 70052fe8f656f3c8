"""The opcodes of a pickle, one at a time, and their arguments; nothing is run."""

import codecs
import mmap
import os
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from msajax.data.errors import DataError
from msajax.data.formats import mapped

# Bytes of an argument's length, by the way in which pickletools says that it has one.
_WIDTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


def following(file: BinaryIO) -> tuple[str, Any]:
    """Name and argument of the opcode where the file stands; strings of Python 2 as bytes.

    Raises:
      DataError: the end of the file, no opcode, or an argument that is cut off or damaged.
    """
    code = file.read(1)
    if not code:
        raise DataError("truncated pickle: it has no end; copy or download it again")
    opcode = _OPCODES.get(code.decode("latin-1"))
    if opcode is None:
        raise DataError(f"no pickle, or a damaged one: {code!r} at {file.tell() - 1}")
    if opcode.arg is None:
        return opcode.name, None
    reader = _READERS.get(opcode.name, opcode.arg.reader)
    width = _WIDTHS.get(opcode.arg.n, 0)
    try:
        return opcode.name, reader(file)
    except Exception as error:
        place = file.tell()
        if _is_cut(file, error, width):
            value = "an array or a text" if width else "a value"
            what = f"truncated pickle: it ends in the middle of {value}"
        elif isinstance(error, MemoryError):
            raise
        else:
            what = f"damaged pickle: the value before byte {place} cannot be decoded"
        raise DataError(f"{what}; copy or download it again") from error


def _is_cut(file: BinaryIO, error: Exception, width: int) -> bool:
    """Whether the file ends in an argument that could not be read.

    Args:
      file: where reading ended.
      error: that ended it.
      width: bytes of the length that stands before the argument, or 0.
    """
    place = file.tell()
    file.seek(0, os.SEEK_END)
    end = file.tell()  # of a mapped file `seek` does not say it
    if place == end or not width or isinstance(error, UnicodeDecodeError):
        return place == end
    file.seek(place - width)  # nothing but the length was read
    return int.from_bytes(file.read(width), "little") > end - place


def _quoted(file: BinaryIO) -> bytes:
    return codecs.escape_decode(file.readline().strip()[1:-1])[0]  # pyright: ignore


def _long(name: str, *, text: bool = False) -> Callable[[Any], Any]:
    """A reader of strings that leaves long ones in a mapped file: the content of arrays."""
    width, reader = _STRING_READERS[name]

    def read(file: Any) -> Any:
        if isinstance(file, mmap.mmap):
            place = file.tell()
            length = int.from_bytes(file.read(width), "little")
            if (found := mapped.following(file, length, text=text)) is not None:
                return found
            file.seek(place)
        return reader(file)

    return read


# Bytes of the length, and what reads it and the string.
_STRING_READERS = {
    "BINSTRING": (4, pickletools.read_bytes4),  # pickletools would decode it
    "BINUNICODE": (4, pickletools.read_unicodestring4),
    "BINBYTES": (4, pickletools.read_bytes4),
    "BINBYTES8": (8, pickletools.read_bytes8),
    "BYTEARRAY8": (8, pickletools.read_bytearray8),  # pyright: ignore
}
_READERS = {
    "STRING": _quoted,
    "SHORT_BINSTRING": pickletools.read_bytes1,
    **{name: _long(name, text="UNI" in name) for name in _STRING_READERS},
}
