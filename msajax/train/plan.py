"""The plan of a run and where it stands: phases, epochs, patience, plateau; plain values only."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from msajax.data import typed
from msajax.data.spec import Size
from msajax.data.typed import Count, ShareBelowOne
from msajax.train import optim


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training(typed.Checked):
    """What a recipe sets for all phases, and a phase may set for itself.

    Attributes:
      epochs: largest number of epochs of a phase.
      batch_size: number of rows of the global batch.
      accumulate: number of batches per update; their gradients are averaged.
      patience: epochs without a better validation figure before a phase ends; 0 never
        ends it early.
      select: validation figure that picks the checkpoint: 'loss', a metric, or 'last'
        for the last epoch whatever its figures.
      ema: decay of a running average of the trained parameters, which is evaluated and
        kept in their place; 0 keeps the parameters themselves. After t updates the decay
        is at most (1 + t) / (10 + t).
    """

    epochs: Size = 100
    batch_size: Size = 32
    accumulate: Size = 1
    patience: Count = 8
    select: str = "loss"
    ema: ShareBelowOne = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase(Training):
    """One stage of a recipe.

    Attributes:
      name: name of the phase in logs; unique in the recipe.
      loss, predict: names of the system's methods that return the loss and the
        predictions.
      data: rows to train on: the split 'train', or a file, whose labels are not read
        (its split 'train', where it names some).
      train: regex over whole parameter paths. What it does not match is frozen,
        and so are the collections (BatchNorm statistics) of modules without a
        trained parameter.
      optimizer: settings of the phase's optimizer.
    """

    where: dataclasses.InitVar[str] = "config.phases"
    name: str = "main"
    loss: str = "loss"
    predict: str = "__call__"
    data: str = "train"
    train: str = ".*"
    optimizer: optim.Optimizer = optim.Optimizer()

    def __post_init__(self, where: str):
        super().__post_init__(where)
        optim.check_regex(f"{where}.train", self.train)

    def scaled(self, factor: float) -> "Phase":
        """The phase with so many times its epochs, at least one."""
        return dataclasses.replace(self, epochs=max(1, round(factor * self.epochs)))


# The figures that some steps of an epoch measure, and what the others have in their place.
NORMS = ("grad_norm", "update_norm")
UNMEASURED = -1.0

# (cycle, phase, epoch, step)
Place = tuple[int, int, int, int]


@dataclasses.dataclass
class Book:
    """Where a run stands: the part of a checkpoint that is not arrays.

    Attributes:
      cycle, phase, epoch, step: the next step to do.
      terms: {metric: values of the current epoch's steps}.
      best: best validation figure of the phase (of the cycles, where several).
      waited: epochs (cycles) since then.
      plateau: {phase: {'scale', 'best', 'waited'}} of the plateau schedules.
      history: a row of figures for each finished epoch.
      seconds: seconds of work so far, over all resumes.
      epoch_seconds: those of each finished epoch, its validation included; the first ones
        also compile.
      peak_memory: most bytes that a device, or the process on a CPU, has held.
      finished: nothing is left to do.
      stopped: why the seed ended early, where it did.
    """

    cycle: int = 0
    phase: int = 0
    epoch: int = 0
    step: int = 0
    terms: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    best: float | None = None
    waited: int = 0
    plateau: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    epoch_seconds: list[float] = dataclasses.field(default_factory=list)
    peak_memory: int = 0
    finished: bool = False
    stopped: str = ""

    @property
    def place(self) -> Place:
        """The next step to do, as a tuple that orders the steps of a run."""
        return self.cycle, self.phase, self.epoch, self.step

    def record(self, metrics: Mapping[str, np.ndarray]) -> None:
        """Takes over the metrics ({name: [steps]}) of the next steps.

        A loss that is not finite ends the run.
        """
        for name, values in metrics.items():
            new = np.asarray(values, np.float64)
            new = new[new != UNMEASURED] if name in NORMS else new
            new = new.tolist()
            self.terms.setdefault(name, []).extend(new)
        losses = self.terms["loss"]
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            last = next((x for x in losses[: bad[0]][::-1] if math.isfinite(x)), None)
            if last is None and self.history:
                last = self.history[-1]["train_loss"]
            shown = "none" if last is None else f"{last:.4g}"
            self.stop(
                f"the loss became {losses[bad[0]]} at step {bad[0] + 1} of epoch "
                f"{self.epoch + 1} (last finite loss: {shown}); lower the learning "
                "rate or set config.optimizer.clip_norm"
            )
        self.step += len(metrics["loss"])

    def end_epoch(
        self,
        phases: Sequence[Phase],
        cycles: int,
        figures: Mapping[str, float],
        improved: bool,
    ) -> None:
        """Closes an epoch: its row of history, patience, plateau, and what comes next.

        Args:
          phases: of the recipe.
          cycles: of the recipe.
          figures: validation loss and metrics.
          improved: whether they are the best so far.
        """
        phase = phases[self.phase]
        row = {"cycle": self.cycle, "phase": phase.name, "epoch": self.epoch}
        train = {f"train_{k}": float(np.mean(v)) for k, v in self.terms.items() if v}
        valid = {f"valid_{k}": v for k, v in figures.items()}
        lr = {"lr_scale": self.lr_scale(phase), "best": improved}
        self.history.append({**row, **train, **valid, **lr})
        # A run that an older version began has no seconds of its first epochs.
        if len(self.epoch_seconds) == len(self.history) - 1:
            self.epoch_seconds.append(self.seconds - sum(self.epoch_seconds))
        if self.selects(phases, cycles):
            self.waited = 0 if improved else self.waited + 1
            if improved:
                self.best = figures.get(phase.select, figures["loss"])
        self._step_plateau(phase, figures["loss"])
        self.epoch, self.step, self.terms = self.epoch + 1, 0, {}
        out_of_patience = 0 < phase.patience <= self.waited
        if self.epoch < phase.epochs and not (cycles == 1 and out_of_patience):
            return
        if cycles == 1 and self.best is None:
            self.stopped = f'phase "{phase.name}" had no finite validation figure'
        self.phase, self.epoch = self.phase + 1, 0
        if self.phase == len(phases):
            self.phase, self.cycle = 0, self.cycle + 1
            self.finished = self.cycle == cycles or out_of_patience
        if cycles == 1 and not self.finished:
            self.best, self.waited = None, 0
        self.finished = self.finished or bool(self.stopped)

    def stop(self, reason: str) -> None:
        """Ends the run here."""
        self.stopped, self.finished = reason, True

    def selects(self, phases: Sequence[Phase], cycles: int) -> bool:
        """Whether the figures of the current epoch compete for the best checkpoint."""
        if cycles == 1:
            return True
        last = self.phase == len(phases) - 1
        return last and self.epoch == phases[self.phase].epochs - 1

    def lr_scale(self, phase: Phase) -> float:
        """What the plateau schedule has made of a phase's learning rate: 1.0 at first."""
        return self.plateau.get(phase.name, {}).get("scale", 1.0)

    def _step_plateau(self, phase: Phase, loss: float) -> None:
        # torch.optim.lr_scheduler.ReduceLROnPlateau: mode 'min', threshold 1e-4 relative.
        if phase.optimizer.schedule != "plateau":
            return
        fresh = {"scale": 1.0, "best": math.inf, "waited": 0}
        mine = self.plateau.setdefault(phase.name, fresh)
        if loss < mine["best"] * (1 - 1e-4):
            mine["best"], mine["waited"] = loss, 0
            return
        mine["waited"] += 1
        if mine["waited"] > phase.optimizer.plateau_patience:
            mine["scale"] *= phase.optimizer.plateau_factor
            mine["waited"] = 0
