import jax
import numpy as np
import pytest

from msajax.encoders.mpnet import MPNet, MPNetConfig
from tests.encoders.checkpoints import SIZES, Checkpoint, larger

CONFIG = MPNetConfig(**SIZES)
rng = np.random.default_rng(0)
IDS = rng.integers(2, 30, (3, 6))
MASK = np.arange(6) < np.array([6, 4, 2])[:, None]
VARIABLES = larger(MPNet(CONFIG), IDS, MASK)


@jax.jit
def last(ids, mask):
    return MPNet(CONFIG).apply(VARIABLES, ids, mask=mask, train=False).last


def test_padding_on_either_side_does_not_matter():
    whole = last(IDS[2:, :2], MASK[2:, :2])
    for first in (0, 3):
        ids, mask = np.ones((1, 6), int), np.zeros((1, 6), bool)
        ids[:, first : first + 2], mask[:, first : first + 2] = IDS[2, :2], True
        found = last(ids, mask)[:, first : first + 2]
        np.testing.assert_allclose(found, whole, atol=1e-5)


def test_the_order_of_words_matters_by_the_bias_alone():
    params = VARIABLES["params"]
    table = params["embeddings"]["position_embeddings"]
    flat = {
        **params["embeddings"],
        "position_embeddings": jax.tree.map(np.zeros_like, table),
    }
    encoder = {**params["encoder"]}
    bias = encoder["relative_attention_bias"]

    def words(bias):
        changed = {**params, "embeddings": flat}
        changed["encoder"] = {**encoder, "relative_attention_bias": bias}
        out = MPNet(CONFIG).apply(
            {"params": changed}, IDS[:1, ::-1], mask=MASK[:1], train=False
        )
        return out.last[:, ::-1], MPNet(CONFIG).apply(
            {"params": changed}, IDS[:1], mask=MASK[:1], train=False
        ).last

    backward, forward = words(jax.tree.map(np.zeros_like, bias))
    np.testing.assert_allclose(backward, forward, atol=1e-5)
    backward, forward = words(bias)
    assert np.abs(backward - forward).max() > 0.01


def test_too_long_a_text():
    with pytest.raises(ValueError, match="11 tokens, but .* positions for 10"):
        MPNet(CONFIG).init(
            jax.random.key(0),
            np.ones((1, 11), int),
            mask=np.ones((1, 11), bool),
            train=False,
        )


def test_what_a_config_leaves_out_is_as_in_transformers():
    facts = Checkpoint("mpnet").facts
    assert MPNetConfig.read(facts | {"layer_norm_eps": 1e-5}).layer_norm_eps == 1e-5
    del facts["layer_norm_eps"]
    assert MPNetConfig.read(facts).layer_norm_eps == 1e-12


@pytest.mark.parametrize("changes", [{"type_vocab_size": 2}, {"padding_position": 0}])
def test_what_no_mpnet_has(changes):
    with pytest.raises(ValueError, match="MPNet has no segments, and its padding"):
        MPNetConfig(**changes)
