import dataclasses

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.imr import CAPSULES, IMR, route
from msajax.weights import imr, template

SPEC = Spec(dims=(5, 6, 4), lengths=(3, 4, 5), num_train=6)
TINY = dict(dim=6, heads=2, layers=1, self_layers=2, pose_dim=3, concept_dim=4)


def votes_and_activations(classes=5):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 7, classes, 4)), rng.uniform(size=(2, 7))


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_concepts_are_votes_weighted_by_routing_and_activation():
    votes, activation = votes_and_activations()
    concepts, routing = route(votes, activation, 3, lambda x: x)
    assert concepts.shape == (2, 4, 5, 4) and routing.shape == (2, 3, 7, 5)
    np.testing.assert_allclose(np.sum(routing, axis=-1), 1, atol=1e-6)
    concept = votes.sum(1) / 5
    np.testing.assert_allclose(concepts[:, 0], concept, atol=1e-5)
    for i in range(3):
        r = softmax((votes * concept[:, None]).sum(-1) / 2)  # sqrt of the width
        np.testing.assert_allclose(routing[:, i], r, atol=1e-5)
        concept = ((activation[..., None] * r)[..., None] * votes).sum(1)
        np.testing.assert_allclose(concepts[:, i + 1], concept, atol=1e-5)


def test_concepts_without_routing_are_those_of_equal_routing():
    votes, activation = votes_and_activations()
    concepts, routing = route(votes, activation, 0, lambda x: x)
    np.testing.assert_allclose(concepts[:, 0], votes.sum(1) / 5, atol=1e-5)
    assert concepts.shape[1] == 1 and routing.shape == (2, 0, 7, 5)


@pytest.mark.parametrize(
    "low,high,scores", [(-3.0, 3.0, 7), (-1.0, 1.0, 3), (0.0, 1.0, 2)]
)
def test_the_whole_numbers_of_the_labels_range_are_classes(low, high, scores):
    spec = dataclasses.replace(SPEC, label_range=(low, high))
    assert IMR(spec).scores == tuple(range(int(low), int(high) + 1))
    logits = np.zeros((1, scores), np.float32)
    logits[0, -1] = 2.0
    mean, raw = (
        IMR(spec, expected=e)._pred(logits) for e in ("probabilities", "logits")
    )
    np.testing.assert_allclose(raw, 2 * high)
    weights = softmax(logits[0])
    np.testing.assert_allclose(mean, weights @ np.arange(low, high + 1), atol=1e-5)


def test_before_training_all_scores_are_alike_and_an_embedding_reads_its_concept():
    model, batch = IMR(SPEC, **TINY, remat=False), SPEC.example(4)
    batch["label"] = np.array([0.5, 1.5, 2.6, -9.0], np.float32)
    rng = np.random.default_rng(1)
    params = jax.tree.map(
        lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32),
        template(model, batch, train=False)["params"],
    )
    options = dict(train=False, progress={}, method="loss", capture_intermediates=True)
    compute = jax.jit(lambda p: model.apply({"params": p}, batch, **options))

    def run(embedding):
        (loss, _), kept = compute(params | {"embedding": embedding})
        return loss, kept["intermediates"]["__call__"][0]

    loss, out = run(np.zeros((7, 4), np.float32))
    np.testing.assert_array_equal(out["logits"], np.zeros((4, 7)))
    np.testing.assert_allclose(out["pred"], np.zeros(4), atol=1e-6)
    np.testing.assert_allclose(loss, np.log(7), rtol=1e-6)
    assert out["features"].keys() == {*CAPSULES}

    loss, out = run(params["embedding"])
    logits = np.einsum("bcm,cm->bc", out["concepts"][:, -1], params["embedding"])
    np.testing.assert_allclose(out["logits"], logits, atol=1e-5)
    # 0.5 is 0 and 1.5 is 2: of two the even one; what is out of range is its end
    chosen = np.log(softmax(logits))[np.arange(4), np.array([0, 2, 3, -3]) + 3]
    np.testing.assert_allclose(loss, -chosen.mean(), rtol=1e-5)


def test_features_of_the_common_width_are_not_projected():
    model = IMR(SPEC, **TINY)
    params = template(model, SPEC.example(2), train=False)["params"]
    assert "audio_projection" not in params and "text_projection" in params
    assert "mult\\.proj_a\\.weight" in imr.table(model).ignored
    # The encoders of a modality alone have at least as many layers as the others.
    sizes = {"text_alone": 2, "text_audio": 1}
    for name, layers in sizes.items():
        assert params[name]["layers"]["fc1"]["kernel"].shape == (layers, 6, 24)


def test_a_wrong_weighing_is_refused():
    with pytest.raises(ValueError, match='did you mean "logits"'):
        IMR(SPEC, expected="logit").init(
            jax.random.key(0), SPEC.example(2), train=False
        )
