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
from msajax.data import prepared, store
from msajax.data.spec import DATASETS, MODALITIES, suggest
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
_SENSES = frozenset(("audio", "vision"))
# Values of a run on a file that lacks a modality: no size is known of such files.
_PART = ("--config.data.variant=", "--config.data.dims=()", "--config.data.lengths=()")
# Files of more bytes are not read to see what they have.
_SMALL = 2**25
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
      differs: what it does otherwise than its recipe, for want of data or as the command says.
    """

    figures: list[Figure]
    entry: Entry | None
    missing: str = ""
    differs: str = ""


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
        found.append(Job(figures, *_entry(system, place, setting, data, common)))
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
) -> tuple[Entry | None, str, str]:
    """`Job`'s entry, missing and differs."""
    try:
        made, differs = _find(system, dataset, setting, data, common)
    except ValueError as error:  # such as a value of all recipes that this one lacks
        return None, str(error), ""
    digest = saved.sha256(made.options)[:12]
    return made._replace(name=f"{system}-{digest}"), "", differs


def _find(
    system: str,
    dataset: str,
    setting: str,
    data: Mapping[str, str],
    common: Sequence[str],
) -> tuple[Entry, str]:
    """The run of a row, and what it does otherwise than its recipe.

    Raises:
      ValueError: there is none; says why.
    """
    if setting in _NEVER:
        raise ValueError(_NEVER[setting])
    if system not in models.names():
        raise ValueError(f"msajax has no system {system}")
    if f"{system}:{dataset}" not in _recipes():
        raise ValueError(f"needs a recipe of {dataset} in configs/{system}.py")
    known, parts = _OPTIONS.get(system, {}), setting.split("+")
    row = "+".join(part for part in parts if part and part not in known)
    base = f"{system}:{dataset}"
    options = [known[part] for part in parts if part in known]
    values = _read_by(f"{base}/{row}".rstrip("/"), common) + options
    own, made = _run_of(base, row, options), _run_of(base, row, values)
    _check_row(own.options, made.options, recipe.load(base))
    have = frozenset(MODALITIES)
    if path := data.get(_store(made.options)) or data.get(dataset):
        have = _fields(path, made.options.data.dataset)
        # Widths and lengths are those of the published files, which have all of them.
        part = () if have > _SENSES else _PART
        values = [f"--config.data.path={path}", *part, *values]
        made = _run_of(base, row, values)
        _check_fields(have, made.options)
    if missing := _lacking(made.options):
        raise ValueError(missing)
    return made, _differences(own.options, made.options, have)


def _check_row(own: Options, made: Options, base: Options) -> None:
    """Refuses values of all recipes that take a row's modalities from it."""
    wanted, found = own.data.modalities, made.data.modalities
    if wanted not in (found, base.data.modalities):
        raise ValueError(
            f"is a row of {' and '.join(wanted)}, but config.data.modalities says "
            f"{' and '.join(found)}"
        )


@functools.cache
def _fields(path: str, dataset: str) -> frozenset[str]:
    """The fields of a small file's rows, 'raw_text' among them where it has texts; the modalities of a large file or a store, which is not read for that."""
    place = store.find(path)
    files = [place] if place.is_file() else [*place.glob("*")]
    if prepared.is_store(place) or sum(x.stat().st_size for x in files) > _SMALL:
        return frozenset((*MODALITIES, "raw_text"))
    splits = store.open_corpus(path, dataset=dataset).splits.values()
    found = {name for split in splits for name in split.arrays}
    spoken = any(any(split.raw_text.tolist()) for split in splits)
    return frozenset(found | {"raw_text"} if spoken else found)


def _check_fields(have: frozenset[str], options: Options) -> None:
    """Refuses a run on modalities that its file lacks."""
    path, wanted = options.data.path, options.data.modalities
    if lacks := [m for m in wanted if m in _SENSES - have]:
        raise ValueError(f"needs {' and '.join(lacks)}, which {path} lacks")
    words = options.text.encoder or options.text.vocabulary
    if "text" in wanted and not words and "text" not in have:
        raise ValueError(
            f"needs features of the text, but {path} has words alone; to take them from an "
            "encoder: --config.text.frozen=True --config.text.encoder=NAME"
        )


def _differences(own: Options, made: Options, have: frozenset[str]) -> str:
    """What a run does otherwise than its recipe: 'text.encoder=mine instead of bert-base-uncased; ...'."""
    wanted, found = map(_flat, (own, made))
    # Which seeds there are the results say.
    skipped, said = {"data.path", "train.seeds"}, []
    if not have > _SENSES:
        skipped |= {value.removeprefix("--config.").split("=")[0] for value in _PART}
    if lacks := [m for m in own.data.modalities if m in _SENSES - have]:
        said.append(f"the data lack {' and '.join(lacks)}")
    for key, value in found.items():
        if key not in skipped and value != wanted.get(key):
            said.append(f"{key}={_shown(value)} instead of {_shown(wanted.get(key))}")
    return "; ".join(said)


def _flat(options: Options) -> dict[str, Any]:
    """{'text.encoder': value, ...}."""
    found = {}
    for section, values in saved.to_dict(options).items():
        if isinstance(values, dict):
            found |= {f"{section}.{key}": value for key, value in values.items()}
        else:
            found[section] = values
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "()"
    return str(value) if value != "" else "none"


def _read_by(name: str, common: Sequence[str]) -> list[str]:
    """The values of all recipes, without an encoder for a recipe of features that reads none."""
    own = recipe.load(name)
    kinds = model_options.encoder_kinds(own.system)
    frozen, heard = (f"--config.{m}.frozen=True" in common for m in ("text", "audio"))
    unread = []
    if not (own.text.encoder or kinds or frozen) or "text" not in own.data.modalities:
        unread.append("--config.text.encoder=")
    waves = heard or "voice" in models.get(own.system).__dataclass_fields__
    if not waves or "audio" not in own.data.modalities:
        unread.append("--config.audio.")
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
        again = shlex.join(["msajax", *job.entry.arguments(home)])
        state = f"failed (exit status {failed[job.entry.name]}); see why: `{again}`"
    elif ours is None:
        state = "not run yet"
    elif lacking := sorted(set(wanted) - set(ours.seeds)):
        state = f"seeds {', '.join(map(str, lacking))} are not run yet"
    found, differs = {}, ""
    if ours:
        history = finished.read_history(job.entry.folder(home), ours.seeds)
        found = losses.columns(ours, history)
        usual = recipe.load(job.entry.recipe).train.seeds
        other = f"train.seeds={_shown(ours.seeds)} instead of {_shown(usual)}"
        said = [job.differs, other if {*ours.seeds} != {*usual} else ""]
        differs = "; ".join(filter(None, said))
    run = shlex.join([job.entry.recipe, *job.entry.values])
    return comparison.Row(job.figures, ours, state, run, found, differs)


if __name__ == "__main__":
    sys.exit(main())
