"""The attention block of CM-BERT (thuiar/Cross-Modal-BERT)."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.models.cm_bert import CrossModalAttention
from msajax.weights import reference_form, template
from msajax.weights.cm_bert import attention_rules
from msajax.weights.table import Table
from tools.parity.case import Case


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our block gives them; 'loss/total' is sum(cls * cotangent)."""
    names = ("hidden_states", "audio")
    inputs = [jnp.asarray(case.group("in/")[name]) for name in names]
    mask = jnp.asarray(case.arrays["in/mask"] > 0)
    block = CrossModalAttention(
        case.setting("projection dim"),
        scale=reference_form("cm_bert")["scale"],
        epsilon=case.setting("LayerNorm eps"),
    )
    apply: Callable[..., Any] = block.apply
    table = Table(rules=tuple(attention_rules("", "")), ignored=("bias",))

    def options(mask: jax.Array) -> dict[str, Any]:
        return dict(valid=jnp.ones(len(mask), bool), train=False)

    shapes = template(block, *inputs, mask, **options(mask))
    variables = table.variables(case.group("param/"), shapes)

    def loss_of(variables, inputs):
        outputs = apply(variables, *inputs, mask, **options(mask))
        cls = outputs["hidden"][:, 0]
        return jnp.sum(cls * case.arrays["in/cotangent"]), outputs

    (loss, out), (gradients, of_inputs) = jax.value_and_grad(
        loss_of, argnums=(0, 1), has_aux=True
    )(variables, inputs)
    one = [x[:1] for x in (*inputs, mask)]
    alone = apply(variables, *one, **options(one[-1]))
    found = {
        "cls": out["hidden"][:, 0],
        "cls_first_sample_alone": alone["hidden"][:, 0],
        "text_att": out["text_scores"],
        # What the softmax does not see is among what the reference returns.
        "fusion_att": nn.relu(out["scores"] + case.arrays["param/bias"][None, None]),
        "attention": out["attention"],
        "fused_hidden": out["fused"],
        "proj_t": out["projected"],
        "scale": jnp.sqrt(out["norm"]),
    }
    return {
        **{f"out/{name}": value for name, value in found.items()},
        "loss/total": loss,
        **{f"grad/{k}": v for k, v in table.arrays(gradients).items()},
        **{f"grad_in/{k}": v for k, v in zip(names, of_inputs, strict=True)},
    }
