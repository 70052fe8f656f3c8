"""Low-rank adapters: a dense layer x W + b becomes x W + b + scale · (x A) B, with W fixed.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. Every other
parameter of the encoder is fixed too, so that neither gradients nor moments of the
optimizer are as large as the encoder; but for its pooler, which starts from random
values where a checkpoint lacks it. The adapters are parameters of the layers that they
belong to (query/lora_a, query/lora_b), and no module knows of them: linen's interceptors
add what they compute. That needs no matrix of the size of W, which the sum W + scale · A B
would, once in the forward pass and once as its gradient (README.md has the numbers).
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.data.spec import suggest

# The layers of queries and values, by their names in the encoders.
DEFAULT = (
    *("query", "value", "q", "v"),  # BERT; MPNet, XLNet, T5
    *("query_proj", "value_proj", "q_proj", "v_proj"),  # DeBERTa; wave encoders
)
_A, _B = "lora_a", "lora_b"
# The submodules of a system that are pretrained encoders, of text and of waves, and in them
# the layer that makes one vector of a sequence.
ENCODERS, _POOLER = ("encoder", "voice"), "pooler"
# Kernels of XLNet's attention, which has no dense layers; `project` applies them.
_PROJECTED = "qkvr"
# Source: kaiming_uniform_(a=sqrt(5)) of the authors' code, U(±1/sqrt(fan-in)).
_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@dataclasses.dataclass(frozen=True)
class Lora:
    """The adapters of an encoder.

    Attributes:
      rank: width of x A.
      alpha: scale of what they add, times the rank.
      targets: names of the layers that have one; () for `DEFAULT`.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = ()

    @contextlib.contextmanager
    def adapting(self) -> Iterator[None]:
        """While it lasts, encoders of systems that are called compute with their adapters."""
        entered = set()

        def enter(call, args, kwargs, context):
            path = context.module.path
            # A method of an encoder may call another one (T5 with its decoder has several).
            if len(path) != 1 or path[0] not in ENCODERS or path in entered:
                return call(*args, **kwargs)
            entered.add(path)
            try:
                with nn.intercept_methods(self._add):
                    return call(*args, **kwargs)
            finally:
                entered.remove(path)

        with nn.intercept_methods(enter):
            yield

    def trains(self, path: str) -> bool:
        """Whether a parameter of a system may be trained: all but those of the encoder's layers and below."""
        return is_adapter(path) or not _within(path)

    def check(self, paths: Iterable[str]) -> None:
        """Refuses targets that name no layer of the encoder.

        Args:
          paths: of a system's parameters, adapters included.

        Raises:
          ValueError: names the nearest layer.
        """
        own = [k for k in paths if _within(k)]
        adapted = {_layer(k) for k in own if is_adapter(k)}
        known = adapted | {name for k in own if (name := _adaptable(k))}
        for name in self.targets or (() if adapted else DEFAULT[:1]):
            if name not in adapted:
                raise ValueError(
                    f'config.optimizer.lora_targets: the encoder has no dense layer "{name}"'
                    f"{suggest(name, known)}"
                )

    def merge(self, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Parameters of a system, by their paths, with the adapters added to the layers."""
        merged = {k: np.asarray(v) for k, v in params.items() if not is_adapter(k)}
        for path, a in params.items():
            if path.endswith(_A):
                b = params[path.removesuffix(_A) + _B]
                prefix = path.removesuffix(_A)
                kernel = f"{prefix}kernel" if prefix[-1] == "/" else prefix[:-1]
                change = np.tensordot(np.asarray(a), np.asarray(b), 1)
                merged[kernel] = merged[kernel] + np.float32(self._scale) * change
        return merged

    @property
    def _scale(self) -> float:
        return self.alpha / self.rank

    def _add(self, call, args, kwargs, context):
        """The call of a method, plus the adapter's output where it is that of a target."""
        y, module = call(*args, **kwargs), context.module
        names = self.targets or DEFAULT
        if isinstance(module, nn.Dense):
            inside = _POOLER not in module.path
            if context.method_name == "__call__" and inside and module.name in names:
                return y + self._change(module, "", args[0], y)
        elif context.method_name == "project" and args[0] in names:  # XLNet's
            return y + self._change(module, f"{args[0]}_", args[1], y)
        return y

    def _change(self, module: nn.Module, prefix: str, x: jax.Array, y: jax.Array):
        """scale · (x A) B: [..., D] and the layer's output [..., E or H, E] -> like y."""
        outputs = y.shape[x.ndim - 1 :]
        a = module.param(prefix + _A, _INIT, (x.shape[-1], self.rank))
        b = module.param(prefix + _B, nn.initializers.zeros, (self.rank, *outputs))
        a, b, x = (v.astype(y.dtype) for v in (a, b, x))
        h = jnp.einsum("...d,dr->...r", x, a) * self._scale
        return jnp.tensordot(h, b, 1)


def is_adapter(path: str) -> bool:
    """Whether a parameter is one of an adapter."""
    return path.endswith((_A, _B))


def _within(path: str) -> bool:
    """Whether a parameter of a system is of its encoder, the pooler left out."""
    first, _, rest = path.partition("/")
    return first in ENCODERS and not rest.startswith(f"{_POOLER}/")


def _adaptable(path: str) -> str:
    """The target whose kernel a parameter is; '' for none."""
    *_, module, name = path.split("/")
    if module == "rel_attn":
        return name if name in _PROJECTED else ""
    return module if name == "kernel" else ""


def _layer(path: str) -> str:
    """The target that an adapter's parameter belongs to: of '.../query/lora_a', 'rel_attn/q_lora_a'."""
    *_, module, name = path.split("/")
    return module if name in (_A, _B) else name.rpartition("_lora_")[0]
