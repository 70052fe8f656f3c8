"""AHL by hand; it does not see the order of tokens, and adds to what is normalised."""

import jax
import numpy as np

from msajax.nn.ahl import AHL, AHLLayer
from tests.nn.test_token_transformer import encode, linear, norm, random_variables

rng = np.random.default_rng(1)
HYPER, TEXT = rng.normal(size=(2, 2, 3, 6)).astype(np.float32)
AUDIO, VISION = (rng.normal(size=(2, n, 6)).astype(np.float32) for n in (4, 5))
LAYER = AHLLayer(heads=2, head_dim=4)
APPLY = jax.jit(LAYER.apply)


def layer_by_hand(p, hyper, text, audio, vision):
    out = []
    for h in range(2):
        head = np.s_[4 * h : 4 * h + 4]
        q = norm(p["text_norm"], text) @ p["text"]["kernel"][:, head]
        total = 0
        for name, x in (("audio", audio), ("vision", vision)):
            both = norm(p[f"{name}_norm"], x) @ p[name]["kernel"]
            k, v = both[..., :8][..., head], both[..., 8:][..., head]
            weights = np.exp(q @ np.swapaxes(k, 1, 2) / 2)  # sqrt(4)
            total = total + weights / weights.sum(-1, keepdims=True) @ v
        out.append(total)
    return norm(p["hyper_norm"], hyper) + linear(p["out"], np.concatenate(out, -1))


def test_a_layer_by_hand():
    variables = random_variables(LAYER, HYPER, TEXT, AUDIO, VISION)
    found = APPLY(variables, HYPER, TEXT, AUDIO, VISION)
    wanted = layer_by_hand(variables["params"], HYPER, TEXT, AUDIO, VISION)
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_the_order_of_audio_and_vision_tokens_does_not_matter():
    variables = random_variables(LAYER, HYPER, TEXT, AUDIO, VISION)
    before = APPLY(variables, HYPER, TEXT, AUDIO, VISION)
    after = APPLY(variables, HYPER, TEXT, AUDIO[:, [2, 0, 3, 1]], VISION[:, ::-1])
    np.testing.assert_allclose(after, before, atol=1e-5)
    other = APPLY(variables, HYPER, TEXT, AUDIO[:, :3], VISION)
    assert np.abs(other - before).max() > 1e-3


def test_without_output_weights_the_normalised_hyper_modality_is_left():
    variables = random_variables(LAYER, HYPER, TEXT, AUDIO, VISION)
    p = variables["params"]
    p["out"] = jax.tree.map(np.zeros_like, p["out"])
    found = APPLY(variables, HYPER, TEXT, AUDIO, VISION)
    np.testing.assert_allclose(found, norm(p["hyper_norm"], HYPER), atol=1e-5)


def test_each_layer_has_a_scale_of_the_text():
    module = AHL(3, heads=2, head_dim=4, text_heads=2, text_head_dim=5, mlp_dim=7)
    variables = random_variables(module, TEXT, AUDIO, VISION)
    p = variables["params"]
    ones = np.ones((2, 3), bool)
    scales = encode(p["text_encoder"], TEXT + p["positions"], ones, 2)
    hyper = np.broadcast_to(p["hyper"], TEXT.shape)
    for i, scale in enumerate(scales):
        hyper = layer_by_hand(p[f"layer_{i}"], hyper, scale, AUDIO, VISION)
    found, found_scales = jax.jit(module.apply)(variables, TEXT, AUDIO, VISION)
    np.testing.assert_allclose(found, hyper, atol=5e-5)
    for a, b in zip(found_scales, scales, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    start = jax.jit(
        lambda key: module.init(key, TEXT, AUDIO, VISION)["params"]["hyper"]
    )
    np.testing.assert_array_equal(start(jax.random.key(0)), 1)
