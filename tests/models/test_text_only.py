import dataclasses

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.text_only import TextOnly
from tests.toys import BERT, DEBERTA, ELECTRA, T5, XLNET

SPEC = Spec((6, 1, 1), (5, 1, 1), 4, fields=(*Spec.fields, "text_ids", "text_type"))


def run(batch, **fields):
    """(outputs, parameters)"""
    model = TextOnly(SPEC, **fields)
    return model.init_with_output(jax.random.key(0), batch, train=False)


def encoded(config, batch, params):
    without = config in (T5, XLNET)  # parameters of a pooler
    network = config.encoder(pooler=without or "pooler" in params["encoder"])
    return network.apply(
        {"params": params["encoder"]},
        batch["text_ids"],
        mask=batch["text_mask"],
        segments=batch["text_type"],
        train=False,
    )


@pytest.mark.parametrize("config", [BERT, XLNET])
def test_the_mean_of_real_tokens(config):
    batch = SPEC.example(4)
    out, variables = run(batch, encoder=config)
    assert "pooler" not in variables["params"]["encoder"]
    last = encoded(config, batch, variables["params"]).last
    for row, mask, text in zip(last, batch["text_mask"], out["text"], strict=True):
        np.testing.assert_allclose(text, row[mask].mean(axis=0), atol=1e-6)


def test_the_mean_is_over_the_utterance_itself_where_it_has_neighbours():
    batch = SPEC.example(4)
    batch["text_own"] = batch["text_mask"].copy()
    batch["text_own"][0] = [False, True, False, True, False]
    batch["text_mask"][0] = True
    out, variables = run(batch, encoder=BERT)
    last = encoded(BERT, batch, variables["params"]).last
    np.testing.assert_allclose(out["text"][0], last[0, 1::2].mean(axis=0), atol=1e-6)
    batch["text_mask"][0, 4] = False  # the encoder sees the neighbours
    again = TextOnly(SPEC, encoder=BERT).apply(variables, batch, train=False)
    assert np.abs(again["text"] - out["text"])[0].max() > 1e-4


@pytest.mark.parametrize("config", [BERT, DEBERTA, ELECTRA, T5, XLNET])
def test_the_vector_of_the_sequence(config):
    batch = SPEC.example(4)
    out, variables = run(batch, encoder=config, pooling="cls")
    pooled = encoded(config, batch, variables["params"]).pooled
    np.testing.assert_allclose(out["text"], pooled, atol=1e-6)
    if config is XLNET:
        last = encoded(config, batch, variables["params"]).last
        ends = batch["text_mask"].sum(axis=1) - 1
        np.testing.assert_allclose(pooled, last[np.arange(4), ends], atol=1e-6)
    if config is T5:
        mean, _ = run(batch, encoder=config)
        np.testing.assert_allclose(pooled, mean["text"], atol=1e-6)


def test_features_stand_for_a_frozen_encoder():
    batch = SPEC.example(4)
    out, variables = run(batch, encoder=BERT)
    batch["text"] = encoded(BERT, batch, variables["params"]).last
    head = {"params": {"head": variables["params"]["head"]}}
    again = TextOnly(SPEC).apply(head, batch, train=False)
    np.testing.assert_allclose(again["pred"], out["pred"], atol=1e-6)
    first = TextOnly(SPEC, pooling="cls").apply(head, batch, train=False)
    np.testing.assert_array_equal(first["text"], batch["text"][:, 0])


def test_classes_and_a_wrong_pooling():
    spec = dataclasses.replace(SPEC, label_range=None, classes=("a", "b", "c"))
    batch = spec.example(2)
    out, _ = TextOnly(spec).init_with_output(jax.random.key(0), batch, train=False)
    assert out["pred"].shape == (2, 3)
    with pytest.raises(ValueError, match='"max"; did you mean "mean"'):
        run(batch, pooling="max")


def test_the_mean_by_learned_weights():
    batch = SPEC.example(4)
    out, variables = run(batch, pooling="attention")
    kernel = variables["params"]["pool"]["kernel"]
    score = np.exp((batch["text"] @ kernel)[..., 0]) * batch["text_mask"]
    weights = score / score.sum(axis=1, keepdims=True)
    expected = np.einsum("bl,bld->bd", weights, batch["text"])
    np.testing.assert_allclose(out["text"], expected, atol=1e-5)
    batch["text_mask"][0] = False
    assert np.isfinite(run(batch, pooling="attention")[0]["text"]).all()


@pytest.mark.parametrize("classes", [(), ("a", "b", "c")])
def test_r_drop_brings_two_passes_together(classes):
    changes = dict(label_range=None, classes=classes) if classes else {}
    spec = dataclasses.replace(SPEC, **changes)
    batch = spec.example(4)
    batch["valid"][3] = False
    _, variables = TextOnly(spec).init_with_output(
        jax.random.key(0), batch, train=False
    )

    def loss(weight, dropout, *, train=True):
        return TextOnly(spec, r_drop=weight, dropout=dropout).apply(
            variables,
            batch,
            train=train,
            progress={},
            method="loss",
            rngs={"dropout": jax.random.key(1)},
        )

    same, terms = loss(1.0, 0.0)
    assert terms["difference"] == 0
    np.testing.assert_allclose(same, loss(0.0, 0.0)[0], rtol=1e-6)
    (one, terms), (two, _) = loss(1.0, 0.5), loss(3.0, 0.5)
    assert terms["difference"] > 1e-4
    np.testing.assert_allclose(two - one, 2 * terms["difference"], rtol=1e-4)
    assert loss(1.0, 0.5, train=False)[0] == loss(0.0, 0.5, train=False)[0]
