"""How large the records of an array_record file are, before any of them is unpacked.

The library that reads these files unpacks a chunk whole, and a few bytes can stand for
any number of zeros. A chunk's header says what it unpacks to.

Format: https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md
"""

import os
import struct
from typing import BinaryIO

_BLOCK, _BLOCK_HEADER = (
    2**16,
    24,
)  # a header begins every block, in the middle of chunks too
_CHUNK_HEADER = struct.Struct("<QQQQQ")


def unpacked(path: str | os.PathLike) -> int:
    """Bytes that the records of a file unpack to, by the headers of its chunks."""
    total = place = 0
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        while place < size:
            header = _read(file, place, _CHUNK_HEADER.size)
            _, stored, _, kind_and_count, decoded = _CHUNK_HEADER.unpack(header)
            end = _after(place, _CHUNK_HEADER.size + stored)
            # A chunk is not shorter than the number of its records.
            place = max(end, place + (kind_and_count >> 8))
            total += decoded
    return total


def _after(place: int, count: int) -> int:
    """Where `count` bytes of content end that begin at `place`."""
    content = _BLOCK - _BLOCK_HEADER
    used = max(place % _BLOCK - _BLOCK_HEADER, 0) + count  # since the block began
    blocks = (used - 1) // content
    return (
        place
        - place % _BLOCK
        + blocks * _BLOCK
        + _BLOCK_HEADER
        + used
        - blocks * content
    )


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    data = file.read(count + _BLOCK_HEADER)
    at = -place % _BLOCK  # of the next block's header
    return (data[:at] + data[at + _BLOCK_HEADER :] if at < count else data)[:count]
