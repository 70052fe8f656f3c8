"""MAG-BERT of thuiar/MMSA: the gate behind BERT's embeddings, and a linear head."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.interop import bert, blocks, mag_gate
from msajax.interop.case import Case
from msajax.interop.replay import template
from msajax.interop.table import Table
from msajax.nn.bert import Bert
from msajax.nn.encoder import Encoded
from msajax.nn.gates import MAGGate


class _Network(nn.Module):
    encoder: Bert
    gate: MAGGate
    head: nn.Dense

    def __call__(
        self, text_bert: jax.Array, audio: jax.Array, vision: jax.Array
    ) -> tuple[jax.Array, Encoded]:
        ids, mask, segments = jnp.moveaxis(text_bert.astype(int), 1, 0)  # [B, L] each
        encoded = self.encoder(
            ids,
            mask=mask > 0,
            segments=segments,
            train=False,
            inject_after=0,
            inject=lambda text: self.gate(text, audio, vision, train=False),
        )
        return self.head(encoded.pooled), encoded


def table(network: _Network) -> Table:
    """MMSA's names."""
    return Table(
        rules=(
            *bert.rules(network.encoder, "model.bert.", "encoder/"),
            *mag_gate.rules("model.bert.MAG.", "gate/"),
            *blocks.linear("model.classifier", "head"),
        ),
        ignored=(bert.BUFFERS,),
    )


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our modules give them; 'grad/...' is of the L1 loss."""
    inputs = [
        jnp.asarray(case.arrays[f"in/{x}"]) for x in ("text_bert", "audio", "vision")
    ]
    labels = case.arrays["in/labels"]
    network = _Network(
        Bert(bert.config(case.setting("bert"))),
        MAGGate(beta=case.setting("beta_shift")),
        nn.Dense(case.setting("num_labels")),
    )
    rules = table(network)
    variables = rules.variables(case.group("param/"), template(network, *inputs))

    def loss_of(variables):
        (pred, encoded), state = network.apply(
            variables,
            *inputs,
            mutable=["intermediates"],
            capture_intermediates=lambda module, _: module.name == "embeddings",
        )
        (embedded,) = state["intermediates"]["encoder"]["embeddings"]["__call__"]
        return jnp.mean(jnp.abs(pred - labels)), (pred, encoded, embedded)

    (loss, (pred, encoded, embedded)), gradients = jax.value_and_grad(
        loss_of, has_aux=True
    )(variables)
    injected, *layers = encoded.hidden
    return {
        "out/M": pred,
        "out/embedding_output": embedded,
        "out/mag_output": injected,
        **{f"out/encoder_layer_{i}": x for i, x in enumerate(layers)},
        "out/sequence_output": encoded.last,
        "out/pooled_output": encoded.pooled,
        "loss/total": loss,
        "loss/mse": jnp.mean(jnp.square(pred - labels)),
        **{f"grad/{k}": v for k, v in rules.arrays(gradients).items()},
    }
