"""What a run tells while it trains: progress on the terminal, JSONL and TensorBoard in the workdir."""

import contextlib
import json
import pathlib
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from msajax.book import Book, Phase

# Plain lines (no terminal) come at most this often, in seconds.
_PLAIN_EVERY = 5.0


class Log:
    """The log of one seed.

    `log.jsonl` and the TensorBoard events are written anew from the history of
    the last checkpoint when a run goes on, so that no epoch stands there twice.
    """

    def __init__(self, folder: pathlib.Path, *, title: str, console: Console):
        self._folder = folder
        self._title = title
        self._console = console
        self._plain = not console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=6),
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
            disable=self._plain,
        )
        self._task = self._bar.add_task(title, status="compiling")
        self._shown = self._since = time.monotonic()
        self._rows = 0
        self._files = contextlib.ExitStack()

    def begin(self, history: list[dict]) -> None:
        """Starts the files from the epochs of the last checkpoint, and the bar."""
        from tensorboardX import SummaryWriter  # slow to import

        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob("events.out.tfevents.*"):
            old.unlink()
        path = self._folder / "log.jsonl"
        self._file = self._files.enter_context(open(path, "w", encoding="utf-8"))
        board = SummaryWriter(str(self._folder))
        self._board = self._files.enter_context(board)
        for i in range(len(history)):
            self._write(history, i)
        self._bar.start()
        if history:
            self._say(f"goes on after epoch {len(history)}")

    def steps(self, book: Book, steps: int, phase: Phase) -> None:
        """Moves the bar after a dispatch.

        Args:
          book: of the seed, its step just done.
          steps: of an epoch.
          phase: of the recipe.
        """
        now = time.monotonic()
        # The first dispatch holds the compilation and does not count in the rate.
        if not self._rows:
            self._since, self._rows = now, 1
            self._first = book.epoch * steps + book.step
        done = book.epoch * steps + book.step
        rate = (done - self._first) / max(now - self._since, 1e-9)
        left = (phase.epochs * steps - done) / rate if rate else 0.0
        best = "-" if book.best is None else f"{book.best:.4f}"
        pace = f"{rate * phase.batch_size:,.0f} samples/s  {_clock(left)} left"
        status = (
            f"epoch {book.epoch + 1}/{phase.epochs}  loss {book.terms['loss'][-1]:.4f}  "
            f"best {best}  {pace if rate else '- samples/s'}"
        )
        if phase.name != "main":
            status = f"{phase.name}  {status}"
        total = phase.epochs * steps
        self._bar.update(self._task, completed=done, total=total, status=status)
        if self._plain and now - self._shown >= _PLAIN_EVERY:
            self._say(status)

    def epoch(self, book: Book) -> None:
        """Writes the row of the epoch that the book has just closed."""
        if book.epoch == 0:  # the next phase has a rate of its own
            self._rows = 0
        self._write(book.history, len(book.history) - 1)

    def end(self, book: Book) -> None:
        """One line on how the seed went."""
        best = [row["epoch"] + 1 for row in book.history if row["best"]]
        chosen = f", best epoch {best[-1]}" if best else ""
        self._say(f"{len(book.history)} epochs in {_clock(book.seconds)}{chosen}")
        if book.stopped:
            self._say(f"stopped: {book.stopped}")

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.stop()
        self._files.close()

    def _write(self, history: list[dict], i: int) -> None:
        row = history[i]
        finite = {k: v if v == v else None for k, v in row.items()}  # JSON has no NaN
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()
        for name, value in row.items():
            if name.startswith(("train_", "valid_", "lr_")):
                self._board.add_scalar(name.replace("_", "/", 1), value, i)

    def _say(self, text: str) -> None:
        self._shown = time.monotonic()
        self._console.print(f"{self._title}: {text}", highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
