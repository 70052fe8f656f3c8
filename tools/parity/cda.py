"""The block of SissiW/MutualFormer: cross-diffusion attention beside a third stream that gathers both."""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.models.alr.cda import CrossDiffusion
from msajax.nn.attention import attend
from msajax.nn.linear import Linear
from msajax.nn.norm import LayerNorm
from msajax.weights import blocks, template
from msajax.weights.table import Rule, Table, reverse
from tools.parity.case import Case
from tools.parity.replay import COMPILER


class _Attention(nn.Module):
    """MultiAttention.

    Attributes:
      heads: of the attention.
      share: a of the diffusion.
      bias: of queries, keys and values.
    """

    heads: int
    share: float
    bias: bool

    @nn.compact
    def __call__(self, x: jax.Array, third: jax.Array) -> dict[str, jax.Array]:
        """Outputs by the case's names from [B, N, 2 D] and [B, N, D]."""
        r, d = jnp.split(x, 2, axis=-1)
        batch, steps, dim = third.shape
        settings: Any = dict(heads=self.heads, share=self.share, bias=self.bias)
        h_r, h_d = CrossDiffusion(**settings, name="cda")(r, d)
        qkv = Linear(3 * dim, bias=self.bias, name="qkv")(third)
        qkv = qkv.reshape(batch, steps, 3, self.heads, -1)
        q, k, v = (qkv[:, :, i] for i in range(3))
        seen: list[jax.Array] = []
        mask = jnp.ones((1, 1, 1, steps), bool)
        fused = attend(q, k, v, mask=mask, see=seen.append)
        gathered = Linear(dim, name="g")(jnp.concatenate([h_r, h_d], axis=-1))
        out = Linear(dim, name="out")(fused.reshape(third.shape)) + gathered
        (alpha,) = seen
        return {
            "attn": out,
            "alpha_fused": alpha,
            "proj_r": h_r,
            "proj_d": h_d,
            "proj_rd": gathered,
        }


class _Block(nn.Module):
    """MutualFormer: pre-LN attention and feed-forward block of the third stream."""

    attention: _Attention
    hidden: int
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array, third: jax.Array) -> jax.Array:
        """[B, N, 2 D] and [B, N, D] -> [B, N, D]."""

        def norm(name: str, y: jax.Array) -> jax.Array:
            return LayerNorm(epsilon=self.epsilon, name=name)(y)

        h = third + self.attention(norm("norm1", x), norm("norm1_rd", third))["attn"]
        inner = Linear(self.hidden, name="fc1")(norm("norm2", h))
        inner = nn.gelu(inner, approximate=False)
        return h + Linear(third.shape[-1], name="fc2")(inner)


def table(block: _Block) -> Table:
    """The reference's names."""
    return Table(rules=tuple(_rules(block.attention.bias)))


def _rules(bias: bool) -> Iterator[Rule]:
    for name in ("norm1", "norm1_rd", "norm2"):
        yield from blocks.layer_norm(name, name)
    for name in ("fc1", "fc2"):
        yield from blocks.linear(f"mlp.{name}", name)
    for torch, ours in (("qkv_r", "cda/qkv_r"), ("qkv_d", "cda/qkv_d"), ("qkv", "qkv")):
        names = f"attn.{torch}", f"attention/{ours}"
        if bias:
            yield from blocks.linear(*names)
        else:
            yield reverse(f"{names[0]}.weight", f"params/{names[1]}/kernel")
    pairs = (
        ("proj_r", "cda/f_r"),
        ("proj_d", "cda/f_d"),
        ("proj_rd", "g"),
        ("proj", "out"),
    )
    for torch, ours in pairs:
        yield from blocks.linear(f"attn.{torch}", f"attention/{ours}")


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our block gives them; 'loss/total' is sum(block * cotangent)."""
    names = ("x", "xrd")
    inputs = [jnp.asarray(case.group("in/")[name]) for name in names]
    block = _block(case)
    rules = table(block)
    variables = rules.variables(case.group("param/"), template(block, *inputs))
    results = _attention(block.attention, variables["params"]["attention"], *inputs)
    apply: Callable[..., Any] = block.apply

    def loss_of(variables, inputs):
        out = apply(variables, *inputs)
        return jnp.sum(out * case.arrays["in/cotangent"]), out

    run = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
    (loss, out), (gradients, of_inputs) = jax.jit(run, compiler_options=COMPILER)(
        variables, inputs
    )
    return {
        **results,
        "out/block": out,
        "loss/total": loss,
        **{f"grad/{k}": v for k, v in rules.arrays(gradients).items()},
        **{f"grad_in/{k}": v for k, v in zip(names, of_inputs, strict=True)},
    }


def _attention(
    attention: _Attention, params: Any, x: jax.Array, third: jax.Array
) -> dict[str, Any]:
    """The attention alone on inputs that are not normalised, with what is inside."""
    apply: Any = jax.jit(
        lambda params, x, third: attention.apply(
            {"params": params}, x, third, mutable=["intermediates"]
        ),
        compiler_options=COMPILER,
    )
    outputs, state = apply(params, x, third)
    inside = state["intermediates"]["cda"]
    (alpha,), (diffused,), (mixed,) = (
        inside[name] for name in ("alpha", "diffused", "mixed")
    )
    results = {f"out/{name}": value for name, value in outputs.items()}
    results |= {"out/A_rd": diffused[0], "out/A_dr": diffused[1]}
    for i, stream in enumerate("rd"):
        results |= {
            f"out/alpha_{stream}": alpha[i],
            f"out/S_{stream}": jnp.swapaxes(alpha[i], -1, -2),
            f"out/concat_{stream}": mixed[i],
        }
    return results


def _block(case: Case) -> _Block:
    attention = _Attention(
        case.setting("num_heads"), case.setting("alpha"), case.setting("qkv_bias")
    )
    hidden = len(case.arrays["param/mlp.fc1.bias"])
    return _Block(attention, hidden, case.setting("LayerNorm eps"))
