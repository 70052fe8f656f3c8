"""Measures parts of systems: KAN layers against dense ones, and the passes of IML-CMM that share an encoder.

    python tools/bench/blocks.py kan [--torch]
    python tools/bench/blocks.py passes --encoder base --batch 8

All sides run one after the other in each round, and the median of the rounds counts: a
machine that others use too slows all sides alike, so read the ratios. `kan` measures
forward and backward passes of one layer; a MLP of as many parameters has one hidden
layer, and --torch adds efficient-kan's formulation in PyTorch. `passes` measures a
training step of IML-CMM at CH-SIMS v2's shape, once as it is and once with all that its
three passes share, the text's encoder above all, computed anew in each.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from msajax.models.base import Model
from msajax.models.iml_cmm import IMLCMM
from msajax.models.iml_cmm.kan import KANLinear
from msajax.run import recipe
from msajax.run.options import build
from tools.bench.data import ENCODERS, SHAPES, example
from tools.bench.timing import alternate, describe, steps_in

Sides = dict[str, Callable[[int], Any]]


class Apart(IMLCMM):
    """IML-CMM whose passes share nothing."""

    def passes(self, batch, mixes, *, train):
        """As of IMLCMM, one after the other."""
        batches = [batch]
        for m, mix in mixes.items():
            x, mask = mix.sequences(batch[m], batch[f"{m}_mask"])
            batches.append({**batch, m: x, f"{m}_mask": mask})
        return [super(Apart, self).passes(b, {}, train=train)[0] for b in batches]


def kan_sides(rows: int, dim: int, features: int, *, torch: bool) -> Sides:
    """Functions that run so many forward and backward passes of each kind of layer."""
    rng = np.random.default_rng(0)
    x, cotangent = (
        rng.normal(size=(rows, n)).astype(np.float32) for n in (dim, features)
    )
    layer = KANLinear(features)
    params = jax.jit(layer.init)(jax.random.key(0), x[:2])
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    hidden = round(count / (dim + features))

    def kernels(*widths: int) -> list[jax.Array]:
        shapes = zip(widths, widths[1:], strict=False)
        return [jnp.asarray(rng.normal(0, 0.05, s), jnp.float32) for s in shapes]

    def dense(params, x):
        for kernel in params[:-1]:
            x = jax.nn.relu(x @ kernel)
        return x @ params[-1]

    jax_sides = {
        "KAN": (layer.apply, params),
        "dense": (dense, kernels(dim, features)),
        f"MLP, {hidden} hidden": (dense, kernels(dim, hidden, features)),
    }
    made = {
        name: _repeated(_gradients(apply, cotangent), params, x)
        for name, (apply, params) in jax_sides.items()
    }
    return made | (_torch_sides(x, cotangent) if torch else {})


def _gradients(apply: Callable, cotangent: np.ndarray) -> Callable:
    def loss(params, x):
        return jnp.vdot(apply(params, x), cotangent)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


def _repeated(run: Callable, *args: Any) -> Callable[[int], Any]:
    def repeat(times: int) -> None:
        for _ in range(times):
            jax.block_until_ready(run(*args))

    return repeat


def _torch_sides(x: np.ndarray, cotangent: np.ndarray) -> Sides:
    """The formulation of efficient-kan: recursive splines, and two products."""
    import torch  # pyright: ignore[reportMissingImports]

    dim, features = x.shape[1], cotangent.shape[1]
    knots = torch.arange(-3, 9) * 0.4 - 1
    inputs = torch.tensor(x, requires_grad=True)
    base, scale = (torch.randn(features, dim, requires_grad=True) for _ in range(2))
    spline = torch.randn(features, dim, 8, requires_grad=True)
    wanted = torch.tensor(cotangent)

    def forward() -> Any:
        value = inputs[..., None]
        splines = ((value >= knots[:-1]) & (value < knots[1:])).to(value.dtype)
        for p in range(1, 4):
            rise = (value - knots[: -p - 1]) / (knots[p:-1] - knots[: -p - 1])
            fall = (knots[p + 1 :] - value) / (knots[p + 1 :] - knots[1:-p])
            splines = rise * splines[..., :-1] + fall * splines[..., 1:]
        kernel = (spline * scale[..., None]).reshape(features, -1)
        smooth = torch.nn.functional.silu(inputs)
        return smooth @ base.T + splines.reshape(len(x), -1) @ kernel.T

    def repeat(times: int) -> None:
        for _ in range(times):
            torch.autograd.grad(
                (forward() * wanted).sum(), (inputs, base, scale, spline)
            )

    return {"efficient-kan's form, PyTorch": repeat}


def pass_sides(encoder: str, batch_size: int) -> Sides:
    """Functions that run so many gradients of IML-CMM's training loss."""
    spec, arrays, bert = example("iml_cmm", SHAPES["simsv2"], batch_size, encoder)
    options = recipe.load("iml_cmm:simsv2")
    shared = build(options, spec, bert)
    apart = Apart(spec, encoder=bert, **options.model)
    batch = {**arrays, "valid": np.ones(batch_size, bool)}
    batch = {name: jnp.asarray(array) for name, array in batch.items()}
    params = jax.jit(functools.partial(shared.init, train=False))(
        jax.random.key(0), batch
    )

    def side(model: Model) -> Callable[[int], Any]:
        def loss(params, batch, key):
            rngs = {"params": key, "dropout": jax.random.fold_in(key, 1)}
            options: Any = dict(rngs=rngs, progress={}, method="loss")
            return model.apply(params, batch, train=True, **options)[0]

        return _repeated(
            jax.jit(jax.value_and_grad(loss)), params, batch, jax.random.key(1)
        )

    return {"text read once": side(shared), "text read three times": side(apart)}


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Measure KAN layers, or shared passes."
    )
    parser.add_argument("what", choices=["kan", "passes"])
    parser.add_argument("--rows", type=int, default=32 * 232, help="of kan")
    parser.add_argument("--dim", type=int, default=177, help="of kan")
    parser.add_argument("--features", type=int, default=128, help="of kan")
    parser.add_argument("--torch", action="store_true", help="kan against PyTorch too")
    parser.add_argument("--encoder", choices=list(ENCODERS), default="base")
    parser.add_argument("--batch", type=int, default=32, help="of passes")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a side's round")
    args = parser.parse_args(argv)
    machine = describe(torch=False, precision="float32", tf32=False, deterministic=True)
    print(", ".join(f"{k} {v}" for k, v in machine.items() if v), flush=True)
    if args.what == "kan":
        sides = kan_sides(args.rows, args.dim, args.features, torch=args.torch)
    else:
        sides = pass_sides(args.encoder, args.batch)
    steps = {name: steps_in(side, args.seconds) for name, side in sides.items()}
    speeds = alternate(sides, steps, args.rounds)
    first = next(iter(speeds.values()))
    for name, speed in speeds.items():
        print(f"{name:32} {1e3 / speed:9.1f} ms {first / speed:6.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
