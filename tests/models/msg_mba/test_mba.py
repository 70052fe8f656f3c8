import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.models.msg_mba.mba import MBA
from msajax.nn.adjustment import adjust, similarity
from msajax.nn.norm import l2_norm
from tests import random_bits

rng = np.random.default_rng(0)
TEXT, OTHER = (rng.normal(size=(3, 5, d)).astype(np.float32) for d in (6, 4))
MASK = np.arange(5)[None] < np.array([5, 3, 1])[:, None]


def made(**fields):
    """(module, its variables with values that show, jitted call)."""
    mba = MBA(**{"length": 5, "dim": 3, **fields})
    init = jax.jit(mba.init)
    variables = jax.device_get(init(random_bits.key(0), TEXT, OTHER, MASK))
    draw = np.random.default_rng(1).normal
    variables = jax.tree.map(
        lambda leaf: leaf + 0.3 * draw(size=leaf.shape).astype(np.float32), variables
    )
    return mba, variables, jax.jit(mba.apply)


def convolved(x, kernel):
    """'same' convolution of one sequence [n, D] with [k, D, F]."""
    size = len(kernel)
    left, right = (size - 1) // 2, size // 2
    x = np.pad(x, ((left, right), (0, 0)))
    windows = [x[i : i + size] for i in range(len(x) - size + 1)]
    return np.stack([np.einsum("kd,kdf->f", w, kernel) for w in windows])


@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize("sizes", [(1, 3), (3, 2)])
def test_equations_9_to_17(scalar, sizes):
    _, variables, call = made(scalar=scalar, kernel_sizes=sizes)
    p = jax.tree.map(np.asarray, variables["params"])
    adjusted, p_att, x_att = call(variables, TEXT, OTHER, MASK)
    for row, n in enumerate(MASK.sum(1)):
        parts = {}
        for name, x in (("text", TEXT), ("other", OTHER)):
            x = convolved(x[row, :n], p[f"{name}_convolution"]["conv"]["kernel"])
            x = x / np.sqrt(np.linalg.norm(x))
            w = p[f"{name}_weight"] * np.eye(n) if scalar else p[f"{name}_weight"]
            parts[name] = np.tanh(w[:n, :n] @ (x @ x.T) + p[f"{name}_bias"])
        product = parts["text"] * parts["other"]
        scores = np.exp(parts["text"] + product)
        attention = scores / scores.sum(-1, keepdims=True)
        text = TEXT[row, :n]
        np.testing.assert_allclose(p_att[row, :n, :n], product, atol=1e-5)
        np.testing.assert_allclose(x_att[row, :n, :n], attention, atol=1e-5)
        np.testing.assert_allclose(
            adjusted[row, :n], text + attention @ text, atol=1e-5
        )


@pytest.mark.parametrize("scalar", [False, True])
def test_padding_is_not_attended_to(scalar):
    _, variables, call = made(scalar=scalar)
    adjusted, _, x_att = call(variables, TEXT, OTHER, MASK)
    np.testing.assert_array_equal(np.where(MASK[:, None], 0, x_att), 0)
    np.testing.assert_allclose(x_att.sum(-1), 1, rtol=1e-5)
    for value in (9.0, np.inf, np.nan):
        text, other = (np.where(MASK[..., None], x, value) for x in (TEXT, OTHER))
        noisy, _, same = call(variables, text, other, MASK)
        np.testing.assert_array_equal(same, x_att)
        np.testing.assert_array_equal(noisy[MASK], adjusted[MASK])


@pytest.mark.parametrize("length", [3, 8])
def test_lengths_other_than_that_of_the_weights(length):
    _, variables, call = made()
    mask = MASK[1:]  # at most 3 real steps
    inputs = [x[1:] for x in (TEXT, OTHER, MASK)]
    if length < 5:
        resized = [x[:, :length] for x in inputs]
    else:
        pads = [(0, 0), (0, length - 5), (0, 0)]
        resized = [np.pad(x, pads[: x.ndim]) for x in inputs]
    wanted, _, wanted_att = call(variables, *inputs)
    found, _, att = call(variables, *resized)
    for i, n in enumerate(mask.sum(1)):
        np.testing.assert_allclose(found[i, :n], wanted[i, :n], atol=1e-6)
        np.testing.assert_allclose(att[i, :n, :n], wanted_att[i, :n, :n], atol=1e-6)


def test_both_forms_of_the_weights_start_as_the_identity():
    call = {
        scalar: jax.jit(MBA(length=5, dim=3, scalar=scalar).init_with_output)(
            random_bits.key(0), TEXT, OTHER, MASK
        )[0]
        for scalar in (False, True)
    }
    jax.tree.map(np.testing.assert_array_equal, call[False], call[True])


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1e-6])
def test_zeros_and_what_is_nearly_zero_are_safe(scale):
    mba, variables, _ = made()
    mask = MASK.copy()
    mask[2] = False  # no real step at all

    @jax.jit
    def run(variables, text, other):
        def total(*args):
            adjusted, p_att, x_att = mba.apply(*args, mask)
            return jnp.sum(adjusted**2) + jnp.sum(p_att) + jnp.sum(x_att**2)

        return jax.value_and_grad(total, argnums=(0, 1, 2))(variables, text, other)

    for text, other in ((TEXT, scale * OTHER), (scale * TEXT, OTHER)):
        found = run(variables, jnp.float32(text), jnp.float32(other))
        for leaf in jax.tree.leaves(found):
            assert np.isfinite(leaf).all()


def test_similarity_is_that_of_scaled_steps():
    x = TEXT / np.sqrt(np.linalg.norm(TEXT, axis=(1, 2), keepdims=True))
    found = similarity(jnp.asarray(TEXT), l2_norm(jnp.asarray(TEXT), axis=(1, 2)))
    np.testing.assert_allclose(found, x @ x.swapaxes(1, 2), rtol=1e-5, atol=1e-6)


def test_a_row_without_real_steps_keeps_its_text():
    text, attention = adjust(TEXT, np.zeros((3, 5, 5), np.float32), MASK & False)
    np.testing.assert_array_equal(text, TEXT)
    np.testing.assert_array_equal(attention, 0)
