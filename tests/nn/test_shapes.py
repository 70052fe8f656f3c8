"""Wrong shapes stop at the entry of a block, where they would broadcast or fail further inside."""

import importlib
import inspect
import pkgutil

import flax.linen as linen
import jax
import jax.numpy as jnp
import pytest

from msajax import losses, nn
from msajax.nn import (
    adjustment,
    ahl,
    align,
    attention,
    bimodal,
    convolution,
    dropout,
    embedding,
    fusion,
    gates,
    masks,
    memory,
    mixup,
    mult,
    norm,
    parties,
    pooling,
    positions,
    post_norm,
    recurrent,
    subnets,
    token_transformer,
    transformer,
    turns,
    words,
)

B, L, K, D = 4, 5, 3, 6


def of(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def real(*shape):
    return of(*shape, dtype=bool)


def ids(*shape):
    return of(*shape, dtype=jnp.int32)


def bits(*shape):
    return of(*shape, dtype=jnp.uint32)


def three(array, **others):
    return dict.fromkeys(("text", "audio", "vision"), array) | others


def call(function, *names, **options):
    """A block as a function of positions: the last arguments are the keywords `names`."""

    def run(*args):
        first = len(args) - len(names)
        arrays = dict(zip(names, args[first:], strict=True))
        if not isinstance(function, linen.Module):
            return function(*args[:first], **arrays, **options)
        key = jax.random.key(0)
        return function.init_with_output(key, *args[:first], **arrays, **options)[0]

    return run


def on_batch(function, **options):
    """A function of features and masks by modality, as one of a batch."""

    def run(x, mask):
        batch = x | {f"{m}_mask": mask[m] for m in x} | {"valid": jnp.ones(B, bool)}
        return call(function, **options)(batch)

    return run


def mixed(method):
    def run(share, partner, *args):
        return getattr(mixup.Mixup(share, partner), method)(*args)

    return run


X, OTHER, MASK, ROWS = of(B, L, D), of(B, K, D), real(B, L), of(B, D)
HEADS, KEYS, KERNEL = of(B, L, 2, 3), of(B, K, 2, 3), of(D, 2, 3)
TIME, TIME_REAL = of(L, B, D), real(L, B, 1)
STEPS = (three(X), three(MASK))
SHORT = (three(X), three(MASK, audio=real(B, L - 1)))
MIX = (of(), ids(B))
# [B, L, D] with its real steps, and what is none.
SEQUENCE = (
    (X, MASK),
    *(
        (X, real(B, 1)),
        (X, real(1, L)),
        (X, real(B, L, 1)),
        (ROWS, MASK),
        (X, of(B, L)),
    ),
)
OF_TIME = ((TIME, TIME_REAL), (TIME, real(L, B)), (TIME, real(B, L, 1)))
EMBEDDINGS = ((three(ROWS),), (three(ROWS, audio=of(1, D)),), (three(X),))
PAIR = ((of(B), of(B)), (of(B), of(B, 1)), (of(B), of(1)))
NONE = dict(train=False)

# A block: arguments that fit it, and others of which one does not.
BLOCKS = {
    "ahl.AHLLayer": (
        call(ahl.AHLLayer(2, 3)),
        ((X, X, OTHER, OTHER), (of(B, 1, D), X, X, X), (X, X, ROWS, X)),
    ),
    "ahl.AHL": (call(ahl.AHL(2, 2, 3)), ((X, X, X), (X, of(1, L, D), X))),
    "align.align": (
        align.align,
        (
            (X, MASK, real(B, K)),
            *((X, real(B, 1), real(B, K)), (X, MASK, real(1, K))),
        ),
    ),
    "align.common_steps": (
        on_batch(align.common_steps, aligned=True, padded=False),
        (STEPS, SHORT),
    ),
    "align.to_text": (
        on_batch(align.to_text, lengths=(L, L, L), pool=False),
        (STEPS, SHORT),
    ),
    "attention.masked_softmax": (
        attention.masked_softmax,
        ((of(B, L, K), real(B, 1, K)), (of(B, L, K), real(B, L, L))),
    ),
    "adjustment.similarity": (
        adjustment.similarity,
        ((of(B, L, D), of(B, 1, 1)), (of(B, L, D), of(B, L, 1)), (of(B, L, D), of(B))),
    ),
    "adjustment.adjust": (
        adjustment.adjust,
        (
            (of(B, L, D), of(B, L, L), real(B, L)),
            (of(B, L, D), of(B, L, K), real(B, L)),
            (of(B, L, D), of(B, L, L), real(B, L, 1)),
        ),
    ),
    "bimodal.attend_pair": (
        bimodal.attend_pair,
        ((of(B, L, D), of(B, K, D)), (of(B, L, D), of(B, K, 1)), (of(B, D), of(B, D))),
    ),
    "attention.attend": (
        call(attention.attend, "mask"),
        (
            (HEADS, KEYS, KEYS, real(1, 1, 1, K)),
            (HEADS, KEYS, HEADS, real(B, 1, 1, K)),
            (HEADS, KEYS, KEYS, real(B, 1, 1, L)),
            (HEADS, KEYS, KEYS, real(B, 1, K, K)),
            (HEADS, KEYS, KEYS, of(B, 1, 1, K)),
        ),
    ),
    "attention.attend_few": (
        call(attention.attend_few, "mask"),
        (
            (HEADS, OTHER, OTHER, KERNEL, KERNEL, real(B, 1, L, K)),
            (HEADS, OTHER, of(B, 1, D), KERNEL, KERNEL, real(B, 1, L, K)),
            (HEADS, OTHER, OTHER, KERNEL, KERNEL, real(B, L, K)),
        ),
    ),
    "attention.MultiHeadAttention": (
        call(attention.MultiHeadAttention(2), "mask", **NONE),
        (
            (X, OTHER, OTHER, real(B, L, K)),
            *((X, MASK), (X, OTHER, X, real(B, L, K))),
            *((X, OTHER, OTHER, real(B, L, L)), (ROWS, real(B, B))),
        ),
    ),
    "convolution.TemporalConvolution": (
        call(convolution.TemporalConvolution(2, 3)),
        SEQUENCE,
    ),
    "dropout.keep": (
        call(dropout.keep, rate=0.5),
        ((bits(2), bits(B, L)), (bits(1), bits(B, L)), (bits(2), ids(B))),
    ),
    "dropout.random_bits": (
        dropout.random_bits,
        ((bits(2), bits(B)), (bits(), bits(B))),
    ),
    "embedding.take": (
        embedding.take,
        ((of(9, D), ids(B, L)), (of(9), ids(B)), (of(9, D), of(B))),
    ),
    "embedding.Embed": (call(embedding.Embed(9, D)), ((ids(B, L),), (of(B, L),))),
    "embedding.by_additions": (
        call(embedding.by_additions, size=9),
        ((ids(B), ROWS), (ids(1), ROWS), (ids(B, 1), ROWS)),
    ),
    "embedding.by_products": (
        call(embedding.by_products, size=9),
        ((ids(B), ROWS), (ids(1), ROWS), (ids(B, 1), ROWS)),
    ),
    "fusion.join": (fusion.join, EMBEDDINGS),
    "fusion.tensor_product": (fusion.tensor_product, EMBEDDINGS),
    "fusion.LowRank": (call(fusion.LowRank(2, 1)), EMBEDDINGS),
    "gates.MAGGate": (
        call(gates.MAGGate(), **NONE),
        ((X, of(B, L, 2), X), (X, of(B, 1, 2), X), (X, X, OTHER), (ROWS, ROWS, ROWS)),
    ),
    "gates.bounded": (
        call(gates.bounded, beta=1.0),
        ((X, X), (X, of(B, 1, D)), (X, ROWS)),
    ),
    "masks.assert_steps": (masks.assert_steps, SEQUENCE),
    "masks.to_front": (masks.to_front, SEQUENCE),
    "masks.to_places": (masks.to_places, SEQUENCE),
    "masks.visible": (
        call(masks.visible, causal=True),
        ((MASK, real(B, K)), (MASK, real(1, K)), (MASK, real(B, L, 1))),
    ),
    "memory.MemoryFusion": (
        call(memory.MemoryFusion((2, 2, 2), 2, 2, 0.0, (2,) * 3, (0.0,) * 3), **NONE),
        (STEPS, SHORT),
    ),
    "memory.LSTMs": (call(memory.LSTMs((2, 2, 2))), (STEPS, SHORT)),
    "memory.GatedMemory": (
        call(memory.GatedMemory(2, (2, 2, 2), (0.0, 0.0, 0.0)), **NONE),
        OF_TIME,
    ),
    "mixup.Mixup.blend": (mixed("blend"), ((*MIX, X, X), (*MIX, of(B), of(B, 1)))),
    "mixup.Mixup.sequences": (
        mixed("sequences"),
        tuple((*MIX, *args) for args in SEQUENCE),
    ),
    "mixup.draw": (
        lambda valid: mixup.draw(jax.random.key(0), valid),
        ((real(B),), (real(B, 1),), (of(B),)),
    ),
    "mult.MultimodalTransformer": (
        call(mult.MultimodalTransformer(1, D, 2, 1, remat=False), "scales", **NONE),
        (
            (*STEPS, {("text", "audio"): of(B)}),
            *((*SHORT, {}), (*STEPS, {("text", "audio"): of(B, 1)})),
        ),
    ),
    "norm.BatchNorm": (
        call(norm.BatchNorm(), "where", train=True),
        (
            (X, MASK),
            *((X, real(B, 1)), (ROWS, real(1)), (of(B), real(B)), (X, real(L, B))),
        ),
    ),
    "pooling.mean_pool": (pooling.mean_pool, SEQUENCE),
    "pooling.last_step": (pooling.last_step, SEQUENCE),
    "pooling.first_step": (pooling.first_step, SEQUENCE),
    "pooling.final_states": (pooling.final_states, SEQUENCE),
    "positions.position_vectors": (
        call(positions.position_vectors, fairseq_zero_pos=True),
        ((X,), (ROWS,), (HEADS,)),
    ),
    "post_norm.PostNormLayer": (
        call(post_norm.PostNormLayer(2, 4), "mask", **NONE),
        ((X, real(B, L, L)), (X, MASK), (X, real(B, L, K))),
    ),
    "post_norm.PostNormEncoder": (
        call(post_norm.PostNormEncoder(1, 2, 4), "mask", **NONE),
        SEQUENCE,
    ),
    "recurrent.LSTM": (call(recurrent.LSTM(2), **NONE), SEQUENCE),
    "recurrent.LSTMLayer": (call(recurrent.LSTMLayer(2)), OF_TIME),
    "recurrent.GRULayer": (call(recurrent.GRULayer(2)), OF_TIME),
    "recurrent.Recurrent": (call(recurrent.Recurrent(2)), SEQUENCE),
    "recurrent.LSTMDecoder": (
        call(recurrent.LSTMDecoder(), steps=2),
        ((ROWS,), (X,)),
    ),
    "turns.MatchingAttention": (call(turns.MatchingAttention()), SEQUENCE),
    "turns.reverse": (turns.reverse, SEQUENCE),
    "parties.PartyRNN": (
        call(parties.PartyRNN(2, 3, 4), parties=3, train=False),
        (
            (of(B, L, D), ids(B, L), real(B, L)),
            (of(B, L, D), ids(B, L), real(B)),
            (of(B, L, D), ids(B, 1), real(B, L)),
            (of(B, L, D), real(B, L), real(B, L)),
        ),
    ),
    "subnets.SubNet": (
        call(subnets.SubNet(2), "valid", train=True),
        ((ROWS, real(B)), (X, real(B)), (ROWS, real(B, 1)), (ROWS, real(1))),
    ),
    "subnets.TextSubNet": (call(subnets.TextSubNet(2, 2), **NONE), SEQUENCE),
    "subnets.Subnets": (
        on_batch(subnets.Subnets((2, 2, 2), 2, 0.0, 0.0, False), **NONE),
        (STEPS, SHORT),
    ),
    "token_transformer.PreNormAttention": (
        call(token_transformer.PreNormAttention(2, 3), "mask"),
        ((X, OTHER, real(B, K)), (X, OTHER, MASK), (ROWS, OTHER, real(B, K))),
    ),
    "token_transformer.PreNormEncoder": (
        call(token_transformer.PreNormEncoder(1, 2, 4), "mask"),
        ((X, OTHER, real(B, K)), (X, OTHER, MASK), (X, real(1, L))),
    ),
    "token_transformer.TokenTransformer": (
        call(token_transformer.TokenTransformer(2, L)),
        SEQUENCE,
    ),
    "token_transformer.TokenFusion": (
        call(token_transformer.TokenFusion(1)),
        ((X,), (ROWS,)),
    ),
    "transformer.CrossmodalLayer": (
        lambda x, k, v, m: call(transformer.CrossmodalLayer(2), "mask", **NONE)(
            x, (k, v), m
        ),
        ((X, OTHER, OTHER, real(B, L, K)), (X, OTHER, OTHER, real(B, K, L))),
    ),
    "transformer.CrossmodalEncoder": (
        call(transformer.CrossmodalEncoder(2, 1), "mask", "source_mask", **NONE),
        (
            (X, OTHER, MASK, real(B, K)),
            *((X, OTHER, MASK, MASK), (X, OTHER, real(B, 1), real(B, K))),
            (X, of(B, 1, D), MASK, real(B, K)),
        ),
    ),
    "words.WordEmbedding": (
        call(words.WordEmbedding(9, 2)),
        ((ids(B, L),), (ids(B, L, 1),), (of(B, L),)),
    ),
    "losses.l1": (losses.l1, PAIR),
    "losses.mse": (losses.mse, PAIR),
    "losses.smooth_l1": (losses.smooth_l1, PAIR),
    "losses.triplet": (call(losses.triplet, margin=1.0), PAIR),
    "losses.gaussian_kl": (losses.gaussian_kl, PAIR),
    "losses.softmax_kl": (losses.softmax_kl, ((ROWS, ROWS), (ROWS, of(1, D)))),
    "losses.cross_entropy": (
        losses.cross_entropy,
        ((of(B, 3), ids(B)), (of(B, 3), ids(B, 1)), (of(B, 3), ids(1))),
    ),
    "losses.focal": (
        call(losses.focal, gamma=2.0),
        ((of(B, 3), ids(B)), (of(B, 3), ids(B, 1)), (of(B, 3), ids(1))),
    ),
    "losses.token_cross_entropy": (
        losses.token_cross_entropy,
        ((of(B, L, 3), ids(B, L)), (of(B, L, 3), ids(B)), (of(B, 3), ids(B, 3))),
    ),
    "losses.info_nce": (
        call(losses.info_nce, "where"),
        (
            (ROWS, ROWS, of(9, D), real(9)),
            *((ROWS, of(1, D), of(9, D), real(9)), (ROWS, ROWS, of(9, D), real(1))),
        ),
    ),
    "losses.supervised_contrast": (
        call(losses.supervised_contrast, "where", temperature=1.0),
        (
            (ROWS, ids(B), real(B)),
            *((X, ids(B), real(B)), (ROWS, ids(1), real(B)), (ROWS, ids(B), real(1))),
        ),
    ),
    "losses.cmd": (
        call(losses.cmd, "where"),
        ((ROWS, ROWS, real(B)), (ROWS, of(1, D), real(B)), (ROWS, ROWS, real(B, 1))),
    ),
    "losses.orthogonality": (
        call(losses.orthogonality, "where"),
        ((ROWS, of(B, 2), real(B)), (ROWS, of(1, D), real(B)), (ROWS, ROWS, real(1))),
    ),
}

WITHOUT = {
    # Any shape fits them, or their operations refuse and name a wrong one.
    *("dropout.Dropout", "linear.Linear", "linear.FeedForward", "linear.uniform"),
    *(
        "norm.l2_norm",
        "norm.unit",
        "losses.huber",
        "positions.sinusoid",
        "positions.interleaved",
    ),
    *("memory.previous", "masks.step_masks", "masks.front"),
    # They are called by a module, or by their methods.
    *(
        "gates.gated",
        "attention.watched",
        "subnets.post_layers",
        "subnets.modality_predictions",
    ),
    *("token_transformer.out_layer", "mixup.Mixup"),
    *("recurrent.lstm_params", "recurrent.lstm_gates", "recurrent.both_directions"),
    *("parties.both_directions", "turns.features"),
    *("parties.GRU", "parties.Cell", "parties.PastAttention", "parties.past_attention"),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_wrong_shapes_are_named(name):
    """And an axis of seeds in front of the right ones is not seen."""
    function, (fits, *wrong) = BLOCKS[name]
    seeds = jax.tree.map(lambda a: of(2, *a.shape, dtype=a.dtype), fits)
    jax.eval_shape(jax.vmap(function), *seeds)
    for args in wrong:
        with pytest.raises(AssertionError, match=r"\(\d+|has type \w+ but expected"):
            jax.eval_shape(function, *args)


def test_every_public_block_is_here():
    found = set()
    names = (f"msajax.nn.{m.name}" for m in pkgutil.iter_modules(nn.__path__))
    for module in (losses, *map(importlib.import_module, names)):
        for name, member in vars(module).items():
            if inspect.isclass(member) or inspect.isroutine(member):
                if member.__module__ == module.__name__ and name[0] != "_":
                    found.add(f"{module.__name__.split('.')[-1]}.{name}")
    assert found - BLOCKS.keys() == WITHOUT
