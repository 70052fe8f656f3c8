"""The modes of the command line, each from the arguments to files and a table."""

import argparse
import pathlib
import signal
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console

from msajax import processes
from msajax.report import table
from msajax.report.results import Predictions, Results
from msajax.run import (
    captured,
    clip_files,
    help,
    imported,
    opened,
    output,
    recipe,
    training,
)
from msajax.run.signals import Question

Pairs = Sequence[tuple[str, str]]


def train_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """Trains every seed that is not finished, then reports on all."""
    options = recipe.load(args.config, pairs)
    folder = pathlib.Path(args.workdir)
    idle = options.without_effect(key for key, _ in pairs)
    with training.at_work(options, folder) as options, Question() as stop:
        if idle and processes.is_first():
            print(*idle, sep="\n", file=sys.stderr)
        run, results = training.train(options, folder, stop=stop)
        if results is None:
            run.say(f"saved in {folder}; rerun the command to resume")
            return 128 + (stop.number or signal.SIGTERM)
        if processes.is_first():
            output.write_results(folder, results)
            _note(run.console, results.predictions)
        _print(run.console, results, ("test", "valid"))
        return 0 if len(results.seeds) == len(run.options.train.seeds) else 1


def evaluate_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """The table of a workdir's checkpoints on a split, of its data or of another file."""
    run = opened.open_run(pathlib.Path(args.workdir), args.config or "", pairs)
    path = output.check(args.output) if args.output else None
    arrays = (
        output.check(args.export, "--export", "arrays.npz") if args.export else None
    )
    patterns = (args.arrays or "*").split(",")
    if arrays:
        captured.chosen(run, patterns)  # a wrong name is told before the long part
    results = run.evaluate(args.split or "test", args.data)
    (name,) = results.splits
    _print(run.console, results, (name,))
    if path:
        output.write_predictions(path, results.predictions[name])
        _note(run.console, results.predictions)
    if arrays:
        names = run.export(arrays, name, names=patterns, data=args.data)
        run.say(f"{len(names)} arrays of every row in {arrays}: {', '.join(names)}")
    return 0


def predict_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """A csv of id and score (mean over the seeds), or class, for every row of a file.

    It has a column for each further figure that the system reports. Clips are in the
    place of the file with --media.
    """
    if args.media:
        return _predict_clips(args, pairs)
    run = opened.open_run(pathlib.Path(args.workdir), args.config or "", pairs)
    path = output.check(args.output or run.folder / "scores.csv")
    made = run.predict(args.data)
    output.write_scores(path, made)
    _note(run.console, {"": made})
    run.say(f"{len(made)} scores in {path}")
    return 0


def _predict_clips(args: argparse.Namespace, pairs: Pairs) -> int:
    """Scores a clip for the terminal, and in a csv where one is named; of many clips always."""
    found = clip_files.of_arguments(args)
    run = opened.open_run(pathlib.Path(args.workdir), args.config or "", pairs)
    many = args.media.lower().endswith(".csv")
    wanted = args.output or (run.folder / "scores.csv" if many else "")
    path = output.check(wanted) if wanted else None
    run.clips.load(weights=args.weights, speech_model=args.speech_model)
    made, failed = clip_files.predict(run.clips, found)
    for clip in () if many else made:
        for line in clip_files.describe(clip):
            run.say(line)
    if path:
        clip_files.write(path, made)
        run.say(f"{len(made)} scores in {path}")
    if failed:
        print(f"left out, {len(failed)} clips:", file=sys.stderr)
    for name, why in failed.items():
        print(f"  {name}: {why}", file=sys.stderr)
    return 0


def import_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """A workdir of weights that a reference implementation trained."""
    imported.import_weights(
        recipe.load(args.config, pairs),
        pathlib.Path(args.weights),
        pathlib.Path(args.workdir),
        given={key for key, _ in pairs},
    )
    return 0


MODES = {
    "train": train_mode,
    "evaluate": evaluate_mode,
    "predict": predict_mode,
    "import": import_mode,
}


def help_config(name: str, pairs: Pairs) -> int:
    """Prints every value of a recipe and what it means."""
    print(help.describe(recipe.load(name, pairs)))
    return 0


def _note(console: Console, made: Mapping[str, Predictions]) -> None:
    if note := output.formulas([name for p in made.values() for name in p.ids]):
        console.print(f"ids: {note}", highlight=False, soft_wrap=True)


def _print(console: Console, results: Results, splits: Sequence[str]) -> None:
    """The table, and of a classification the first split's confusion matrix."""
    console.print(table.render(results.to_dict(), splits=splits))
    if results.confusion:
        console.print(table.confusion(results.to_dict(), splits[0]))
