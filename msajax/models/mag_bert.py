"""MAG-BERT: audio and vision shift BERT's embeddings of the word pieces.

Rahman et al., "Integrating Multimodal Information in Large Pretrained
Transformers", ACL 2020; the gate is behind the embeddings, as in the authors'
code and in thuiar/MMSA. Unlike in their code, data without a row per word piece can be
pooled to the pieces in each sample by itself (`align`), and any encoder can stand in
BERT's place.
"""

from typing import Any

import flax.linen as nn

from msajax.encoders import Encoder
from msajax.encoders.bert import BertConfig
from msajax.encoders.steps import make_encoder, text_vector
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import to_text
from msajax.nn.dropout import Dropout
from msajax.nn.gates import MAGGate
from msajax.nn.linear import Linear


class MAGBert(Model):
    """BERT with a multimodal adaptation gate.

    Attributes:
      encoder: the network, from config.text; its vector of the sequence is read.
      align: pool audio and vision to the word pieces; False where they have a row
        for each.
      beta: the gate's longest shift, as a share of the text vector's length.
      gate_dropout: behind the gate.
      dropout: dropout rate before the head.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    encoder: Encoder = BertConfig()
    align: bool = False
    beta: float = 1.0
    gate_dropout: float = 0.5
    dropout: float = 0.1
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also the pooled vector and the hidden states."""
        (audio, _), (vision, _) = to_text(batch, self.spec.lengths, pool=self.align)
        gate = MAGGate(self.beta, self.gate_dropout, name="gate")
        settings = dict(remat=self.remat, scan=self.scan)
        encoder: Any = make_encoder(self.encoder, pooler=True, **settings)
        encoded = encoder(
            batch["text_ids"],
            mask=batch["text_mask"],
            segments=batch["text_type"],
            train=train,
            inject_after=0,
            inject=lambda text: gate(text, audio, vision, train=train),
        )
        fusion = text_vector(encoded, batch)
        h = Dropout(self.dropout)(fusion, deterministic=not train)
        pred = Linear(self.spec.num_outputs, name="head")(h)
        return {
            "pred": self.squeeze_single(pred),
            "fusion": fusion,
            "hidden": encoded.hidden,
        }
