"""COSMIC: its recurrence against a loop over turns, its norms, and what of a dialogue matters."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax import weights
from msajax.models.cosmic import COSMIC
from msajax.models.cosmic.system import _norm_of_dialogue
from tests import toys
from tests.nn.test_parties import attended, gru

SPEC = dataclasses.replace(
    toys.DIALOGUES,
    dims=(8, 1, 1),
    fields=(*toys.DIALOGUES.fields, "commonsense"),
    commonsense=10,
)
SIZES = dict(hidden=5, global_dim=4, party_dim=3, reaction_dim=2, intent_dim=3)
BATCH = SPEC.example(4, seed=1)
REAL = BATCH["utterance_mask"]
LENGTHS = REAL.sum(1)


@functools.cache
def ready(**fields):
    rng = np.random.default_rng(0)
    model = COSMIC(SPEC, **{**SIZES, "norm": "none", **fields})
    shapes = weights.template(model, SPEC.example(2), train=False)
    variables = jax.tree.map(lambda x: np.float32(rng.normal(0, 0.7, x.shape)), shapes)
    run = jax.jit(functools.partial(model.apply, train=False))
    return variables, lambda batch: jax.device_get(run(variables, batch))


def by_hand(params, u, sense, speaker, *, listener, parties=3):
    """The emotion's states of a dialogue, [U, E], and all speakers' states after each turn."""
    g, e, history, found, states = np.zeros(4), np.zeros(8), [], [], []
    q, r, i = (np.zeros((parties, width)) for width in (3, 2, 3))

    def cell(name, *x, h):
        return gru(params[f"{name}_cell"], np.concatenate(x), h)

    for u_t, x, s in zip(u, sense, speaker, strict=True):
        effect, react, intent, others_effect, others_react = np.split(x, 5)
        g = cell("global", u_t, q[s], r[s], h=g)
        c = np.zeros(4)
        if history:
            c = attended("general2", params, history, u_t, True)
        new_r, new_q = (
            cell("reaction", u_t, react, c, h=r[s]),
            cell("party", effect, c, h=q[s]),
        )
        if listener:
            for p in range(parties):
                r[p] = cell("reaction_listener", u_t, others_react, new_r, h=r[p])
                q[p] = cell("party_listener", others_effect, new_q, h=q[p])
        q[s], r[s] = new_q, new_r
        i[s] = cell("intent", intent, new_q, h=i[s])
        e = cell("emotion", u_t, q[s], r[s], i[s], h=e)
        history.append(g)
        found.append(e)
        states.append(np.concatenate([q, r, i], axis=1))
    return np.array(found), np.array(states)


@pytest.mark.parametrize(
    "listener", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_loop_over_turns_says_the_same(listener):
    variables, run = ready(listener=listener)
    out = run(BATCH)
    for row, n in enumerate(LENGTHS):
        arrays = (
            x[row, :n]
            for x in (out["utterances"], BATCH["commonsense"], BATCH["speaker"])
        )
        u, sense, speaker = arrays
        for way, order in (("forward", 1), ("backward", -1)):
            given = (x[::order] for x in (u, sense, speaker))
            params = variables["params"][way]
            wanted, states = by_hand(params, *given, listener=listener)
            np.testing.assert_allclose(out[way][row, :n], wanted, atol=1e-5)
            # What a speaker is stays until he speaks; a listener's changes.
            silent = np.arange(3)[None] != speaker[::order][1:, None]
            moved = np.abs(np.diff(states, axis=0)).max(-1)[silent]
            assert (moved > 0).any() == (listener and n > 1)


def test_the_mean_of_the_layers_is_projected():
    variables, run = ready()
    layers = BATCH["text"].reshape(*REAL.shape, 4, 2)
    p = variables["params"]["project"]
    wanted = layers.mean(2) @ p["kernel"] + p["bias"]
    np.testing.assert_allclose(run(BATCH)["utterances"][REAL], wanted[REAL], atol=1e-5)


def test_the_norm_of_a_dialogue_counts_its_real_turns_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (4, 6, 2)).astype(np.float32)
    found = jax.jit(_norm_of_dialogue)(x, REAL)
    for row, n in enumerate(LENGTHS):
        own = x[row, :n]
        wanted = (own - own.mean()) / np.sqrt(own.var() + 1e-5)
        np.testing.assert_allclose(found[row, :n], wanted, atol=1e-5)


def moved(out, wanted):
    return np.abs(out["pred"][REAL] - wanted["pred"][REAL]).max()


def test_common_sense_matters_where_it_is_read():
    _, run = ready()
    other = {**BATCH, "commonsense": BATCH["commonsense"] + REAL[..., None]}
    assert moved(run(other), run(BATCH)) > 1e-3
    model = COSMIC(SPEC, **SIZES, commonsense=False)
    batch = {k: x for k, x in BATCH.items() if k != "commonsense"}
    shapes = weights.template(model, batch, train=False)
    kernels = {k: x["kernel"].shape for k, x in shapes["params"]["forward"].items()}
    # Of the states alone.
    assert kernels["party_cell"] == (4, 9) and kernels["intent_cell"] == (3, 9)


def test_padding_means_nothing_and_renaming_speakers_neither():
    _, run = ready()
    noise = {**BATCH, "speaker": np.where(REAL, BATCH["speaker"], 2)}
    noise["commonsense"] = np.where(REAL[..., None], BATCH["commonsense"], 7)
    noise["speaker"] = noise["speaker"].astype(np.int32)
    assert moved(run(noise), run(BATCH)) < 1e-6
    renamed = {**BATCH, "speaker": np.int32(2 - BATCH["speaker"])}
    assert moved(run(renamed), run(BATCH)) < 1e-5
    one = {**BATCH, "speaker": np.zeros_like(BATCH["speaker"])}
    assert moved(run(one), run(BATCH)) > 1e-3


@pytest.mark.parametrize(
    "fields,changes,message",
    [
        ({}, {"dims": (7, 1, 1)}, 'combine is "mean", of 4 layers.*the text has 7 f'),
        ({}, {"commonsense": 0}, "the data has none: put the file of COMET's vectors"),
        ({}, {"commonsense": 12}, "has 12 features.*5 relations: xEffect, xReact"),
        ({"norm": "bach"}, {}, '"bach"; did you mean "batch"'),
        ({"combine": "means"}, {}, '"means"; did you mean "mean"'),
    ],
)
def test_what_does_not_fit_says_what_to_do(fields, changes, message):
    model = COSMIC(dataclasses.replace(SPEC, **changes), **fields)
    with pytest.raises(ValueError, match=message):
        model.apply({}, BATCH, train=False)


def test_a_run_says_how_the_text_is_read():
    (note,) = COSMIC(SPEC).notes
    assert "8 features are read as 4 layers of 2" in note
    assert COSMIC(SPEC, combine="single").notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["layer", "dialogue", "batch"])
@pytest.mark.parametrize(
    "combine", ["concat", "concat_two", "layer_3", "weighted", "single"]
)
def test_every_norm_and_combination_runs(norm, combine):
    _, run = ready(norm=norm, combine=combine)
    wanted = run(BATCH)["pred"][:1]
    other = {k: np.concatenate([v[:1], v[2:]]) for k, v in BATCH.items()}
    np.testing.assert_allclose(run(other)["pred"][:1], wanted, atol=1e-5)
