"""The opcodes of a pickle, one at a time, and their arguments; nothing is run."""

import codecs
import pickletools
from typing import Any, BinaryIO

from msajax.data.errors import DataError

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


def following(file: BinaryIO) -> tuple[str, Any]:
    """Name and argument of the opcode where the file stands; strings of Python 2 as bytes.

    Raises:
      DataError: the end of the file, or no opcode. An argument that is damaged
        raises whatever `pickletools` does.
    """
    code = file.read(1)
    if not code:
        raise DataError("truncated pickle: it has no end; copy or download it again")
    opcode = _OPCODES.get(code.decode("latin-1"))
    if opcode is None:
        raise DataError(f"no pickle, or a damaged one: {code!r} at {file.tell() - 1}")
    reader = _STRINGS.get(opcode.name) or (opcode.arg and opcode.arg.reader)
    return opcode.name, reader(file) if reader else None


def _quoted(file: BinaryIO) -> bytes:
    return codecs.escape_decode(file.readline().strip()[1:-1])[0]  # pyright: ignore


# Strings of Python 2: the readers of pickletools would decode them.
_STRINGS = {
    "STRING": _quoted,
    "BINSTRING": pickletools.read_bytes4,
    "SHORT_BINSTRING": pickletools.read_bytes1,
}
