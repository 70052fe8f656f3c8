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

from msajax.data.spec import MODALITIES, Spec
from msajax.train.plan import Phase
from tools.bench.timing import timed

_CLASSES = {
    "tfn": ("TFN", "TFN"),
    "lmf": ("LMF", "LMF"),
    "lf_dnn": ("LF_DNN", "LF_DNN"),
    "ef_lstm": ("EF_LSTM", "EF_LSTM"),
    "mult": ("MULT", "MULT"),
}
VERSION = torch.__version__
# text_only where its package is there.
SYSTEMS = (*_CLASSES, *["text_only"] * bool(importlib.util.find_spec("transformers")))
# Whose audio and vision the package's loader averages over time, once.
AVERAGED = ("tfn", "lmf", "lf_dnn")


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
        return _TextOnly(ours)
    _stub_packages()
    file, name = _CLASSES[system]
    module = importlib.import_module(f"MMSA.models.singleTask.{file}")
    made = getattr(module, name)(_arguments(system, ours))
    if system == "ef_lstm" and len(set(ours.spec.lengths)) > 1:
        return _Aligned(made, ours.spec)
    return made


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
    for name in ("", ".models", ".models.singleTask", ".models.subNets"):
        package = types.ModuleType(f"MMSA{name}")
        package.__path__ = [root + name.replace(".", "/")]
        sys.modules[package.__name__] = package
    subnets: Any = sys.modules["MMSA.models.subNets"]
    features: Any = importlib.import_module("MMSA.models.subNets.FeatureNets")
    subnets.SubNet, subnets.TextSubNet = features.SubNet, features.TextSubNet
    subnets.BertTextEncoder = None  # used on raw text alone


def _arguments(system: str, s: Any) -> types.SimpleNamespace:
    args: dict[str, Any] = {
        "feature_dims": s.spec.dims,
        "train_mode": "regression",
        "use_bert": False,
    }
    if system == "ef_lstm":
        args |= {"seq_lens": s.spec.lengths[0], "hidden_dims": s.hidden_dim}
        args |= {"num_layers": s.layers, "dropout": s.dropout}
    elif system == "mult":
        args |= _mult_arguments(s)
    else:
        after = getattr(s, "post_fusion_dropout", 0.0)
        names = ("hidden_dims", "text_out", "post_fusion_dim", "rank")
        args |= {name: getattr(s, name) for name in names if hasattr(s, name)}
        # Audio, vision, text (switched off there, in an LSTM of one layer), fusion.
        args["dropouts"] = (s.audio_dropout, s.vision_dropout, 0.0, after)
    return types.SimpleNamespace(**args)


def _mult_arguments(s: Any) -> dict[str, Any]:
    text, audio, vision = s.attention_dropouts
    kernels = dict(zip("lav", s.kernel_sizes, strict=True))
    return {
        "dst_feature_dim_nheads": (s.dim, s.heads),
        "nlevels": s.layers,
        "attn_mask": s.causal,
        "attn_dropout": text,
        "attn_dropout_a": audio,
        "attn_dropout_v": vision,
        "relu_dropout": s.relu_dropout,
        "res_dropout": s.residual_dropout,
        "embed_dropout": s.embed_dropout,
        "text_dropout": s.text_dropout,
        "output_dropout": s.output_dropout,
        **{f"conv1d_kernel_size_{x}": size for x, size in kernels.items()},
    }


class _Aligned(nn.Module):
    """A system behind the package's average pooling to the text's length, as its AMIO runs it."""

    def __init__(self, system: nn.Module, spec: Spec):
        super().__init__()
        nets: Any = importlib.import_module("MMSA.models.subNets.AlignNets")
        args = types.SimpleNamespace(feature_dims=spec.dims, seq_lens=spec.lengths)
        self.align, self.system = nets.AlignSubNet(args, "avg_pool"), system

    def forward(self, text, audio, vision):
        return self.system(*self.align(text, audio, vision))


class _TextOnly(nn.Module):
    """`BertModel`, the mean over real tokens, dropout and a linear head."""

    def __init__(self, ours: Any):
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(**dataclasses.asdict(ours.encoder))
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(ours.dropout)
        self.head = nn.Linear(config.hidden_size, 1)

    def forward(self, ids, mask, segments):
        encoded = self.encoder(ids, attention_mask=mask, token_type_ids=segments)
        real = mask[..., None].to(encoded.last_hidden_state.dtype)
        text = (encoded.last_hidden_state * real).sum(1) / real.sum(1).clamp(min=1)
        return {"M": self.head(self.dropout(text))}


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
        label = torch.from_numpy(arrays["label"]).to(self._device)
        self._label, self._loss = label[:, None], nn.L1Loss()
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
        inputs, label = [x[rows] for x in self._inputs], self._label[rows]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            pred = self._forward(*inputs)["M"]
            return pred, self._loss(pred, label)

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
    settings = phase.optimizer
    named = list(module.named_parameters())
    factors = [p for name, p in named if name.endswith("_factor")]
    others = [p for name, p in named if not name.endswith("_factor")]
    own = dict(settings.groups).get(r".*_factor") or {}
    groups = [
        {"params": others},
        {
            "params": factors,
            "lr": own.get("learning_rate", settings.learning_rate),
            "weight_decay": own.get("weight_decay", settings.weight_decay),
        },
    ]
    return torch.optim.Adam(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )


def _adamw(module: nn.Module, phase: Phase) -> torch.optim.Optimizer:
    """The groups of `msajax.run.recipe.fine_tune`, at their peak rates."""
    settings = phase.optimizer
    encoder: Any = dict(settings.groups)[r"encoder/.*"]
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in module.named_parameters():
        own = encoder if name.startswith("encoder") else {}
        decays = not (name.endswith("bias") or "LayerNorm" in name)
        rate = own.get("learning_rate", settings.learning_rate)
        group = rate, settings.weight_decay if decays else 0.0
        groups.setdefault(group, []).append(parameter)
    return torch.optim.AdamW(
        [dict(params=p, lr=lr, weight_decay=w) for (lr, w), p in groups.items()]
    )
