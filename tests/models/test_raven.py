"""RAVEN: against a plain loop over words in numpy, for each option; frames of a word; what is cut."""

import functools

import jax
import numpy as np
import pytest

from msajax import weights
from msajax.data.spec import Spec
from msajax.models.raven import RAVEN
from tests.weights.numpy_reference import linear, lstm, sigmoid

FRAMES = 2
SPEC = Spec((5, 3, 4), (4, 8, 8), 6)
SIZES = dict(dim=3, cell=4, hidden=6, frames=FRAMES)
PUBLISHED = weights.reference_form("raven")


def ready(spec=SPEC, **fields):
    rng = np.random.default_rng(0)
    model = RAVEN(spec, **{**SIZES, **fields})
    shapes = weights.template(model, spec.example(2), train=False)
    variables = jax.tree.map(lambda x: np.float32(rng.normal(0, 1, x.shape)), shapes)
    if "batch_stats" in variables:
        stats = variables["batch_stats"]["norm"]
        stats["var"] = np.abs(stats["var"])
    return model, variables


def outputs(model, variables, batch, *, train=False):
    run = jax.jit(functools.partial(model.apply, train=train))
    return jax.tree.map(np.asarray, run(variables, batch))


def by_hand(state, x, frames, model):
    """One row: its words [n, D], {modality: (frames of each word [n, F, D], their numbers)} -> prediction."""
    shifted = []
    for word in range(len(x)):
        states = []
        for name, torch in (("audio", "covarep"), ("vision", "facet")):
            values, counts = frames[name]
            resized = "Facet" if torch == "facet" else torch
            h = linear(state, f"fc_rsz{resized}", values[word, : counts[word]])
            last = np.zeros(model.cell)
            if counts[word]:
                last = lstm(state, f"{torch}LSTM", h[None])[0, -1]
            gate = linear(state, f"{torch}W", np.concatenate([last, x[word]]))
            states.append(last * (sigmoid(gate) if model.gate == "sigmoid" else gate))
        shift = linear(state, "calcAddon", np.concatenate(states))
        length, own = np.linalg.norm(shift), np.linalg.norm(x[word])
        if model.limit == "shift":
            shift = shift * model.beta * own / max(length, 1)
        else:
            shift = shift * min(model.beta * own / length, 1)
        shifted.append(x[word] + shift)
    cell = {
        f"words.{kind}_l0": state[f"lstm1.layer_1.lstm.{kind}"]
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    return linear(
        state, "fc_afterLSTM", lstm(cell, "words", np.array([shifted]))[0, -1]
    )[0]


@pytest.mark.parametrize("gate", ["sigmoid", "linear"])
@pytest.mark.parametrize("limit", ["word", "shift"])
def test_a_loop_over_words_says_the_same(gate, limit):
    fields = {**PUBLISHED, "gate": gate, "limit": limit}
    model, variables = ready(**fields)
    batch, rng = SPEC.example(3, seed=1), np.random.default_rng(1)
    numbers = {m: rng.integers(0, FRAMES + 1, (3, 4)) for m in ("audio", "vision")}
    for m, counts in numbers.items():
        batch[f"{m}_mask"] = (np.arange(FRAMES) < counts[..., None]).reshape(3, -1)
    state = weights.table_of(model).arrays(variables)
    for kind in ("covarepLSTM.bias_{}_l0", "facetLSTM.bias_{}_l0"):
        state[kind.format("hh")] = np.zeros_like(state[kind.format("hh")])
    state["lstm1.layer_1.lstm.bias_hh"] = np.zeros(4 * model.hidden, np.float32)
    audio = np.where(batch["audio_mask"][..., None], batch["audio"], 0)
    audio = audio.reshape(3, 4, FRAMES, -1)
    vision = batch["vision"].reshape(3, 4, FRAMES, -1)
    # By position in the text over rows, frames and features.
    mean, var = (f(audio, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.var))
    scale, bias = (state[f"normcovarep.{n}"][:, None, None] for n in ("weight", "bias"))
    audio = (audio - mean) / np.sqrt(var + 1e-5) * scale + bias
    found = outputs(model, variables, batch)["pred"]
    for row in range(3):
        words = batch["text"][row][batch["text_mask"][row]]
        frames = {
            m: (x[row], numbers[m][row])
            for m, x in (("audio", audio), ("vision", vision))
        }
        wanted = by_hand(state, words, frames, model)
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)
    assert np.ptp(found) > 1e-3


def test_no_shift_is_longer_than_beta_times_the_word():
    model, variables = ready(beta=1.5)
    batch = SPEC.example(6)
    shift = outputs(model, variables, batch)["words"] - batch["text"]
    share, words = (np.linalg.norm(x, axis=-1) for x in (shift, batch["text"]))
    real = batch["text_mask"]
    assert (share[real] <= 1.5 * words[real] + 1e-5).all()
    assert np.ptp(share[real] / words[real]) > 1e-3  # it binds some, not all
    assert np.isclose(share[real], 1.5 * words[real], atol=1e-5).any()
    assert not share[~real].any()


def test_data_without_frames_of_words_are_pooled():
    """One frame a word of a file whose audio and vision have other lengths."""
    model, variables = ready(Spec((5, 3, 4), (4, 9, 7), 6), frames=1)
    batch = model.spec.example(3)
    batch["audio"] = np.ones_like(batch["audio"])
    ones = {**batch, "audio": batch["audio"][:, :4]}
    ones["audio_mask"] = batch["text_mask"]
    short = model.clone(spec=Spec((5, 3, 4), (4, 4, 7), 6))
    found = outputs(model, variables, batch)["pred"]
    np.testing.assert_allclose(
        found, outputs(short, variables, ones)["pred"], atol=1e-5
    )


def test_the_published_code_trains_the_words_and_the_output_alone():
    batch = SPEC.example(4)
    for connected in (True, False):
        model, variables = ready(
            position_norm=True, connected=connected, limit="shift", dropout=0.0
        )
        run = functools.partial(model.apply, train=True, method="loss", progress={})
        grads = jax.jit(jax.grad(lambda v, f=run: f(v, batch)[0]))(variables)
        moved = {
            k
            for k, g in grads["params"].items()
            if any(map(np.any, jax.tree.leaves(g)))
        }
        assert (moved == {"words", "out"}) == (not connected)
        assert connected <= (moved == set(variables["params"]))


def test_the_norm_by_position_is_bound_to_the_length():
    assert not RAVEN(SPEC).fixed_length and RAVEN(SPEC, position_norm=True).fixed_length


def test_one_emotion_is_the_second_of_two_classes():
    spec = Spec(
        (5, 3, 4), (4, 8, 8), 6, label_range=None, classes=("absent", "present")
    )
    model, variables = ready(spec, **PUBLISHED)
    state = weights.table_of(model).arrays(variables)
    assert state["fc_afterLSTM.weight"].shape == (1, 6)
    again = weights.load(model, state)
    assert not again["params"]["out"]["kernel"][:, 0].any()


def test_an_unknown_choice_names_the_nearest():
    with pytest.raises(ValueError, match='gate is "sigmoyd"; did you mean "sigmoid"'):
        RAVEN(SPEC, gate="sigmoyd").apply({}, SPEC.example(2), train=False)
