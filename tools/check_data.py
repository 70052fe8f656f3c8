"""Says what a file of features holds, what is expected of it, and which recipes it fits."""

import argparse
import dataclasses
import functools
import pathlib
import sys
from typing import Any

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

import numpy as np

from msajax import config as configs
from msajax import config_text, evaluate, settings, step
from msajax.data import (
    clean,
    columns,
    labels,
    meld,
    misfit,
    mmsa,
    prepared,
    read,
    unlabelled,
)
from msajax.data.errors import DataError
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Split

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_WIDTH = 90  # of a reason
_OUT = "out of range"
_UNLABELLED = (
    "rows without labels alone: train on them beside a file that has labels, "
    "--config.data.path=LABELLED --config.data.unlabelled={}"
)
_EXAMPLES = """examples:
  python tools/check_data.py unaligned_50.pkl
  python tools/check_data.py mine.npz --dataset mosei
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the tool.

    Returns:
      The exit status: 0 where a recipe fits, and for rows without labels, which are
      trained on beside others; 1 for a file that training would refuse.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="file, MELD's folder or a prepared store")
    parser.add_argument(
        "--dataset", default="", help="default: by shape of labels, widths and rows"
    )
    parser.add_argument(
        "--format", default="", help=f"default: by content; {', '.join(read.FORMATS)}"
    )
    parser.add_argument("--encoding", default="", help="of text that is not UTF-8: gbk")
    parser.add_argument("--configs", default=str(_ROOT / "configs"), help="recipes")
    args = parser.parse_args(argv)
    try:
        corpus = _load(args.file, args.dataset, args.format, args.encoding)
        _describe(corpus)
        if not corpus.sha256:  # no prepared store, which was cleaned when written
            corpus = clean.clean(corpus)
        corpus = unlabelled.drop(corpus)  # as training does
        for note in corpus.notes:
            print(f"note: {note}")
        if corpus.splits.keys() == {columns.UNLABELLED}:
            print(_UNLABELLED.format(args.file))
        else:
            _recipes(corpus, pathlib.Path(args.configs))
    except (ValueError, OSError) as error:
        print(f"error: {args.file}: {error}")
        return 1
    return 0


def _load(path: str, dataset: str, format: str, encoding: str) -> Corpus:
    """The rows of a file before cleaning; without a dataset, of the one that they look like."""
    read.check_names(dataset or "mosi", format, encoding)
    load = functools.partial(read.load, path, format=format, encoding=encoding)
    kind = format or read.find_format(path, encoding)
    if dataset or kind == "meld":
        return load(dataset=dataset or "meld")
    if kind == "store":
        return prepared.load(path)
    # What is read is the same for all datasets, but for classes, which need their name.
    try:
        corpus = load(dataset="mosi")
    except DataError:
        corpus = None
    if corpus:
        return dataclasses.replace(corpus, dataset=_dataset(corpus))
    # For an error that names the right dataset.
    return load(dataset=_dataset(load(dataset="mosi", labels=False)))


def _dataset(corpus: Corpus) -> str:
    """The dataset by the labels' shape, else by the widths or rows of a published file.

    Raises:
      DataError: it can be several.
    """
    known: dict[str, np.ndarray] = {}
    for split in corpus.splits.values():
        known |= split.arrays
    if "label" in known and (dataset := labels.dataset_of(known["label"])):
        return dataset
    found = _sizes(corpus)
    rows = tuple(len(corpus.splits.get(name, ())) for name in columns.SPLITS)
    for name, file in mmsa.FILES.items():
        widths: dict[str, int] = dict(zip(MODALITIES, file.dims, strict=True))
        # Text of any encoder, where audio or vision tell more.
        keys = found.keys() - {"text"} or found.keys()
        same = keys and all(found[key][1] == widths[key] for key in keys)
        if same or rows == file.rows:
            return _family(name)
    if any(f"label_{name}" in known for name in MODALITIES):
        raise DataError(
            "it has labels of single modalities, as CH-SIMS and CH-SIMS v2 have; give "
            "--dataset sims, or --dataset simsv2"
        )
    raise DataError(f"of which dataset? give --dataset ({', '.join(DATASETS)})")


def _family(name: str) -> str:
    """The dataset whose files and recipes a dataset shares: mosei, of 'mosei_sad' and 'mosei/aligned'."""
    family = name.partition("/")[0].partition("_")[0]
    return "iemocap" if family == "iemocap4" else family


def _sizes(corpus: Corpus) -> dict[str, tuple[int, int]]:
    """{modality: (L, D)} of the first split that has it."""
    arrays = [split.arrays for split in reversed(corpus.splits.values())]
    return {key: x[key].shape[1:] for x in arrays for key in MODALITIES if key in x}


def _published(corpus: Corpus) -> str:
    """The name of the published file that a corpus is most like, '' for none."""
    family = _family(corpus.dataset)
    names = [name for name in mmsa.FILES if _family(name) == family]
    found = _sizes(corpus)

    def likeness(name: str) -> int:
        file = mmsa.FILES[name]
        sizes = zip(MODALITIES, zip(file.lengths, file.dims, strict=True), strict=True)
        return sum(found.get(key) == size for key, size in sizes)

    return max(names, key=likeness, default="")


def _describe(corpus: Corpus) -> None:
    """Prints what is expected, and what there is: splits, features and labels."""
    name = _published(corpus)
    file = mmsa.FILES.get(name)
    print(f"{DATASETS[corpus.dataset].title}, compared with {name or 'no known file'}")
    _line("", "expected", "found", differs=False)
    rows = file.rows if file else meld.ROWS if corpus.dataset == "meld" else ()
    expected: dict[str, int] = dict(zip(columns.SPLITS, rows, strict=False))
    for split in dict.fromkeys((*expected, *corpus.splits)):
        found = len(corpus.splits[split]) if split in corpus.splits else "missing"
        _line(f"rows of {split}", expected.get(split, ""), found)
    for i, key in enumerate(MODALITIES):
        shape = f"[N, {file.lengths[i]}, {file.dims[i]}]" if file else ""
        arrays = [s.arrays[key] for s in corpus.splits.values() if key in s.arrays]
        shapes = {f"[N, {x.shape[1]}, {x.shape[2]}]": None for x in arrays}
        _line(key, shape, " ".join(shapes) or "missing", _values(arrays))
    low, high = _range(corpus.dataset)
    for key in ("label", *(f"label_{name}" for name in MODALITIES)):
        arrays = [_known(s, key) for s in corpus.splits.values() if key in s.arrays]
        if arrays:
            found, more = _labels(arrays, low, high)
            span = f"{low:g} to {high:g}"
            _line(key, span, found, more, differs=more == _OUT)


def _known(split: Split, key: str) -> np.ndarray:
    """The labels of the rows that have one."""
    labelled, values = split.arrays.get("labelled"), split.arrays[key]
    # Other numbers of rows are refused by cleaning, later.
    fits = labelled is not None and len(labelled) == len(values)
    return values[labelled] if fits else values


def _labels(arrays: list[np.ndarray], low: float, high: float) -> tuple[str, str]:
    """What the labels are: their range, or another shape or type, which cleaning may read."""
    shapes = {x.shape[1:]: None for x in arrays}
    if any(shapes) or any(x.dtype.kind == "U" for x in arrays):
        text = " ".join(str(["N", *shape]).replace("'", "") for shape in shapes)
        return text, "" if any(shapes) else "by name"
    values = np.concatenate(arrays)
    if not len(values):
        return "none", ""
    fits = low <= values.min() and values.max() <= high
    return f"{values.min():g} to {values.max():g}", "" if fits else _OUT


def _values(arrays: list[np.ndarray]) -> str:
    if not arrays:
        return ""
    # Row by row: a file may fill half of the memory.
    bad = sum(np.count_nonzero(~np.isfinite(row)) for x in arrays for row in x)
    return f"{arrays[0].dtype}, {bad} not finite"


def _range(dataset: str) -> tuple[float, float]:
    known = DATASETS[dataset]
    return known.label_range or (0, len(known.classes) - 1)


def _line(
    key: str,
    expected: object,
    found: object,
    more: str = "",
    *,
    differs: bool | None = None,
) -> None:
    if differs is None:
        differs = expected not in ("", found)
    mark = "!" if differs else " "
    print(f"{mark} {key:18} {expected!s:16} {found!s:16} {more}".rstrip())


def _recipes(corpus: Corpus, folder: pathlib.Path) -> None:
    """Prints a line for each recipe of the dataset: whether it trains on the corpus, or why not.

    Raises:
      ValueError: none does.
    """
    if "all" in corpus.splits:
        raise ValueError(
            "its rows are not divided into train, valid and test: name their splits, or "
            "train with --config.data.split=0.7,0.15,0.15; to predict needs no splits"
        )
    settings.need_splits(corpus, columns.SPLITS)
    fits = False
    for path in sorted(folder.glob("[!_]*.py")):
        if path.name == "common.py":
            continue
        config = configs.load(str(path))
        if config.data.dataset != _family(corpus.dataset):
            continue
        configs.override(config, "data.dataset", corpus.dataset)
        reason = _refusal(config, corpus)
        fits = fits or not reason
        print(f"does not fit {path.name}: {reason}" if reason else f"fits {path.name}")
    if not fits:
        raise ValueError(
            f"no recipe of {DATASETS[corpus.dataset].title} in {folder} fits; training "
            "names the options that make one fit (widths, steps, batches); a recipe of "
            "another dataset trains on this one with "
            f"--config.data.dataset={corpus.dataset}"
        )


def _refusal(config: configs.Config, corpus: Corpus) -> str:
    """In a few words why training would refuse a corpus; '' where it does not."""
    try:
        chosen = clean.select(corpus, config.data.modalities)
        chosen = _with_text(config, chosen)
        wrong = misfit.misfits(chosen, **settings.expected(config, chosen))
        if wrong:
            return "; ".join(_short(*found) for found in wrong)
        encoder = _stand_in(config)
        step.shapes(configs.build(config, settings.make_spec(config, chosen), encoder))
    except ValueError as error:
        return str(error).partition(";")[0][:_WIDTH]
    figures = ("loss", "last", *evaluate.metric_names(DATASETS[corpus.dataset]))
    selects = {phase.select for phase in configs.phases(config)}.difference(figures)
    return f"{', '.join(selects)} is no figure of this dataset" if selects else ""


def _stand_in(config: configs.Config) -> Any:
    """An encoder of the usual sizes for a system that trains one, else None: shapes need no weights."""
    if not config.text.encoder or config.text.frozen:
        return None
    kinds = [k for k in config_text.encoder_kinds(config.system) if k is not type(None)]
    return kinds[0]()


def _short(name: str, kind: str, found: int, expected: int) -> str:
    if kind == "width":
        return f"{name} {found} wide, not {expected}"
    if kind == "steps":
        return f"{name} {found} steps, over {expected}"
    return f"{found} rows, under a batch of {expected}"


def _with_text(config: configs.Config, corpus: Corpus) -> Corpus:
    """A corpus with blanks where the recipe's encoder makes word pieces, or features, of its raw text.

    Only what training checks of them is done here: the encoder itself need not be at hand.
    """
    text = config.text
    if not text.encoder:
        return corpus
    splits = {}
    for name, split in corpus.splits.items():
        arrays = {k: x for k, x in split.arrays.items() if k != "text"}
        if text.raw or "text_ids" not in arrays:
            if name == "train" and not any(map(str.strip, split.raw_text.tolist())):
                raise DataError("no raw text, nor word pieces, for the text encoder")
            pieces = np.zeros((len(split), text.max_length), np.int32)
            arrays |= {"text_ids": pieces, "text_type": pieces}
            arrays["text_mask"] = np.ones(pieces.shape, bool)
        if text.frozen:
            shape = (*arrays.pop("text_ids").shape, 768)
            del arrays["text_type"]
            arrays["text"] = np.broadcast_to(np.float32(0), shape)
        splits[name] = Split(split.ids, split.raw_text, arrays)
    return Corpus(corpus.dataset, splits, corpus.notes, corpus.sha256)


if __name__ == "__main__":
    # Messages show samples of text, which not every terminal can.
    sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore
    sys.exit(main())
