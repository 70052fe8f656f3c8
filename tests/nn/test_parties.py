"""DialogueRNN's recurrence against a loop over turns and speakers, with each kind of attention."""

import functools

import jax
import numpy as np
import pytest

from msajax.nn.parties import ATTENTIONS, PartyRNN
from tests.weights.numpy_reference import sigmoid

SIZES = dict(global_dim=4, party_dim=3, hidden=2, attention_dim=3)


def gru(p, x, h):
    a = np.split(x @ p["kernel"] + p["bias"], 3)
    b = np.split(h @ p["recurrent_kernel"] + p["recurrent_bias"], 3)
    r, z = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
    return (1 - z) * np.tanh(a[2] + r * b[2]) + z * h


def attended(kind, params, history, u, squash):
    """The earlier states [t, D] and the utterance -> [D]."""
    h = np.array(history)
    if kind == "concat":
        pairs = np.concatenate([h, np.tile(u, (len(h), 1))], axis=1)
        scores = np.tanh(pairs @ params["attention_kernel"])
        scores = scores @ params["attention_vector"]
    elif kind == "simple":
        scores = h @ params["attention_vector"]
    elif kind == "dot":
        scores = h @ u
    else:
        p = params["attention"]
        scores = h @ (u @ p["kernel"] + p.get("bias", 0))
        scores = np.tanh(scores) if kind == "general2" and squash else scores
    return np.exp(scores) / np.exp(scores).sum() @ h


def by_hand(kind, params, x, speaker, *, listener, squash, parties=3):
    g, e = np.zeros(4), np.zeros(2)
    q, history, found = np.zeros((parties, 3)), [], []
    for u, s in zip(x, speaker, strict=True):
        g = gru(params["global_cell"], np.concatenate([u, q[s]]), g)
        c = attended(kind, params, history, u, squash) if history else np.zeros(4)
        said = gru(params["party_cell"], np.concatenate([u, c]), q[s])
        if listener:
            heard = np.concatenate([u, said])
            q = np.stack([gru(params["listener_cell"], heard, one) for one in q])
        q[s] = said
        e = gru(params["emotion_cell"], q[s], e)
        history.append(g)
        found.append(e)
    return np.array(found)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_a_loop_over_turns_says_the_same(kind):
    rng, rows = np.random.default_rng(0), (3, 5)
    x = rng.normal(size=(*rows, 4)).astype(np.float32)
    speaker = rng.integers(0, 3, rows).astype(np.int32)
    mask = np.arange(5)[None] < np.array([5, 3, 1])[:, None]
    # Each kind of the other options is in some of the cases.
    options = dict(listener=kind in ("concat", "general"), squash=kind != "general")
    model = PartyRNN(**SIZES, attention=kind, **options)
    call = functools.partial(model.apply, parties=3, train=False)
    shapes = jax.eval_shape(
        functools.partial(model.init, parties=3, train=False),
        *(jax.random.key(0), x, speaker, mask),
    )
    variables = jax.tree.map(lambda s: np.float32(rng.normal(0, 0.7, s.shape)), shapes)
    found, attention = jax.jit(call)(variables, x, speaker, mask)
    sums = np.arange(5)[None].repeat(3, 0) > 0  # no turn is earlier than the first
    np.testing.assert_allclose(attention.sum(-1), sums, atol=1e-6)
    assert not np.triu(attention).any()
    for row in range(3):
        n = int(mask[row].sum())
        wanted = by_hand(
            kind, variables["params"], x[row, :n], speaker[row, :n], **options
        )
        np.testing.assert_allclose(found[row, :n], wanted, atol=1e-5)
        # Behind the last turn the state stands still.
        np.testing.assert_allclose(found[row, n:], found[row, [n - 1] * (5 - n)])
