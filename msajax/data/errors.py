"""The one error that a data file can cause, and the parts of its messages."""

import contextlib
import warnings
from collections.abc import Iterator


class DataError(ValueError):
    """A data file that cannot be used: what was got, what was expected, what to do."""


def option(name: str, value: str) -> str:
    """How an option of the data is given, for messages: to training, and to our tools."""
    return f"--config.data.{name}={value} (of a tool: --{name} {value})"


@contextlib.contextmanager
def decoding(kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into a `DataError`.

    Decoders of the standard library and of numpy answer damage with a dozen
    types of exception and with warnings, none of them documented, so that
    nothing narrower holds. Only the decoding itself belongs into the block.

    Args:
      kind: what the file was taken for, for the message.

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
        raise DataError(
            f"truncated or damaged {kind} ({type(error).__name__}: "
            f"{ascii(str(error)[:200])}); copy or download it again"
        ) from error
