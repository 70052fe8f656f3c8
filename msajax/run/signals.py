"""Ctrl-C and SIGTERM: they end a program at once, or are a question that a training loop asks.

A thread of its own hears them. It can always run, where Python's own handlers
wait for the main thread, which may be compiling or tokenizing for minutes.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from msajax.data import parts

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
# Seconds that a training loop has to ask, and so to begin its save. Clusters
# commonly kill 30 s after SIGTERM.
_PATIENCE = 20.0


def end(number: int) -> NoReturn:
    """Ends the process with 128 + number, as shells expect; removes what is half written."""
    _say(f"stopped by {signal.Signals(number).name}")
    with contextlib.suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h")  # a progress bar hides the cursor
    parts.remove_all()
    os._exit(128 + number)


# What hears a signal: `end`, but for the time of a `heard_by`.
_hear: Callable[[int], None] = end


def watch() -> None:
    """Hears signals until the process ends. From the main thread, before there are others."""
    for number in _NUMBERS:  # also where a shell ignores it for a background job
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while True:
        number = signal.sigwait(_NUMBERS)
        _hear(number)  # who it is now, not when the wait began


@contextlib.contextmanager
def heard_by(hear: Callable[[int], None]) -> Iterator[None]:
    """Calls a function with each signal's number, in the watching thread, in place of `end`."""
    global _hear
    before, _hear = _hear, hear
    try:
        yield
    finally:
        _hear = before


@contextlib.contextmanager
def held_back(say: Callable[[str], object]) -> Iterator[Callable[[], bool]]:
    """Ctrl-C of a notebook as a question: whether the first one of a `with` block came.

    As an exception it could hit between a step, which overwrites the arrays of the one
    before, and the record of it, and nothing could be saved. Before the loop asks for
    the first time, and from the second Ctrl-C on, it is a KeyboardInterrupt as always. So
    it is outside the main thread, and where another handler than Python's own is set.

    Args:
      say: prints a line when the first one comes.
    """
    asked = came = False

    def question() -> bool:
        nonlocal asked
        asked = True
        return came

    def hear(*_: object) -> None:
        nonlocal came
        if came or not asked:
            raise KeyboardInterrupt
        came = True
        say("stopping after a save; once more to stop at once")

    own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not own or threading.current_thread() is not threading.main_thread():
        yield question
        return
    signal.signal(signal.SIGINT, hear)
    try:
        yield question
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Question:
    """Whether a signal came, asked by a training loop between two steps.

    From the first time that it is asked (before, the loop compiles, and there is
    nothing to save) the first signal asks for a save, and the second ends the
    process. So does the first where the loop does not ask again in time.
    """

    def __init__(self):
        self.number = 0
        self._asked = False
        self._answered = threading.Event()
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self._stack.enter_context(heard_by(self._hear))
        return self

    def __exit__(self, *_):
        self._answered.set()
        self._stack.close()

    def __call__(self) -> bool:
        """Whether a signal came."""
        self._asked = True
        if self.number:
            self._answered.set()
        return self.number != 0

    def _hear(self, number: int) -> None:
        if not self._asked or self.number:
            end(number)
        self.number = number
        _say("stopping after a save; once more to stop at once")
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        if not self._answered.wait(_PATIENCE):
            _say(f"no step ended in {_PATIENCE:.0f} s: the last checkpoint stays")
            end(self.number)


def _say(text: str) -> None:
    # Not through sys.stderr: the main thread may hold its lock.
    with contextlib.suppress(OSError):
        os.write(2, f"\n{text}\n".encode())
