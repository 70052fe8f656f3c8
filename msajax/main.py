"""The command line: train a recipe, evaluate its checkpoints, score a file, serve a page, import weights."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from msajax.run import program

_EXAMPLES = """\
examples:
  # the embedded demo corpus: no download, half a minute
  msajax --config lf_dnn:demo --workdir runs/demo

  # MulT on your MOSI pickle, three seeds, another width
  msajax --config mult:mosi --workdir runs/mult \\
      --config.data.path=unaligned_50.pkl --config.train.seeds=1,2,3 --config.model.dim=60

  # the same checkpoints on another split, or on another file
  msajax --workdir runs/mult --mode evaluate --split valid
  msajax --workdir runs/mult --mode evaluate --data other.pkl

  # scores for a file without labels
  msajax --workdir runs/mult --mode predict --data clips.npz --output scores.csv

  # representations, attention weights and gates of every test row, as an npz
  msajax --workdir runs/mult --mode evaluate --export arrays.npz

  # the score of a clip, by a run that was trained on extracted features
  msajax --workdir runs/clips --mode predict --media clip.mp4 --transcript "not bad at all"

  # a page to try the same in the browser
  msajax --workdir runs/clips --mode serve

  # weights that MMSA trained, as a workdir
  msajax --config mult:mosi --mode import --weights mult-mosi.pth --workdir runs/mmsa

Rerun the command of a run that was stopped to resume it; the results are bit-identical.
"""

_OF_SERVER = ("host", "port", "at_once", "max_megabytes", "max_seconds")
# The modes that read an argument, and what to do instead in another one.
_ONLY = {
    "data": ("evaluate", "predict"),
    "split": ("evaluate",),
    "output": ("evaluate", "predict"),
    "export": ("evaluate",),
    "arrays": ("evaluate",),
    "weights": ("import", "predict", "serve"),
    **dict.fromkeys(("media", "transcript", "vision_file", "word_times"), ("predict",)),
    "speech_model": ("predict", "serve"),
    **dict.fromkeys(_OF_SERVER, ("serve",)),
}
# Those that go with --media.
_OF_CLIPS = ("transcript", "vision_file", "word_times", "weights", "speech_model")
_OTHERS = {
    (mode, "data"): "to name the data file, set --config.data.path=FILE"
    for mode in ("train", "import")
}


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """The arguments, and the --config.key=value pairs among them."""
    parser = argparse.ArgumentParser(
        prog="msajax",
        description="Train, evaluate and apply systems for multimodal sentiment analysis.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", metavar="RECIPE", help="mult:mosi, or a file: configs/mult.py:mosi")
    add("--workdir", metavar="DIR", help="folder of the run")
    modes = ("train", "evaluate", "predict", "import", "serve")
    add("--mode", choices=modes, default="train", help="what to do (default: train)")
    add("--data", metavar="FILE", help="evaluate, predict: another data file")
    add("--split", help="evaluate: train, valid or test (default)")
    add("--output", metavar="CSV", help="evaluate, predict: where the predictions go")
    add("--export", metavar="NPZ", help="evaluate: where arrays of every row go")
    add("--arrays", metavar="NAMES", help="export: which, '*attention,fusion'; all")
    weights = "import: .pth, .safetensors or .npz; predict, serve: of ResNet-50"
    add("--weights", metavar="FILE", help=weights)
    add("--media", metavar="FILE", help="predict: a clip, or a csv of many")
    said = "predict: what is said in the clip, or a .txt, .srt or .vtt file"
    add("--transcript", metavar="TEXT", help=said)
    add(
        "--vision-file", metavar="FILE", help="predict: OpenFace's or your own features"
    )
    add("--word-times", metavar="CSV", help="predict: word,start,end of the clip")
    heard = (
        "predict, serve: a Whisper model that writes transcripts where none is given"
    )
    add("--speech-model", metavar="DIR", help=heard)
    _add_server(add)
    add("--help-config", action="store_true", help="print every value of the recipe")
    add("--traceback", action="store_true", help="show where an error came from")
    parser.add_argument_group("--config.KEY=VALUE", "any value of the recipe")
    args, rest = parser.parse_known_args(argv)
    for name in ("config", "workdir", *_ONLY):
        if getattr(args, name) == "":
            parser.error(f"--{_shown(name)} is empty; give a value")
    if args.workdir is None and not args.help_config:
        parser.error("the following arguments are required: --workdir")
    if args.workdir is not None and not _is_utf8(args.workdir):
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
    _check_mode(parser, args)
    return args, pairs


def _add_server(add: Callable) -> None:
    add("--host", help="serve: address to listen on (default: 127.0.0.1)")
    add("--port", type=int, help="serve: (default: 8000; 0 for a free one)")
    add("--at-once", type=int, metavar="N", help="serve: predictions (default: 1)")
    add(
        "--max-megabytes",
        type=float,
        metavar="N",
        help="serve: of a clip (default: 64)",
    )
    add("--max-seconds", type=float, metavar="N", help="serve: of a clip (default: 60)")


def _check_mode(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuses arguments that the mode does not read, and one that it lacks."""
    for name, readers in _ONLY.items():
        if getattr(args, name) is not None and args.mode not in readers:
            advice = _OTHERS.get((args.mode, name), "leave it out")
            *first, last = readers
            modes = f"{', '.join(first)} and {last}" if first else last
            parser.error(f"--{_shown(name)} is for --mode {modes}; {advice}")
    if (args.mode in ("train", "import") or args.help_config) and not args.config:
        what = "--help-config" if args.help_config else f"--mode {args.mode}"
        parser.error(f"{what} needs --config RECIPE, for example lf_dnn:demo")
    if args.mode == "import" and not args.weights:
        parser.error("--mode import needs --weights FILE, what PyTorch has saved")
    if args.arrays and not args.export:
        parser.error("--arrays needs --export FILE.npz, where the arrays go")
    if args.mode == "predict" and bool(args.data) == bool(args.media):
        what = (
            "either, not both" if args.data else "a file of rows, or a clip, to score"
        )
        parser.error(f"--mode predict needs --data FILE or --media FILE: {what}")
    for name in _OF_CLIPS if args.mode == "predict" and not args.media else ():
        if getattr(args, name) is not None:
            parser.error(f"--{_shown(name)} is for a clip; name it by --media FILE")


def _shown(name: str) -> str:
    return name.replace("_", "-")


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
        if args.mode == "serve" and not args.help_config:
            from msajax.serve import start

            return start.serve(args, pairs)
        from msajax.run import modes  # jax takes a second or two to import

        if args.help_config:
            return modes.help_config(args.config, pairs)
        return modes.MODES[args.mode](args, pairs)
    except (ValueError, OSError) as error:
        if args.traceback:
            raise
        ours = isinstance(error, OSError) or program.is_ours(error)
        hint = "" if ours else " (--traceback shows where it came from)"
        print(f"error: {program.told(error)}{hint}", file=sys.stderr)
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
