"""MAG-BERT of thuiar/MMSA, where it is named bert_mag."""

from typing import Any

import jax
import jax.numpy as jnp

from msajax.data.spec import Spec
from msajax.encoders.bert import BertConfig
from msajax.models.mag_bert import MAGBert
from msajax.weights import template
from msajax.weights.mag_bert import table
from tools.parity.case import Case


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them; 'grad/...' is of the L1 loss."""
    batch, labels = _batch(case), case.arrays["in/labels"]
    length = batch["text_ids"].shape[1]
    dims = (1, batch["audio"].shape[2], batch["vision"].shape[2])
    model = MAGBert(
        Spec(dims, (length, length, length), len(labels)),
        encoder=BertConfig.read(case.setting("bert")),
        beta=case.setting("beta_shift"),
    )
    rules = table(model)
    variables = rules.variables(
        case.group("param/"), template(model, batch, train=False)
    )

    def loss_of(variables):
        outputs, state = model.apply(  # pyright: ignore
            variables,
            batch,
            train=False,
            mutable=["intermediates"],
            capture_intermediates=lambda module, _: module.name == "embeddings",
        )
        (embedded,) = state["intermediates"]["encoder"]["embeddings"]["__call__"]
        pred = outputs["pred"][:, None]
        return jnp.mean(jnp.abs(pred - labels)), (pred, outputs, embedded)

    (loss, (pred, outputs, embedded)), gradients = jax.value_and_grad(
        loss_of, has_aux=True
    )(variables)
    injected, *layers = outputs["hidden"]
    return {
        "out/M": pred,
        "out/embedding_output": embedded,
        "out/mag_output": injected,
        **{f"out/encoder_layer_{i}": x for i, x in enumerate(layers)},
        "out/sequence_output": layers[-1],
        "out/pooled_output": outputs["fusion"],
        "loss/total": loss,
        "loss/mse": jnp.mean(jnp.square(pred - labels)),
        **{f"grad/{k}": v for k, v in rules.arrays(gradients).items()},
    }


def _batch(case: Case) -> dict[str, jax.Array]:
    """The case's inputs as a batch of ours; MMSA takes padded rows of audio and vision for real."""
    pieces = jnp.asarray(case.arrays["in/text_bert"]).astype(int)
    ids, mask, segments = jnp.moveaxis(pieces, 1, 0)  # [B, L] each
    real = jnp.ones(ids.shape, bool)
    return {
        "text_ids": ids,
        "text_type": segments,
        "text_mask": mask > 0,
        **{m: jnp.asarray(case.arrays[f"in/{m}"]) for m in ("audio", "vision")},
        "audio_mask": real,
        "vision_mask": real,
    }
