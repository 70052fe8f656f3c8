"""The study of a search: Optuna's journal in a folder that several processes and hosts share.

Optuna's documentation never recommends SQLite for parallel optimization, and its heartbeats
go by clocks. The journal is a file that processes append to. A trial
that a process works on has a lock on its folder, as any run has: the operating system
removes the lock when the process ends, also when it is killed.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import optuna
from optuna.storages import journal
from optuna.trial import FrozenTrial, TrialState

from msajax.run import saved, workdir
from msajax.run.options import Options
from msajax.run.trials import Outcome
from tools.tuning.space import Dimension

_NAME = "tune"
# Seconds to wait for a lock that others hold for a moment.
_PATIENCE = 60.0
# A trial whose process ended so often without a word is not started again.
_STARTS = 3
_ADVICE = "take another --workdir"


class _Lock:
    """A lock of the system on a file of its own: `with`, or Optuna's acquire and release."""

    def __init__(self, path: pathlib.Path):
        self._path, self._file = path, None

    def acquire(self) -> bool:
        """Waits for the others.

        Raises:
          ValueError: one of them does not come to its end.
        """
        file = open(self._path, "a+", encoding="utf-8")
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    file.seek(0)
                    holder = file.read().strip() or "unknown"
                    file.close()
                    raise ValueError(
                        f"the study is locked: process {holder} has held {self._path} for "
                        f"{_PATIENCE:.0f} s; continue or end that process, then rerun the "
                        "command"
                    ) from error
            time.sleep(0.02)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file
        return True

    def release(self) -> None:
        """Lets the next one in."""
        if self._file:
            self._file.close()

    def __enter__(self):
        self.acquire()

    def __exit__(self, *_):
        self.release()


@dataclasses.dataclass
class Claimed:
    """A trial that this process holds.

    Attributes:
      trial: of Optuna.
      values: of the space, by their keys.
      folder: of its run.
      held: releases the folder.
    """

    trial: optuna.Trial
    values: dict[str, Any]
    folder: pathlib.Path
    held: contextlib.ExitStack


class Study:
    """A study in a folder, as one of its processes sees it.

    Args:
      home: the folder.
      options: the recipe, with the seeds of every trial.
      space: what is searched.
      sampler: 'tpe' or 'random'.
      seed: of the sampler. With 'random' the values of the n-th trial are a function of it
        and n.
      pruner: ends trials early.
      direction: 'minimize' or 'maximize'.

    Raises:
      ValueError: the folder holds something else, or a study of another recipe.
    """

    def __init__(
        self,
        home: pathlib.Path,
        *,
        options: Options,
        space: Sequence[Dimension],
        sampler: str,
        seed: int,
        pruner: optuna.pruners.BasePruner,
        direction: Literal["minimize", "maximize"],
    ):
        self.home, self.space = home, space
        self._kind, self._seed = sampler, seed
        if home.is_file():
            raise ValueError(f"{home} is a file; name a folder by --workdir")
        if (home / "config.json").exists():
            raise ValueError(f"{home} holds a run, not a study; {_ADVICE}")
        home.mkdir(parents=True, exist_ok=True)
        self._lock = _Lock(home / ".study.lock")
        with self._lock:
            self.study = _open(home / "study.log", direction, pruner)
            if self.study.direction.name.lower() != direction:
                raise ValueError(
                    f"{home} holds a study of a figure that is better the other way round; "
                    f"{_ADVICE}"
                )
            self._claim(options)

    def _claim(self, options: Options) -> None:
        """Records what the study is about, or makes sure that it is this."""
        space = {dimension.key: dimension.text for dimension in self.space}
        about = self.study.user_attrs.get("about")
        begun = bool(self.study.get_trials(deepcopy=False))
        if about is None or not begun:  # a recipe that did not run claims nothing
            if begun:
                raise ValueError(
                    f"{self.home / 'study.log'} is a study of another program; {_ADVICE}"
                )
            about = {
                "options": saved.to_json(options),
                "seeds": list(options.train.seeds),
                "space": space,
            }
            self.study.set_user_attr("about", about)
            return
        old = saved.from_json(about["options"], name=str(self.home / "study.log"))
        changed = saved.differences(options, old)
        seeds = list(options.train.seeds)
        for name, new in (("seeds", seeds), ("space", space)):
            if about[name] != new:
                changed.append(f"{name}: {about[name]} -> {new}")
        if changed:
            raise ValueError(
                f"{self.home} holds the study of another search, with {'; '.join(changed)}. "
                "Take another --workdir, or delete this one"
            )

    def check_data(self, sha256: str) -> None:
        """Refuses other data than that of the trials before.

        Raises:
          ValueError: it is another.
        """
        with self._lock:
            known = self.study.user_attrs.setdefault("data_sha256", sha256)
            if known == sha256:
                self.study.set_user_attr("data_sha256", sha256)
                return
        raise ValueError(
            f"the data is not what the trials in {self.home} were trained on: its content "
            f"has changed; {_ADVICE}"
        )

    def take(self, count: int, total: int) -> list[Claimed]:
        """Trials for this process: first those whose process has ended, then new ones.

        Args:
          count: at most so many.
          total: new ones only until the study has so many.
        """
        taken: list[Claimed] = []
        with self._lock:
            for old in self.study.get_trials(
                deepcopy=False, states=(TrialState.RUNNING,)
            ):
                if len(taken) < count and (held := self._hold(old.number)):
                    trial = optuna.Trial(self.study, old._trial_id)
                    taken += self._begin(trial, held)
            while len(taken) < count:
                number = len(self.study.get_trials(deepcopy=False))
                if number >= total:
                    break
                self._sample_for(number)
                trial = self.study.ask()
                if held := self._hold(trial.number):
                    taken += self._begin(trial, held)
        return taken

    def _begin(self, trial: optuna.Trial, held: contextlib.ExitStack) -> list[Claimed]:
        """The trial, unless it ended its process too often."""
        starts = trial.user_attrs.get("starts", 0)
        if starts >= _STARTS:
            held.close()
            self.fail(
                trial, f"its process was killed {starts} times, or had no memory left"
            )
            return []
        trial.set_user_attr("starts", starts + 1)
        self._sample_for(trial.number)
        values = {d.key: d.suggest(trial) for d in self.space}
        return [Claimed(trial, values, self.folder(trial.number), held)]

    def _hold(self, number: int) -> contextlib.ExitStack | None:
        """Holds the folder of a trial; None where another process does."""
        held = contextlib.ExitStack()
        try:
            held.enter_context(workdir.locked(self.folder(number)))
        except ValueError:
            return None
        workdir.clean(self.folder(number))
        return held

    def _sample_for(self, number: int) -> None:
        """Processes draw the same values for a trial, and others for each trial."""
        seed = (self._seed * 1_000_003 + number) % 2**32
        if self._kind == "random":
            self.study.sampler = optuna.samplers.RandomSampler(seed)
        else:
            self.study.sampler = optuna.samplers.TPESampler(
                seed=seed, constant_liar=True
            )

    def folder(self, number: int) -> pathlib.Path:
        """Of the run of a trial."""
        return self.home / f"trial_{number:04}"

    def put_back(self, claimed: Claimed) -> None:
        """Leaves a trial to whoever comes next; its checkpoint is saved."""
        starts = claimed.trial.user_attrs["starts"]
        claimed.trial.set_user_attr("starts", starts - 1)
        claimed.held.close()

    def report(self, trial: optuna.Trial, epoch: int, figure: float) -> bool:
        """Takes the figure of an epoch; whether the trial is to be ended."""
        if epoch not in self._frozen(trial).intermediate_values:  # of a resumed trial
            trial.report(figure, epoch)
        return trial.should_prune()

    def finish(self, claimed: Claimed, outcome: Outcome, *, pruned: bool) -> None:
        """Records what became of a trial."""
        trial = claimed.trial
        trial.set_user_attr("epochs", list(outcome.epochs))
        trial.set_user_attr("seconds", round(outcome.seconds, 3))
        if outcome.stopped:
            trial.set_user_attr("reason", outcome.stopped)
        if pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        elif outcome.value is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, outcome.value)
        claimed.held.close()

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """Records that a trial could not be trained."""
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def trials(self) -> list[FrozenTrial]:
        """All of them, by their numbers."""
        return self.study.get_trials(deepcopy=False)

    def best(self) -> FrozenTrial | None:
        """The trial with the best figure; None before the first has one."""
        done = [t for t in self.trials() if t.state == TrialState.COMPLETE]
        sign = -1 if self.study.direction.name == "MAXIMIZE" else 1
        return min(done, key=lambda t: (sign * _figure(t), t.number), default=None)

    def _frozen(self, trial: optuna.Trial) -> FrozenTrial:
        return self.trials()[trial.number]


def _figure(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _open(
    path: pathlib.Path,
    direction: Literal["minimize", "maximize"],
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """The study of a journal, made where there is none."""
    lock = _Lock(path.with_name(".journal.lock"))
    with lock:
        _check(path)
    backend = journal.JournalFileBackend(str(path), lock_obj=lock)  # pyright: ignore[reportArgumentType]
    storage = optuna.storages.JournalStorage(backend)
    names = [study.study_name for study in storage.get_all_studies()]
    if names and names != [_NAME]:
        raise ValueError(
            f"{path} holds the studies {', '.join(names)} of another program; {_ADVICE}"
        )
    return optuna.create_study(
        study_name=_NAME,
        storage=storage,
        direction=direction,
        pruner=pruner,
        load_if_exists=True,
    )


def _check(path: pathlib.Path) -> None:
    """Refuses a file that is no journal, before anything is added to it.

    A last line that a power cut left unfinished is cut off: no process has read it.
    """
    if not path.exists():
        return
    with open(path, "rb+") as file:
        whole = file.read()
        end = whole.rfind(b"\n") + 1
        try:
            entries = [json.loads(line) for line in whole[:end].splitlines()]
        except ValueError:
            entries = [None]
        if not all(isinstance(x, dict) and "op_code" in x for x in entries) or (
            whole and not end
        ):
            raise ValueError(
                f"{path} is no journal of Optuna, or it is damaged; {_ADVICE}, or restore it"
            )
        file.truncate(end)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's own lines."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
