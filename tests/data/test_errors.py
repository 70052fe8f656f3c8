import io
import re
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest

from msajax.data.errors import DataError, decoding


def test_what_a_decoder_raises():
    with pytest.raises(DataError, match="the npz asks for more memory than there is"):
        with decoding("npz"):
            raise MemoryError
    with pytest.raises(DataError, match="^ours$"), decoding("npz"):
        raise DataError("ours")


def _unzip(content):
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        file.read("a")


def _zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a", content)
    return file.getvalue()


@pytest.mark.parametrize(
    "decode, told",
    [
        (lambda: _unzip(_zipped(b"a" * 99)[:-5]), ": the table of contents at its end"),
        (
            lambda: _unzip(_zipped(b"").replace(b"PK\1\2", b"PK\1\1")),
            ": its table of c",
        ),
        (
            lambda: _unzip(_zipped(b"ab").replace(b"KL", b"KK")),
            ": its content does not m",
        ),
        (
            lambda: zlib.decompress(b"abc"),
            ": its compressed content cannot be unpacked",
        ),
        (lambda: struct.unpack("<I", b"a"), ": it ends too early"),
        (lambda: b"\xff".decode(), ": it has bytes that stand for no characters"),
        (lambda: {}["x" * 3000], ""),  # of our own code, which says nothing to a user
        (lambda: np.array(["a"]).astype(float), ""),
        (lambda: [].pop(), ""),
    ],
)
def test_foreign_exceptions_are_put_into_plain_words(decode, told):
    with pytest.raises(DataError) as error, decoding("npz"):
        decode()
    assert str(error.value).startswith(f"truncated or damaged npz{told}")
    assert str(error.value).endswith("; copy or download it again")
    assert not re.search(r"Error|x{9}|could not|pop|codec", str(error.value))
    assert error.value.__cause__ is not None  # what --traceback shows


def test_advice():
    with pytest.raises(DataError, match="^truncated or damaged store; make it again$"):
        with decoding("store", advice="make it again"):
            raise KeyError


def test_warnings_of_a_decoder_are_not_heard():
    with decoding("npz"):
        warnings.warn("written by Python 2", UserWarning, stacklevel=1)


def test_interrupts_pass():
    with pytest.raises(KeyboardInterrupt), decoding("npz"):
        raise KeyboardInterrupt
