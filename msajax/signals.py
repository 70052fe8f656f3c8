"""Ctrl-C and SIGTERM as a question that the training loop asks."""

import os
import signal
import sys


class Signals:
    """Hears Ctrl-C and SIGTERM: the first asks for a save, the second ends at once."""

    def __init__(self):
        self.number = 0

    def __enter__(self):
        handled = (signal.SIGINT, signal.SIGTERM)
        self._old = {n: signal.signal(n, self._hear) for n in handled}
        return self

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self.number != 0

    def _hear(self, number, _):
        if self.number:
            os._exit(128 + number)
        self.number = number
        print("\nstopping after a save; once more to stop at once", file=sys.stderr)
