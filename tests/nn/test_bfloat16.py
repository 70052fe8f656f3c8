"""Blocks with parameters and inputs in bfloat16: the dtype stays, the values are near float32's."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.models.iml_cmm.kan import KAN
from msajax.models.msg_mba.msg import MSG
from msajax.nn.ahl import AHL
from msajax.nn.align import align
from msajax.nn.attention import MultiHeadAttention
from msajax.nn.convolution import TemporalConvolution
from msajax.nn.gates import MAGGate
from msajax.nn.linear import Linear
from msajax.nn.norm import BatchNorm, LayerNorm
from msajax.nn.pooling import last_step, mean_pool
from msajax.nn.recurrent import LSTM, Recurrent
from msajax.nn.subnets import SubNet, TextSubNet
from msajax.nn.token_transformer import TokenFusion, TokenTransformer
from msajax.nn.transformer import CrossmodalEncoder
from tests import random_bits

B, L, D = 4, 40, 16
rng = np.random.default_rng(0)
X = rng.normal(1.0, 1.0, size=(B, L, D)).astype(np.float32)
AUDIO, VISION = (rng.normal(size=(B, L, d)).astype(np.float32) for d in (5, 6))
MASK = np.arange(L)[None] < np.array([L, 25, 7, 1])[:, None]
SQUARE = np.broadcast_to(MASK[:, None], (B, L, L))
VALID = np.array([True, True, True, False])


class Function(nn.Module):
    """A function as a block without parameters."""

    function: object

    @nn.compact
    def __call__(self, *args):
        return self.function(*args)


# A block, its inputs, and its keywords: what is float is cast
BLOCKS = {
    "ahl": (AHL(1), (X[:, :4], X[:, 4:8], X[:, 8:12]), {}),
    "align": (Function(align), (X, MASK, MASK[:, :9]), {}),
    "attention": (MultiHeadAttention(4), (X,), dict(mask=SQUARE, train=False)),
    "batch_norm": (BatchNorm(), (X[:, 0],), dict(where=VALID, train=False)),
    "batch_norm_over_time": (
        *(BatchNorm(axis=1), (X,)),
        dict(where=MASK & VALID[:, None], train=True),
    ),
    "convolution": (TemporalConvolution(8, 5), (X, MASK), {}),
    "gate": (MAGGate(beta=0.5), (X, AUDIO, VISION), dict(train=False)),
    "last_step": (Function(last_step), (X, MASK), {}),
    "kan": (KAN((8, 6)), (X - 1,), {}),
    "layer_norm": (LayerNorm(), (X + 30,), {}),
    "linear": (Linear(8), (X,), {}),
    "lstm": (LSTM(32, 2), (X, MASK), dict(train=False)),
    "gru": (Recurrent(32, "gru", bidirectional=True), (X, MASK), {}),
    "msg": (MSG(mu=0.5), (X, {"audio": AUDIO}), dict(train=False)),
    "mean_pool": (Function(mean_pool), (np.tile(X, (1, 25, 1)), np.tile(MASK, 25)), {}),
    "subnet": (SubNet(8), (X[:, 0],), dict(valid=VALID, train=False)),
    "text_subnet": (TextSubNet(32, 8), (X, MASK), dict(train=False)),
    "token_fusion": (TokenFusion(1), (X[:, :4],), {}),
    "token_transformer": (TokenTransformer(3, L), (X, MASK), {}),
    "transformer": (
        *(CrossmodalEncoder(4, 3), (X, X[:, ::-1])),
        dict(mask=MASK, source_mask=MASK, train=False),
    ),
}


def halve(tree):
    """What is float32 in bfloat16; NumPy's arrays, to which jax would compile each conversion."""
    return jax.tree.map(
        lambda a: a.astype(jnp.bfloat16) if a.dtype == np.float32 else a, tree
    )


@pytest.mark.parametrize("name", BLOCKS)
def test_block(name):
    block, inputs, options = BLOCKS[name]
    # Inputs and parameters that bfloat16 holds: what is left is the block's own error.
    inputs = jax.tree.map(
        lambda a: a if a.dtype == bool else a.astype(np.float32), halve(inputs)
    )
    options = {"train": options["train"]} if "train" in options else {}
    arrays = {k: v for k, v in BLOCKS[name][2].items() if k != "train"}
    init = jax.jit(functools.partial(block.init, **options))
    state = jax.device_get(init(random_bits.key(0), *inputs, **arrays))
    params = halve(state.pop("params", {}))

    @jax.jit
    def run(params, inputs):
        def loss(params, inputs):
            values, after = block.apply(
                {"params": params, **state}, *inputs, **arrays, **options, mutable=True
            )
            made = [v for v in jax.tree.leaves(values) if v.dtype != bool]
            # A weighted sum: of squares, a norm would have no gradient.
            draw = np.random.default_rng(1).normal
            weights = [draw(size=v.shape).astype(np.float32) for v in made]
            total = sum(jnp.vdot(v, w) for v, w in zip(made, weights, strict=True))
            return total.astype(jnp.float32), (made, after.get("batch_stats", {}))

        return jax.grad(loss, argnums=0, has_aux=True)(params, inputs)

    full = jax.tree.map(lambda a: a.astype(np.float32), params)
    wanted_gradients, (wanted, wanted_after) = jax.device_get(run(full, inputs))
    gradients, (found, after) = jax.device_get(run(params, halve(inputs)))
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == jnp.bfloat16 and b.dtype == jnp.float32
        close(a, b, 0.02)
    # Running statistics stay float32.
    chex.assert_trees_all_equal_dtypes(after, wanted_after)
    chex.assert_trees_all_close(after, wanted_after, rtol=0.01, atol=0.01)
    pairs = zip(*map(jax.tree.leaves, (gradients, wanted_gradients)), strict=True)
    sizes = [(a, b, np.linalg.norm(b)) for a, b in pairs]
    largest = max((size for *_, size in sizes), default=0)
    for a, b, size in sizes:
        assert a.dtype == jnp.bfloat16
        error = np.linalg.norm(np.asarray(a, np.float32) - b)
        # Some gradients are rounding: a bias that all keys share moves no softmax.
        assert error < (0.08 * size if size > 1e-6 * largest else 0.01 * largest)


def close(found, wanted, bound):
    """Largest and mean error as shares of the largest and of the mean value."""
    found, wanted = np.asarray(found, np.float32), np.asarray(wanted)
    error = np.abs(found - wanted)
    assert error.max() <= bound * np.abs(wanted).max()
    assert error.mean() <= bound * np.abs(wanted).mean()
