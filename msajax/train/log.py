"""What a run tells while it trains: progress on the terminal, JSONL and TensorBoard in the workdir."""

import contextlib
import importlib.util
import json
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from msajax.train.board import Board
from msajax.train.plan import Book, Phase

# Plain lines (no terminal) come at most this often, in seconds.
_PLAIN_EVERY = 5.0


class Log:
    """The log of seeds that train at once: one bar, and files for each seed.

    When a run is resumed, `log.jsonl` and the TensorBoard events are written anew
    from the history of the last checkpoint, so that no epoch is logged twice.
    """

    def __init__(
        self, folders: Mapping[Any, pathlib.Path], *, title: str, console: Console
    ):
        """A log of seeds.

        Args:
          folders: of each seed, for its files; the keys name them in the output.
          title: of the system.
          console: to print to.
        """
        self._folders = folders
        self._titles = [f"{title} seed {seed}" for seed in folders]
        numbers = ", ".join(map(str, folders))
        self._title = f"{title} seed{'s' if len(folders) > 1 else ''} {numbers}"
        self._console = console
        self._plain = not _shows_bars(console)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=6),
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
            disable=self._plain,
        )
        self._task = self._bar.add_task(self._title, status="compiling")
        self._shown = self._since = self._last = time.monotonic()
        self._first = 0
        self._phase = ""
        # The epoch in which each phase began here; its last once that one is over.
        self._begun: dict[str, int] = {}
        self._stack = contextlib.ExitStack()
        self._files = []

    def begin(self, histories: Sequence[list[dict]]) -> None:
        """Starts the files from the epochs of the last checkpoints, and the bar."""
        for folder, history in zip(self._folders.values(), histories, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
            path = folder / "log.jsonl"
            path.unlink(missing_ok=True)  # where it is a link, the file behind it stays
            lines = self._stack.enter_context(open(path, "x", encoding="utf-8"))
            board = self._stack.enter_context(contextlib.closing(Board(folder)))
            self._files.append((lines, board))
            for i in range(len(history)):
                self._write(len(self._files) - 1, history, i)
        self._since = self._last = time.monotonic()
        self._bar.start()
        for title, history in zip(self._titles, histories, strict=True):
            if history:
                self._say(f"resumed after epoch {len(history)}", title)

    def steps(
        self, books: Sequence[Book], phase: Phase, done: int, steps: int, *, active: int
    ) -> None:
        """Moves the bar after a dispatch.

        Args:
          books: of the seeds; their figures are those of the last epoch.
          phase: that the seeds are in.
          done: steps of it.
          steps: of one epoch.
          active: how many seeds did them; the others wait or are finished.
        """
        now, epoch = time.monotonic(), -(-done // steps)
        if phase.name not in self._begun:
            self._begun[phase.name] = epoch
            if now - self._last > _PLAIN_EVERY:
                which = "" if phase.name == "main" else f"{phase.name} "
                self._say(f"{which}compiled in {_clock(now - self._last)}", self._title)
        # The first dispatch holds the compilation and does not count in the rate.
        if self._phase != phase.name or done < self._first:
            self._phase, self._since, self._first = phase.name, now, done
        rate = (done - self._first) / max(now - self._since, 1e-9)
        # Nor does later what the first epoch held: the compilation of the evaluation.
        if epoch > self._begun[phase.name]:
            self._since, self._first = now, done
            self._begun[phase.name] = phase.epochs
        samples = rate * phase.batch_size * active
        total = phase.epochs * steps
        left = (total - done) / rate if rate else 0.0
        losses = [b.history[-1]["train_loss"] for b in books if b.history]
        best = [b.best for b in books if b.best is not None]
        pace = f"{samples:,.0f} samples/s  {_clock(left)} left"
        status = (
            f"epoch {epoch}/{phase.epochs}  loss {_mean(losses)}  "
            f"best {_mean(best)}  {pace if rate else '- samples/s'}"
        )
        if phase.name != "main":
            status = f"{phase.name}  {status}"
        self._bar.update(self._task, completed=done, total=total, status=status)
        if self._plain and now - self._shown >= _PLAIN_EVERY:
            self._say(status, self._title)

    def epoch(self, seed: int, book: Book) -> None:
        """Writes the row of the epoch that the book of the group's n-th seed has just closed."""
        self._write(seed, book.history, len(book.history) - 1)
        self._last = time.monotonic()

    def end(self, books: Sequence[Book], *, earlier: bool = False) -> None:
        """One line on how each seed went; `earlier` where that was before this command."""
        for title, book in zip(self._titles, books, strict=True):
            best = [row for row in book.history if row["best"]]
            chosen = f", best epoch {best[-1]['epoch'] + 1}" if best else ""
            if best and (phase := best[-1].get("phase", "main")) != "main":
                chosen += f" of {phase}"  # epochs count from each phase's start
            spent = _clock(book.seconds) + " (finished earlier)" * earlier
            self._say(f"{len(book.history)} epochs in {spent}{chosen}", title)
            if book.stopped:
                self._say(f"stopped: {book.stopped}", title)

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.stop()
        # What a full disk loses here is written anew from the next checkpoint.
        with contextlib.suppress(OSError):
            self._stack.close()

    def _write(self, seed: int, history: list[dict], i: int) -> None:
        row, (lines, board) = history[i], self._files[seed]
        # JSON has no NaN and no infinity, and the board warns of them.
        wrong = {k for k, v in row.items() if v != v or v in (math.inf, -math.inf)}
        finite = {k: None if k in wrong else v for k, v in row.items()}
        try:
            lines.write(json.dumps(finite) + "\n")
            lines.flush()
            board.add(finite, i)
        except OSError as error:
            error.filename = lines.name  # errors of writing name no file
            raise

    def _say(self, text: str, title: str) -> None:
        self._shown = time.monotonic()
        self._console.print(f"{title}: {text}", highlight=False, soft_wrap=True)


class Silent:
    """The log of a process that is not the first of its run."""

    def begin(self, histories: Sequence[list[dict]]) -> None:
        """No-op, like every method here."""

    def steps(
        self, books: Sequence[Book], phase: Phase, done: int, steps: int, *, active: int
    ) -> None:
        """No-op."""

    def epoch(self, seed: int, book: Book) -> None:
        """No-op."""

    def end(self, books: Sequence[Book], *, earlier: bool = False) -> None:
        """No-op."""

    def close(self) -> None:
        """No-op."""


def _shows_bars(console: Console) -> bool:
    """Whether a bar can be redrawn: in a terminal, or in a notebook with ipywidgets."""
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return console.is_terminal


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.4f}" if values else "-"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
