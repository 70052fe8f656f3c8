"""The best checkpoints of a run, applied to rows."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import traverse_util

from msajax import parallel
from msajax.data.spec import suggest
from msajax.models.base import Model
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
        output: str = "pred",
    ) -> dict[str, dict[int, np.ndarray]]:
        """{split: {seed: [N, ...]}}.

        Args:
          splits: to compute.
          seeds: the recipe's, or some of them.
          method: of the system; the last phase's, where it is not given.
          output: which array of the method's dict.
        """
        run = self._run
        compute = self._program(method or run.options.plan[-1].predict, output)
        none = self._put({"lr_scale": np.ones(1, np.float32)})
        found: dict[str, dict[int, np.ndarray]] = {name: {} for name in splits}
        for seed in seeds or run.options.train.seeds:
            best = self._best(seed)
            for name, source in splits.items():
                size = run.batch_size(source)
                found[name][seed] = compute(best, source, size, none)[0][0]
        return found

    def restore(self) -> None:
        """Reads the checkpoints of all seeds."""
        for seed in self._run.options.train.seeds:
            self._best(seed)

    def _compile(self, method: str, output: str) -> Callable:
        return evaluate.make_forward(
            self._run.model,
            self._run.devices,
            predict=method,
            output=output,
            precision=self._run.options.precision,
        )

    def _restore(self, seed: int) -> Any:
        return fit.variables(fit.stack([self._run.best(seed, self._like())]))


def check_output(model: Model, name: str) -> None:
    """Refuses the name of an array that a system does not return, or none of its rows.

    Raises:
      ValueError: no such array; names the nearest one. Or one of dialogues that has no
        axis of turns.
    """
    made: Any = jax.eval_shape(
        lambda key: model.init_with_output(key, model.spec.example(2), train=False)[0],
        jax.random.key(0),
    )
    made = traverse_util.flatten_dict(made, sep="/")
    known = [k for k, leaf in made.items() if hasattr(leaf, "shape")]
    if name not in known:
        raise ValueError(
            f'{model.system()} returns no array "{name}"{suggest(name, known)}'
        )
    if (turns := model.spec.turns) and made[name].shape[1:2] != (turns,):
        raise ValueError(
            f'"{name}" of {model.system()} is not of utterances: it has the shape '
            f"{made[name].shape} for 2 dialogues of {turns} turns; take another array"
        )
