"""Says what a file of features holds, what is expected of it, and which recipes it fits."""

import argparse
import dataclasses
import functools
import pathlib
import sys
import textwrap
from typing import Any

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

import numpy as np

from msajax.data import clean, misfit, prepared, read, unlabelled
from msajax.data.errors import DataError
from msajax.data.file_sizes import FILES, File
from msajax.data.formats import columns, labels, meld
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Split
from msajax.run import corpora, model_options, recipe, text
from msajax.run.options import Options, build
from msajax.train import evaluate, step

_WIDTH = 90  # of a reason
_OUT = "out of range"
_FEW = "rows, under a batch of"
_LARGEST_CLASS = 5  # of IEMOCAP; scores are fractions, or go below 0
_WORDS = "words"  # text without features
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
    args = parser.parse_args(argv)
    if not args.file.strip():
        parser.error("the path of the file is empty; give that of a file or a folder")
    try:
        corpus = _load(args.file, args.dataset, args.format, args.encoding)
        _describe(corpus)
        if not corpus.sha256:  # no prepared store, which was cleaned when written
            corpus = clean.clean(corpus)
        corpus = unlabelled.drop(corpus, advise=True)  # as training does
        for note in corpus.notes:
            print(f"note: {note}")
        if corpus.splits.keys() == {columns.UNLABELLED}:
            advice = unlabelled.ADVICE.format(args.file)
            print(f"rows without labels alone: {advice}")
        else:
            _recipes(corpus)
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
    except DataError as error:
        refused = error
    else:
        return dataclasses.replace(corpus, dataset=_dataset(corpus))
    corpus = load(dataset="mosi", labels=False)
    try:
        dataset = _dataset(corpus)
    except DataError:  # then what is wrong with the labels says more
        raise refused from None
    return load(dataset=dataset)  # for an error that names the right dataset


def _dataset(corpus: Corpus) -> str:
    """The dataset by the labels' shape, else by the widths or rows of a published file.

    Raises:
      DataError: it can be several.
    """
    known: dict[str, np.ndarray] = {}
    for split in corpus.splits.values():
        known |= split.arrays
    label = _all_labels(corpus)
    if dataset := labels.dataset_of(label):
        return dataset
    named = labels.having(label) if label.dtype.kind == "U" else []
    # Those of the sentiment are the same in all files.
    if named and not any(name.endswith("_classes") for name in named):
        if len(named) == 1:
            return named[0]
        raise DataError(
            f"of which dataset? its names of classes are those of {' and '.join(named)}; "
            "give --dataset"
        )
    rows = tuple(len(corpus.splits.get(name, ())) for name in columns.SPLITS)
    found = [_family(name) for name, file in FILES.items() if rows == file.rows]
    whole, wide = _classes(label), []
    if not found:
        wide = [_family(n) for n, file in FILES.items() if _as_wide(corpus, file)]
    found = found or wide
    if len(set(found)) == 1 and not (wide and whole):
        return found[0]
    if any(f"label_{name}" in known for name in MODALITIES):
        raise DataError(
            "it has labels of single modalities, as CH-SIMS and CH-SIMS v2 have; give "
            "--dataset sims, or --dataset simsv2"
        )
    if whole:
        names = ", ".join(dict.fromkeys([*found, *whole]))
        raise DataError(
            f"its labels are whole numbers from 0 to {label.max():g}, which can be "
            f"classes or scores, of several: {names}; give --dataset"
        )
    if found:
        names = " and ".join(dict.fromkeys(found))
        raise DataError(f"its widths are those of {names}; give --dataset")
    raise DataError(f"of which dataset? give --dataset ({', '.join(DATASETS)})")


def _classes(label: np.ndarray) -> list[str]:
    """The datasets whose classes labels can be: few whole numbers from 0 on, and not all 0."""
    if label.dtype.kind == "U" or label.size != len(label) or not label.any():
        return []
    if not columns.are_whole(label).all() or label.max() > _LARGEST_CLASS:
        return []
    return [name for name, x in DATASETS.items() if len(x.classes) > label.max()]


def _all_labels(corpus: Corpus) -> np.ndarray:
    """The labels of all rows that have some; of one split, where they have other shapes."""
    found = _known(corpus, "label")
    alike = len({(x.shape[1:], x.dtype.kind) for x in found}) == 1
    return np.concatenate(found) if alike else (found or [np.zeros(0)])[0]


def _as_wide(corpus: Corpus, file: File) -> bool:
    """Whether the features have a published file's widths: audio and vision, or text alone."""
    found = _sizes(corpus)
    # Text of any encoder, where audio or vision tell more.
    keys = found.keys() - {"text"} or found.keys()
    widths: dict[str, int] = dict(zip(MODALITIES, file.dims, strict=True))
    return bool(keys) and all(found[key][1] == widths[key] > 1 for key in keys)


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
    family, found = _family(corpus.dataset), _sizes(corpus)
    names = [name for name in FILES if _family(name) == family]

    def likeness(name: str) -> tuple[int, int, bool]:
        file = FILES[name]
        known = zip(file.lengths, file.dims, strict=True)
        sizes: dict[str, tuple[int, int]] = dict(zip(MODALITIES, known, strict=True))
        widths = sum(found[key][1] == sizes[key][1] for key in found)
        same = sum(found[key] == sizes[key] for key in found)
        # Of two alike in audio and vision the one whose text has no features either.
        words = ("text" in found) == (file.dims[0] > 1)
        return widths, same, widths > 0 and words

    return max(names, key=likeness, default="")


def _describe(corpus: Corpus) -> None:
    """Prints what is expected, and what there is: splits, features and labels."""
    name = _published(corpus)
    file = FILES.get(name)
    print(f"{DATASETS[corpus.dataset].title}, compared with {name or 'no known file'}")
    _line("", "expected", "found", differs=False)
    rows = file.rows if file else meld.ROWS if corpus.dataset == "meld" else ()
    expected: dict[str, int] = dict(zip(columns.SPLITS, rows, strict=False))
    for split in dict.fromkeys((*expected, *corpus.splits)):
        found = len(corpus.splits[split]) if split in corpus.splits else "missing"
        _line(f"rows of {split}", expected.get(split, ""), found)
    for i, key in enumerate(MODALITIES):
        shape = f"[N, {file.lengths[i]}, {file.dims[i]}]" if file else ""
        shape = _WORDS if file and file.dims[i] == 1 else shape
        arrays = [s.arrays[key] for s in corpus.splits.values() if key in s.arrays]
        shapes = {f"[N, {x.shape[1]}, {x.shape[2]}]": None for x in arrays}
        lacking = _WORDS if key == "text" and _has_words(corpus) else "missing"
        _line(key, shape, " ".join(shapes) or lacking, _values(arrays))
    low, high = _range(corpus.dataset)
    for key in ("label", *(f"label_{name}" for name in MODALITIES)):
        arrays = _known(corpus, key)
        if arrays:
            found, more, wrong = _labels(arrays, low, high)
            _line(key, f"{low:g} to {high:g}", found, more, differs=wrong)


def _has_words(corpus: Corpus) -> bool:
    """Whether there is text, raw or in word pieces."""
    return any(
        "text_ids" in split.arrays or any(map(str.strip, split.raw_text.tolist()))
        for split in corpus.splits.values()
    )


def _known(corpus: Corpus, key: str) -> list[np.ndarray]:
    """The labels by split, of the rows that have one."""
    found = []
    for name, split in corpus.splits.items():
        if key in split.arrays and name != columns.UNLABELLED:
            labelled, values = split.arrays.get("labelled"), split.arrays[key]
            # Other numbers of rows are refused by cleaning, later.
            fits = labelled is not None and len(labelled) == len(values)
            found.append(values[labelled] if fits else values)
    return found


def _labels(arrays: list[np.ndarray], low: float, high: float) -> tuple[str, str, bool]:
    """What the labels are, more of it, and whether it is wrong.

    Their range, or another shape or type, which cleaning may read.
    """
    shapes = {x.shape[1:]: None for x in arrays}
    if any(shapes) or any(x.dtype.kind == "U" for x in arrays):
        text = " ".join(str(["N", *shape]).replace("'", "") for shape in shapes)
        return text, "" if any(shapes) else "by name", False
    values = np.concatenate(arrays)
    finite = values[np.isfinite(values)]
    bad = len(values) - len(finite)
    more = [f"{bad} not finite"] if bad else []
    if not len(finite):
        return "none", "".join(more), bool(more)
    if not low <= finite.min() <= finite.max() <= high:
        more.append(_OUT)
    return f"{finite.min():g} to {finite.max():g}", ", ".join(more), bool(more)


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


def _recipes(corpus: Corpus) -> None:
    """Prints a line for each recipe of the dataset: whether it trains on the corpus, or why not.

    Raises:
      ValueError: none does.
    """
    if "all" in corpus.splits:
        raise ValueError(
            "its rows are not divided into train, valid and test: name their splits, or "
            "train with --config.data.split=0.7,0.15,0.15; to predict needs no splits"
        )
    if corpus.splits.keys() == {"train"}:
        raise ValueError(
            'it has the split "train" alone: name the rows of valid and test too, or '
            "divide all rows by training with --config.data.split=0.7,0.15,0.15"
        )
    corpora.need_splits(corpus, columns.SPLITS)
    reasons = []
    found = {name: recipe.load(name) for name in recipe.names() if "/" not in name}
    known = {options.data.dataset for options in found.values()}
    dataset = corpus.dataset if corpus.dataset in known else _family(corpus.dataset)
    for name, options in found.items():
        if options.data.dataset != dataset:
            continue
        reason = _refusal(options, corpus)
        reasons.append(reason)
        print(f"does not fit {name}: {reason}" if reason else f"fits {name}")
    if all(reasons):
        raise ValueError(
            f"no recipe of {DATASETS[corpus.dataset].title} fits; "
            + _advice(corpus, reasons)
        )


def _advice(corpus: Corpus, reasons: list[str]) -> str:
    """What makes a recipe fit, of the reasons why those of the dataset do not."""
    if not reasons:
        return (
            "there is none; a recipe of another dataset trains on this one with "
            f"--config.data.dataset={corpus.dataset}"
        )
    if any(_FEW in reason for reason in reasons):
        return (
            f"--config.train.batch_size={len(corpus.splits['train'])} makes a batch of "
            "the training rows that there are; training names the options for the rest"
        )
    return "training says of each what makes it fit"


def _refusal(options: Options, corpus: Corpus) -> str:
    """In a few words why training would refuse a corpus; '' where it does not."""
    try:
        options = recipe.change(options, {"data.dataset": corpus.dataset})
        chosen = clean.select(corpus, options.data.modalities)
        chosen = _with_text(options, chosen)
        wrong = misfit.misfits(chosen, **corpora.expected(options, chosen))
        if wrong:
            return "; ".join(_short(*found) for found in wrong)
        spec = corpora.make_spec(options, chosen)
        step.shapes(build(options, spec, _stand_in(options)))
    except ValueError as error:
        reason = str(error).partition(";")[0]
        return textwrap.shorten(reason, _WIDTH, placeholder="...")
    figures = ("loss", "last", *evaluate.metric_names(DATASETS[corpus.dataset]))
    selects = {phase.select for phase in options.plan}.difference(figures)
    return f"{', '.join(selects)} is no figure of this dataset" if selects else ""


def _stand_in(options: Options) -> Any:
    """An encoder of the usual sizes for a system that trains one, else None: shapes need no weights.

    Raises:
      ValueError: the recipe names no encoder, which the system needs.
    """
    if not options.text.encoder or options.text.frozen:
        return text.encoder_of(options, pathlib.Path())
    kinds = model_options.encoder_kinds(options.system)
    return next(kind for kind in kinds if kind is not type(None))()


def _short(name: str, kind: str, found: int, expected: int) -> str:
    if kind == "width":
        return f"{name} {found} wide, not {expected}"
    if kind == "steps":
        return f"{name} {found} steps, over {expected}"
    return f"{found} {_FEW} {expected}"


def _with_text(options: Options, corpus: Corpus) -> Corpus:
    """A corpus with blanks where the recipe's encoder makes word pieces, or features, of its raw text.

    Only what training checks of them is done here: the encoder itself need not be at hand.
    """
    reading = options.text
    if not reading.encoder:
        return corpus
    around = text.neighbours(reading, segments=False)
    if around:  # refuses what it cannot join
        around.rows(corpus)
        around.marks(corpus)
    raw, splits = reading.raw or reading.prefix or around, {}
    for name, split in corpus.splits.items():
        arrays = {k: x for k, x in split.arrays.items() if k != "text"}
        if raw or "text_ids" not in arrays:
            if name == "train" and not any(map(str.strip, split.raw_text.tolist())):
                pieces = "" if raw else ", nor word pieces,"
                raise DataError(f"no raw text{pieces} for the text encoder")
            pieces = np.zeros((len(split), reading.max_length), np.int32)
            arrays |= {"text_ids": pieces, "text_type": pieces}
            arrays["text_mask"] = np.ones(pieces.shape, bool)
        if around:
            arrays["text_own"] = arrays["text_mask"]
        if reading.frozen:
            shape = (*arrays["text_ids"].shape, 768)
            for key in ("text_ids", "text_type", "text_own"):
                arrays.pop(key, None)
            arrays["text"] = np.broadcast_to(np.float32(0), shape)
        splits[name] = Split(split.ids, split.raw_text, arrays)
    return Corpus(corpus.dataset, splits, corpus.notes, corpus.sha256)


if __name__ == "__main__":
    # Messages show samples of text, which not every terminal can.
    sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore
    sys.exit(main())
