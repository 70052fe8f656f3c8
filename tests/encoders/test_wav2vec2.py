"""Every voice encoder by one set of tests: wav2vec 2.0 in both forms, data2vec-audio, WavLM."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.encoders.wav2vec2 import Wav2Vec2Config
from msajax.encoders.wave_front import normalize
from msajax.encoders.wavlm import WavLMConfig
from tests.encoders.checkpoints import check_dropout

SMALL = dict(
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=20,
    conv_dim=(8, 6),
    conv_kernel=(7, 4),
    conv_stride=(4, 3),
    num_conv_pos_embeddings=6,
    num_conv_pos_embedding_groups=3,
    layerdrop=0.0,
)
LAYER = dict(feat_extract_norm="layer", conv_bias=True)
GROUP = Wav2Vec2Config(**SMALL)
STABLE = Wav2Vec2Config(
    **(SMALL | LAYER | {"num_conv_pos_embeddings": 5}), do_stable_layer_norm=True
)
DATA2VEC = Wav2Vec2Config(
    **(SMALL | LAYER | {"num_conv_pos_embeddings": 3}), conv_pos_kernel_size=4
)
WAVLM = WavLMConfig(**SMALL, num_buckets=8, max_bucket_distance=6)
CONFIGS = {"group": GROUP, "stable": STABLE, "data2vec": DATA2VEC, "wavlm": WAVLM}
every = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)

rng = np.random.default_rng(0)
LENGTHS = np.array([130, 85, 19])
WAVES = (0.1 * rng.normal(size=(3, 130)) + 0.05).astype(np.float32)
MASK = np.arange(130) < LENGTHS[:, None]
GARBAGE = np.where(MASK, WAVES, np.nan).astype(np.float32)


@functools.cache
def variables_of(config):
    rng = np.random.default_rng(1)
    tree = jax.eval_shape(
        lambda key: config.encoder().init(key, WAVES, mask=MASK, train=False),
        jax.random.key(0),
    )
    return jax.tree.map(
        lambda x: (0.4 * rng.normal(size=x.shape) + (x.ndim == 1)).astype(np.float32),
        tree,
    )


def run(config, waves, mask, **settings):
    @jax.jit
    def encode(variables, waves):
        return config.encoder(**settings).apply(
            variables, waves, mask=mask, train=False
        )

    return encode(variables_of(config), waves)


@functools.cache
def encoded(config):
    return run(config, GARBAGE, MASK)


@every
def test_a_wave_has_the_frames_that_it_has_alone(config):
    found = encoded(config)
    assert np.sum(found.mask, axis=1).tolist() == [10, 6, 1]
    assert not np.isnan(found.last).any()
    alone = run(config, WAVES[1:2, :85], MASK[1:2, :85])
    assert alone.mask.shape == (1, 6) and alone.mask.all()
    for ours, expected in zip(found.hidden, alone.hidden, strict=True):
        np.testing.assert_allclose(ours[1, :6], expected[0], atol=1e-5)


@pytest.mark.parametrize("config", [GROUP, DATA2VEC], ids=["group", "data2vec"])
def test_padding_matters_in_the_form_of_transformers(config):
    waves = np.where(MASK, WAVES, 0).astype(np.float32)
    padded = run(config, waves, MASK, padded=True).last
    alone = run(config, waves[1:2, :85], MASK[1:2, :85], padded=True).last
    assert np.abs(padded[1, :6] - alone[0]).max() > 1e-3
    # A wave without padding is the same in both forms.
    np.testing.assert_allclose(padded[0], encoded(config).last[0], atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [STABLE, pytest.param(WAVLM, marks=pytest.mark.slow)],
    ids=["stable", "wavlm"],
)
def test_gradients_do_not_depend_on_how_it_runs(config):
    config = dataclasses.replace(
        config, hidden_dropout=0.0, activation_dropout=0.0, attention_dropout=0.0
    )
    variables = variables_of(config)

    def gradients(**settings):
        def loss(variables):
            found = config.encoder(**settings).apply(
                *(variables, WAVES), mask=MASK, train=True
            )
            frames = jnp.where(found.mask[..., None], found.last, 0)
            return jnp.sum(jnp.sin(frames)) + jnp.sum(found.hidden[1] ** 2)

        return jax.jit(jax.grad(loss))(variables)

    plain = gradients()
    # Every parameter is used.
    sizes = [np.abs(x).max() for x in jax.tree.leaves(plain)]
    largest = max(sizes)
    assert min(sizes) > 0
    other = jax.tree.leaves(gradients(remat=True, scan=True))
    for a, b in zip(jax.tree.leaves(plain), other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * largest)


@every
def test_bfloat16_is_close(config):
    found, expected = run(config, WAVES, MASK, dtype=jnp.bfloat16), encoded(config)
    assert found.last.dtype == jnp.bfloat16
    error = np.abs(found.last.astype(np.float32) - expected.last)[expected.mask]
    assert 0 < error.mean() < 0.05 * np.abs(expected.last).max()


def test_injection_between_two_layers():
    variables, encoder = variables_of(STABLE), STABLE.encoder()
    given = dict(mask=MASK, train=False)

    @jax.jit
    def encode(variables):
        return encoder.apply(
            *(variables, WAVES), **given, inject_after=1, inject=lambda x: 2 * x
        )

    injected, plain = encode(variables), encoded(STABLE)
    np.testing.assert_allclose(injected.hidden[1], 2 * plain.hidden[1], rtol=1e-4)
    assert np.abs(injected.last - plain.last).max() > 1e-3


@functools.cache
def training(config, **settings):
    def encode(key):
        encoder, rngs = config.encoder(**settings), {"dropout": key}
        return encoder.apply(
            variables_of(config), WAVES, mask=MASK, train=True, rngs=rngs
        )

    return jax.jit(encode)


@pytest.mark.parametrize("scan", [False, True], ids=["loop", "scan"])
@pytest.mark.parametrize("config", [GROUP, WAVLM], ids=["group", "wavlm"])
def test_dropped_layers_pass_their_input_on(config, scan):
    """WavLM's first one is never dropped."""
    config = dataclasses.replace(config, layerdrop=0.999999, hidden_dropout=0.0)
    hidden = training(config, scan=scan)(jax.random.key(0)).hidden
    np.testing.assert_array_equal(hidden[1], hidden[2])
    assert (np.abs(hidden[0] - hidden[1]).max() > 0.1) == (config.kinds == ("wavlm",))


@every
def test_training_draws_dropout(config):
    check_dropout(lambda *, train, rngs: training(config)(rngs["dropout"]))


def test_a_wave_that_is_too_short_for_a_frame():
    assert (GROUP.field, GROUP.frames(18), GROUP.frames(19)) == (19, 0, 1)
    assert Wav2Vec2Config().field == 400
    mask = MASK.copy()
    mask[1], mask[2] = False, np.arange(130) < 18
    found = run(GROUP, WAVES, mask)
    assert np.sum(found.mask, axis=1).tolist() == [10, 0, 0]
    assert np.isfinite(found.last).all()
    with pytest.raises(ValueError, match="18 samples, but .* first frame of 19"):
        run(GROUP, WAVES[:, :18], MASK[:, :18])


def test_waves_are_normalised_over_their_real_samples():
    waves = jnp.asarray([[1, 3, 100], [5, 5, 5], [7, 8, 9]], jnp.float32)
    mask = jnp.asarray([[1, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    expected = [[-1, 1, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(normalize(waves, mask), expected, atol=1e-5)
    plain = dataclasses.replace(STABLE, do_normalize=False)
    given = normalize(WAVES, jnp.asarray(MASK))
    found = run(plain, given, MASK)
    np.testing.assert_allclose(found.last, encoded(STABLE).last, atol=1e-5)


@pytest.mark.parametrize(
    "changes,message",
    [
        (dict(conv_stride=(2,)), "list 2, 2 and 1 convolutions"),
        (dict(num_conv_pos_embedding_groups=5), "5, which does not divide .* 12"),
        (dict(num_attention_heads=5), "5 attention heads"),
        (dict(max_bucket_distance=2), "max_bucket_distance is 2"),
    ],
)
def test_sizes_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(WAVLM, **changes)
