"""Neighbours of the text (config.text.context): whatever is behind the encoder sees the utterance alone."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax import models
from msajax.data.spec import Spec
from msajax.weights import template
from tests import toys
from tests.models.test_registry import TINY

FIELDS = (*Spec.fields, "text_ids", "text_type", "text_own")
# As aligned data: a row of audio and vision for each piece that the utterance has alone.
SPEC = Spec((1, 3, 4), (8, 8, 8), 4, fields=FIELDS)
LENGTHS = (4, 8, 2)  # of the utterances
MPNET = dataclasses.replace(toys.MPNET, num_hidden_layers=1)
XLNET = dataclasses.replace(toys.XLNET, n_layer=1)
ENCODERS = {
    **dict.fromkeys(("bbfn", "mag_bert", "mfon", "mmim"), MPNET),
    "mag_xlnet": XLNET,
    "text_only": toys.T5,  # its vector of the sequence is a mean
}
BERT = dataclasses.replace(toys.BERT, num_hidden_layers=1)
FIELDS_OF = {
    "bbfn": dict(align=False),
    "cm_bert": dict(align=False, pooling="mean"),
    "mag_bert": dict(align=False),
    "mag_xlnet": dict(align=False),
    "mfon": dict(pooling="mean", mask="sample"),
    "misa": dict(text_lengths=True),
    "mmim": dict(pooling="mean"),
    "mmml": dict(context="joined"),
    "msg_mba": dict(align=False, pooling="mean"),
    "self_mm": dict(pooling="mean"),
    "text_only": dict(pooling="cls"),
}
# A system that writes labels writes them from all that its encoder reads.
SYSTEMS = [
    name
    for name in models.names()
    if "encoder" in (system := models.get(name)).__dataclass_fields__
    and "label_ids" not in system.own_fields
]


def utterances():
    """A batch without neighbours; the last row is padding alone."""
    batch = SPEC.example(4)
    steps = np.array([*LENGTHS, 0])[:, None]
    for m in ("text", "audio", "vision"):
        batch[f"{m}_mask"] = np.arange(8) < steps
    for m in ("audio", "vision"):
        batch[m] = batch[m] * batch[f"{m}_mask"][..., None]
    return {**batch, "text_own": batch["text_mask"]}


def among_neighbours(batch):
    """The same utterances with other pieces among their own, whose ends are the sequence's; the second has no room."""
    made = {k: x.copy() for k, x in batch.items()}
    own, mask = np.zeros((2, 4, 8), bool)
    own[0, [0, 3, 4, 6]] = own[1] = own[2, [0, 7]] = True
    mask[0, :7] = mask[1:3] = True
    for key in ("text_ids", "text_type"):
        made[key][mask] = 1 - batch[key][mask]
        made[key][own] = batch[key][batch["text_mask"]]
    return {**made, "text_mask": mask, "text_own": own}


def blind(params):
    """Parameters of an encoder whose states know nothing of their place and of other pieces."""

    def value(path, x):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        hidden = ("position_embeddings/", "attention/output/dense/kernel")
        hidden += ("/o/kernel", "rel_attn/o")
        inside = name.startswith("params/encoder/") and any(k in name for k in hidden)
        return np.zeros_like(x) if inside else x

    return jax.tree_util.tree_map_with_path(value, params)


@functools.cache
def ready(name, **changes):
    fields = {**TINY.get(name, {}), **FIELDS_OF.get(name, {})}
    fields = {**fields, "encoder": ENCODERS.get(name, BERT), **changes}
    model = models.get(name)(SPEC, **fields)
    rng = np.random.default_rng(0)
    like = template(model, SPEC.example(2), train=False)
    return (
        blind(
            jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(np.float32), like)
        ),
        jax.jit(functools.partial(model.apply, train=False)),
    )


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_sees_the_utterance_alone(name):
    variables, run = ready(name)
    alone = utterances()
    joined = among_neighbours(alone)
    expected, found = (run(variables, batch) for batch in (alone, joined))
    np.testing.assert_allclose(found["pred"], expected["pred"], atol=1e-5)
    if "hidden" in found:  # of an encoder that audio and vision shift
        last = (np.asarray(out["hidden"][-1]) for out in (found, expected))
        mine, theirs = (
            x[b["text_own"]] for x, b in zip(last, (joined, alone), strict=True)
        )
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("name", ["bbfn", "mfon", "mmim"])
def test_the_vector_of_a_sequence_is_where_the_encoder_has_it(name):
    """XLNet's is the last piece's, in systems whose authors read BERT's first."""
    changes = {} if name == "bbfn" else dict(pooling="cls")
    variables, run = ready(name, encoder=XLNET, **changes)
    if name == "bbfn":  # what is behind the vectors adds nothing
        last = jax.tree.map(np.zeros_like, variables["params"]["fc2"])
        variables = {"params": {**variables["params"], "fc2": last}}
    batch = utterances()
    out, ends = run(variables, batch), np.array(LENGTHS) - 1
    if name == "bbfn":
        streams = [np.asarray(out[f"stream_{m}"]) for m in ("audio", "vision")]
        for row, end in enumerate([*ends, 0]):
            read = np.concatenate([x[row, i, end] for x in streams for i in (0, 1)])
            np.testing.assert_allclose(out["fusion"][row], read, atol=1e-6)
        return
    for place, moves in ((0, False), (ends, True)):
        ids = batch["text_ids"].copy()
        ids[np.arange(3), place] = 1 - ids[np.arange(3), place]
        again = run(variables, {**batch, "text_ids": ids})["pred"]
        assert ((np.abs(again - out["pred"]) > 1e-6)[:3] == moves).all()
