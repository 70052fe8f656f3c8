import functools

import jax
import numpy as np
import pytest

from msajax import models, weights
from msajax.data.spec import Spec
from msajax.models.graph_mfn import GROUPS, Graph, GraphMFN, parts
from msajax.run import recipe
from msajax.train.optim import assign
from tests.weights.test_load import random_state

RNG = np.random.default_rng(0)
SINGLES = [RNG.normal(size=(2, dim)).astype(np.float32) for dim in (4, 3, 2)]
GRAPH = Graph(node_dim=3, hidden=5)


@functools.cache
def initial():
    made = jax.jit(lambda: GRAPH.init(jax.random.key(0), SINGLES))()
    return made["params"]


def run(edges=None, **fields):
    """The graph, with efficacies that are given [19] or its own."""
    params = jax.tree.map(np.array, initial())
    if edges is not None:
        params["efficacy_out"] = {
            "kernel": np.zeros((3, 19), np.float32),
            "bias": np.float32(edges),
        }
    compiled = jax.jit(lambda p: GRAPH.clone(**fields).apply({"params": p}, SINGLES))
    return params, *compiled(params)


def test_edges_in_their_order():
    assert [parts(group) for group in GROUPS[:3]] == [
        [(0,), (1,)],
        [(0,), (2,)],
        [(1,), (2,)],
    ]
    six = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
    assert parts((0, 1, 2)) == six


def test_without_efficacies_the_output_is_that_of_the_biases():
    p, output, _, _ = run(np.zeros(19))
    wanted = p["output_fc1"]["bias"] @ p["output_fc2"]["kernel"]
    wanted += p["output_fc2"]["bias"]
    np.testing.assert_allclose(output, np.stack([wanted] * 2), atol=1e-6)


@pytest.mark.parametrize("edge,group,part", [(1, (0, 1), 1), (4, (1, 2), 1)])
def test_an_efficacy_of_zero_removes_a_part_of_a_vertex(edge, group, part):
    efficacy = np.ones(19)
    _, _, _, before = run(efficacy)
    efficacy[edge] = 0
    p, _, _, after = run(efficacy)
    name = "_".join(("text", "audio", "vision")[i] for i in group)
    x = np.concatenate([SINGLES[i] * (i != part) for i in group], axis=1)
    for layer in ("fc1", "fc2"):
        layer = p[f"vertex_{name}_{layer}"]
        x = x @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(after[group], x, atol=1e-6)
    changed = {k for k in before if np.abs(before[k] - after[k]).max() > 1e-6}
    assert changed == {group, (0, 1, 2)}


def test_efficacies_of_the_paper_lie_between_0_and_1():
    linear, squashed = run()[2], run(efficacy="sigmoid")[2]
    np.testing.assert_allclose(squashed, 1 / (1 + np.exp(-linear)), rtol=1e-5)
    spec = Spec(dims=(2, 2, 2), lengths=(2, 2, 2), num_train=2)
    with pytest.raises(ValueError, match='efficacy is "tanh".*linear, sigmoid'):
        weights.template(GraphMFN(spec, efficacy="tanh"), spec.example(2), train=False)


SIZES = dict(hidden_dims=(3, 5, 2), memory=4, node_dim=3, graph_dim=5)
ALIGNED = Spec(dims=(4, 3, 2), lengths=(6, 6, 6), num_train=6)


def test_a_checkpoint_without_the_networks_of_the_vertices_is_refused():
    model = models.get("graph_mfn")(ALIGNED, **SIZES)
    state = random_state(model)
    saved = {k: v for k, v in state.items() if ".networks." not in k}
    assert len(state) - len(saved) == 16
    with pytest.raises(ValueError, match=r"missing: graph_mfn\.networks\.01\.0\.bias"):
        weights.load(model, saved)


def test_the_row_of_the_reference_freezes_the_networks_of_the_vertices():
    options = recipe.load("graph_mfn:mosi/frozen_vertices")
    model = GraphMFN(ALIGNED, **SIZES)
    paths = {
        "/".join(key.key for key in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(
            weights.template(model, ALIGNED.example(2), train=False)["params"]
        )
    }
    groups = assign(options.optimizer, sorted(paths))
    frozen = {path for path, group in groups.items() if group is None}
    assert len(frozen) == 16
    assert all(path.startswith("graph/vertex_") for path in frozen)
