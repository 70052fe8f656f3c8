"""The best checkpoints of a run, applied to rows."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from msajax import parallel
from msajax.train import evaluate, feed, fit, step

if TYPE_CHECKING:
    from msajax.run.run import Run


class Inference:
    """Compiled programs and restored checkpoints of a run.

    Args:
      run: trained.
      keep: hold the checkpoints of all seeds in memory for later calls.
      program: of the last phase, whose validation pass then predicts: the pass is compiled.
    """

    def __init__(
        self, run: "Run", *, keep: bool = False, program: fit.Program | None = None
    ):
        self._run, self._trained = run, program
        self._put = functools.partial(parallel.replicate, devices=run.devices)
        self._like = functools.cache(lambda: self._put(step.blank(run.model)))
        self._program = functools.cache(self._compile)
        self._best = functools.cache(self._restore) if keep else self._restore

    def __call__(
        self,
        splits: Mapping[str, feed.Source],
        *,
        seeds: Sequence[int] = (),
        method: str = "",
        outputs: Mapping[str, int] = {},
    ) -> dict[str, dict[int, Any]]:
        """{split: {seed: [N, ...]}}.

        Args:
          splits: to compute.
          seeds: the recipe's, or some of them.
          method: of the system; the last phase's, where it is not given.
          outputs: as `evaluate.make_forward` takes them; then {name: [N, ...]} of a seed.
        """
        run = self._run
        method = method or run.options.plan[-1].predict
        found: dict[str, dict[int, Any]] = {name: {} for name in splits}
        seeds = seeds or run.options.train.seeds
        if self._trained and not outputs and method == self._trained.phase.predict:
            return self._as_validated(self._trained, splits, seeds, found)
        compute = self._program(method, tuple(outputs.items()))
        none = self._put({"lr_scale": np.ones(1, np.float32)})
        for seed in seeds:
            best = self._best(seed)
            for name, source in splits.items():
                size = run.batch_size(source)
                made = compute(best, source, size, none)[0]
                found[name][seed] = jax.tree.map(lambda x: x[0], made)
        return found

    def _as_validated(
        self,
        program: fit.Program,
        splits: Mapping[str, feed.Source],
        seeds: Sequence[int],
        found: dict[str, dict[int, Any]],
    ) -> dict[str, dict[int, Any]]:
        """As `__call__`, by the pass of a phase's validation, as many seeds at once as it takes."""
        # The loss, which nobody reads here, may ask where in training it is.
        progress = {k: np.int32(0) for k in ("epoch", "step")}
        progress |= {"fraction": np.float32(0)}
        progress |= {"lr_scale": np.ones(program.seeds, np.float32)}
        progress = self._put(progress)
        for i in range(0, len(seeds), program.seeds):
            group = list(seeds[i : i + program.seeds])
            filled = group + group[-1:] * (program.seeds - len(group))
            best = self._stacked(filled)
            for name, source in splits.items():
                size = program.phase.batch_size
                made = program.forward(best, source, size, progress)[0]
                found[name] |= dict(zip(group, made, strict=False))
        return found

    def restore(self) -> None:
        """Reads the checkpoints of all seeds."""
        for seed in self._run.options.train.seeds:
            self._best(seed)

    def _compile(self, method: str, outputs: tuple[tuple[str, int], ...]) -> Callable:
        return evaluate.make_forward(
            self._run.model,
            predict=method,
            outputs=dict(outputs),
            precision=self._run.precision,
        )

    def _restore(self, seed: int) -> Any:
        return self._stacked([seed])

    def _stacked(self, seeds: Sequence[int]) -> Any:
        like = self._like()
        return fit.variables(fit.stack([self._run.best(seed, like) for seed in seeds]))
