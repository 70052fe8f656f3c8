"""MFN of thuiar/MMSA on sequences, as its module runs: the average of audio and vision is its loader's."""

from typing import Any

import jax
import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.models.mfn import MFN
from msajax.nn.memory import MemoryFusion
from msajax.weights import reference_form, template
from msajax.weights.mfn import table
from tools.parity.case import Case
from tools.parity.replay import padded_batch, run, spec_of

LETTERS = dict(zip(MODALITIES, "lav", strict=True))


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    batch = padded_batch(
        inputs["text"], inputs["audio"], inputs["vision"], inputs["labels"]
    )
    model = MFN(
        spec_of(batch, case.setting("output_dim")),
        **fusion_settings(case),
        out_dim=case.setting("out shapes"),
        out_dropout=0.0,
        **reference_form("mfn"),
    )
    model = model.clone(average_av=False)
    rules = table(model)
    variables = rules.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    found = run(model, variables, batch, inputs=MODALITIES, capture=MemoryFusion)
    (out,) = found.collections["intermediates"]["fuse"]["__call__"]
    gradients = rules.arrays({"params": found.gradients})
    return {
        "out/M": found.features["M"],
        "out/L": out["fusion"],
        "out/mem": out["memory"],
        "out/attention": out["attention"],
        **states(out, "states"),
        **states(out, "cells"),
        "loss/total": found.loss,
        **{f"grad/{name}": array for name, array in gradients.items()},
        **{f"grad_in/{m}": array for m, array in found.of_inputs.items()},
    }


def fusion_settings(case: Case) -> dict[str, Any]:
    """Fields of the memory fusion from MMSA's names, without dropout."""
    gates = ("NN2 shapes", "gamma1 shapes", "gamma2 shapes")
    return dict(
        hidden_dims=tuple(case.setting("hidden_dims")),
        memory=case.setting("memsize"),
        attention_dim=case.setting("NN1 shapes"),
        attention_dropout=0.0,
        gate_dims=tuple(case.setting(name) for name in gates),
        gate_dropouts=(0.0, 0.0, 0.0),
    )


def states(out: dict[str, jax.Array], kind: str) -> dict[str, jax.Array]:
    """Hidden states ('states') or cells ('cells') of all steps by MMSA's names, [B, L, hidden]."""
    theirs = {"states": "h", "cells": "c"}[kind]
    return {
        f"out/{theirs}_{letter}": jnp.swapaxes(out[f"{m}_{kind}"], 0, 1)
        for m, letter in LETTERS.items()
    }
