"""QMF: against density matrices in numpy, and what holds of states, weights and measurements."""

import functools

import jax
import numpy as np
import pytest

from msajax import weights
from msajax.data.spec import MODALITIES, Spec
from msajax.models.qmf import QMF
from msajax.train import step
from tests import random_bits
from tests.weights.numpy_reference import relu

SPEC = Spec((5, 3, 4), (4, 4, 4), 6)
SIZES = dict(hidden=3, word_dim=5, state_dims=(3, 2, 4), measurements=5, out_dim=6)


def example():
    """Rows of other lengths; in two of them the modalities have lengths of their own."""
    batch = SPEC.example(6, seed=1)
    for m in MODALITIES:
        mask = batch[f"{m}_mask"]
        mask[:4] = np.arange(4) < np.arange(1, 5)[:, None]
        batch[m] *= mask[..., None]
    return batch


@functools.cache
def ready(spec=SPEC, **fields):
    """A system, random variables, and its jitted outputs."""
    model = QMF(spec, **{**SIZES, **fields})
    rng = np.random.default_rng(0)
    shapes = weights.template(model, spec.example(2), train=False)
    variables = jax.tree.map(lambda x: np.float32(rng.normal(0, 1, x.shape)), shapes)
    return model, variables, jax.jit(lambda v, b: model.apply(v, b, train=False))


def outputs(batch=None, *, change=lambda params: params, **fields):
    model, variables, run = ready(**fields)
    params = change(jax.tree.map(lambda x: x, variables["params"]))
    batch = example() if batch is None else batch
    return jax.tree.map(np.asarray, run({"params": params}, batch))


def alive(params):
    """No ReLU of a last layer is below 0, so that no state is the zero vector."""
    for name, layer in params.items():
        if name.startswith(("audio_", "vision_")):
            kernel = 0.2 * np.abs(layer["kernel"])
            layer |= {"kernel": kernel, "bias": np.full_like(layer["bias"], 0.3)}
    return params


def dense(params, name, x):
    return x @ params[name]["kernel"] + params[name]["bias"]


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def states_of(params, batch, row, out):
    """The states of the row's real steps and their norms, from the modalities' amplitudes."""
    n = max(batch[f"{m}_mask"][row].sum() for m in MODALITIES)
    states, norms = [], []
    for i in range(n):
        psi, own = np.ones(1), []
        text = batch["text"][row, i]
        for m in MODALITIES:
            h = batch[m][row, i]
            for j in (1, 2, 3) if m != "text" else ():
                h = relu(dense(params, f"{m}_{j}", h))
            # The LSTM has tests of its own.
            a = out["amplitude_text"][row, i] if m == "text" else h
            own.append(np.linalg.norm(a))
            phase = dense(params, f"phase_{m}", text)
            psi = np.kron(psi, a / max(own[-1], 1e-12) * np.exp(1j * phase))
        states.append(psi)
        norms.append(own)
    return states, np.array(norms)


@pytest.mark.parametrize("mixture", ["local", "global"])
def test_probabilities_are_those_of_density_matrices(mixture):
    batch = example()
    out = outputs(batch, change=alive, mixture=mixture)
    params = alive(jax.tree.map(lambda x: x, ready(mixture=mixture)[1]["params"]))
    kernel = params["measurement"].reshape(5, -1, 2)
    kappa = kernel[..., 0] + 1j * kernel[..., 1]
    shares = softmax(params["modality_weights"])
    for row in range(6):
        states, norms = states_of(params, batch, row, out)
        n = len(states)
        if mixture == "global":
            weight = sum(s * softmax(x) for s, x in zip(shares, norms.T, strict=True))
            mixtures = [(range(n), weight)]
        else:
            weight = norms @ shares
            spans = [range(i, min(i + 2, n)) for i in range(n)]
            spans += [range(max(i - 1, 0), min(i + 2, n)) for i in range(n)]
            mixtures = [(span, softmax(weight[list(span)])) for span in spans]
        found = []
        for span, share in mixtures:
            rho = sum(
                w * np.outer(states[j], states[j].conj())
                for j, w in zip(span, share, strict=True)
            )
            found.append(np.einsum("kd,de,ke->k", kappa.conj(), rho, kappa).real)
        wanted = np.max(found, axis=0)
        np.testing.assert_allclose(out["fusion"][row], wanted, rtol=1e-4, atol=1e-5)


def real_steps(batch):
    return np.logical_or.reduce([batch[f"{m}_mask"] for m in MODALITIES])


REFERENCE = weights.reference_form("qmf")


@pytest.mark.parametrize("fields,square", [({}, 1), (REFERENCE, 2)])
def test_states_of_real_steps_have_norm_1(fields, square):
    batch = example()
    found = np.square(outputs(batch, change=alive, **fields)["joint"]).sum((2, 3, 4, 5))
    np.testing.assert_allclose(found[real_steps(batch)], square, rtol=1e-5)


def test_probabilities_of_a_basis_sum_to_1():
    rng = np.random.default_rng(2)
    basis, _ = np.linalg.qr(rng.normal(size=(24, 24)) + 1j * rng.normal(size=(24, 24)))
    kernel = np.stack([basis.real, basis.imag], -1).reshape(24, 3, 2, 4, 2)

    def change(params):
        return {**alive(params), "measurement": np.float32(kernel)}

    out = outputs(change=change, measurements=24)
    real = real_steps(example())
    for n in (2, 3):
        total = out[f"probability_{n}"].sum(-1)
        np.testing.assert_allclose(total[real], 1, rtol=1e-4)


def test_a_phase_of_all_states_changes_no_probability():
    def shifted(params, at=slice(None)):
        alive(params)["phase_audio"]["bias"] = params["phase_audio"]["bias"].copy()
        params["phase_audio"]["bias"][at] += 0.7
        return params

    plain, moved = outputs(change=alive), outputs(change=shifted)
    assert np.abs(plain["joint"] - moved["joint"]).max() > 0.1
    np.testing.assert_allclose(plain["fusion"], moved["fusion"], rtol=1e-4, atol=1e-4)
    one = outputs(change=functools.partial(shifted, at=0))  # that of one entry does
    assert np.abs(plain["fusion"] - one["fusion"]).max() > 0.01


@pytest.mark.parametrize("fields", [{}, REFERENCE])
def test_weights_of_a_window_sum_to_1(fields):
    batch = example()
    real = np.ones((6, 4), bool) if fields else real_steps(batch)
    out = outputs(batch, **fields)
    for n in (2, 3):
        np.testing.assert_allclose(out[f"weight_{n}"].sum(-1)[real], 1, rtol=1e-5)


def test_weights_of_all_steps_sum_to_1():
    batch = example()
    out = outputs(batch, mixture="global")
    for name in ("weight", "weight_text", "weight_audio", "weight_vision"):
        np.testing.assert_allclose(out[name].sum(-1), 1, rtol=1e-5)
        assert not out[name][~real_steps(batch)].any()


def test_larger_windows_have_no_effect_beside_single_steps():
    out, real = outputs(windows=(1, 3)), real_steps(example())
    one = np.where(real[..., None], out["probability_1"], 0).max(1)
    np.testing.assert_allclose(out["fusion"], one, rtol=1e-6)


def test_dead_amplitudes_have_zero_states_and_finite_gradients():
    model, variables, _ = ready()
    batch, params = model.spec.example(6), dict(variables["params"])
    params["audio_3"] = jax.tree.map(lambda x: -np.abs(x), params["audio_3"])
    run = functools.partial(model.apply, train=False, method="loss", progress={})
    grads = jax.jit(jax.grad(lambda p: run({"params": p}, batch)[0]))(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert np.any(grads["out_3"]["bias"])
    out = outputs(batch, change=lambda _: params)
    assert not out["joint"].any() and not out["fusion"].any()


# Words, and no audio.
WORDS = Spec(
    *((1, 1, 4), (4, 1, 6), 6),
    fields=(*Spec.fields[1:], "text_ids"),
    vocabulary=7,
)


def test_phases_are_looked_up_by_word():
    batch = WORDS.example(6, seed=1)
    ids = np.where(batch["text_mask"], batch["text_ids"] % 5 + 2, 0)
    ids[:3][ids[:3] == 4] = 5
    batch["text_ids"] = ids

    def change(params):
        table = alive(params)["phase_vision"]["embedding"].copy()
        table[4] += np.arange(4)
        params["phase_vision"] = {"embedding": table}
        return params

    plain, other = (outputs(batch, spec=WORDS, change=f) for f in (alive, change))
    apart = np.abs(plain["joint"] - other["joint"]).max((2, 3, 4, 5))
    assert (ids == 4).any()
    np.testing.assert_array_equal(apart > 1e-3, ids == 4)


def test_a_modality_that_the_data_lack_is_no_factor():
    params = ready(spec=WORDS)[1]["params"]
    assert not any("audio" in name for name in params)
    assert params["modality_weights"].shape == (2,)
    assert outputs(WORDS.example(6), spec=WORDS)["joint"].shape == (6, 4, 3, 1, 4, 2)


def test_phases_start_at_0_and_measured_vectors_at_length_1():
    params = step.init(ready()[0], random_bits.key(0)).params
    assert not any(x.any() for k, x in params.items() if k.startswith("phase_"))
    assert not params["modality_weights"].any()
    square = np.square(params["measurement"]).sum((1, 2, 3, 4))
    np.testing.assert_allclose(square, 1, rtol=1e-5)


def test_an_unknown_mixture_names_the_nearest():
    with pytest.raises(ValueError, match='mixture is "locl"; did you mean "local"'):
        QMF(SPEC, mixture="locl").apply({}, SPEC.example(2), train=False)
