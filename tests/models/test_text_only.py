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
