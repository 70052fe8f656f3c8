"""What every program does first: signals and lost output end none of its work."""

import errno
import io
import logging
import os
import pathlib
import sys
import traceback
import warnings
from typing import NoReturn, TextIO

from msajax.run import signals

_AGAIN = "every finished checkpoint is kept; run the same command again"
# Errors of the system that say nothing about the run: what to do.
_ADVICE = {
    errno.ENOSPC: f"make room on the disk; {_AGAIN}",
    errno.EDQUOT: f"make room in your quota of the disk; {_AGAIN}",
    errno.EMFILE: f"allow the process more, for example by `ulimit -n 1024`; {_AGAIN}",
    errno.ENFILE: f"end other programs on this machine; {_AGAIN}",
}


def start() -> None:
    """Hears signals, and makes the standard streams ones that never fail."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file opened would get what is printed
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    signals.watch()
    sys.stdout = _steady(1, sys.stdout)
    sys.stderr = _steady(2, sys.stderr)
    if "--traceback" not in sys.argv:
        _quieten()


def end(status: int) -> NoReturn:
    """Ends the process without waiting for threads: Orbax's keep running after a failed save."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def told(error: Exception) -> str:
    """An error in a line; libraries hide those of the system in texts of their own."""
    for number, advice in _ADVICE.items():
        reason = os.strerror(number)
        if getattr(error, "errno", None) == number or reason in str(error):
            place = getattr(error, "filename", None)
            return f"{reason}{f' ({place})' if place else ''}: {advice}"
    return str(error)


def is_ours(error: Exception) -> bool:
    """Whether our code raised an error, so that its text says what to do.

    The last frame may be ours also where JAX raised it: it removes its own frames.
    """
    last = traceback.extract_tb(error.__traceback__)[-1]
    package = pathlib.Path(__file__).parent.parent
    within = package in pathlib.Path(last.filename).parents
    return within and (last.line or "").startswith("raise")


def _quieten() -> None:
    """Leaves out the tracebacks of Orbax's threads: it raises their first error in ours, too."""
    from absl.logging import get_absl_logger

    def ours(record: logging.LogRecord) -> bool:
        return "/orbax/" not in record.pathname

    get_absl_logger().addFilter(ours)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    sys.unraisablehook = lambda _: None  # of TensorStore's threads


class _Lossy(io.FileIO):
    """Drops what cannot be written: the reader is gone (`| head`), or the disk full."""

    def write(self, data) -> int | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The number of bytes taken; None where a descriptor that does not block is busy."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _steady(number: int, old: TextIO | None) -> io.TextIOWrapper:
    """A text stream for a descriptor, with escapes for what its encoding lacks."""
    return io.TextIOWrapper(
        io.BufferedWriter(_Lossy(number, "w", closefd=False)),
        encoding=old.encoding if old else "utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
