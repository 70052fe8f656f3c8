"""Our side of tools/bench/bench.py: the trainer's compiled passes, run as the trainer runs them."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax import parallel
from msajax.data import loader
from msajax.data.spec import DATASETS
from msajax.train import feed, step
from msajax.train.plan import Phase
from tools.bench.timing import alternate, matmul_flops, timed


class Ours:
    """A system that trains on a split and predicts it.

    Attributes:
      state: what the next step starts from.
      steps: of an epoch.
      samples: rows that a step takes, those of all seeds together.
      compile_seconds: of tracing and compiling the training loop.
      memory: bytes that the training loop needs at its peak, its data included.
    """

    def __init__(
        self,
        model,
        phase: Phase,
        parts: Sequence[dict[str, np.ndarray]],
        dataset: str,
        *,
        seeds: int = 1,
        precision: str = "float32",
        resident: bool = True,
        devices: int = 1,
    ):
        """Compiles the loop.

        Args:
          model: the system.
          phase: how it is trained.
          parts: the split, from `loader.parts`.
          dataset: a name in `DATASETS`.
          seeds: trained at once.
          precision: of the computation.
          resident: False streams the batches from the host.
          devices: that share a batch; where one of a processor trains, two evaluate.
        """
        found = parallel.find_devices(devices)
        self._put = functools.partial(parallel.replicate, devices=found)
        self._parts = parts
        self._source = feed.source(parts, found, resident=resident)
        evaluating = parallel.to_evaluate(found)
        self._split = self._source
        if evaluating != found:
            self._split = feed.source(parts, evaluating, resident=resident)
        self._program = step.Program(
            model,
            phase,
            DATASETS[dataset],
            self._source,
            cycles=1,
            seeds=seeds,
            precision=precision,
        )
        self._seeds, self._size = seeds, phase.batch_size
        self.steps, self.samples = self._program.steps, seeds * phase.batch_size
        state = step.init(model, jax.random.key(0))
        fresh = state._replace(opt_state={phase.name: self._program.init(state.params)})
        self.state = self._put(jax.tree.map(lambda x: jnp.stack([x] * seeds), fresh))
        keys = jax.random.key_data(jax.random.split(jax.random.key(1), seeds))
        scale = {"lr_scale": np.ones(seeds, np.float32)}
        # Epoch, key data, scale of the learning rate and whether it is active, of each seed.
        self._rest = self._put((np.int32(0), keys, scale, np.ones(seeds, bool)))
        chunk = next(self._source.chunks(self._batches()))
        lower = self._program.loop.lower
        self.compile_seconds, compiled = timed(
            lambda: lower(self.state, *chunk, *self._rest).compile()
        )
        self.memory = _peak(compiled.memory_analysis())
        # Called by name the loop would be compiled again; buckets need one for each shape.
        self._loop = compiled if len(parts) == 1 else self._program.loop

    def _batches(self) -> loader.Batches:
        """The batches of an epoch, drawn as the trainer draws them."""
        sizes, size = self._source.sizes, self._size
        made = [
            loader.epoch_batches(sizes, size, order=(seed, 0, 0, 0))
            for seed in range(self._seeds)
        ]
        return loader.Batches(np.stack([b.rows for b in made]), made[0].part)

    def train(self, steps: int) -> None:
        """Runs training steps, epoch by epoch; returns when the device is done."""
        while steps > 0:
            count = min(steps, self.steps)
            self._run(self._source.chunks(self._batches(), self.steps - count))
            steps -= count

    def _run(self, chunks: Iterable[feed.Chunk]) -> None:
        before = None
        for chunk in chunks:
            self.state, metrics = self._loop(self.state, *chunk, *self._rest)
            if before is not None:  # one dispatch may wait while another runs
                jax.block_until_ready(before)
            before = metrics
        jax.block_until_ready((self.state, before))

    def wait_share(self, steps: int, rounds: int) -> float:
        """Share of the training time in which the device waits for batches.

        What dispatches of batches that lie on the device already take less than
        the same dispatches whose batches are drawn, read and copied meanwhile.

        Args:
          steps: of a round, at most those of an epoch count. Nothing hides the
            reading of the first batches, so fewer than those overstate the share.
          rounds: medians of so many count.
        """
        start = max(0, self.steps - steps)
        ready = list(self._source.chunks(self._batches(), start))
        sides = {
            "ready": lambda _: self._run(ready),
            "read": lambda _: self._run(self._source.chunks(self._batches(), start)),
        }
        speeds = alternate(sides, dict.fromkeys(sides, 1), rounds)
        return max(0.0, 1 - speeds["read"] / speeds["ready"])

    def shorten(self, steps: int) -> int:
        """Plans evaluations of about so many batches: whole splits, or one that is cut.

        Args:
          steps: with fewer than an epoch's, `evaluate` takes the split's first
            rows from now on.

        Returns:
          How many batches to ask of `evaluate`.
        """
        if steps >= self.steps:
            return steps - steps % self.steps
        (part,) = self._parts
        rows = steps * self._size
        first = {name: x[:rows] for name, x in part.items() if name != "index"}
        parts = loader.parts(first, 1, cut=False)
        devices, resident = self._split.devices, self._split.resident
        self._split = feed.source(parts, devices, resident=resident)
        return steps

    @property
    def evaluated_rows(self) -> int:
        """Rows of the split that `evaluate` predicts."""
        return sum(self._split.sizes)

    def evaluate(self, steps: int) -> np.ndarray:
        """Predictions of whole splits, as many as have so many batches: [S, rows], on the host."""
        none = {"epoch": np.int32(0), "step": np.int32(0), "fraction": np.float32(0)}
        progress = self._put(none) | self._rest[2]
        variables = step.variables(self.state)
        preds = [
            self._program.forward(variables, self._split, self._size, progress)[0]
            for _ in range(steps * self._size // self.evaluated_rows)
        ]
        return np.concatenate(preds, axis=1)


def step_flops(model, phase: Phase, arrays: dict[str, np.ndarray]) -> float:
    """Multiplications and additions of the matrix products in a training step."""
    rows = np.arange(phase.batch_size, dtype=np.int32)
    batch = {name: array[rows] for name, array in arrays.items()} | {"index": rows}
    batch["valid"] = np.ones(len(rows), bool)
    progress = {"epoch": 0, "step": 0, "fraction": 0.0, "lr_scale": 1.0}

    def loss(params, collections, batch):
        (value, _), _ = model.apply(
            step.variables(step.State(params, collections, {})),
            batch,
            train=True,
            progress=progress,
            method=phase.loss,
            mutable=True,
            rngs={name: jax.random.key(0) for name in ("params", "dropout")},
        )
        return value

    state = step.shapes(model)
    given = state.params, state.collections, batch
    gradient = jax.make_jaxpr(jax.grad(loss))(*given)
    return matmul_flops(gradient.jaxpr)


def _peak(memory: Any) -> int:
    sizes = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return sizes + memory.temp_size_in_bytes - memory.alias_size_in_bytes
