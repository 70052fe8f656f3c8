"""The network of TmacMai/Multimodal-Information-Bottleneck: a bottleneck for each modality and for all three."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import losses
from msajax.models.alr.bottleneck import Bottleneck, sample
from msajax.nn.linear import Linear
from msajax.weights import blocks, template
from msajax.weights.table import Table
from tools.parity.case import Case
from tools.parity.replay import COMPILER

_STREAMS = ("l", "a", "v", "fused")


class _Fusion(nn.Module):
    """Its class fusion with concatenation.

    Attributes:
      hidden: of the bottlenecks.
    """

    hidden: int

    @nn.compact
    def __call__(
        self, x: dict[str, jax.Array], noise: dict[str, jax.Array]
    ) -> dict[str, tuple[jax.Array, ...]]:
        """x, mean, log_std, z and prediction of each stream, from [B, D] of three."""
        found: dict[str, tuple[jax.Array, ...]] = {}
        for name in _STREAMS:
            if name == "fused":
                z = jnp.concatenate([found[m][3] for m in _STREAMS[:3]], axis=-1)
                x = {**x, name: nn.relu(Linear(x["l"].shape[-1], name="fusion")(z))}
            mean, log_std = Bottleneck(self.hidden, name=f"bottleneck_{name}")(x[name])
            z = sample(mean, log_std, noise[name])
            pred = Linear(1, name=f"decoder_{name}")(z)
            found[name] = x[name], mean, log_std, z, pred
        return found


def table() -> Table:
    """The reference's names."""
    rules = [*blocks.linear("fusion1.linear_1", "fusion")]
    for name in _STREAMS:
        suffix, leaf = f"_{name}".replace("_fused", ""), f"bottleneck_{name}"
        rules += blocks.linear(f"encoder{suffix}.0", f"{leaf}/encoder")
        rules += blocks.linear(f"fc_mu{suffix}", f"{leaf}/mean")
        rules += blocks.linear(f"fc_std{suffix}", f"{leaf}/std")
        rules += blocks.linear(f"decoder{suffix}", f"decoder_{name}")
    return Table(rules=tuple(rules))


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our blocks give them."""
    inputs = case.group("in/")
    x = {name: jnp.asarray(inputs[f"x_{name}"]) for name in _STREAMS[:3]}
    noise = {name: jnp.asarray(inputs[f"eps_{name}"]) for name in _STREAMS}
    label = jnp.asarray(inputs["labels"])
    model = _Fusion(case.arrays["param/encoder.0.bias"].size)
    rules = table()
    variables = rules.variables(case.group("param/"), template(model, x, noise))
    beta = case.setting("beta")
    apply: Callable[..., Any] = model.apply

    def loss_of(variables):
        found = apply(variables, x, noise)
        terms: dict[str, jax.Array] = {}
        for name, (_, mean, log_std, _, pred) in found.items():
            terms[f"task_{name}"] = jnp.mean(losses.l1(pred, label))
            terms[f"kl_{name}"] = jnp.mean(losses.gaussian_kl(mean, log_std))
            terms[f"ib_{name}"] = beta * terms[f"kl_{name}"] + terms[f"task_{name}"]
        terms["ib_total"] = sum(terms[f"ib_{name}"] for name in _STREAMS)  # pyright: ignore
        # The reference adds the error of the last prediction once more.
        terms["total"] = terms["ib_total"] + terms["task_fused"]
        return terms["total"], (found, terms)

    run = jax.jit(jax.value_and_grad(loss_of, has_aux=True), compiler_options=COMPILER)
    (_, (found, terms)), gradients = run(variables)
    results = {f"loss/{name}": value for name, value in terms.items()}
    for name in _STREAMS[:3]:
        _, mean, log_std, z, pred = found[name]
        of_stream = dict(mu=mean, std=jnp.exp(log_std), z=z, pred=pred)
        results |= {f"out/{k}_{name}": v for k, v in of_stream.items()}
    fused, mean, log_std, _, pred = found["fused"]
    results |= {"out/fused": fused, "out/mu": mean, "out/std": jnp.exp(log_std)}
    # It draws noise when it tests, too: here the same.
    results |= {"out/output": pred, "out/test_output": pred}
    return results | {f"grad/{k}": v for k, v in rules.arrays(gradients).items()}
