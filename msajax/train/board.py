"""TensorBoard's events of one seed.

Written in the thread of the caller: the threads of tensorboardX's own writer
die of a full disk without a word to it, and then it waits for ever.
"""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

# Seconds that TensorBoard lags behind at most.
_LAG = 10.0


class Board:
    """The figures of each epoch, in a folder for TensorBoard."""

    def __init__(self, folder: pathlib.Path):
        from tensorboardX.event_file_writer import EventsWriter  # slow to import

        self._writer = EventsWriter(str(folder / "events"))
        self._flushed = time.monotonic()

    def add(self, row: Mapping[str, float | None], epoch: int) -> None:
        """Writes what is a curve of an epoch's row: figures of training and validation, rates.

        Args:
          row: as in log.jsonl.
          epoch: its number.

        Raises:
          OSError: the disk is full.
        """
        from tensorboardX.proto import event_pb2, summary_pb2

        events: Any = event_pb2  # generated: no type checker knows the names
        summaries: Any = summary_pb2
        values = [
            summaries.Summary.Value(tag=name.replace("_", "/", 1), simple_value=value)
            for name, value in row.items()
            if name.startswith(("train_", "valid_", "lr_")) and value is not None
        ]
        summary = summaries.Summary(value=values)
        event = events.Event(wall_time=time.time(), step=epoch, summary=summary)
        self._writer.write_event(event)
        if time.monotonic() - self._flushed > _LAG:
            self._writer.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()
