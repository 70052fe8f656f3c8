"""ResNet with bottlenecks of Hugging Face's transformers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax.encoders.resnet import ResNet
from msajax.weights import template
from tools.parity.case import Case
from tools.parity.replay import COMPILER


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    network: Any = ResNet(
        embedding_size=case.setting("embedding_size"),
        hidden_sizes=tuple(case.setting("hidden_sizes")),
        depths=tuple(case.setting("depths")),
    )
    inputs = case.group("in/")
    pictures = np.moveaxis(inputs["pixel_values"], 1, -1)
    table = network.names()
    variables = table.variables(
        case.group("param/"), template(network, pictures, train=False)
    )

    def loss_of(params, pictures, *, train):
        statistics = variables["batch_stats"]
        seen, after = network.apply(
            {"params": params, "batch_stats": statistics},
            pictures,
            train=train,
            mutable=["batch_stats"],
        )
        last = jnp.moveaxis(seen.hidden[-1], -1, 1)
        loss = jnp.sum(last * inputs["cotangent_last"])
        loss += jnp.sum(seen.pooled * inputs["cotangent_pooler"])
        return loss, (seen, after)

    results = {}
    for mode in ("eval", "train"):

        def differentiate(params, pictures, train=mode == "train"):
            grad = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
            return grad(params, pictures, train=train)

        compute = jax.jit(differentiate, compiler_options=COMPILER)
        (loss, (seen, after)), (gradients, of_pictures) = compute(
            variables["params"], pictures
        )
        for i, hidden in enumerate(seen.hidden):
            results[f"out/{mode}/hidden_states/{i}"] = np.moveaxis(hidden, -1, 1)
        results[f"out/{mode}/pooled"] = seen.pooled
        results[f"loss/{mode}/total"] = loss
        arrays = table.arrays({"params": gradients})
        results |= {f"grad/{mode}/{name}": array for name, array in arrays.items()}
        results[f"grad_in/{mode}/pixel_values"] = np.moveaxis(of_pictures, -1, 1)
    arrays = table.arrays(after)
    return results | {f"out/train_after/{name}": x for name, x in arrays.items()}
