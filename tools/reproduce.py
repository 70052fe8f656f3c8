"""Runs the rows of a published table, and writes our figures beside the published ones."""

import argparse
import dataclasses
import functools
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

from msajax import encoders, models
from msajax.data import store
from msajax.data.spec import DATASETS, suggest
from msajax.report import comparison, finished, losses, published
from msajax.report.published import Figure
from msajax.run import corpora, model_options, recipe, saved, text, workdir
from msajax.run.options import Options
from tools import table
from tools.table import Entry

_EXAMPLES = """examples:
  python tools/reproduce.py --paper mfon --table 2 --corpus demo --workdir runs/reproduce
  python tools/reproduce.py --paper mfon --table 4 --workdir runs/reproduce --data mosi=mosi.pkl
  python tools/reproduce.py --paper alr --workdir runs/reproduce --dry-run

Every row that has a system, a recipe and its data trains as by msajax.main, in a process of
its own, with the recipe's seeds and the checkpoint that validation chose. Rows that are the
same run are run once, also those of different tables and papers in one --workdir. Rerun the
command to resume. PAPER_tableN.md, .csv and .html in --workdir are written again after every
run; they say what is missing, and which file it would need.
"""
# Settings that are options rather than rows of the recipe.
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "msg_mba": {
        "xlnet": "--config.text.encoder=xlnet-base-cased",
        **{
            name.lower(): f"--config.model.recurrent={name}"
            for name in ("bLSTM", "sGRU", "bGRU")
        },
    }
}
# Settings that nothing of ours can run.
_NEVER = {
    "glove": "needs a file of GloVe vectors of the words, which no recipe reads",
    "average": "a mean of other rows, not a run",
}
# The files of a variant; other names are prepared stores alone.
_FILES = {
    "unaligned": "MMSA's unaligned_50.pkl (CH-SIMS: unaligned_39.pkl)",
    "aligned": "MMSA's aligned_50.pkl",
    "mag": "the pickle of MAG-BERT's authors",
    "features": "IEMOCAP_features.pkl or MELD_features_raw1.pkl",
    "": "a file that tools/check_data.py knows",
}


class Job(NamedTuple):
    """A row of a table, and the run of it.

    Attributes:
      figures: its published cells.
      entry: the run; its name, and its folder's, begins like the hash of its options.
      missing: why there is no run, '' where there is.
    """

    figures: list[Figure]
    entry: Entry | None
    missing: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; the exit status is 1 where a run failed, 128 + n where a signal stopped it."""
    args, common = _parse(argv)
    try:
        chosen = [args.table] if args.table else list(published.TABLES[args.paper])
        data = dict(_pair(item) for item in args.data)
        tables = {n: jobs(args.paper, n, args.corpus, data, common) for n in chosen}
        home = pathlib.Path(args.workdir)
        home.mkdir(parents=True, exist_ok=True)
        return _run(tables, home, corpus=args.corpus, dry=args.dry_run)
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--paper", required=True, choices=published.PAPERS)
    add("--table", type=int, default=0, help="its number; all tables if left out")
    add("--corpus", choices=["demo"], default="", help="run all rows on this corpus")
    add("--workdir", metavar="DIR", required=True, help="folder of all runs")
    add(
        "--data",
        metavar="DATASET[/VARIANT]=FILE",
        action="append",
        default=[],
        help="where a data set lies, if not in its prepared store; may be repeated",
    )
    add("--dry-run", action="store_true", help="train nothing; write what there is")
    parser.add_argument_group("--config.KEY=VALUE", "any value, of all recipes")
    args, rest = parser.parse_known_args(argv)
    return args, table.values(parser, rest)


def _pair(item: str) -> tuple[str, str]:
    name, equals, path = item.partition("=")
    dataset = name.partition("/")[0]
    if not equals or not path:
        raise ValueError(f"--data {item}: expected DATASET=FILE, as mosi=mosi.pkl")
    if dataset not in DATASETS:
        raise ValueError(
            f'--data {item}: no data set "{dataset}"{suggest(dataset, DATASETS)}'
        )
    store.find(path)
    return name, path


def jobs(
    paper: str,
    number: int,
    corpus: str,
    data: Mapping[str, str],
    common: Sequence[str],
) -> list[Job]:
    """The rows of a table, in its order, each with its run or the reason why it has none.

    Args:
      paper, number: of the table.
      corpus: all rows are run on it; '' stands for the data sets of the rows.
      data: {data set, or data set/variant: file}.
      common: values of all recipes, --config.KEY=VALUE.

    Raises:
      ValueError: there is no such table.
    """
    rows: dict[tuple[str, str, str], list[Figure]] = {}
    for f in published.figures(paper, number):
        rows.setdefault((f.dataset, f.system, f.setting), []).append(f)
    found = []
    for (dataset, system, setting), figures in rows.items():
        place = _generated(dataset) if corpus else dataset
        entry, missing = _entry(system, place, setting, data, common)
        found.append(Job(figures, entry, missing))
    return found


def _generated(dataset: str) -> str:
    """The generated corpus with labels like those of a data set: utterances with a score, or dialogues with classes."""
    return "dialogue_demo" if DATASETS[dataset].classes else "demo"


def _entry(
    system: str,
    dataset: str,
    setting: str,
    data: Mapping[str, str],
    common: Sequence[str],
) -> tuple[Entry | None, str]:
    """The run of a row, or None and the reason."""
    if setting in _NEVER:
        return None, _NEVER[setting]
    if system not in models.names():
        return None, f"msajax has no system {system}"
    if f"{system}:{dataset}" not in _recipes():
        return None, f"needs a recipe of {dataset} in configs/{system}.py"
    known, parts = _OPTIONS.get(system, {}), setting.split("+")
    row = "+".join(part for part in parts if part and part not in known)
    base = f"{system}:{dataset}"
    try:
        values = _read_by(f"{base}/{row}".rstrip("/"), common)
        values += [known[part] for part in parts if part in known]
        made = _run_of(base, row, values)
    except ValueError as error:  # such as a value of all recipes that this one lacks
        return None, str(error)
    if path := data.get(_store(made.options)) or data.get(dataset):
        made = _run_of(base, row, [f"--config.data.path={path}", *values])
    if missing := _lacking(made.options):
        return None, missing
    digest = saved.sha256(made.options)[:12]
    return made._replace(name=f"{system}-{digest}"), ""


def _read_by(name: str, common: Sequence[str]) -> list[str]:
    """The values of all recipes, without an encoder for a recipe of features that reads none."""
    own = recipe.load(name)
    kinds = model_options.encoder_kinds(own.system)
    frozen = "--config.text.frozen=True" in common
    unread = []
    if not (own.text.encoder or kinds or frozen):
        unread.append("--config.text.encoder=")
    if "voice" not in models.get(own.system).__dataclass_fields__:
        unread.append("--config.audio.encoder=")
    return [value for value in common if not value.startswith(tuple(unread))]


def _run_of(base: str, row: str, values: Sequence[str]) -> Entry:
    """A row of a recipe: the recipe itself where the row sets what the defaults are anyway."""
    plain = table.entry_of(base, values)
    if not row:
        return plain
    made = table.entry_of(f"{base}/{row}", values)
    same = _full(made.options) == _full(plain.options)
    return plain if same else made


def _full(options: Options) -> dict[str, Any]:
    """The options as values, with the system's defaults where a recipe is silent."""
    if options.data.dataset in corpora.GENERATED and not options.data.path:
        # It has one form of its features.
        data = dataclasses.replace(options.data, variant="")
        options = dataclasses.replace(options, data=data)
    defaults = {k: v for k, (_, v) in model_options.fields(options.system).items()}
    return saved.to_dict(options) | {"model": defaults | dict(options.model)}


@functools.cache
def _recipes() -> frozenset[str]:
    return frozenset(recipe.names())


def _store(options: Options) -> str:
    return "/".join(filter(None, (options.data.dataset, options.data.variant)))


def _lacking(options: Options) -> str:
    """Which files a run would need that are not here; '' if none."""
    data, needs = options.data, []
    if data.path or data.dataset not in corpora.GENERATED:
        try:
            store.find(data.path or _store(options))
        except ValueError:
            file = _FILES.get(data.variant, "features of your own")
            name = data.path or _store(options)
            needs.append(
                f"the data {name}: {file} (--data {_store(options)}=FILE, or a store by "
                "tools/prepare_data.py)"
            )
    names = {"text": options.text.encoder, "audio": options.audio.encoder}
    found = [_encoder_problem(name, kind) for kind, name in names.items()]
    if problems := list(filter(None, found)):
        needs += problems
    else:
        try:
            text.encoder_of(options, None)
            if options.audio.encoder:
                encoders.read_voice(encoders.locate(options.audio.encoder))
        except ValueError as error:
            return str(error)
    return f"needs {'; and '.join(needs)}" if needs else ""


@functools.cache
def _encoder_problem(encoder: str, kind: str) -> str:
    """What a recipe's encoder of 'text' or 'audio' lacks; '' if nothing, or if it names none."""
    try:
        if encoder:
            encoders.locate(encoder)
    except ValueError:
        parts = "weights and tokenizer" if kind == "text" else "weights"
        return (
            f"the encoder {encoder}: a folder with its {parts} "
            f"(--config.{kind}.encoder=FOLDER), or the hub"
        )
    return ""


def _run(
    tables: Mapping[int, list[Job]], home: pathlib.Path, *, corpus: str, dry: bool
) -> int:
    """Trains what is not finished; the exit status."""
    failed: dict[str, int] = {}
    found = [job.entry for rows in tables.values() for job in rows if job.entry]
    unique: dict[str, Entry] = {}
    for entry in found:
        unique.setdefault(entry.name, entry)
    write(tables, home, corpus, failed)
    for i, entry in enumerate(unique.values() if not dry else ()):
        if table.finished(entry, home):
            continue
        print(f"{entry.recipe} ({entry.name}): {i + 1} of {len(unique)}", flush=True)
        status = table.train(entry, home)
        if status in table.STOPPED:
            write(tables, home, corpus, failed)
            print("stopped; rerun the command to resume")
            return table.STOPPED[status]
        if status:
            failed[entry.name] = status
        write(tables, home, corpus, failed)
    runs = f"{len(unique)} runs of {sum(map(len, tables.values()))} rows"
    for rows in tables.values():
        first = rows[0].figures[0]
        print(home / f"{_name(first.paper, first.table, corpus)}.md")
    print(f"{runs}{', none trained: --dry-run' if dry else ''}")
    if not unique:
        print(
            "error: no row can be run; the tables say what is missing", file=sys.stderr
        )
    return 1 if failed or not unique else 0


def _name(paper: str, number: int, corpus: str) -> str:
    return "_".join(filter(None, (paper, f"table{number}", corpus)))


def write(
    tables: Mapping[int, list[Job]],
    home: pathlib.Path,
    corpus: str,
    failed: Mapping[str, int],
) -> None:
    """Writes Markdown, csv and HTML of each table, from the runs that have results."""
    for number, rows in tables.items():
        shown = [_row(job, home, failed) for job in rows]
        name, demo = _name(rows[0].figures[0].paper, number, corpus), corpus == "demo"
        workdir.write(home / f"{name}.md", comparison.markdown(shown, demo=demo))
        workdir.write(home / f"{name}.csv", comparison.sheet(shown))
        workdir.write(home / f"{name}.html", comparison.page(shown, demo=demo))


def _row(job: Job, home: pathlib.Path, failed: Mapping[str, int]) -> comparison.Row:
    """A row with what its run has so far."""
    if job.entry is None:
        return comparison.Row(job.figures, None, job.missing, recipe="")
    ours = table.result(job.entry, home)
    wanted = job.entry.options.train.seeds
    state = ""
    if job.entry.name in failed:
        folder = job.entry.folder(home)
        state = f"failed (exit status {failed[job.entry.name]}), see {folder}"
    elif ours is None:
        state = "not run yet"
    elif lacking := sorted(set(wanted) - set(ours.seeds)):
        state = f"seeds {', '.join(map(str, lacking))} are not run yet"
    found = {}
    if ours:
        history = finished.read_history(job.entry.folder(home), ours.seeds)
        found = losses.columns(ours, history)
    run = shlex.join([job.entry.recipe, *job.entry.values])
    return comparison.Row(job.figures, ours, state, run, found)


if __name__ == "__main__":
    sys.exit(main())
