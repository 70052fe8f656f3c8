"""Puts VADER's review sentences, as training rows, before the rows of a label.csv.

Of the four kinds of text that came with VADER, 20 raters each, the two of reviews: 10,605
sentences about films and 3,708 about products. Their ratings from -4 to 4 become labels
from -3 to 3. A product review is a video and its sentences are clips, in their order, so
that they have context; sentences about films are mixed, each is a video of its own.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
Media Text", ICWSM 2014.
"""

import argparse
import csv
import io
import os
import pathlib
import sys
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

from msajax.data import parts
from msajax.data.errors import DataError, decoding
from msajax.data.formats import tables

_EXAMPLES = """examples:
  pip download --no-deps --no-binary :all: vaderSentiment==3.3.2
  python tools/vader.py vaderSentiment-3.3.2.tar.gz MOSEI-label.csv --out mosei_vader.csv

Train on it with
  msajax --config text_only:mosei --workdir runs/vader --config.data.path=mosei_vader.csv
"""
COLUMNS = ("video_id", "clip_id", "text", "label", "mode")
_KINDS = ("movie", "amazon")
_INNER = "hutto_ICWSM_2014.tar.gz"
_FILE = "{}ReviewSnippets_GroundTruth.txt"
_ADVICE = "download the source archive of vaderSentiment 3.3.2 again (--help)"
_SCALE = 3 / 4  # ratings reach 4, labels 3


class Sentence(NamedTuple):
    """A row of a label.csv."""

    video_id: str
    clip_id: str
    text: str
    label: float
    mode: str = "train"


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "package", type=pathlib.Path, help="source archive of the package"
    )
    parser.add_argument(
        "labels", type=pathlib.Path, help="label.csv with rows to validate and test on"
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="csv to write")
    args = parser.parse_args(argv)
    try:
        if os.path.lexists(args.out):
            raise DataError(f"{args.out} exists; give the path of a new file")
        sentences = read(args.package)
        rows = tables.rows(args.labels, COLUMNS)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with (
            parts.replacing(args.out) as part,
            part.open("x", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(sentences)
            writer.writerows([row[name] for name in COLUMNS] for row in rows)
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1
    print(
        f"{args.out}: {len(sentences)} sentences of VADER before {len(rows)} rows of "
        f"{args.labels}"
    )
    return 0


def read(package: pathlib.Path) -> list[Sentence]:
    """The sentences of reviews in the source archive of the package vaderSentiment.

    Raises:
      DataError: the archive is damaged, or has no such sentences.
      OSError: it cannot be read.
    """
    with (
        package.open("rb") as file,
        decoding(f"archive {package}", advice=_ADVICE),
        tarfile.open(fileobj=file) as outer,
        tarfile.open(fileobj=_member(outer, _INNER)) as inner,
    ):
        return [row for kind in _KINDS for row in _sentences(inner, kind)]


def _sentences(archive: tarfile.TarFile, kind: str) -> Iterator[Sentence]:
    for line in io.TextIOWrapper(_member(archive, _FILE.format(kind)), "utf-8"):
        name, rating, text = line.rstrip("\n").split("\t")
        review, _, place = name.partition("_")  # the latter in reviews of products
        label = _SCALE * float(rating)
        yield Sentence(f"{kind}_{review}", place or "1", text.strip(), label)


def _member(archive: tarfile.TarFile, end: str) -> IO[bytes]:
    """The file of an archive whose path ends so."""
    for name in archive.getnames():
        if name.endswith(end) and (file := archive.extractfile(name)):
            return file
    raise DataError(f"{archive.name} has no file {end}; {_ADVICE}")


if __name__ == "__main__":
    sys.exit(main())
