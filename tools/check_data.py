"""Says what a file of features holds, what is expected of it, and which recipes it fits."""

import argparse
import dataclasses
import pathlib
import runpy
import sys

import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.data import clean, columns, loader, meld, mmsa, read
from msajax.data.errors import DataError
from msajax.data.spec import DATASETS, MODALITIES, Corpus

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_EXAMPLES = """examples:
  python tools/check_data.py unaligned_50.pkl
  python tools/check_data.py mine.npz --dataset mosei
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status is 1 for a file that training would refuse."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="file, MELD's folder or a prepared store")
    parser.add_argument("--dataset", default="", help="default: by widths and rows")
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
    except (DataError, OSError) as error:
        print(f"error: {args.file}: {error}")
        return 1
    for note in corpus.notes:
        print(f"note: {note}")
    _recipes(corpus, pathlib.Path(args.configs))
    return 0


def _load(path: str, dataset: str, format: str, encoding: str) -> Corpus:
    """The rows of a file before cleaning; without a dataset, that of the same widths."""
    read.check_names(dataset or "mosi", format, encoding)
    if dataset or (format or read.find_format(path, encoding)) == "meld":
        dataset = dataset or "meld"
        return read.load(path, dataset=dataset, format=format, encoding=encoding)
    corpus = read.load(path, dataset="mosi", format=format, encoding=encoding)
    found = _sizes(corpus)
    rows = tuple(len(corpus.splits.get(name, ())) for name in columns.SPLITS)
    for name, file in mmsa.FILES.items():
        widths: dict[str, int] = dict(zip(MODALITIES, file.dims, strict=True))
        same = found and all(size[1] == widths[key] for key, size in found.items())
        if same or rows == file.rows:
            return dataclasses.replace(corpus, dataset=name.split("/")[0])
    raise DataError(f"of which dataset? give --dataset ({', '.join(DATASETS)})")


def _sizes(corpus: Corpus) -> dict[str, tuple[int, int]]:
    """{modality: (L, D)} of the first split."""
    arrays = next(iter(corpus.splits.values())).arrays
    return {key: arrays[key].shape[1:] for key in MODALITIES if key in arrays}


def _published(corpus: Corpus) -> str:
    """The name of the published file that a corpus is most like, '' for none."""
    names = [name for name in mmsa.FILES if name.split("/")[0] == corpus.dataset]
    found = _sizes(corpus)

    def likeness(name: str) -> int:
        file = mmsa.FILES[name]
        sizes = zip(MODALITIES, zip(file.lengths, file.dims, strict=True), strict=True)
        return sum(found.get(key) == size for key, size in sizes)

    return max(names, key=likeness, default="")


def _describe(corpus: Corpus) -> None:
    name = _published(corpus)
    file = mmsa.FILES.get(name)
    print(f"{DATASETS[corpus.dataset].title}, compared with {name or 'no known file'}")
    _line("", "expected", "found")
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
        arrays = [s.arrays[key] for s in corpus.splits.values() if key in s.arrays]
        if arrays:
            values = np.concatenate(arrays)
            text = f"{values.min():g} to {values.max():g}"
            fits = low <= values.min() and values.max() <= high
            _line(key, f"{low:g} to {high:g}", text, "" if fits else "out of range")


def _values(arrays: list[np.ndarray]) -> str:
    if not arrays:
        return ""
    bad = sum(np.count_nonzero(~np.isfinite(x.astype(np.float64))) for x in arrays)
    return f"{arrays[0].dtype}, {bad} not finite"


def _range(dataset: str) -> tuple[float, float]:
    known = DATASETS[dataset]
    return known.label_range or (0, len(known.classes) - 1)


def _line(key: str, expected: object, found: object, more: str = "") -> None:
    differs = "" if expected in ("", "expected", found) or " to " in str(found) else "!"
    print(f"{differs:1} {key:14} {expected!s:16} {found!s:16} {more}".rstrip())


def _recipes(corpus: Corpus, folder: pathlib.Path) -> None:
    """Prints which of the config files take the corpus, and why the others do not."""
    sys.path.insert(0, str(folder.resolve().parent))  # for 'configs.common'
    for path in sorted(folder.glob("[!_]*.py")):
        if path.name == "common.py":
            continue
        data = runpy.run_path(str(path))["get_config"]().data
        if data.dataset != corpus.dataset:
            continue
        try:
            chosen = clean.select(corpus, data.modalities)
            loader.make_spec(
                chosen, dims=data.dims, lengths=data.lengths, truncate=data.truncate
            )
            print(f"fits {path.name}")
        except ValueError as error:
            print(f"does not fit {path.name}: {error}")


if __name__ == "__main__":
    # Messages show samples of text, which not every terminal can.
    sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore
    sys.exit(main())
