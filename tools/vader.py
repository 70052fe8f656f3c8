"""Adds VADER's review sentences to the training rows of a label.csv.

VADER came with four rated sets of text. This takes the two of reviews: 10,605 sentences
about films (15 to 29 raters each) and 3,708 about products (20 raters each). Ratings from
-4 to 4 are scaled to labels from -3 to 3. The sentences of a product review get one
video_id and are numbered as clips, so config.text.context joins them. A sentence about a
film has no known neighbours and is a video of its own.

They stand before the rows of the label.csv, which are all kept: config.data.fraction, which
takes the first training rows, leaves out the last of those. Training mixes the rows.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social
Media Text", ICWSM 2014.
"""

import argparse
import csv
import gzip
import io
import os
import pathlib
import sys
import tarfile
from collections.abc import Iterable
from typing import IO, NamedTuple

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

from msajax.data import parts
from msajax.data.errors import DataError, decoding
from msajax.data.formats import tables
from msajax.data.formats.decode import Decoder

_EXAMPLES = """examples:
  pip download --no-deps --no-binary vaderSentiment vaderSentiment==3.3.2
  python tools/vader.py vaderSentiment-3.3.2.tar.gz MOSEI-label.csv --out mosei_vader.csv

Train on both, and then on CMU-MOSI, with
  msajax --config text_only:mosei --workdir runs/vader --config.data.path=mosei_vader.csv \\
      --config.text.encoder=encoders/mpnet --config.train.seeds=1
  msajax --config text_only:mosi --workdir runs/mosi --config.data.path=MOSI-label.csv \\
      --config.text.encoder=encoders/mpnet --config.init_from=runs/vader/seed_1
"""
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


COLUMNS = Sentence._fields


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
        "labels", type=pathlib.Path, help="label.csv, of which all rows are kept"
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="csv to write")
    parser.add_argument("--encoding", default="", help="of label.csv: gbk")
    args = parser.parse_args(argv)
    try:
        if os.path.lexists(args.out):
            raise DataError(f"{args.out} exists; give the path of a new file")
        sentences = read(args.package)
        decoder = Decoder(args.encoding)
        try:
            rows = tables.rows(args.labels, COLUMNS, decoder=decoder)
        except DataError as error:
            raise DataError(f"{args.labels}: {error}") from error
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
    for note in decoder.notes:
        print(f"{args.labels}: {note}")
    print(
        f"{args.out}: {len(sentences)} sentences of VADER and the {len(rows)} rows of "
        f"{args.labels}"
    )
    return 0


def read(package: pathlib.Path) -> list[Sentence]:
    """The sentences of reviews in the source archive of the package vaderSentiment.

    Raises:
      DataError: the archive is damaged, or has no such sentences.
      OSError: it cannot be read.
    """
    with package.open("rb") as file, decoding(f"archive {package}", advice=_ADVICE):
        (inner,) = _files(file, [_INNER])
        files = _files(io.BytesIO(inner), map(_FILE.format, _KINDS))
        return [
            _sentence(kind, line)
            for kind, content in zip(_KINDS, files, strict=True)
            for line in content.decode("utf-8").splitlines()
        ]


def _files(packed: IO[bytes], names: Iterable[str]) -> list[bytes]:
    """The files of these names in a .tar.gz, in whatever folder."""
    # Read to its end: only there gzip compares the checksum. Another file ends at once.
    content = gzip.GzipFile(fileobj=packed).read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = {pathlib.PurePath(m.name).name: m for m in archive if m.size}
        found = []
        for name in names:
            file = archive.extractfile(members[name]) if name in members else None
            if file is None:
                raise DataError(f"the archive has no {name}; {_ADVICE}")
            found.append(file.read())
    return found


def _sentence(kind: str, line: str) -> Sentence:
    name, rating, text = line.split("\t")
    review, _, place = name.partition("_")  # the latter in reviews of products
    label = _SCALE * float(rating)
    return Sentence(f"{kind}_{review}", place or "1", text.strip(), label)


if __name__ == "__main__":
    sys.exit(main())
