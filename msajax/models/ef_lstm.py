"""EF-LSTM: early fusion, an LSTM over the joined features of each step.

Williams et al., "Recognizing Emotions in Video Using Multimodal DNN Feature
Fusion", ACL workshop 2018, in thuiar/MMSA's form with its defaults (CMU-MOSI).
Its batch norm has the time steps as channels, so the parameters are bound to
the padded length. Unlike MMSA, padded steps enter neither the normalisation's
statistics nor the LSTM.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import align
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.masks import step_masks
from msajax.nn.norm import BatchNorm
from msajax.nn.recurrent import LSTM


class EFLSTM(Model):
    """Early Fusion LSTM.

    Sequences of unequal padded lengths are aligned to the text's steps first;
    equal ones are taken for aligned.

    Attributes:
      hidden_dim: width of the LSTM and of the layer after it.
      layers: number of LSTM layers.
      dropout: dropout rate between the layers, after them and before the output.
      padded: as MMSA, align, normalise and run over the padding.
    """

    static_length: ClassVar[bool] = True

    hidden_dim: int = 128
    layers: int = 4
    dropout: float = 0.5
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also the LSTM's last state as 'fusion'."""
        mask_t, mask_a, mask_v = step_masks(batch, padded=self.padded)
        text, audio, vision = batch["text"], batch["audio"], batch["vision"]
        if not text.shape[1] == audio.shape[1] == vision.shape[1]:
            audio, mask_a = align(audio, mask_a, mask_t)
            vision, mask_v = align(vision, mask_v, mask_t)
        mask = mask_t | mask_a | mask_v
        x = jnp.concatenate([text, audio, vision], axis=-1)

        x = BatchNorm(axis=1, name="norm")(
            x, where=mask & batch["valid"][:, None], train=train
        )
        _, state = LSTM(self.hidden_dim, self.layers, self.dropout, name="lstm")(
            x, mask, train=train
        )
        dropout = Dropout(self.dropout, deterministic=not train)
        h = nn.relu(Linear(self.hidden_dim, name="linear")(dropout(state)))
        pred = Linear(self.spec.num_outputs, name="out")(dropout(h))
        return {"pred": self.squeeze_single(pred), "fusion": state}
