import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from msajax import encoders
from msajax.data.spec import IGNORED
from msajax.encoders.t5 import FeedForward, T5Config
from msajax.encoders.t5_writer import T5Writer, greedy, shift
from msajax.weights.t5 import table
from tests.encoders import checkpoints

# Heads of another width than the network's, and few buckets.
SMALL = T5Config(
    vocab_size=30,
    d_model=12,
    d_kv=5,
    d_ff=20,
    num_layers=2,
    num_decoder_layers=2,
    num_heads=2,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=10,
    feed_forward_proj="gated-gelu",
    tie_word_embeddings=False,
)
FACTS = {
    **{"model_type": "t5", "vocab_size": 30, "d_model": 12, "d_kv": 5, "d_ff": 20},
    **{"num_layers": 2, "num_heads": 2, "feed_forward_proj": "relu"},
}
rng = np.random.default_rng(0)
IDS = rng.integers(2, 30, (3, 6))
MASK = np.arange(6) < np.array([6, 4, 2])[:, None]
LABELS = np.array(
    [[5, 6, 1, *[IGNORED] * 3], [7, 1, *[IGNORED] * 4], [3, 4, 5, 6, 7, 1]]
)
WRITER, ENCODER = T5Writer(SMALL), SMALL.encoder()


def arrays(shapes):
    """Values of which every term shows."""
    own = np.random.default_rng(1)
    return jax.tree.map(lambda x: own.normal(0, 1, x.shape).astype(np.float32), shapes)


VARIABLES = arrays(
    jax.eval_shape(
        lambda key: WRITER.init(key, IDS, LABELS, mask=MASK, train=False),
        jax.random.key(0),
    )
)
OF_ENCODER = {
    "params": {k: VARIABLES["params"][k] for k in ("encoder", "word_embedding")}
}


@functools.partial(jax.jit, static_argnames=("encoder", "places", "changes"))
def encode(ids=IDS, mask=MASK, *, encoder=ENCODER, places=None, changes=None):
    injected = dict(inject_after=places, inject=changes)
    return encoder.apply(OF_ENCODER, ids, mask=mask, train=False, **injected)


SOURCE = encode().last


@functools.partial(jax.jit, static_argnames=("places", "changes"))
def decode(labels, places=None, changes=None):
    given = dict(source=SOURCE, mask=MASK, train=False, method="decode")
    injected = dict(inject_after=places, inject=changes)
    return WRITER.apply(VARIABLES, labels, **given, **injected)


def test_the_whole_network_has_the_encoder():
    hidden = jax.jit(
        lambda v: WRITER.apply(v, IDS, mask=MASK, train=False, method="encode")
    )(VARIABLES)
    assert len(hidden) == 3
    for a, b in zip(hidden, encode().hidden, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_last_state_is_normalised_and_pooled_is_its_mean():
    encoded = encode()
    scale = VARIABLES["params"]["encoder"]["final_layer_norm"]["scale"]
    ratio = np.asarray(encoded.last) / scale
    np.testing.assert_allclose(np.mean(ratio**2, -1), 1, atol=1e-6)
    mean = np.asarray(encoded.last)[2, :2].mean(0)
    np.testing.assert_allclose(encoded.pooled[2], mean, atol=1e-5)
    assert encode(encoder=SMALL.encoder(pooler=False)).pooled is None


def test_padding_on_either_side_does_not_matter():
    def left(x):
        return np.stack(
            [np.roll(row, 6 - n) for row, n in zip(x, (6, 4, 2), strict=True)]
        )

    found = np.asarray(encode(left(IDS), left(MASK)).last)
    np.testing.assert_allclose(found[left(MASK)], SOURCE[MASK], atol=1e-5)
    other = np.where(MASK, IDS, 7)
    np.testing.assert_allclose(encode(other).last[MASK], SOURCE[MASK], atol=1e-5)


def test_scan_and_remat_do_not_change_it():
    given = dict(places=(1, 2), changes=(jnp.sin, jnp.cos))
    expected = encode(**given)
    found = encode(encoder=SMALL.encoder(remat=True, scan=True), **given)
    for a, b in zip(found.hidden, expected.hidden, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert np.abs(expected.last - SOURCE).max() > 0.1


def test_bfloat16_stays_near():
    half = encode(encoder=SMALL.encoder(dtype=jnp.bfloat16)).last
    assert half.dtype == jnp.bfloat16
    error = np.abs(half.astype(np.float32) - SOURCE)[MASK]
    assert 0 < error.mean() < 0.03 * np.abs(SOURCE).mean()


def test_training_draws_dropout():
    @jax.jit
    def train(key):
        apply = functools.partial(WRITER.apply, VARIABLES, rngs={"dropout": key})
        source = apply(IDS, mask=MASK, train=True, method="encode")[-1]
        given = dict(source=SOURCE, mask=MASK, train=True, method="decode")
        return source, apply(LABELS, **given).logits

    keys = [jax.random.key(i) for i in (0, 0, 1)]
    for a, b, c in zip(*(train(key) for key in keys), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 0.1


def test_what_the_decoder_reads():
    read = shift(jnp.asarray(LABELS), SMALL)
    assert read.tolist() == [[0, 5, 6, 1, 0, 0], [0, 7, 1, 0, 0, 0], [0, 3, 4, 5, 6, 7]]


def test_a_token_sees_only_those_before_it():
    other = LABELS.copy()
    other[:, 2] = 9
    a, b = decode(LABELS).logits, decode(other).logits
    np.testing.assert_allclose(a[:, :3], b[:, :3], atol=1e-5)
    assert np.abs(a[:, 3] - b[:, 3]).max() > 0.01
    assert a.shape == (3, 6, 30) and a.dtype == np.float32


def test_each_token_written_is_the_most_probable_after_those_before():
    written = jax.jit(
        lambda v: WRITER.apply(v, SOURCE, mask=MASK, length=6, method="write")
    )(VARIABLES)
    assert written.shape == (3, 6) and written.dtype == np.int32
    best = np.asarray(decode(written).logits.argmax(-1))
    before_end = np.cumsum(written == 1, 1) - (written == 1) == 0
    np.testing.assert_array_equal(written, np.where(before_end, best, 0))
    assert len({*written.ravel().tolist()}) > 3


def test_the_end_of_a_text_is_followed_by_padding():
    script = np.array([[5, 1, 7, 8, 9], [4, 4, 4, 1, 4], [1, 3, 3, 3, 3]])
    read = []

    def step(module, token, place, caches):
        jax.debug.callback(lambda *seen: read.append(seen), place, token)
        return jax.nn.one_hot(jnp.asarray(script)[:, place], 30), caches

    caches = WRITER.apply(VARIABLES, SOURCE, 5, method="start")
    config = dataclasses.replace(SMALL, decoder_start_token_id=2)
    written = WRITER.apply(
        VARIABLES, method=lambda writer: greedy(writer, step, caches, config=config)
    )
    assert written.tolist() == [[5, 1, 0, 0, 0], [4, 4, 4, 1, 0], [1, 0, 0, 0, 0]]
    jax.effects_barrier()
    # After the fourth token all texts have ended.
    found = {int(place): token.tolist() for place, token in read}
    assert found == {0: [2, 2, 2], 1: [5, 4, 1], 2: [1, 4, 0], 3: [0, 4, 0]}


def test_what_is_injected_is_written_too():
    """The second place takes what the last feed-forward block has read, too."""
    places = (1, 2)
    changes = (lambda x, _: jnp.sin(x), lambda x, read: (x - 2 * read)[..., ::-1])

    def step(writer, *state):
        injected = dict(inject_after=places, inject=changes)
        return writer.step(*state, mask=MASK, **injected)

    def write(writer):
        return greedy(writer, step, writer.start(SOURCE, 6), config=SMALL)

    written = np.asarray(jax.jit(lambda v: WRITER.apply(v, method=write))(VARIABLES))
    best = np.asarray(decode(written, places, changes).logits.argmax(-1))
    real = written > 1
    np.testing.assert_array_equal(written[real], best[real])
    assert (np.asarray(decode(written).logits.argmax(-1))[real] != best[real]).any()


def test_an_injection_is_given_what_the_feed_forward_layers_have_read():
    """In the encoder, its layers compiled as one or not, and in the decoder."""

    @jax.jit
    def read(variables):
        injected = dict(inject_after=1, inject=lambda _, read: read, mask=MASK)
        found = []
        for scan in (False, True):
            apply = functools.partial(T5Writer(SMALL, scan=scan).apply, variables)
            hidden = apply(IDS, train=False, method="encode", **injected)
            found.append(("encoder", hidden[1], encode().hidden[1]))
        given = dict(source=SOURCE, train=False, method="decode", **injected)
        found.append(
            ("decoder", apply(LABELS, **given).hidden[1], decode(LABELS).hidden[1])
        )
        made = []
        for stack, x, output in found:
            params = variables["params"][stack]["layer"]["0"]["feed_forward"]
            block = FeedForward(SMALL, jnp.float32)
            made.append((block.apply({"params": params}, x, train=False), output))
        return made

    for found, output in read(VARIABLES):
        np.testing.assert_allclose(found, output, rtol=1e-4, atol=1e-4)


def test_gradients_of_the_gated_block():
    """By the rule of the chain, in float64."""
    model = FeedForward(SMALL, jnp.float32)
    own = np.random.default_rng(3)
    x, g = own.normal(size=(2, 3, 6, 12)).astype(np.float32)
    like = jax.eval_shape(lambda k: model.init(k, x, train=False), jax.random.key(0))
    params = jax.tree.map(lambda p: 0.5 * p, arrays(like))["params"]

    @jax.jit
    def gradients(params, x):
        def total(params, x):
            return jnp.sum(model.apply({"params": params}, x, train=False) * g)

        return jax.grad(total, argnums=(0, 1))(params, x)

    found, moved = gradients(params, x)
    x, g = (v.reshape(-1, 12).astype(float) for v in (x, g))
    scale = params["layer_norm"]["scale"]
    w0, w1, wo = (params[k]["kernel"].astype(float) for k in ("wi_0", "wi_1", "wo"))
    rms = np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6)
    h = x / rms * scale
    a, b, k = h @ w0, h @ w1, np.sqrt(2 / np.pi)
    t = np.tanh(k * (a + 0.044715 * a**3))
    gelu = a * (1 + t) / 2
    slope = (1 + t) / 2 + a / 2 * (1 - t**2) * k * (1 + 3 * 0.044715 * a**2)
    inner = g @ wo.T
    da, db = inner * b * slope, inner * gelu
    dh = da @ w0.T + db @ w1.T
    expected = {"wi_0": h.T @ da, "wi_1": h.T @ db, "wo": (gelu * b).T @ g}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name]["kernel"], value, rtol=1e-5, atol=1e-5)
    wanted = (dh * x / rms).sum(axis=0)
    np.testing.assert_allclose(found["layer_norm"]["scale"], wanted, rtol=1e-4)
    dh = dh * scale
    dx = g + dh / rms - x * (dh * x).mean(axis=1, keepdims=True) / rms**3
    np.testing.assert_allclose(moved.reshape(-1, 12), dx, rtol=1e-5, atol=1e-5)


def test_gradients_reach_every_parameter():
    def loss(params):
        decoded = WRITER.apply({"params": params}, IDS, LABELS, mask=MASK, train=False)
        return jnp.sum(jnp.sin(decoded.logits))

    gradients = jax.jit(jax.grad(loss))(VARIABLES["params"])
    for path, x in checkpoints.flat(gradients).items():
        assert np.abs(x).max() > 0, path


@pytest.mark.parametrize(
    "changes,expected",
    [
        ({}, dict(num_decoder_layers=2, tie_word_embeddings=True)),
        ({"num_decoder_layers": 3}, dict(num_decoder_layers=3)),
        ({"tie_word_embeddings": False}, dict(tie_word_embeddings=False)),
        # Version 5 of transformers says so of a released head of its own.
        (
            {"tie_word_embeddings": True, "scale_decoder_outputs": False},
            dict(tie_word_embeddings=False),
        ),
        (
            {"model_type": "mt5", "feed_forward_proj": "gated-gelu"},
            dict(tie_word_embeddings=False, gated=True),
        ),
        ({"eos_token_id": 2}, dict(eos_token_id=2, pad_token_id=0)),
    ],
)
def test_config(changes, expected):
    config = T5Config.read(FACTS | changes)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"feed_forward_proj": "gated-swish"}, "feed_forward_proj='gated-swish'"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"tie_word_embeddings": "no"}, r"tie_word_embeddings \('no'\)"),
        ({"relative_attention_num_buckets": 3}, "relative_attention_num_buckets.* 3"),
        ({"relative_attention_max_distance": 16}, "is 16, but half of the 32 buckets"),
        ({"eos_token_id": [1]}, r"eos_token_id \(\[1\]\)"),
    ],
)
def test_settings_that_are_not_supported(changes, message):
    with pytest.raises(ValueError, match=message):
        T5Config.read(FACTS | changes)


@pytest.fixture(scope="module", params=["relu", "gated-gelu"])
def whole(request):
    """A random T5ForConditionalGeneration: its config.json, ours, parameters, PyTorch's."""
    tied = request.param == "relu"
    facts = FACTS | {"feed_forward_proj": request.param, "tie_word_embeddings": tied}
    writer = T5Writer(T5Config.read(facts))
    made = jax.eval_shape(
        lambda key: writer.init(key, IDS, LABELS, mask=MASK, train=False),
        jax.random.key(0),
    )
    params = arrays(made)["params"]
    state = table(writer).arrays({"params": params})
    return facts, writer, params, {k: np.ascontiguousarray(x) for k, x in state.items()}


def test_weights_of_the_whole_network(whole, tmp_path):
    facts, writer, params, state = whole
    copies = {
        "encoder.embed_tokens.weight": state["shared.weight"],
        "decoder.embed_tokens.weight": state["shared.weight"],
    }
    name = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    old = {**copies, name: np.zeros((32, 2), np.float32)}
    folder = checkpoints.write(tmp_path, facts, state=state | old)
    empty = jax.tree.map(np.zeros_like, params)
    found, report = encoders.load(folder, writer, empty)
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert report.missing == report.unused == ()
    config = encoders.read_config(folder)
    del empty["decoder"]
    empty.pop("lm_head", None)
    found, report = encoders.load(folder, config.encoder(), empty)
    np.testing.assert_array_equal(
        found["encoder"]["layer"]["1"]["attention"]["q"]["kernel"],
        state["encoder.block.1.layer.0.SelfAttention.q.weight"].T,
    )
    assert report.missing == report.unused == ()


def test_weights_that_lack_the_head_of_their_own(whole, tmp_path):
    facts, writer, params, state = whole
    left = {k: x for k, x in state.items() if not k.startswith("lm_head")}
    folder = checkpoints.write(tmp_path, facts, state=left)
    if left.keys() == state.keys():
        assert not encoders.load(folder, writer, params)[1].missing
        return
    with pytest.raises(ValueError, match="newer transformers saved it as if the table"):
        encoders.load(folder, writer, params)


def test_weights_of_flax(whole, tmp_path):
    facts, writer, params, state = whole
    flax = {}
    for name, x in state.items():
        path = tuple(name.removesuffix(".weight").split("."))
        if name.endswith("layer_norm.weight"):
            flax[(*path, "weight")] = x
        elif name.endswith(("shared.weight", "relative_attention_bias.weight")):
            flax[(*path, "embedding")] = x
        else:
            flax[(*path, "kernel")] = x.T
    tree = traverse_util.unflatten_dict(flax)
    folder = checkpoints.write(tmp_path, facts, params=tree)
    found, report = encoders.load(folder, writer, jax.tree.map(np.zeros_like, params))
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert report.missing == report.unused == ()


def test_a_network_with_fewer_layers_of_the_decoder(whole, tmp_path):
    facts, _, params, state = whole
    left = {k: x for k, x in state.items() if not k.startswith("decoder.block.1.")}
    folder = checkpoints.write(tmp_path, facts, state=left)
    writer = T5Writer(encoders.read_config(folder))
    with pytest.raises(ValueError, match="lacks decoder/layer/1/attention"):
        encoders.load(folder, writer, params)


def test_a_place_that_the_decoder_does_not_have():
    writer = T5Writer(T5Config.read(FACTS))
    source = np.zeros((2, 3, FACTS["d_model"]), np.float32)

    def decode(key):
        given = dict(source=source, mask=source[..., 0] == 0, train=False)
        inject = dict(inject_after=9, inject=lambda x, _: x)
        return writer.init(key, LABELS, **given, **inject, method="decode")

    with pytest.raises(
        ValueError, match="inject_after=9, but the decoder has 2 layers"
    ):
        jax.eval_shape(decode, jax.random.key(0))
