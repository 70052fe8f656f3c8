"""The one error that a data file can cause, and the parts of its messages."""

import contextlib
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator

# What exceptions of decoders mean for the file: type, a part of the text, plain words.
# The texts themselves speak of the decoder's inside.
_MEANINGS: tuple[tuple[type[Exception], str, str], ...] = (
    (zipfile.BadZipFile, "CRC", "its content does not match its checksum"),
    (
        zipfile.BadZipFile,
        "not a zip file",
        "the table of contents at its end is missing, as in a file that was cut off",
    ),
    (zipfile.BadZipFile, "", "its table of contents is damaged"),
    (zlib.error, "", "its compressed content cannot be unpacked"),
    (EOFError, "", "it ends too early"),
    (struct.error, "", "it ends too early"),
    (RecursionError, "", "it is nested too deeply"),
    (UnicodeDecodeError, "", "it has bytes that stand for no characters"),
)


class DataError(ValueError):
    """A data file that cannot be used: what was got, what was expected, what to do."""


def option(name: str, value: str) -> str:
    """How an option of the data is given, for messages: to training, and to our tools."""
    return f"--config.data.{name}={value} (of a tool: --{name} {value})"


@contextlib.contextmanager
def decoding(kind: str, *, advice: str = "copy or download it again") -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into a `DataError`.

    Decoders of the standard library and of numpy answer damage with a dozen
    types of exception and with warnings, none of them documented, so that
    nothing narrower holds. Only the decoding itself belongs into the block.

    Args:
      kind: what the file was taken for, for the message.
      advice: what to do about a damaged one.

    Raises:
      DataError: in place of any exception.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(
            f"the {kind} asks for more memory than there is; it is damaged, or it "
            "needs a machine with more memory"
        ) from error
    except Exception as error:
        meaning = _meaning(error)
        what = f"truncated or damaged {kind}" + (f": {meaning}" if meaning else "")
        raise DataError(f"{what}; {advice}") from error


def _meaning(error: Exception) -> str:
    """An exception in words for the owner of the file; '' for one that tells nothing of it."""
    for kind, part, words in _MEANINGS:
        if isinstance(error, kind) and part in str(error):
            return words
    return ""
