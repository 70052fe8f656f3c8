"""Memory in proportion to a file's size: one account for all that reading makes of the file.

A few bytes can stand for many: zeros that were compressed, one text that is referred to
a thousand times, a column of strings at the width of the longest. So whoever makes
something whose size the file only claims says so first, by `spend`.
"""

import contextlib
import contextvars
import os
from collections.abc import Iterable, Iterator

from msajax.data.errors import DataError

# A file may unfold to this many bytes, and to so many for each of its own: more where it
# is large. Reading takes up to twice of that, for copies while it checks, so that a file
# of less than 1 MB takes less than 1 GB. Features of 20 values a step may be compressed
# in an .npz by more than 150 to 1 as float32 (zeros alone: 1000 to 1), 60 to 1 as int8.
_FREE = 2**27
_PER_BYTE, _PER_BYTE_OF_LARGE = 256, 512
_LARGE = 10**6


class _Account:
    def __init__(self, size: int):
        self.size, self.spent = size, 0
        rate = _PER_BYTE if size < _LARGE else _PER_BYTE_OF_LARGE
        self.limit = _FREE + rate * size


_account: contextvars.ContextVar[_Account | None]
_account = contextvars.ContextVar("account", default=None)


@contextlib.contextmanager
def of(files: Iterable[str | os.PathLike]) -> Iterator[None]:
    """Limits what the block may spend, in proportion to the size of the files together."""
    token = _account.set(_Account(sum(os.path.getsize(path) for path in files)))
    try:
        yield
    finally:
        _account.reset(token)


def spend(count: int, what: str) -> None:
    """Takes bytes from the budget, before they are made; outside of `of` there is no limit.

    Args:
      count: of bytes.
      what: they are for, the subject of the error.

    Raises:
      DataError: more than is left.
    """
    account = _account.get()
    if account is None:
        return
    account.spent += count
    if account.spent > account.limit:
        raise DataError(
            f"with {what}, the file's {account.size / 1e3:,.1f} kB would unfold to "
            f"{min(account.spent, 2**63) / 1e6:,.0f} MB of memory: it is damaged, or made "
            "to fill the memory. If its content is real, leave out the longest texts and "
            "sequences, and save an .npz without compression (np.savez)"
        )
