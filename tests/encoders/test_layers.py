import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.encoders.layers import LayerStack, check_heads


class Layer(nn.Module):
    """tanh(x W + context), with dropout."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, context, *, train):
        x = jnp.tanh(nn.Dense(x.shape[-1], name="dense")(x) + context)
        return nn.Dropout(self.dropout, deterministic=not train)(x)


X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
CONTEXT = np.float32(0.1) * X
MODES = [(False, False), (True, False), (False, True), (True, True)]
modes = pytest.mark.parametrize("remat,scan", MODES)


def stack(length=3, *, dropout=0.0, **kwargs):
    return LayerStack(functools.partial(Layer, dropout), length, **kwargs)


@pytest.fixture(scope="module")
def variables():
    return stack().init(jax.random.key(0), X, CONTEXT, train=False)


def by_hand(variables, inject_after=None, inject=None):
    hidden = [X]
    for i in range(4):
        if inject_after == i:
            hidden[-1] = inject(hidden[-1])
        if i < 3:
            dense = variables["params"][str(i)]["dense"]
            hidden.append(np.tanh(hidden[-1] @ dense["kernel"] + CONTEXT))
    return hidden


@modes
@pytest.mark.parametrize("after", [None, 0, 1, 3])
def test_all_hidden_states_with_and_without_injection(variables, remat, scan, after):
    inject = None if after is None else lambda x: 2 * x + 1
    hidden = jax.jit(
        lambda v: stack(remat=remat, scan=scan).apply(
            v, X, CONTEXT, train=False, inject_after=after, inject=inject
        )
    )(variables)
    assert len(hidden) == 4
    for ours, expected in zip(hidden, by_hand(variables, after, inject), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@modes
@pytest.mark.parametrize("after", [None, 0, 1, 2])
def test_what_is_joined_behind_the_first_layer(variables, remat, scan, after):
    inject = None if after is None else lambda x: 2 * x + 1
    hidden = stack(remat=remat, scan=scan).apply(
        *(variables, X, CONTEXT),
        train=False,
        inject_after=after,
        inject=inject,
        behind_first=lambda x, h: x - h,
    )
    x = inject(X) if after == 0 else X
    first = x - np.tanh(x @ variables["params"]["0"]["dense"]["kernel"] + CONTEXT)
    np.testing.assert_allclose(hidden[0], x, atol=1e-5)
    expected = inject(first) if after == 1 else first
    np.testing.assert_allclose(hidden[1], expected, atol=1e-5)
    second = np.tanh(expected @ variables["params"]["1"]["dense"]["kernel"] + CONTEXT)
    expected = inject(second) if after == 2 else second
    np.testing.assert_allclose(hidden[2], expected, atol=1e-5)


@modes
def test_gradients_do_not_depend_on_how_it_runs(variables, remat, scan):
    def gradient(**kwargs):
        def loss(v):
            gate = variables["params"]["0"]["dense"]["kernel"]
            hidden = stack(**kwargs).apply(
                v, X, CONTEXT, train=True, inject_after=1, inject=lambda x: x @ gate
            )
            return jnp.sum(hidden[-1] ** 2) + jnp.sum(hidden[1])

        return jax.jit(jax.grad(loss))(variables)

    plain = jax.tree.leaves(gradient())
    other = jax.tree.leaves(gradient(remat=remat, scan=scan))
    for a, b in zip(plain, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@modes
def test_each_layer_draws_its_own_dropout(remat, scan):
    ones = {
        str(i): {"dense": {"kernel": jnp.eye(50), "bias": jnp.ones(50)}}
        for i in range(3)
    }
    hidden = stack(dropout=0.5, remat=remat, scan=scan).apply(
        {"params": ones},
        jnp.ones((1, 4, 50)),
        jnp.ones((1, 4, 50)),
        train=True,
        rngs={"dropout": jax.random.key(1)},
    )
    kept = [np.asarray(h) != 0 for h in hidden[1:]]
    for one in kept:
        assert 0.3 < one.mean() < 0.7
    assert (kept[0] != kept[1]).mean() > 0.2
    assert (kept[1] != kept[2]).mean() > 0.2


@modes
def test_the_parameters_are_the_same(variables, remat, scan):
    other = stack(remat=remat, scan=scan).init(
        jax.random.key(0), X, CONTEXT, train=False
    )
    jax.tree.map(np.testing.assert_array_equal, variables, other)


@pytest.mark.parametrize("scan", [False, True])
def test_several_injections(variables, scan):
    places, changes = (0, 2, 3), (jnp.sin, jnp.cos, lambda x: 2 * x)
    hidden = stack(scan=scan).apply(
        variables, X, CONTEXT, train=False, inject_after=places, inject=changes
    )
    assert len(hidden) == 4
    for i in places:
        expected = X
        for k in range(i + 1):
            if k:
                dense = variables["params"][str(k - 1)]["dense"]
                expected = np.tanh(expected @ dense["kernel"] + CONTEXT)
            expected = dict(zip(places, changes, strict=True)).get(k, np.asarray)(
                expected
            )
        np.testing.assert_allclose(hidden[i], expected, atol=1e-5)


def test_injection_after_a_layer_that_is_not_there(variables):
    for after in (-1, 4):
        with pytest.raises(ValueError, match=f"inject_after={after}.* 3 layers"):
            stack().apply(
                variables, X, CONTEXT, train=False, inject_after=after, inject=jnp.sin
            )


def test_half_an_injection(variables):
    with pytest.raises(ValueError, match="go together"):
        stack().apply(variables, X, CONTEXT, train=False, inject=jnp.sin)
    two = dict(inject_after=(0, 1), inject=jnp.sin)
    with pytest.raises(ValueError, match="not as many of each"):
        stack().apply(variables, X, CONTEXT, train=False, **two)
    with pytest.raises(ValueError, match=r"\(2, 1\).* several go up"):
        two = dict(inject_after=(2, 1), inject=(jnp.sin, jnp.cos))
        stack().apply(variables, X, CONTEXT, train=False, **two)


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ValueError, match="5 attention heads .* width of 24"):
        check_heads(24, 5)
