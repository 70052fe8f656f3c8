"""Weights by PyTorch names in our systems, for dims that no stored case has."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import traverse_util

from msajax import models, weights
from msajax.data.spec import Spec
from msajax.encoders.mpnet import MPNetConfig
from msajax.weights import template
from tests.toys import BERT, DEBERTA, XLNET
from tests.weights import numpy_reference

SPECS = {
    "wide": Spec(dims=(7, 3, 4), lengths=(5, 6, 8), num_train=6),
    "narrow": Spec(dims=(1, 2, 1), lengths=(1, 1, 1), num_train=6),
    "aligned": Spec(dims=(4, 3, 2), lengths=(6, 6, 6), num_train=6),
}
MFN = dict(hidden_dims=(3, 5, 2), memory=4, attention_dim=6, gate_dims=(2, 3, 7))
GRAPH_MFN = dict(
    hidden_dims=(3, 5, 2), memory=4, node_dim=3, graph_dim=5, gate_dims=(2, 3, 7)
)
MFM = {**MFN, "latent_dims": (3, 4, 5, 2), "factor_dims": (4, 2, 1, 3)}
# Systems whose forward pass numpy repeats: name, spec, hyperparameters.
REPEATED = [
    ("tfn", "wide", dict(hidden_dims=(4, 3, 2), text_out=5, post_fusion_dim=3)),
    ("tfn", "narrow", dict(hidden_dims=(1, 1, 2), text_out=1, post_fusion_dim=9)),
    ("lmf", "wide", dict(hidden_dims=(5, 3, 2), rank=1)),
    ("lmf", "narrow", dict(hidden_dims=(2, 2, 1), rank=4)),
    ("lf_dnn", "wide", dict(hidden_dims=(4, 3, 2), text_out=6, post_fusion_dim=3)),
    ("ef_lstm", "aligned", dict(hidden_dim=3, layers=1)),
    ("ef_lstm", "aligned", dict(hidden_dim=5, layers=3)),
    ("mfn", "aligned", MFN),
    ("graph_mfn", "aligned", GRAPH_MFN),
    ("mfm", "aligned", MFM),
]
MULT = [
    ("wide", dict(dim=8, heads=4, layers=4, kernel_sizes=(3, 1, 5))),
    ("wide", dict(dim=3, heads=1, layers=1, kernel_sizes=(1, 3, 1))),
    ("narrow", dict(dim=6, heads=3, layers=2)),
]


def random_state(model, seed=0):
    """A state dict of the reference for our model, with random values."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        low = 0.5 if path[-1].key == "var" else -1.0
        return rng.uniform(low, 1.0, leaf.shape).astype(np.float32)

    shapes = template(model, model.spec.example(2), train=False)
    values = jax.tree_util.tree_map_with_path(draw, shapes)
    return weights.table_of(model).arrays(values)


@pytest.mark.parametrize("name,spec,sizes", REPEATED)
def test_predictions_equal_the_references(name, spec, sizes):
    model = models.get(name)(SPECS[spec], **sizes, padded=True)
    state, batch = random_state(model), model.spec.example(4, seed=1)
    if name == "tfn":
        state |= {"output_range": np.float32([6]), "output_shift": np.float32([-3])}
    variables = weights.load(model, state)
    pred = jax.jit(lambda v, b: model.apply(v, b, train=False)["pred"])(
        variables, batch
    )
    want = getattr(numpy_reference, name)(state, batch)
    assert np.ptp(want) > 1e-3
    np.testing.assert_allclose(pred, want, atol=2e-5)


@pytest.mark.parametrize("spec,sizes", MULT)
def test_mult_weights_go_there_and_back(spec, sizes):
    model = models.get("mult")(SPECS[spec], **sizes)
    state = random_state(model)
    for letter, kernel, dim in zip(
        "lav", model.kernel_sizes, model.spec.dims, strict=True
    ):
        shape = (model.dim, dim, kernel)
        assert state.setdefault(f"proj_{letter}.weight", np.zeros(shape)).shape == shape
    state |= {"trans_l_mem.version": np.ones(1)}
    state |= {"trans_l_mem.embed_positions._float_tensor": np.ones(1)}
    d = model.dim
    weight = "layers.0.self_attn.in_proj_weight"
    assert state[f"trans_v_with_a.{weight}"].shape == (3 * d, d)
    assert state[f"trans_a_mem.{weight}"].shape == (6 * d, 2 * d)
    variables = weights.load(model, state)
    back = weights.table_of(model).arrays(variables)
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


ALMT = [
    dict(dim=6, tokens=3, head_dim=4, embedding_layers=2, ahl_layers=2),
    # A single head of the whole width has no output layer.
    dict(dim=5, tokens=2, head_dim=5, embedding_heads=1, fusion_heads=1, ahl_heads=3),
    dict(dim=4, tokens=1, ahl_heads=1, ahl_head_dim=4, ahl_layers=1, fusion_layers=1),
]


@pytest.mark.parametrize("sizes", ALMT)
def test_almt_weights_go_there_and_back(sizes):
    fields = (*Spec.fields, "text_ids", "text_type")
    spec = dataclasses.replace(SPECS["wide"], fields=fields)
    model = models.get("almt")(spec, encoder=BERT, **sizes)
    state = random_state(model)
    dim, tokens = model.dim, model.tokens
    shape = (1, tokens + spec.lengths[1], dim)
    assert state["proj_a.1.pos_embedding"].shape == shape
    assert state["fusion_layer.pos_embedding_t"].shape == (1, 1 + tokens, dim)
    shape = (model.embedding_heads * model.head_dim, dim)
    assert state["proj_v.1.encoder.layers.0.0.fn.to_k.weight"].shape == shape
    assert ("proj_l.1.encoder.layers.0.0.fn.to_out.0.bias" in state) == (
        (model.embedding_heads, model.head_dim) != (1, dim)
    )
    assert ("h_hyper_layer.layers.0.0.fn.to_out.0.bias" in state) == (
        (model.ahl_heads, model.ahl_head_dim) != (1, dim)
    )
    state |= {"bertmodel.model.pooler.dense.bias": np.ones(1)}
    back = weights.table_of(model).arrays(weights.load(model, state))
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_mmsas_prefix_is_understood():
    model = models.get("lf_dnn")(SPECS["wide"], hidden_dims=(4, 3, 2))
    state = random_state(model)
    state["audio_subnet.norm.num_batches_tracked"] = np.array(3)
    plain = weights.load(model, state)
    prefixed = weights.load(model, {f"Model.{k}": v for k, v in state.items()})
    jax.tree.map(np.testing.assert_array_equal, plain, prefixed)
    assert set(traverse_util.flatten_dict(plain)) == set(
        traverse_util.flatten_dict(template(model, model.spec.example(2), train=False))
    )


def test_weights_of_another_size_are_refused():
    spec = SPECS["wide"]
    state = random_state(models.get("lf_dnn")(spec, text_out=5))
    with pytest.raises(ValueError) as error:
        weights.load(models.get("lf_dnn")(spec, text_out=6), state)
    assert (
        "text_subnet.linear_1.weight (5, 128), but "
        "params/subnets/text/linear/kernel is (128, 6)" in str(error.value)
    )


def test_tfns_output_range_must_agree():
    model = models.get("tfn")(SPECS["wide"], output_range=(-1.0, 1.0))
    state = random_state(model) | {"output_range": np.float32([6.0])}
    with pytest.raises(ValueError, match=r"output_range is \[6\.0\], but .* 2\.0"):
        weights.load(model, state)


def test_a_system_without_names_is_told():
    model = models.get("text_only")(SPECS["wide"])
    with pytest.raises(ValueError, match="no table of the PyTorch names of text_only"):
        weights.table_of(model)


@pytest.mark.parametrize(
    "encoder",
    [None, MPNetConfig(), DEBERTA, XLNET],
    ids=["features", "mpnet", "deberta", "xlnet"],
)
def test_the_authors_encoder_is_bert(encoder):
    model = models.get("self_mm")(SPECS["wide"], encoder=encoder)
    with pytest.raises(ValueError, match="with its BERT; build .* encoder=BertConfig"):
        weights.table_of(model)
