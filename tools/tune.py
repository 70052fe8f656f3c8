"""Searches options of a recipe by the validation split alone; several processes may share a search."""

import argparse
import pathlib
import shutil
import sys
from collections.abc import Sequence

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

try:
    import optuna
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"error: tools/tune.py needs {missing.name}: pip install 'msajax[tune]'"
    ) from missing
import jax
from optuna.trial import TrialState
from rich.console import Console

from msajax import metrics
from msajax.run import devices, recipe, signals
from msajax.run.trials import Outcome, Trial, Trials
from tools import table
from tools.tuning import report, space, study
from tools.tuning.study import Claimed, Study

_EXAMPLES = """examples:
  python tools/tune.py --config lf_dnn:demo --workdir runs/tune --trials 20 \\
      --space optimizer.learning_rate=1e-4:1e-2:log --space model.text_out=16,32,64
  python tools/tune.py --config mult:mosi --workdir runs/mult_tune --trials 50 --prune median \\
      --space optimizer.learning_rate=1e-4:1e-2:log --space optimizer.weight_decay=1e-6:1e-2:log \\
      --space model.text_dropout=0.0:0.5:0.05 --config.data.path=mosi.npz

A range is LOW:HIGH, LOW:HIGH:log or LOW:HIGH:STEP; choices are A,B,C. Trials are judged by
the recipe's train.select on validation, the mean over --seeds; the test split is not used.
Start the same command in several processes or on several hosts that see --workdir: they
share the study. Rerun it to resume, also with more --trials. A trial whose process was
killed is continued from its checkpoint by whoever finds it. Trials that differ only in
learning rates, weight decay and weights in the loss can train in one program: --at-once.
trials.md, trials.csv, trials.png and best.py, the recipe of the best trial, are in --workdir.
"""
# A search whose first trials all fail is wrong as a whole.
_FAILURES = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; the exit status is 1 where no trial is complete, 128 + n where a signal stopped it."""
    args, rest = _parse(argv)
    try:
        with study.quiet(), signals.Question() as stop:
            return _Search(args, rest, stop).run()
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", metavar="RECIPE", required=True, help="mult:mosi, or a file")
    add("--workdir", metavar="DIR", required=True, help="folder of the study")
    add(
        "--space",
        metavar="KEY=VALUES",
        action="append",
        default=[],
        help="an option and its range or choices; may be repeated",
    )
    add("--trials", type=_count, default=20, help="of the study, failed ones included")
    add("--seeds", type=_seeds, default=(1,), help="of each trial: 1,2,3 (default: 1)")
    add("--sampler", choices=["tpe", "random"], default="tpe")
    add(
        "--sampler-seed", type=int, default=0, metavar="N", help="of its random numbers"
    )
    add(
        "--prune",
        choices=["none", "median"],
        default="none",
        help="end bad trials early",
    )
    add(
        "--prune-after",
        type=_count,
        default=5,
        metavar="EPOCHS",
        help="that every trial may train",
    )
    add("--at-once", type=_count, default=1, metavar="K", help="trials in one program")
    parser.add_argument_group("--config.KEY=VALUE", "any value of the recipe")
    args, rest = parser.parse_known_args(argv)
    return args, table.values(parser, rest)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        advice = f"{text!r} are no whole numbers; give 1,2,3"
        raise argparse.ArgumentTypeError(advice) from error


class _Search:
    """A process of a search."""

    def __init__(
        self, args: argparse.Namespace, rest: Sequence[str], stop: signals.Question
    ):
        self._args, self._stop = args, stop
        pairs = [v.removeprefix("--config.").partition("=") for v in rest]
        self._given = {key: text for key, _, text in pairs}
        if "train.seeds" in self._given:
            raise ValueError("the seeds of a search are given by --seeds 1,2,3")
        options = recipe.load(args.config, self._given.items())
        self._space = space.parse(args.space, options.system, self._given)
        if idle := options.without_effect(d.key for d in self._space):
            raise ValueError("--space: " + "; ".join(idle))
        self._base = recipe.change(options, {"train.seeds": args.seeds})
        select = self._base.plan[-1].select
        self._select = "loss" if select == "last" else select
        devices.set_up(self._base)
        self._console = Console()
        pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
        if args.prune == "median":
            pruner = optuna.pruners.MedianPruner(n_warmup_steps=args.prune_after)
        smaller = metrics.better(self._select) == "min"
        self._study = Study(
            pathlib.Path(args.workdir),
            options=self._base,
            space=self._space,
            sampler=args.sampler,
            seed=args.sampler_seed,
            pruner=pruner,
            direction="minimize" if smaller else "maximize",
        )
        self._trials = Trials(
            self._study.home,
            [d.key for d in self._space if d.is_continuous],
            check_data=self._study.check_data,
            console=self._console,
        )

    def run(self) -> int:
        """Trains trials until the study has them all, or a signal comes; the exit status."""
        self._trials.network(self._base)  # what is wrong with the recipe is said once
        self._note_loss()
        while claimed := self._study.take(self._args.at_once, self._args.trials):
            for group in self._groups(claimed):
                self._train(group)
            if self._stop():
                self._write()
                print("stopped; rerun the command to resume")
                return 128 + self._stop.number
            self._write()
            self._refuse_failures()
        return self._end()

    def _note_loss(self) -> None:
        """Says what is compared where the loss itself may be what a value changes."""
        floats = [d.key for d in self._space if d.is_continuous and "model." in d.key]
        if self._select == "loss" and floats:
            print(
                "note: trials are judged by the validation loss; where one of "
                f"{', '.join(floats)} weighs a term in it, smaller weights look better: "
                "choose a metric, for example --config.train.select=mae"
            )

    def _groups(self, claimed: Sequence[Claimed]) -> list[list[tuple[Claimed, Trial]]]:
        """Trials in groups that one program can train; a trial whose values make no valid recipe fails here."""
        found: dict[str, list[tuple[Claimed, Trial]]] = {}
        for each in claimed:
            try:
                options = recipe.change(self._base, each.values)
                network = self._trials.network(options)
            except ValueError as error:
                self._fail(each, str(error))
                continue
            trial = Trial(each.trial.number, each.folder, options)
            found.setdefault(network, []).append((each, trial))
        return list(found.values())

    def _train(self, group: Sequence[tuple[Claimed, Trial]]) -> None:
        """Trains a group and records its outcomes; a trial that fails does not end the others."""
        if self._stop.number:
            outcomes = None
        else:
            try:
                outcomes = self._trials.train(
                    [trial for _, trial in group],
                    stop=self._stop,
                    watch=self._watch({each.trial.number: each for each, _ in group}),
                )
            except (ValueError, jax.errors.JaxRuntimeError) as error:
                if len(group) == 1:
                    self._fail(group[0][0], program.told(error))
                    return
                for one in group:  # together they may have no room
                    self._train([one])
                return
        for i, (each, _) in enumerate(group):
            if outcomes is None:
                self._study.put_back(each)
            else:
                self._finish(each, outcomes[i])

    def _watch(self, claimed: dict[int, Claimed]):
        def watch(number: int, epoch: int, figure: float) -> str:
            ended = self._study.report(claimed[number].trial, epoch, figure)
            return f"pruned after epoch {epoch + 1} of its phase" if ended else ""

        return watch

    def _finish(self, claimed: Claimed, outcome: Outcome) -> None:
        pruned = outcome.stopped.startswith("pruned ")
        self._study.finish(claimed, outcome, pruned=pruned)
        self._say(claimed, outcome.stopped if pruned or outcome.value is None else "")
        best = self._study.best()
        for trial in self._study.trials():  # of the best one alone they are of use
            if trial.state.is_finished() and best and trial.number != best.number:
                for folder in self._study.folder(trial.number).glob(
                    "seed_*/checkpoints"
                ):
                    shutil.rmtree(folder, ignore_errors=True)

    def _fail(self, claimed: Claimed, reason: str) -> None:
        reason = reason.partition("\n")[0]
        self._study.fail(claimed.trial, reason)
        claimed.held.close()
        self._say(claimed, f"failed: {reason}")

    def _say(self, claimed: Claimed, instead: str) -> None:
        """A line on a trial that has ended."""
        number, best = claimed.trial.number, self._study.best()
        own = self._study.trials()[number]
        figure = f"{self._select} {report.shown(own.value)}"
        values = ", ".join(f"{k} {report.shown(v)}" for k, v in claimed.values.items())
        known = ""
        if best:
            known = f" (best {report.shown(best.value)} of trial {best.number})"
        self._console.print(
            f"trial {number}: {instead or figure}{known}: {values}",
            highlight=False,
            soft_wrap=True,
        )

    def _refuse_failures(self) -> None:
        """Ends a search whose trials all fail."""
        ended = [t for t in self._study.trials() if t.state.is_finished()]
        failed = [t for t in ended if t.state == TrialState.FAIL]
        if len(failed) == len(ended) >= _FAILURES:
            raise ValueError(
                f"all {len(failed)} trials so far failed, the last one by: "
                f"{failed[-1].user_attrs.get('reason', 'no reason')}; change the space or the "
                "recipe, and take another --workdir"
            )

    def _write(self) -> None:
        report.write(
            self._study, self._select, config=self._args.config, values=self._given
        )

    def _end(self) -> int:
        """Says what was found; the exit status."""
        home, trials = self._study.home, self._study.trials()
        self._write()
        running = sum(not t.state.is_finished() for t in trials)
        if running:
            print(f"{running} trials are at work in other processes")
        best = self._study.best()
        if best is None:
            if not running:
                print("error: no trial is complete", file=sys.stderr)
            return 0 if running else 1
        report.plot(self._study, self._select, home / "trials.png")
        for name in ("trials.md", "trials.csv", "trials.png"):
            print(home / name)
        print(
            f"best: trial {best.number}, {self._select} {report.shown(best.value)} on "
            f"validation; train it: msajax --config {home / 'best.py'} --workdir DIR"
        )
        return 0


if __name__ == "__main__":
    program.end(main())
