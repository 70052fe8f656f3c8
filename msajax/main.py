"""The command line: train a recipe, evaluate its checkpoints, score a file."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from msajax import program

_EXAMPLES = """\
examples:
  # the embedded demo corpus: no download, half a minute
  python -m msajax.main --config configs/demo.py --workdir runs/demo

  # MulT on your MOSI pickle, three seeds, another width
  python -m msajax.main --config configs/mult_mosi.py --workdir runs/mult \\
      --config.data.path=unaligned_50.pkl --config.train.seeds=1,2,3 --config.model.dim=60

  # the same checkpoints on another split, or on another file
  python -m msajax.main --workdir runs/mult --mode evaluate --split valid
  python -m msajax.main --workdir runs/mult --mode evaluate --data other.pkl

  # scores for a file without labels
  python -m msajax.main --workdir runs/mult --mode predict --data clips.npz --output scores.csv

A run that was stopped goes on with the same command, to the same results.
"""


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """The arguments, and the --config.key=value pairs among them."""
    parser = argparse.ArgumentParser(
        prog="python -m msajax.main",
        description="Train, evaluate and apply systems for multimodal sentiment analysis.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", metavar="FILE", help="recipe, for example configs/mult_mosi.py")
    add("--workdir", metavar="DIR", required=True, help="folder of the run")
    add("--mode", choices=("train", "evaluate", "predict"), default="train")
    add("--data", metavar="FILE", help="evaluate, predict: another data file")
    add("--split", default="test", help="evaluate: train, valid or test (default)")
    add("--output", metavar="CSV", help="evaluate, predict: where the predictions go")
    add("--traceback", action="store_true", help="show where an error came from")
    parser.add_argument_group("--config.KEY=VALUE", "any value of the recipe")
    args, rest = parser.parse_known_args(argv)
    for name in ("config", "workdir", "data", "split", "output"):
        if getattr(args, name) == "":
            parser.error(f"--{name} is empty; give a value")
    if not _is_utf8(args.workdir):
        parser.error(
            f"--workdir {ascii(args.workdir)} is no UTF-8, in which checkpoints are "
            "named; take another name, or a locale such as LC_ALL=C.UTF-8"
        )
    pairs = []
    while rest:
        key, equals, value = rest.pop(0).partition("=")
        if not key.startswith("--config."):
            parser.error(f"unknown argument {key}; see --help")
        if not equals and not rest:
            parser.error(f"{key} needs a value: {key}=VALUE")
        pairs.append((key.removeprefix("--config."), value if equals else rest.pop(0)))
    if args.mode == "train" and not args.config:
        parser.error("--mode train needs --config FILE, for example configs/demo.py")
    if args.mode == "predict" and not args.data:
        parser.error("--mode predict needs --data FILE, the file to score")
    return args, pairs


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that Python could not decode
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    args, pairs = parse(sys.argv[1:] if argv is None else argv)
    try:
        from msajax import run  # jax takes a second or two to import

        return run.MODES[args.mode](args, pairs)
    except (ValueError, OSError) as error:
        if args.traceback:
            raise
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def command() -> NoReturn:
    """`main` as a program: it hears signals, and lost output does not end it."""
    program.start()
    program.end(main())


if __name__ == "__main__":
    command()
