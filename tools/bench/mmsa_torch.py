"""The PyTorch systems of the package `mmsa`, trained as that package trains them, for tools/bench/bench.py.

For text_only it is the encoder that mmsa wraps, `BertModel` of the package transformers.
"""

import dataclasses
import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from msajax.data.spec import MODALITIES
from msajax.train.plan import Phase
from tools.bench import mmsa_modules, mmsa_tables
from tools.bench.timing import timed

VERSION = torch.__version__
# Some need the package transformers: text_only is its BertModel, mmim imports it.
SYSTEMS = tuple(
    name
    for name in (*mmsa_tables.SYSTEMS, "text_only")
    if importlib.util.find_spec("transformers") or name not in ("mmim", "text_only")
)
_MULTI_TASK = ("mlf_dnn", "mtfn", "mlmf")
# Whose audio and vision the package's loader averages over time, once.
AVERAGED = ("tfn", "lmf", "lf_dnn", *_MULTI_TASK)
# Not compiled: the first three loop over time in Python, which would be unrolled; mmim packs
# sequences and selects rows by their labels.
EAGER = ("mfn", "graph_mfn", "mfm", "mmim")
# Its names of the tasks, and our fields.
_LABELS = {"M": "label", "T": "label_text", "A": "label_audio", "V": "label_vision"}


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_kernels(*, tf32: bool, deterministic: bool) -> str:
    """Sets what kernels PyTorch may take on a GPU; how exact its products are, in words."""
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = deterministic
    return "tensorfloat32" if tf32 else "float32"


def build(system: str, ours: Any) -> nn.Module:
    """The package's module of a system.

    Args:
      system: one of `SYSTEMS`.
      ours: our system, which has the hyperparameters.

    Returns:
      A module from (text, audio, vision), or from word pieces, their mask and
      segments, to a dict with 'M', [B, 1].

    Raises:
      ValueError: the package is not installed, or lacks the system.
    """
    if system not in SYSTEMS:
        raise ValueError(
            f'mmsa has no counterpart of "{system}" here; systems: {", ".join(SYSTEMS)}'
        )
    if system == "text_only":
        return mmsa_modules.TextOnly(ours)
    _stub_packages()
    name = system.upper() if system != "graph_mfn" else "Graph_MFN"
    folder = "multiTask" if system in _MULTI_TASK else "singleTask"
    module = importlib.import_module(f"MMSA.models.{folder}.{name}")
    given = mmsa_tables.arguments(system, ours) | {"device": device()}
    made = getattr(module, name)(types.SimpleNamespace(**given))
    if system == "ef_lstm" and len(set(ours.spec.lengths)) > 1:
        return mmsa_modules.Aligned(made, ours.spec)
    if system == "graph_mfn":
        # It keeps them in a dict, where no optimizer sees them; ours trains them.
        networks = made.graph_mfn.networks.items()
        names = {"".join(map(str, group)): network for group, network in networks}
        made.vertices = nn.ModuleDict(names)
    if system in _MULTI_TASK:
        made.weights = dict(zip(_LABELS, ours.weights, strict=True))
    wrap = mmsa_modules.WITH_TERMS.get(system)
    return wrap(made) if wrap else made


def _stub_packages() -> None:
    # The package's own __init__ files import all of it, down to a dead dependency:
    # modules that only know their folder let its model files be imported alone.
    if "MMSA" in sys.modules:
        return
    found = importlib.util.find_spec("MMSA")
    if found is None or not found.submodule_search_locations:
        raise ValueError(
            'the package mmsa is not installed: pip install torch, and "mmsa" with --no-deps'
        )
    (root,) = found.submodule_search_locations
    folders = ("singleTask", "multiTask", "subNets")
    for name in ("", ".models", *(f".models.{folder}" for folder in folders)):
        package = types.ModuleType(f"MMSA{name}")
        package.__path__ = [root + name.replace(".", "/")]
        sys.modules[package.__name__] = package
    subnets: Any = sys.modules["MMSA.models.subNets"]
    features: Any = importlib.import_module("MMSA.models.subNets.FeatureNets")
    subnets.SubNet, subnets.TextSubNet = features.SubNet, features.TextSubNet
    subnets.BertTextEncoder = mmsa_modules.Features


class LighterMSGMBA(nn.Module):
    """What MSG/MBA stands on: `BertModel`, LSTMs of audio and vision, and a head.

    There is no public code of the system. Its gates, the adjustment of attention and
    the loss of its shifts are left out, so this does less work than ours.
    """

    reads = ("text_ids", "text_mask", "text_type", "audio", "vision")

    def __init__(self, ours: Any):
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(**dataclasses.asdict(ours.encoder))
        self.encoder = BertModel(config, add_pooling_layer=False)
        dims = ours.spec.dims[1:]
        self.lstms = nn.ModuleList([nn.LSTM(d, d, batch_first=True) for d in dims])
        self.fusion = nn.Linear(config.hidden_size + sum(dims), ours.fusion_dim)
        self.dropout = nn.Dropout(ours.dropout)
        self.head = nn.Linear(ours.fusion_dim, 1)

    def forward(self, ids, mask, segments, *others):
        """From word pieces, audio and vision to a dict with 'M', [B, 1]."""
        encoded = self.encoder(ids, attention_mask=mask, token_type_ids=segments)
        read = [lstm(x)[0] for lstm, x in zip(self.lstms, others, strict=True)]
        # The last steps of audio and vision: their gradient needs all steps, as in ours.
        first = [encoded.last_hidden_state[:, 0], *(x[:, -1] for x in read)]
        fused = torch.relu(self.fusion(torch.cat(first, dim=-1)))
        return {"M": self.head(self.dropout(fused))}


class Torch:
    """One side of the benchmark: a PyTorch module on arrays that lie on the device.

    The package's own loop also builds each batch from Python lists in worker
    processes and reads every loss back; both are left out here, in its favour.

    Attributes:
      module: from `build`, without compilation.
      samples: rows that a step takes.
      compile_seconds: of the first training step.
      memory: bytes that it allocated on the GPU at the peak, the data included; 0
        on CPU, which has no count.
    """

    def __init__(
        self,
        module: nn.Module,
        arrays: dict[str, np.ndarray],
        rows: np.ndarray,
        phase: Phase,
        *,
        compiled: bool,
        averaged: bool,
        precision: str = "float32",
    ):
        before = _allocated()
        self.module, self._phase, self._device = module.to(device()), phase, device()
        self.samples = phase.batch_size
        self._half, self._done = precision == "bfloat16", 0
        # Else the programs of earlier shapes count to a limit, after which it runs eagerly.
        torch.compiler.reset()
        self._forward: Callable = torch.compile(module) if compiled else module
        pieces = ("text_ids", "text_mask", "text_type")
        names = pieces if "text_ids" in arrays else MODALITIES
        names = getattr(module, "reads", names)
        inputs = {name: torch.from_numpy(arrays[name]) for name in names}
        if averaged:
            for name in ("audio", "vision"):
                inputs[name] = inputs[name].mean(dim=1, keepdim=True)
        self._inputs = [inputs[name].to(self._device) for name in names]
        self._weights: dict[str, float] = getattr(module, "weights", {"M": 1.0})
        self._labels = {
            task: torch.from_numpy(arrays[_LABELS[task]])[:, None].to(self._device)
            for task in self._weights
        }
        self._loss = nn.L1Loss()
        self._rows = torch.from_numpy(rows.astype(np.int64)).to(self._device)
        make = _adamw if phase.optimizer.name == "adamw" else _adam
        self._optimizer = make(module, phase)
        self.compile_seconds, _ = timed(functools.partial(self.train, 1))
        if self._device.type == "cuda":
            self.train(phase.accumulate)  # Adam's averages too
        self.memory = _allocated(peak=True) - before

    def train(self, steps: int) -> None:
        """Runs training steps; returns when the device is done."""
        self.module.train()
        every = self._phase.accumulate
        for _ in range(steps):
            rows = self._rows[self._done % len(self._rows)]
            if self._done % every == 0:
                self._optimizer.zero_grad()
            self._step(rows)[1].backward()
            if clip := self._phase.optimizer.clip_value:
                nn.utils.clip_grad_value_(self.module.parameters(), clip)
            if clip := self._phase.optimizer.clip_norm:
                nn.utils.clip_grad_norm_(self.module.parameters(), clip)
            self._done += 1
            if self._done % every == 0:
                self._optimizer.step()
        self._wait()

    @torch.no_grad()
    def evaluate(self, steps: int) -> np.ndarray:
        """Predictions and losses of batches, brought to the host: pred [steps * B]."""
        self.module.eval()
        preds, losses = [], []
        for i in range(steps):
            rows = self._rows[i % len(self._rows)]
            pred, loss = self._step(rows)
            losses.append(loss)
            preds.append(pred[:, 0])
        torch.stack(losses).cpu()
        return torch.cat(preds).float().cpu().numpy()

    def _step(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = [x[rows] for x in self._inputs]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            out = self._forward(*inputs)
            loss = out.get("rest", 0.0)
            for task, weight in self._weights.items():
                loss = loss + weight * self._loss(out[task], self._labels[task][rows])
            return out["M"], loss

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()


def _allocated(*, peak: bool = False) -> int:
    """Bytes on the GPU: now, which starts a new peak, or at the peak since then."""
    if not torch.cuda.is_available():
        return 0
    if peak:
        return torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _adam(module: nn.Module, phase: Phase) -> torch.optim.Optimizer:
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in module.named_parameters():
        found = mmsa_tables.settings(name, phase)
        if found is None:  # as in ours, no gradient is computed
            parameter.requires_grad_(False)
        elif parameter.requires_grad:
            group = found["learning_rate"], found["weight_decay"]
            groups.setdefault(group, []).append(parameter)
    return torch.optim.Adam(
        [dict(params=p, lr=lr, weight_decay=w) for (lr, w), p in groups.items()]
    )


def _adamw(module: nn.Module, phase: Phase) -> torch.optim.Optimizer:
    """The groups of `msajax.run.recipe.fine_tune`, at their peak rates."""
    settings = phase.optimizer
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in module.named_parameters():
        decays = not (name.endswith("bias") or "LayerNorm" in name)
        own = settings.encoder_rate if name.startswith("encoder") else 0.0
        rate = own or settings.learning_rate
        group = rate, settings.weight_decay if decays else 0.0
        groups.setdefault(group, []).append(parameter)
    return torch.optim.AdamW(
        [dict(params=p, lr=lr, weight_decay=w) for (lr, w), p in groups.items()]
    )
