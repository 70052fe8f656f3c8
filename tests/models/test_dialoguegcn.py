"""DialogueGCN: its graph against loops over edges, for each option; windows, relations, padding."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax import weights
from msajax.models.dialoguegcn import DialogueGCN
from tests import toys

SPEC = toys.DIALOGUES
SIZES = dict(
    base="none", hidden=2, graph_dim=3, bases=2, window_past=2, window_future=1
)
BATCH = SPEC.example(4, seed=1)


@functools.cache
def ready(spec=SPEC, **fields):
    """A system, variables drawn by hand, and the jitted outputs."""
    rng = np.random.default_rng(0)
    model = DialogueGCN(spec, **{**SIZES, **fields})
    shapes = weights.template(model, spec.example(2), train=False)
    variables = jax.tree.map(lambda x: np.float32(rng.normal(0, 0.7, x.shape)), shapes)
    run = jax.jit(functools.partial(model.apply, train=False))
    return model, variables, lambda batch: jax.device_get(run(variables, batch))


def graph_by_hand(model, params, x, speaker):
    """One dialogue, x [n, D] and speaker [n] -> its weights [n, n] and both convolutions, edge by edge."""
    n, people = len(x), model.spec.speakers
    kinds = {
        "speaker_time": lambda i, j: 2 * (people * speaker[i] + speaker[j]) + (i >= j),
        "speaker": lambda i, j: people * speaker[i] + speaker[j],
        "time": lambda i, j: int(i >= j),
    }
    matrices = np.einsum("rk,kdo->rdo", params["relations"], params["basis"])
    found = np.zeros((n, n))
    first = x @ params["root"] + params["bias"]
    near = {}
    for i in range(n):
        first_turn = 0 if model.window_past < 0 else max(0, i - model.window_past)
        last = n if model.window_future < 0 else min(n, i + model.window_future + 1)
        near[i] = range(first_turn, last)
        query = params["edge_kernel"][i] if model.edge_query == "position" else None
        query = x[i] @ params["edge"]["kernel"] if query is None else query
        scores = np.exp([query @ x[j] for j in near[i]])
        found[i, near[i]] = scores / scores.sum()
        for j in near[i]:
            matrix = matrices[kinds[model.relations](i, j)]
            start, end = (i, j) if model.normalise == "outgoing" else (j, i)
            first[end] += found[i, j] * x[start] @ matrix
    second = first @ params["own"]["kernel"] + params["own"]["bias"]
    for i in range(n):
        for j in near[i]:
            start, end = (i, j) if model.normalise == "outgoing" else (j, i)
            second[end] += first[start] @ params["neighbours"]["kernel"]
    return found, first, second


@pytest.mark.parametrize(
    "fields",
    [
        {},
        dict(normalise="outgoing", edge_query="position"),
        dict(relations="speaker", window_past=-1),
        dict(relations="time", window_past=-1, window_future=-1, normalise="outgoing"),
    ],
    ids=str,
)
def test_a_loop_over_edges_says_the_same(fields):
    model, variables, run = ready(**fields)
    out = run(BATCH)
    for row in range(3):
        real = BATCH["utterance_mask"][row]
        states, speaker = out["states"][row][real], BATCH["speaker"][row][real]
        wanted = graph_by_hand(model, variables["params"], states, speaker)
        weight = out["weights"][row][real][:, real]
        found = (weight, *(out[name][row][real] for name in ("conv1", "conv2")))
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)
        np.testing.assert_allclose(weight.sum(1), 1, atol=1e-5)
    assert not out["weights"][~BATCH["utterance_mask"]].any()


def test_one_speaker_has_two_relations():
    spec = dataclasses.replace(SPEC, speakers=1)
    alone = {**BATCH, "speaker": np.zeros_like(BATCH["speaker"])}
    _, variables, run = ready(spec)
    assert variables["params"]["relations"].shape == (2, 2)
    _, others, run_by_time = ready(spec, relations="time")
    jax.tree.map(np.testing.assert_array_equal, variables, others)
    np.testing.assert_array_equal(run(alone)["pred"], run_by_time(alone)["pred"])


@pytest.mark.parametrize("speaks", [True, False])
def test_speakers_are_read_only_by_the_relations(speaks):
    _, _, run = ready(**({} if speaks else dict(relations="time")))
    others = {**BATCH, "speaker": np.int32(2 - BATCH["speaker"])}
    gap = np.abs(run(others)["pred"] - run(BATCH)["pred"]).max()
    assert (gap > 1e-3) == speaks


@pytest.mark.parametrize("base", ["lstm", "gru", "dialogue_rnn"])
def test_a_dialogue_among_others_is_as_without_padding(base):
    """The reference's form on one dialogue of its own length has no padding to read."""
    sizes = dict(base=base, recurrent_layers=1, global_dim=3, party_dim=2)
    _, _, run = ready(**sizes)
    _, _, unpadded = ready(**sizes, padded=True)
    row = int(np.argmin(BATCH["utterance_mask"].sum(1)))
    turns = int(BATCH["utterance_mask"][row].sum())
    alone = {
        k: v[row : row + 1, :turns] if v.ndim > 1 else v[row : row + 1]
        for k, v in BATCH.items()
    }
    found, wanted = run(BATCH)["pred"][row, :turns], unpadded(alone)["pred"][0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert turns < 6


def test_an_unknown_choice_names_the_nearest():
    with pytest.raises(ValueError, match='base is "lstn"; did you mean "lstm"'):
        DialogueGCN(SPEC, base="lstn").apply({}, BATCH, train=False)
