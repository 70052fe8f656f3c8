"""DialogueRNN: what each direction reads, and what of the speakers matters; its recurrence: tests/nn/test_parties.py."""

import functools

import jax
import numpy as np
import pytest

from msajax import weights
from msajax.models.dialogue_rnn import DialogueRNN
from tests import toys

SPEC = toys.DIALOGUES
SIZES = dict(global_dim=4, party_dim=3, hidden=2, post_dim=5)
BATCH = SPEC.example(4, seed=1)
LENGTHS = BATCH["utterance_mask"].sum(1)


@functools.cache
def ready(**fields):
    rng = np.random.default_rng(0)
    model = DialogueRNN(SPEC, **SIZES, **fields)
    shapes = weights.template(model, SPEC.example(2), train=False)
    variables = jax.tree.map(lambda x: np.float32(rng.normal(0, 0.7, x.shape)), shapes)
    run = jax.jit(functools.partial(model.apply, train=False))
    return variables, lambda batch: jax.device_get(run(variables, batch))


def changed_at(turn):
    text = BATCH["text"].copy()
    text[:, turn] += 1
    return {**BATCH, "text": text * BATCH["text_mask"][..., None]}


def test_each_direction_reads_its_past_alone():
    _, run = ready()
    row = int(np.argmax(LENGTHS))
    n = int(LENGTHS[row])
    before, after = (run(batch) for batch in (BATCH, changed_at(1)))
    moved = {
        k: np.abs(after[k][row] - before[k][row]).max(-1) > 1e-6
        for k in ("forward", "backward")
    }
    assert n > 3
    np.testing.assert_array_equal(moved["forward"][:n], np.arange(n) >= 1)
    # Which reads the last turn first.
    np.testing.assert_array_equal(moved["backward"][:n], np.arange(n) >= n - 2)
    np.testing.assert_allclose(before["weights"][row, :n].sum(-1), 1, atol=1e-6)


def test_who_speaks_matters_but_not_what_he_is_called():
    _, run = ready()
    renamed = {**BATCH, "speaker": np.int32(2 - BATCH["speaker"])}
    np.testing.assert_allclose(run(renamed)["pred"], run(BATCH)["pred"], atol=1e-5)
    one = {**BATCH, "speaker": np.zeros_like(BATCH["speaker"])}
    assert np.abs(run(one)["pred"] - run(BATCH)["pred"]).max() > 1e-3


def test_the_reference_reads_padding_for_nothing():
    """What it makes of real turns is the same."""
    found, wanted = (ready(padded=p)[1](BATCH)["pred"] for p in (False, True))
    real = BATCH["utterance_mask"]
    np.testing.assert_allclose(found[real], wanted[real], atol=1e-6)
    assert not real.all()


def test_an_unknown_attention_names_the_nearest():
    model = DialogueRNN(SPEC, context_attention="simpel")
    with pytest.raises(ValueError, match='"simpel"; did you mean "simple"'):
        model.apply({}, BATCH, train=False)
