import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.nn.attention import MultiHeadAttention
from msajax.nn.transformer import CrossmodalEncoder
from tests import random_bits

rng = np.random.default_rng(0)
X = rng.normal(size=(2, 3, 8)).astype(np.float32)
SOURCE = rng.normal(size=(2, 5, 8)).astype(np.float32)
STEPS, SOURCE_STEPS = (
    np.array([[1, 1, 1], [1, 1, 0]]) > 0,
    np.arange(5)[None] < [[5], [3]],
)


@functools.cache
def initial(**options):
    """Variables; most of an encoder's options change none of them."""
    module = CrossmodalEncoder(heads=2, layers=2, **options)
    masks = dict(mask=STEPS, source_mask=SOURCE_STEPS)
    init = jax.jit(functools.partial(module.init, train=False))
    return jax.device_get(init(random_bits.key(0), X, SOURCE, **masks))


class Encoder:
    """An initialised encoder; called on features and masks."""

    def __init__(self, **options):
        self.module = CrossmodalEncoder(heads=2, layers=2, **options)
        self.variables = initial()
        self._apply = jax.jit(functools.partial(self.module.apply, train=False))

    def __call__(self, x, source=None, mask=STEPS, source_mask=SOURCE_STEPS):
        masks = dict(mask=mask)
        if source is not None:
            masks |= dict(source_mask=source_mask)
        return np.asarray(self._apply(self.variables, x, source, **masks))


def changed(x, row, step):
    x = x.copy()
    x[row, step] += rng.normal(size=x.shape[-1])
    return x


def test_queries_see_sources_up_to_the_diagonal():
    encode = Encoder()
    before, after = encode(X, SOURCE), encode(X, changed(SOURCE, 0, 3))
    np.testing.assert_array_equal(after[0, 0], before[0, 0])  # sees 0..2
    assert np.all(np.abs(after[0, 1:] - before[0, 1:]).max(-1) > 1e-3)


def test_queries_do_not_see_each_other():
    encode = Encoder(causal=False)
    before, after = encode(X, SOURCE), encode(changed(X, 0, 1), SOURCE)
    np.testing.assert_allclose(after[0, [0, 2]], before[0, [0, 2]], atol=1e-6)
    assert np.abs(after[0, 1] - before[0, 1]).max() > 1e-3
    itself = encode(X), encode(changed(X, 0, 1))
    assert np.abs(itself[0][0, 0] - itself[1][0, 0]).max() > 1e-3


def test_padding_is_not_seen():
    encode = Encoder()
    before = encode(X, SOURCE)
    after = encode(changed(X, 1, 2), changed(SOURCE, 1, 4))
    np.testing.assert_allclose(after[STEPS], before[STEPS], atol=1e-6)
    longer = encode(
        np.pad(X, ((0, 0), (0, 2), (0, 0))),
        np.pad(SOURCE, ((0, 0), (0, 1), (0, 0))),
        np.pad(STEPS, ((0, 0), (0, 2))),
        np.pad(SOURCE_STEPS, ((0, 0), (0, 1))),
    )
    np.testing.assert_allclose(longer[:, :3][STEPS], before[STEPS], atol=1e-5)


def test_order_matters_through_positions_only():
    swapped = SOURCE[:, [1, 0, 2, 3, 4]]
    without = Encoder(causal=False, position_embedding=False)
    np.testing.assert_allclose(without(X, swapped), without(X, SOURCE), atol=1e-5)
    positioned = Encoder(causal=False)
    assert np.abs(positioned(X, swapped) - positioned(X, SOURCE)).max() > 1e-3


def test_a_missing_source_gives_finite_gradients():
    encode = Encoder()

    def loss(variables):
        y = encode.module.apply(
            variables,
            X,
            SOURCE,
            mask=STEPS,
            source_mask=SOURCE_STEPS & False,
            train=False,
        )
        return jnp.sum(y**2)

    gradients = jax.jit(jax.grad(loss))(encode.variables)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("long", [pytest.param(2**14, marks=pytest.mark.slow), 0])
def test_rematerialising_changes_no_gradient(monkeypatch, long):
    monkeypatch.setattr("msajax.nn.attention.LONG", long)
    dropout = dict(attention_dropout=0.3, residual_dropout=0.2, embed_dropout=0.1)

    def gradients(remat):
        encode = Encoder(remat=remat, **dropout)

        def loss(variables):
            inputs = dict(mask=STEPS, source_mask=SOURCE_STEPS, train=True)
            rngs = {"dropout": random_bits.key(1)}
            y = encode.module.apply(variables, X, SOURCE, **inputs, rngs=rngs)
            return jnp.sum(y**3)

        traced = jax.make_jaxpr(jax.grad(loss))(encode.variables)
        return jax.jit(jax.grad(loss))(encode.variables), "remat" in str(traced)

    (kept, kept_remat), (again, again_remat) = gradients(False), gradients(True)
    assert again_remat and not kept_remat
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), again, kept)


def test_keys_and_values_are_dropped_independently():
    module = CrossmodalEncoder(heads=2, layers=1, embed_dropout=0.5)
    attended = []

    def spy(next_call, args, kwargs, context):
        if isinstance(context.module, MultiHeadAttention):
            jax.debug.callback(lambda *arrays: attended.append(arrays), *args)
        return next_call(*args, **kwargs)

    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    masks = {"mask": STEPS, "source_mask": SOURCE_STEPS}
    with nn.intercept_methods(spy):
        jax.jit(functools.partial(module.init, **masks, train=True))(rngs, X, SOURCE)
    jax.effects_barrier()
    _, key, value = attended[0]
    assert np.any(key != value)


def test_layers_share_one_stacked_tree():
    layers = initial(expansion=3)["params"]["layers"]
    assert layers["fc1"]["kernel"].shape == (2, 8, 24)
    assert layers["attention"]["kernel"].shape == (2, 8, 3, 2, 4)
    assert np.any(layers["fc1"]["kernel"][0] != layers["fc1"]["kernel"][1])
