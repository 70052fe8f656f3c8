"""The attention block of CM-BERT (thuiar/Cross-Modal-BERT), made of what MBA is made of.

It adds up its two matrices of products and rectifies them, where MBA multiplies them
behind a tanh, and scales by a norm of the whole batch. Convolutions, scaled products
and the attention with its residual are the same.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.models.msg_mba.mba import adjust, similarity
from msajax.nn.convolution import TemporalConvolution
from msajax.nn.linear import Linear
from msajax.nn.norm import LayerNorm, l2_norm
from msajax.weights import blocks, template
from msajax.weights.table import Table, copy, reverse
from tools.parity.case import Case

# Weight and convolution by the reference's names; ours begin with the modality's.
_NAMES = {"text": ("text_weight_1", "proj_t"), "audio": ("audio_weight_1", "proj_a")}


class _Block(nn.Module):
    """BertFinetun.

    Attributes:
      dim: of the projections.
      epsilon: of the LayerNorm.
    """

    dim: int
    epsilon: float

    @nn.compact
    def __call__(
        self, text: jax.Array, audio: jax.Array, mask: jax.Array
    ) -> dict[str, jax.Array]:
        """Outputs by the case's names from [B, L, D], [B, L, Da] and [B, L] bool."""
        all_real = jnp.ones_like(mask)  # the mask is for the attention alone

        def project(name: str, x: jax.Array) -> jax.Array:
            convolution = TemporalConvolution(
                self.dim, 1, same=True, name=f"{name}_convolution"
            )
            return convolution(x, all_real)[0]

        def weight(name: str) -> jax.Array:
            return self.param(f"{name}_weight", nn.initializers.ones, (1,))[
                :, None, None
            ]

        projected = project("text", text)
        norm = jax.lax.stop_gradient(l2_norm(projected, axis=(0, 1, 2)))
        text_att = nn.relu(similarity(projected, norm))
        audio_att = nn.relu(similarity(project("audio", audio), jnp.ones((1, 1, 1))))
        scores = weight("text") * text_att + weight("audio") * audio_att
        scores += self.param("bias", nn.initializers.zeros, (1,))[:, None, None]
        fused, attention = adjust(text, scores, mask)
        h = Linear(text.shape[-1], name="dense")(fused)
        return {
            "cls": LayerNorm(epsilon=self.epsilon, name="norm")(h)[:, 0],
            "text_att": text_att,
            "fusion_att": nn.relu(scores),
            "attention": attention,
            "fused_hidden": fused,
            "proj_t": projected,
            "scale": jnp.sqrt(norm),
        }


def table() -> Table:
    """The reference's names."""
    rules = [
        *blocks.linear("dense", "dense"),
        *blocks.layer_norm("LayerNorm1", "norm"),
        copy("bias", "params/bias"),
    ]
    for ours, (weight, convolution) in _NAMES.items():
        rules.append(copy(weight, f"params/{ours}_weight"))
        leaf = f"params/{ours}_convolution/conv/kernel"
        rules.append(reverse(f"{convolution}.weight", leaf))
    return Table(rules=tuple(rules))


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our block gives them; 'loss/total' is sum(cls * cotangent)."""
    names = ("hidden_states", "audio")
    inputs = [jnp.asarray(case.group("in/")[name]) for name in names]
    mask = jnp.asarray(case.arrays["in/mask"] > 0)
    block = _Block(case.setting("projection dim"), case.setting("LayerNorm eps"))
    shapes = template(block, *inputs, mask)
    variables = table().variables(case.group("param/"), shapes)
    apply: Callable[..., Any] = block.apply

    def loss_of(variables, inputs):
        outputs = apply(variables, *inputs, mask)
        return jnp.sum(outputs["cls"] * case.arrays["in/cotangent"]), outputs

    (loss, outputs), (gradients, of_inputs) = jax.value_and_grad(
        loss_of, argnums=(0, 1), has_aux=True
    )(variables, inputs)
    alone = apply(variables, *(x[:1] for x in inputs), mask[:1])
    return {
        **{f"out/{name}": value for name, value in outputs.items()},
        "out/cls_first_sample_alone": alone["cls"],
        "loss/total": loss,
        **{f"grad/{k}": v for k, v in table().arrays(gradients).items()},
        **{f"grad_in/{k}": v for k, v in zip(names, of_inputs, strict=True)},
    }
