import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.nn.attention import MultiHeadAttention, attend, attend_few, masked_softmax
from msajax.nn.dropout import Dropout
from msajax.weights import template

rng = np.random.default_rng(0)
QUERY = rng.normal(size=(2, 3, 8)).astype(np.float32)
KEY = rng.normal(size=(2, 5, 8)).astype(np.float32)
VALUE = rng.normal(size=(2, 5, 8)).astype(np.float32)
MASK = rng.random((2, 3, 5)) < 0.6
MASK[..., 0] = True


def by_hand(params, query, key, value, mask, heads):
    """One head and one query at a time."""
    kernel, bias = np.asarray(params["kernel"]), np.asarray(params["bias"])
    out = np.zeros((*query.shape[:2], heads, query.shape[-1] // heads))
    for h in range(heads):
        q, k, v = (
            x @ kernel[:, i, h] + bias[i, h] for i, x in enumerate((query, key, value))
        )
        for b, t in np.ndindex(query.shape[:2]):
            seen = mask[b, t]
            scores = np.exp(k[b, seen] @ q[b, t] / np.sqrt(q.shape[-1]))
            out[b, t, h] = scores @ v[b, seen] / max(scores.sum(), 1e-30)
    out = out.reshape(query.shape)
    return out @ np.asarray(params["out"]["kernel"]) + np.asarray(params["out"]["bias"])


def random_params(heads, *inputs, mask):
    attention = MultiHeadAttention(heads)
    params = template(attention, *inputs, mask=mask, train=False)
    leaves, tree = jax.tree.flatten(params["params"])
    leaves = [rng.normal(size=leaf.shape).astype(np.float32) / 3 for leaf in leaves]
    return attention, jax.tree.unflatten(tree, leaves)


def run(attention, params, *inputs, mask):
    """The output in evaluation, compiled as one program."""
    apply = jax.jit(functools.partial(attention.apply, train=False))
    return apply({"params": params}, *inputs, mask=mask)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_against_a_loop(heads):
    attention, params = random_params(heads, QUERY, KEY, VALUE, mask=MASK)
    y = run(attention, params, QUERY, KEY, VALUE, mask=MASK)
    want = by_hand(params, QUERY, KEY, VALUE, MASK, heads)
    np.testing.assert_allclose(y, want, atol=1e-5)


def test_a_lone_query_against_a_loop():
    mask = MASK[:, :1].copy()
    mask[1] = False  # sees no key
    attention, params = random_params(2, QUERY, KEY, VALUE, mask=MASK)
    inputs = (QUERY[:, :1], KEY, VALUE)
    y = run(attention, params, *inputs, mask=mask)
    np.testing.assert_allclose(y, by_hand(params, *inputs, mask, 2), atol=1e-5)


@pytest.mark.parametrize("queries", [1, 3])
def test_few_queries_are_as_many(queries):
    kept = np.array([2.0, 0.0, 2.0, 2.0, 0.0], np.float32)

    def dropout(weights):
        return weights * kept.reshape((1,) * (weights.ndim - 1) + (-1,))

    q, kernel, bias = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((2, queries, 2, 4), (2, 8, 2, 4), (2, 2, 4))
    )
    k, v = (
        jnp.einsum("bkd,dhe->bkhe", x, kernel[i]) + bias[None, None, i]
        for i, x in enumerate((KEY, VALUE))
    )
    mask = MASK[:, None, :queries] & (np.arange(2) > 0)[:, None, None, None]
    options = dict(mask=mask, dropout=dropout)
    found = attend_few(q, KEY, VALUE, *kernel, bias=bias[1], **options)
    np.testing.assert_allclose(found, attend(q, k, v, **options), atol=1e-5)
    np.testing.assert_array_equal(found[0], 0)  # sees no key
    without = attend_few(q, KEY, VALUE, *kernel, **options)
    wanted = attend(q, k, v - bias[None, None, 1], **options)
    np.testing.assert_allclose(without, wanted, atol=1e-5)


@pytest.mark.parametrize("long", [0, 2**14])
def test_a_scale_of_the_scores(monkeypatch, long):
    monkeypatch.setattr("msajax.nn.attention.LONG", long)
    q, k, v = rng.normal(size=(3, 1, 5, 2, 4)).astype(np.float32)
    mask = np.ones((1, 1, 1, 5), bool)
    expected = attend(2 * q, k, v, mask=mask)  # divided by the root of 4
    found = attend(q, k, v, mask=mask, scale=1.0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_self_attention_is_attention_to_itself():
    mask = MASK[..., :3]
    attention, params = random_params(2, QUERY, mask=mask)
    np.testing.assert_allclose(
        run(attention, params, QUERY, mask=mask),
        run(attention, params, QUERY, QUERY, QUERY, mask=mask),
        atol=1e-6,
    )


def test_a_query_that_sees_no_key_gets_zeros_and_finite_gradients():
    mask = MASK.copy()
    mask[1, 2] = False
    attention, params = random_params(2, QUERY, KEY, VALUE, mask=mask)

    def loss(query):
        y = run(attention, params, query, KEY, VALUE, mask=mask)
        return jnp.sum(y**2), y

    gradient, y = jax.device_get(jax.jit(jax.grad(loss, has_aux=True))(QUERY))
    np.testing.assert_allclose(y[1, 2], params["out"]["bias"], atol=1e-6)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[1, 2], 0)


def test_masked_softmax_rows_sum_to_one_or_zero():
    scores = jnp.array([[1e4, -1e4, 0.0], [3.0, 2.0, 1.0]])
    mask = jnp.array([[False, True, True], [False, False, False]])
    weights = masked_softmax(scores, mask)
    np.testing.assert_allclose(weights, [[0, 0, 1], [0, 0, 0]], atol=1e-6)


def test_initial_scale_counts_the_three_projections_as_one():
    x = jnp.ones((1, 2, 48))
    attention = MultiHeadAttention(4)
    params = attention.init(
        jax.random.key(3), x, mask=jnp.ones((1, 2, 2), bool), train=False
    )["params"]
    bound = np.sqrt(6 / (48 + 3 * 48))
    assert 0.97 * bound < jnp.max(jnp.abs(params["kernel"])) <= bound
    np.testing.assert_array_equal(params["bias"], 0)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        random_params(3, QUERY, KEY, VALUE, mask=MASK)


def random_attention(dtype):
    """Queries, keys and values, and a mask under which one query sees no key."""
    rng = np.random.default_rng(0)
    qkv = tuple(rng.normal(size=(2, n, 3, 8)).astype(dtype) for n in (4, 5, 5))
    mask = rng.random((2, 1, 4, 5)) < 0.5
    mask[1, 0, 2] = False
    return qkv, mask


class Attend(nn.Module):
    """`attend` with dropout, as a module that has its key."""

    rate: float
    see: Callable | None = None
    deterministic: bool = False

    @nn.compact
    def __call__(self, q, k, v, mask):
        dropout = Dropout(self.rate, self.deterministic) if self.rate else None
        return attend(q, k, v, mask=mask, dropout=dropout, see=self.see)


def outputs_and_gradients(qkv, mask, rate):
    def loss(qkv, key):
        rngs = {"dropout": key}
        heads = Attend(rate).apply({}, *qkv, mask, rngs=rngs)
        weights = jnp.cos(jnp.arange(heads.size).reshape(heads.shape))
        return jnp.sum(heads.astype(jnp.float32) * weights), heads

    run = jax.jit(jax.grad(loss, has_aux=True))
    gradients, heads = jax.device_get(run(qkv, jax.random.key(3)))
    return heads, *gradients


def choose(monkeypatch, backend):
    """Long attention as on a backend, two keys of five at a time where it is by keys."""
    monkeypatch.setattr("msajax.nn.long_attention._BYTES", 4 * 2 * 3 * 4 * 2)
    branch = "cpu" if backend == "cpu" else "default"
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *args, **of: of[branch](*args)
    )


@pytest.mark.parametrize("keys_only", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("dtype,atol", [(jnp.float32, 2e-6), (jnp.bfloat16, 5e-2)])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_long_attention_computes_the_same(
    monkeypatch, keys_only, rate, dtype, atol, backend
):
    qkv, mask = random_attention(dtype)
    mask = mask[:, :, :1] if keys_only else mask
    kept = outputs_and_gradients(qkv, mask, rate)
    monkeypatch.setattr("msajax.nn.attention.LONG", 0)
    choose(monkeypatch, backend)
    long = outputs_and_gradients(qkv, mask, rate)
    assert "custom_vjp" in str(
        jax.make_jaxpr(lambda q: attend(q, *qkv[1:], mask=mask))(qkv[0])
    )
    for x, y in zip(kept, long, strict=True):
        assert x.dtype == y.dtype == dtype
        np.testing.assert_allclose(
            np.asarray(x, np.float32), np.asarray(y, np.float32), atol=atol
        )
    if not keys_only:
        assert not np.asarray(long[0][1, 2], np.float32).any()


def test_long_attention_draws_another_mask_for_each_row_and_head(monkeypatch):
    monkeypatch.setattr("msajax.nn.attention.LONG", 0)
    same = jnp.ones((3, 16, 2, 4))
    mask = jnp.ones((3, 1, 1, 16), bool)
    rngs = {"dropout": jax.random.key(0)}
    heads = np.asarray(Attend(0.5).apply({}, same, same, same, mask, rngs=rngs))
    masks = {heads[row, :, head].tobytes() for row in range(3) for head in range(2)}
    assert len(masks) == 6


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_long_attention_of_seeds_at_once(monkeypatch, backend):
    monkeypatch.setattr("msajax.nn.attention.LONG", 0)
    choose(monkeypatch, backend)
    qkv, mask = random_attention(jnp.float32)
    keys = jax.random.split(jax.random.key(0), 3)

    def gradient(key):
        def loss(q):
            return jnp.sum(
                Attend(0.3).apply({}, q, *qkv[1:], mask, rngs={"dropout": key}) ** 2
            )

        return jax.grad(loss)(qkv[0])

    together = jax.jit(jax.vmap(gradient))(keys)
    alone = np.stack([*map(jax.jit(gradient), keys)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_gpu_holds_no_weights_of_all_keys(monkeypatch):
    size = 4 * 2 * 3 * 130 * 128
    monkeypatch.setattr("msajax.nn.long_attention._BYTES", size)
    x = jnp.zeros((2, 130, 3, 8)), *[jnp.zeros((2, 150, 3, 8))] * 2
    mask = jnp.ones((2, 1, 1, 150), bool)

    def loss(qkv, key):
        return jnp.sum(Attend(0.3).apply({}, *qkv, mask, rngs={"dropout": key}))

    def lowered(platform):
        export = jax.export.export(jax.jit(jax.grad(loss)), platforms=[platform])
        return export(x, jax.random.key(0)).mlir_module()

    gpu, cpu = lowered("cuda"), lowered("cpu")
    assert "tensor<2x3x130x75xf32>" in gpu and "tensor<2x3x130x75xf32>" not in cpu
    assert "tensor<130x150xf32>" in cpu and "130x150xf32>" not in gpu


@pytest.mark.parametrize("long", [2**14, 0])
def test_deterministic_dropout_drops_nothing(monkeypatch, long):
    monkeypatch.setattr("msajax.nn.attention.LONG", long)
    qkv, mask = random_attention(jnp.float32)
    found = Attend(0.5, deterministic=True).apply({}, *qkv, mask)
    np.testing.assert_array_equal(found, attend(*qkv, mask=mask))


@pytest.mark.parametrize("long", [2**14, 0])
def test_weights_are_seen_before_dropout(monkeypatch, long):
    monkeypatch.setattr("msajax.nn.attention.LONG", long)
    qkv, mask = random_attention(jnp.float32)
    seen = []
    dropped = Attend(0.5, see=seen.append).apply(
        {}, *qkv, mask, rngs={"dropout": jax.random.key(0)}
    )
    (weights,) = seen
    heads = jnp.einsum("bhqk,bkhe->bqhe", weights, qkv[2])
    np.testing.assert_allclose(heads, attend(*qkv, mask=mask), atol=1e-6)
    assert np.abs(heads - dropped).max() > 0.1
    sums = np.broadcast_to(mask.any(-1), weights.shape[:-1])
    np.testing.assert_allclose(weights.sum(-1), sums, atol=1e-6)
