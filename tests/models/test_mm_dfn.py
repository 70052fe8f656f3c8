"""MM-DFN: its graph against loops over nodes; padding, missing nodes and speakers; its loss."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax import weights
from msajax.data.spec import MODALITIES
from msajax.models import mm_dfn
from msajax.models.mm_dfn import MMDFN, ORDER
from tests import toys

SPEC = dataclasses.replace(toys.DIALOGUES, dims=(5, 3, 4))
SIZES = dict(hidden=3, recurrent_layers=1, graph_dim=4, layers=2)
BATCH = SPEC.example(4, seed=1)


@functools.cache
def ready(spec=SPEC, **fields):
    """Variables drawn by hand, and the jitted outputs."""
    rng = np.random.default_rng(0)
    model = MMDFN(spec, **{**SIZES, **fields})
    shapes = weights.template(model, spec.example(2), train=False)
    variables = jax.tree.map(lambda x: np.float32(rng.normal(0, 0.5, x.shape)), shapes)
    run = jax.jit(functools.partial(model.apply, train=False))
    return variables, lambda batch: jax.device_get(run(variables, batch))


def alone(batch, row, turns):
    """One dialogue without its padding."""
    of_turns = {k: v[row : row + 1, :turns] for k, v in batch.items() if v.ndim > 1}
    return {k: of_turns.get(k, v[row : row + 1]) for k, v in batch.items()}


def similarity(x, y):
    cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    return 1 - np.arccos(0.99999 * cosine) / np.pi


def links_by_hand(nodes, own, weight):
    """Of a dialogue: nodes [M, U, D], own [M, U] -> normalised [M, U, M, U]."""
    count, turns, _ = nodes.shape
    full = np.zeros((count, turns, count, turns))
    for m, u in np.argwhere(own):
        for n, v in np.argwhere(own):
            if m == n or u == v:
                scale = 1 if m == n else weight
                full[m, u, n, v] = scale * similarity(nodes[m, u], nodes[n, v])
    degree = np.where(own, full.sum((2, 3)), 1)
    return full / np.sqrt(degree[:, :, None, None] * degree)


def test_links_are_those_of_a_loop_over_nodes():
    rng = np.random.default_rng(0)
    nodes = rng.normal(size=(3, 3, 5, 4)).astype(np.float32)
    own = rng.random((3, 3, 5)) < 0.7
    nodes *= own[..., None]
    intra, inter = jax.jit(mm_dfn._links, static_argnums=2)(nodes, own, 0.7)
    for row in range(3):
        wanted = links_by_hand(nodes[row], own[row], 0.7)
        for m in range(3):
            np.testing.assert_allclose(intra[row, m], wanted[m, :, m], atol=2e-5)
            for n in {0, 1, 2} - {m}:
                diagonal = np.diagonal(wanted[m, :, n])
                np.testing.assert_allclose(inter[row, m, n], diagonal, atol=2e-5)
    np.testing.assert_allclose(intra, np.swapaxes(intra, 2, 3), atol=1e-6)
    np.testing.assert_allclose(inter, np.swapaxes(inter, 1, 2), atol=1e-6)


def test_a_node_is_like_itself_but_for_the_factor_of_acos():
    own = 1 - np.arccos(0.99999) / np.pi
    np.testing.assert_allclose(jax.jit(mm_dfn._similarity)(np.ones(1)), own, atol=1e-5)
    assert own == pytest.approx(0.9986, abs=1e-4)


def graph_by_hand(params, x, links, model):
    """GCNII behind the LSTM along the layers, for nodes [M, U, D]: [M, U, H]."""
    sigmoid = lambda s: 1 / (1 + np.exp(-s))  # noqa: E731
    first = np.maximum(x @ params["first"]["kernel"] + params["first"]["bias"], 0)
    h, state, cell = first, np.zeros_like(first), np.zeros_like(first)
    for i, kernel in enumerate(params["layers"]["kernel"]):
        q, p = h, params["reason"]
        s = h @ p["kernel"] + state @ p["recurrent_kernel"] + p["bias"]
        a, f, g, o = np.split(s, 4, axis=-1)
        cell = sigmoid(f) * cell + sigmoid(a) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        g = np.einsum("munv,nvh->muh", links, state)
        theta = np.log(model["lamda"] / (i + 1) + 1)
        both = np.concatenate([g, first], axis=-1) @ kernel
        mixed = (1 - model["alpha"]) * g + model["alpha"] * first
        h = np.maximum(theta * both + (1 - theta) * mixed, 0) + q
    return h


def test_layers_are_those_of_a_loop_over_them():
    fields = dict(alpha=0.3, lamda=0.8)
    variables, run = ready(**fields)
    out, params = run(BATCH), variables["params"]
    nodes = np.stack([out[m] for m in ORDER], axis=1)
    for row in range(2):
        own = np.stack([BATCH[f"{m}_mask"][row] for m in ORDER])
        links = links_by_hand(nodes[row], own, 1.0)
        h = graph_by_hand(params, nodes[row], links, fields)
        wanted = np.concatenate([nodes[row], h], axis=-1) * own[..., None]
        found = out["fusion"][row].reshape(6, 3, -1).swapaxes(0, 1)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_a_dialogue_among_others_is_as_without_padding():
    """The reference's form on one dialogue of one speaker has no padding to read."""
    _, run = ready()
    _, unpadded = ready(padded=True)
    batch = {**BATCH, "speaker": np.zeros_like(BATCH["speaker"])}
    found = run(batch)["pred"]
    row = int(np.argmin(BATCH["utterance_mask"].sum(1)))
    turns = int(BATCH["utterance_mask"][row].sum())
    wanted = unpadded(alone(batch, row, turns))["pred"][0]
    assert turns < 6
    np.testing.assert_allclose(found[row, :turns], wanted, atol=1e-5)
    assert np.abs(unpadded(batch)["pred"][row, :turns] - wanted).max() > 1e-3


def test_an_utterance_without_audio_has_no_node_of_it():
    _, run = ready()
    batch = dict(BATCH)
    mask = batch["audio_mask"].copy()
    mask[:, 0] = False
    batch["audio_mask"] = mask
    out = run(batch)
    assert not out["intra"][:, ORDER.index("audio"), 0].any()
    assert not out["inter"][:, ORDER.index("audio"), :, 0].any()
    batch["audio"] = batch["audio"] + 7 * ~mask[..., None]
    np.testing.assert_allclose(run(batch)["pred"], out["pred"], atol=1e-6)


def test_data_without_a_modality_have_a_smaller_graph():
    spec = dataclasses.replace(SPEC, dims=(5, 3, 1))
    variables, run = ready(spec)
    batch = {**BATCH, "vision": np.zeros((4, 6, 1), np.float32)}
    assert run(batch)["intra"].shape == (4, 2, 6, 6)
    assert not any("vision" in name for name in variables["params"])


@pytest.mark.parametrize("speaks", [True, False])
def test_speakers_are_read_only_where_a_weight_says_so(speaks):
    fields = {} if speaks else dict(speaker_weights=(0.0, 0.0, 0.0))
    variables, run = ready(**fields)
    others = {**BATCH, "speaker": (BATCH["speaker"] + BATCH["text_mask"].cumsum(1)) % 3}
    others["speaker"] = others["speaker"].astype(np.int32)
    gap = np.abs(run(others)["pred"] - run(BATCH)["pred"])
    assert (gap.max() > 1e-3) == speaks
    assert ("gru_speakers" in variables["params"]) == speaks
    # Who is called what says nothing.
    renamed = {**BATCH, "speaker": np.int32(2 - BATCH["speaker"])}
    np.testing.assert_allclose(run(renamed)["pred"], run(BATCH)["pred"], atol=1e-5)


def test_no_layers_leave_the_nodes_alone():
    variables, run = ready(layers=0)
    assert not variables["params"].keys() & {"layers", "reason"}
    assert np.isfinite(run(BATCH)["pred"]).all()


def test_the_focal_loss_by_hand():
    model = MMDFN(SPEC, gamma=2.0, class_weights=(1.0, 2.0, 5.0))
    rng = np.random.default_rng(0)
    pred = rng.normal(size=(4, 6, 3)).astype(np.float32)
    real = BATCH["utterance_mask"] & BATCH["valid"][:, None]
    p = np.exp(pred) / np.exp(pred).sum(-1, keepdims=True)
    p = np.take_along_axis(p, BATCH["label"][..., None], axis=-1)[real, 0]
    weight = np.array([1.0, 2.0, 5.0])[BATCH["label"][real]]
    wanted = np.mean(-weight * (1 - p) ** 2 * np.log(p))
    found, gradient = jax.jit(jax.value_and_grad(model.task_loss))(pred, BATCH)
    assert found == pytest.approx(wanted, rel=1e-5)
    # The factor has no gradient: that of the cross-entropy, times it.
    share = (weight * (1 - p) ** 2 / real.sum())[:, None]
    hot = np.eye(3)[BATCH["label"][real]]
    full = np.exp(pred[real]) / np.exp(pred[real]).sum(-1, keepdims=True)
    np.testing.assert_allclose(gradient[real], share * (full - hot), atol=1e-6)
    assert not gradient[~real].any() and set(ORDER) == set(MODALITIES)
