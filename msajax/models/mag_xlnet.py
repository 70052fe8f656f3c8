"""MAG-XLNet: audio and vision shift XLNet's hidden states behind the first layer.

Rahman et al., "Integrating Multimodal Information in Large Pretrained
Transformers", ACL 2020; place of the gate and summary of the sequence as in the
authors' code. Unlike there, sequences are padded at the end, which XLNet's
relative positions do not see.
"""

import flax.linen as nn

from msajax.encoders.xlnet import XLNetConfig
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import to_text
from msajax.nn.dropout import Dropout
from msajax.nn.gates import MAGGate
from msajax.nn.linear import Linear


class MAGXLNet(Model):
    """XLNet with a multimodal adaptation gate.

    Attributes:
      encoder: the network, from config.text.
      align: pool audio and vision to the word pieces; False where they have a row
        for each.
      beta: the gate's longest shift, as a share of the text vector's length.
      gate_dropout: behind the gate.
      dropout: dropout rate before the head.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    encoder: XLNetConfig = XLNetConfig()
    align: bool = False
    beta: float = 1.0
    gate_dropout: float = 0.5
    dropout: float = 0.1
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also the summary of the sequence and the hidden states."""
        (audio, _), (vision, _) = to_text(batch, self.spec.lengths, pool=self.align)
        gate = MAGGate(self.beta, self.gate_dropout, name="gate")
        settings = dict(dtype=None, remat=self.remat, scan=self.scan)
        encoded = self.encoder.encoder(**settings, name="encoder")(
            batch["text_ids"],
            mask=batch["text_mask"],
            segments=batch["text_type"],
            train=train,
            inject_after=1,
            inject=lambda text: gate(text, audio, vision, train=train),
        )
        summary = Linear(self.encoder.d_model, name="summary")
        text = nn.tanh(summary(encoded.pooled))  # pyright: ignore
        h = Dropout(self.dropout)(text, deterministic=not train)
        pred = Linear(self.spec.num_outputs, name="head")(h)
        return {
            "pred": self.squeeze_single(pred),
            "fusion": text,
            "hidden": encoded.hidden,
        }
