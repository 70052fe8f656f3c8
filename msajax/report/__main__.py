"""`python -m msajax.report WORKDIR...`: report.html of one run or several, with its figures."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from msajax.report import finished
from msajax.report.finished import Finished
from msajax.run import program

_EXAMPLES = """\
examples:
  # one run: metrics, curves, predictions, worst errors, model card
  python -m msajax.report runs/mult --out report

  # two runs of one data set, with a paired bootstrap and a paired t-test against the first
  python -m msajax.report runs/mult runs/mfon --out report

  # a figure of a paper (MFON's Fig. 4: with its modules, and without)
  python -m msajax.report runs/mfon runs/mfon_none --figure mfon_4 --out report
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m msajax.report",
        description="A report of finished runs: report.html, which needs no other file, "
        "and its figures as PNG and PDF.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("workdirs", nargs="+", metavar="WORKDIR", type=pathlib.Path, help="of a run")
    add("--out", type=pathlib.Path, default=pathlib.Path("report"), metavar="DIR")
    add(
        "--figure",
        action="append",
        default=[],
        metavar="NAME",
        help="also draw this figure of a paper",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report; 2 where the arguments or a workdir cannot be used."""
    args = parse(sys.argv[1:] if argv is None else argv)
    try:
        if args.out.exists() and not args.out.is_dir():
            raise ValueError(f"--out {args.out} is a file; name a folder")
        try:
            from msajax.report import papers, runs
        except ModuleNotFoundError as error:
            raise ValueError(
                f"the report needs the package {error.name}: pip install 'msajax[report]'"
            ) from error
        figures = papers.find(args.figure)
        read = [finished.read(folder) for folder in args.workdirs]
        _check(read)
        path = runs.write(read, args.out, figures)
    except (ValueError, OSError) as error:
        print(f"msajax.report: {program.told(error)}", file=sys.stderr)
        return 2
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; figures in {args.out}/figures")
    return 0


def _check(read: Sequence[Finished]) -> None:
    """Refuses runs that cannot be compared."""
    names = [run.name for run in read]
    if double := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f"two workdirs are called {double[0]}; rename one, so that the report can tell "
            "them apart"
        )
    datasets = {run.results.dataset: run.folder for run in read}
    if len(datasets) > 1:
        (one, first), (two, second), *_ = datasets.items()
        raise ValueError(
            f"{first} is of {one}, and {second} of {two}: figures of different data sets "
            "are not comparable; make a report of each"
        )


if __name__ == "__main__":
    sys.exit(main())
