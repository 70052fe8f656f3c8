"""What stands around the modules of the package `mmsa` in tools/bench/mmsa_torch.py."""

import dataclasses
import importlib
import types
from typing import Any

from torch import nn  # pyright: ignore[reportMissingImports]

from msajax.data.spec import Spec


class Aligned(nn.Module):
    """A system behind the package's average pooling to the text's length, as its AMIO runs it."""

    def __init__(self, system: nn.Module, spec: Spec):
        super().__init__()
        nets: Any = importlib.import_module("MMSA.models.subNets.AlignNets")
        args = types.SimpleNamespace(feature_dims=spec.dims, seq_lens=spec.lengths)
        self.align, self.system = nets.AlignSubNet(args, "avg_pool"), system

    def forward(self, text, audio, vision):
        """As the system."""
        return self.system(*self.align(text, audio, vision))


class Features(nn.Module):
    """In place of the package's BERT: the text is features already."""

    def __init__(self, **_):
        super().__init__()

    def forward(self, text):
        """The text."""
        return text


class WithRegularisers(nn.Module):
    """MFM with the other terms of its loss; it computes them in evaluation too."""

    def __init__(self, system: Any):
        super().__init__()
        self.system = system

    def forward(self, text, audio, vision):
        """A dict with 'M', [B, 1], and 'rest', what the loss adds to the task's."""
        pred, generation, mmd, _ = self.system(text, audio, vision)
        return {"M": pred, "rest": generation + self.system.args.lda_mmd * mmd}


class WithInformation(nn.Module):
    """MMIM in the phase that trains all but the estimators, as its trainer runs it.

    Entropies are of the batch and the one before, from the second batch on.
    """

    reads = ("text", "audio", "vision", "audio_mask", "vision_mask", "label")

    def __init__(self, system: Any):
        super().__init__()
        self.system, self.memory = system, {}

    def forward(self, text, audio, vision, audio_mask, vision_mask, label):
        """As `MMIM`; lengths are on the CPU, where packing needs them."""
        streams = [(audio, audio_mask), (vision, vision_mask)]
        streams = [(x, mask.sum(1).cpu()) for x, mask in streams]
        if not self.training:
            return self.system(text, *streams)
        memory = {pair: self.memory.get(pair) for pair in ("tv", "ta", "va")}
        out = self.system(text, *streams, label[:, None], memory)
        self.memory = {
            pair: {sign: [x.detach()] for sign, x in samples.items()}
            for pair, samples in out["pn_dic"].items()
            if samples
        }
        config = self.system.config
        bound = config.beta * (out["lld"] + out["H"])
        return {"M": out["M"], "rest": config.alpha * out["nce"] - bound}


WITH_TERMS = {"mfm": WithRegularisers, "mmim": WithInformation}


class TextOnly(nn.Module):
    """`BertModel`, the mean over real tokens, dropout and a linear head."""

    def __init__(self, ours: Any):
        super().__init__()
        from transformers import BertConfig, BertModel

        config = BertConfig(**dataclasses.asdict(ours.encoder))
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(ours.dropout)
        self.head = nn.Linear(config.hidden_size, 1)

    def forward(self, ids, mask, segments):
        """From word pieces to a dict with 'M', [B, 1]."""
        encoded = self.encoder(ids, attention_mask=mask, token_type_ids=segments)
        real = mask[..., None].to(encoded.last_hidden_state.dtype)
        text = (encoded.last_hidden_state * real).sum(1) / real.sum(1).clamp(min=1)
        return {"M": self.head(self.dropout(text))}
