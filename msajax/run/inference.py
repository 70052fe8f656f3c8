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
    """

    def __init__(self, run: "Run", *, keep: bool = False):
        self._run = run
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
        compute = self._program(method, tuple(outputs.items()))
        none = self._put({"lr_scale": np.ones(1, np.float32)})
        found: dict[str, dict[int, Any]] = {name: {} for name in splits}
        for seed in seeds or run.options.train.seeds:
            best = self._best(seed)
            for name, source in splits.items():
                size = run.batch_size(source)
                made = compute(best, source, size, none)[0]
                found[name][seed] = jax.tree.map(lambda x: x[0], made)
        return found

    def restore(self) -> None:
        """Reads the checkpoints of all seeds."""
        for seed in self._run.options.train.seeds:
            self._best(seed)

    def _compile(self, method: str, outputs: tuple[tuple[str, int], ...]) -> Callable:
        return evaluate.make_forward(
            self._run.model,
            self._run.devices,
            predict=method,
            outputs=dict(outputs),
            precision=self._run.precision,
        )

    def _restore(self, seed: int) -> Any:
        return fit.variables(fit.stack([self._run.best(seed, self._like())]))
