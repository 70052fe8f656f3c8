"""MFN: an LSTM for each modality, and a gated memory of what they say together.

Zadeh, Liang, Mazumder, Poria, Cambria and Morency, "Memory Fusion Network for Multi-view
Sequential Learning", AAAI 2018; the network and the defaults (CMU-MOSI) are thuiar/MMSA's,
with the window of two steps, the only one that its code can run. Unlike there, the states
stand still on padding, and audio and vision are sequences: MMSA's loader replaces both by
their average over time, so that its MFN reads the same audio and vision in each step
(`average_av`). Data that are not aligned word by word are pooled to the text's steps, as
MMSA does.
"""

import flax.linen as nn
import jax.numpy as jnp

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import common_steps
from msajax.nn.linear import FeedForward
from msajax.nn.masks import step_masks
from msajax.nn.memory import MemoryFusion
from msajax.nn.pooling import mean_pool


class MFN(Model):
    """Memory Fusion Network.

    Attributes:
      hidden_dims: widths of the LSTMs of text, audio and vision.
      memory: width of the memory (MMSA's memsize).
      attention_dim, attention_dropout: width and dropout rate of the attention's hidden
        layer (NN1).
      gate_dims, gate_dropouts: widths and dropout rates of the hidden layers that give
        what is written to the memory (NN2), what stays of it (gamma1) and how much is
        written (gamma2).
      out_dim, out_dropout: width and dropout rate of the hidden layer of the output.
      average_av: as MMSA's loader, give each step the average of audio and of vision.
      padded: as MMSA, align, average and run over the padding.
    """

    hidden_dims: tuple[int, int, int] = (256, 32, 256)
    memory: int = 400
    attention_dim: int = 32
    attention_dropout: float = 0.2
    gate_dims: tuple[int, int, int] = (64, 256, 32)
    gate_dropouts: tuple[float, float, float] = (0.0, 0.7, 0.5)
    out_dim: int = 128
    out_dropout: float = 0.0
    average_av: bool = False
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also the last states of 'text', 'audio', 'vision' and 'memory', 'fusion' of all four, 'attention'."""
        if self.average_av:
            batch = {**batch, **self._averaged(batch)}
        aligned = self.spec.aligned and not self.average_av
        x, masks = common_steps(batch, aligned=aligned, padded=self.padded)
        out = MemoryFusion(
            hidden_dims=self.hidden_dims,
            memory=self.memory,
            attention_dim=self.attention_dim,
            attention_dropout=self.attention_dropout,
            gate_dims=self.gate_dims,
            gate_dropouts=self.gate_dropouts,
            name="fuse",
        )(x, masks, train=train)
        head = FeedForward(
            self.out_dim, self.spec.num_outputs, self.out_dropout, name="out"
        )
        pred = head(out["fusion"], train=train)
        names = ("text", "audio", "vision", "memory", "fusion", "attention")
        return {
            "pred": self.squeeze_single(pred),
            **{name: out[name] for name in names},
        }

    def _averaged(self, batch: Batch) -> Batch:
        """Audio and vision as sequences of one step, which the alignment then repeats."""
        found = {}
        _, *masks = step_masks(batch, padded=self.padded)
        for m, mask in zip(("audio", "vision"), masks, strict=True):
            found[m] = mean_pool(batch[m], mask)[:, None]
            found[f"{m}_mask"] = jnp.any(mask, axis=1, keepdims=True)
        return found
