"""Converts a file of the field into a prepared store, which training then reads by name."""

import argparse
import pathlib
import sys

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

from msajax.data import prepared, read, store
from msajax.data.errors import DataError

_EXAMPLES = """examples:
  python tools/prepare_data.py --format mmsa --source unaligned_50.pkl --name mosi/unaligned
  python tools/prepare_data.py --source MELD.Raw --name meld
  python tools/prepare_data.py --source mine.npz --name mine --dataset mosei --root /data

The store lies in --root, else in $MSAJAX_DATA, else in ~/.cache/msajax. Train on it with
  msajax --config mult:mosi --workdir runs/mult --config.data.path=mosi/unaligned
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, help="file, or MELD's folder")
    parser.add_argument("--name", required=True, help="of the store: mosi/unaligned")
    parser.add_argument("--dataset", help="default: the first part of the name")
    parser.add_argument(
        "--format", default="", help=f"default: by content; {', '.join(read.FORMATS)}"
    )
    parser.add_argument("--encoding", default="", help="of text that is not UTF-8: gbk")
    parser.add_argument("--root", help="folder of the stores")
    args = parser.parse_args(argv)
    try:
        folder = store.prepare(
            args.source,
            dataset=args.dataset or args.name.split("/")[0],
            name=args.name,
            format=args.format,
            encoding=args.encoding,
            root=args.root,
        )
        corpus = prepared.load(folder, limit=0)
    except (DataError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1
    rows = ", ".join(f"{name} {len(split)}" for name, split in corpus.splits.items())
    for note in corpus.notes:
        print(f"note: {note}")
    print(f"{folder}: {rows}; sha256 of the source {corpus.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
