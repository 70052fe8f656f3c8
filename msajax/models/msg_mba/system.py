"""MSG/MBA: gates shift text, audio and vision by each other; audio and vision adjust the text's attention.

Lin & Hu, "Dynamically Shifting Multimodal Representations via Hybrid-Modal
Attention for Multimodal Sentiment Analysis", IEEE TMM 2023. Audio and vision have a
row for each step of the text. There is no public code; what the paper leaves open is
a field here, and three things are set:
- The first fusion layer is linear in every step, so it is applied to the pooled one.
- A modality that no gate shifts is concatenated as its encoder leaves it.
- N in equation 18 is the batch's rows, and in 19 its real steps times the width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import losses, parallel
from msajax.data.spec import MODALITIES
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, own_states, own_steps
from msajax.encoders.summary import summary_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.models.msg_mba.mba import MBA
from msajax.models.msg_mba.msg import MSG
from msajax.nn.align import to_text
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.masks import to_places
from msajax.nn.pooling import mean_pool
from msajax.nn.recurrent import Recurrent

# The paper's names: cell, and whether it reads in both directions.
_RECURRENT = {
    "sLSTM": ("lstm", False),
    "bLSTM": ("lstm", True),
    "sGRU": ("gru", False),
    "bGRU": ("gru", True),
}
_CHOICES = {
    "recurrent": tuple(_RECURRENT),
    "routing": ("matched", "crossed"),
    "pooling": ("cls", "mean"),
}


class MSGMBA(Model):
    """Multimodal shifting gates and masked bimodal adjustment.

    Modalities that the data lacks (config.data.modalities) have no parameters.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the
        text features of the data, behind which there are no further layers.
      gates: modalities that an MSG shifts.
      layer: encoder layer behind which MSG-T stands; 0 is the embeddings.
      recurrent: encoder of audio and vision: 'sLSTM', 'bLSTM', 'sGRU', 'bGRU'.
      mu: initial bound of the shifts, as a share of the shifted vector's length; it
        is learned, and free to become negative.
      post_norm: LayerNorm behind MSG-T, as in MAG; the paper does not mention it.
      mba: MSG-A and MSG-V read the text that MBA adjusted; no effect without
        "audio" or "vision" among the gates.
      routing: 'matched': MSG-A reads M_ta and MSG-V M_tv; 'crossed': the other way
        around, which is the letter of section III-C2.
      dim: common width d in MBA.
      kernel_sizes: kernel sizes of MBA's convolutions of text, audio and vision.
      scalar_weights: MBA's W_p are numbers, not matrices over the steps.
      shift_weights: alpha, beta, gamma, of the Shifting HuberLoss of text, audio and
        vision.
      delta: threshold of the Shifting HuberLoss.
      pooling: 'cls', by `summary_steps`, or 'mean'. The features of a
        frozen XLNet have their 'cls' at the end too: take 'mean' for them.
      fusion_dim: width of M_f.
      align: pool audio and vision to the text's steps; False where they have a row
        for each.
      gate_dropout: behind MSG-T.
      dropout: dropout rate before the head.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    criterion: str = "mse"
    encoder: Encoder | None = None
    gates: tuple[str, ...] = MODALITIES
    layer: int = 2
    recurrent: str = "sLSTM"
    mu: float = 1.0
    post_norm: bool = True
    mba: bool = True
    routing: str = "matched"
    dim: int = 30
    kernel_sizes: tuple[int, int, int] = (3, 3, 3)
    scalar_weights: bool = False
    shift_weights: tuple[float, float, float] = (0.1, 0.1, 0.1)
    delta: float = 1.0
    pooling: str = "cls"
    fusion_dim: int = 768
    align: bool = False
    gate_dropout: float = 0.1
    dropout: float = 0.1
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, and what the paper's figures show.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred'; 'fusion' M_f [B, fusion_dim]; 'text', 'audio', 'vision': M_m*
          [B, N, D]; and by modality 'features' F_a and F_v, 'shifts' h_s,
          'attention' x_att and 'weights' p_att [B, N, N] of MBA, 'masks' [B, N] bool,
          the real steps. The encoder's attention is in its intermediates.
        """
        self._check()
        x, masks, steps = self._steps(own_steps(batch))
        f = {k: self._recurrent(k)(x[k], masks[k]) for k in x}  # (1), (2)
        # Made here: the encoder, which calls `shift`, would take them for its own.
        gates = {k: self._gate(k) for k in self.gates}
        # The text that the encoder shifts may stand among neighbours.
        own = batch.get("text_own")
        places = f if own is None else {k: to_places(v, own) for k, v in f.items()}
        fused, shifts = {}, {}  # M_m*, h_s

        def shift(modality: str, main: jax.Array, others: dict) -> jax.Array:
            if modality not in gates or not others:
                return main
            shifted, shifts[modality] = gates[modality](main, others, train=train)
            return shifted

        texts, weights, attention = {}, {}, {}
        if "text" in masks:
            text = self._text(batch, lambda h: shift("text", h, places), train)
            text = own_states(text, batch)
            if "text" in shifts:
                shifts["text"] = own_states(shifts["text"], batch)
            fused["text"] = jnp.where(masks["text"][..., None], text, 0)
            texts, weights, attention = self._adjust(fused["text"], f, steps)
        for modality in f:
            others = {k: v for k, v in f.items() if k != modality}
            if modality in texts:
                others["text"] = texts[modality]
            fused[modality] = shift(modality, f[modality], others)

        out = self._predict(jnp.concatenate(list(fused.values()), -1), steps, train)
        parts = dict(features=f, shifts=shifts, attention=attention, weights=weights)
        return {**out, **fused, **parts, "masks": masks}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Regression and Shifting HuberLoss (equations 18 to 20)."""
        del progress
        outputs = self(batch, train=train)
        pred = outputs["pred"].astype(jnp.float32)
        total = task = self.task_loss(pred, batch)
        terms = {"pred": pred, "task": task}
        for modality, weight in zip(MODALITIES, self.shift_weights, strict=True):
            if modality in outputs["shifts"]:
                h_s = outputs["shifts"][modality]
                values = jnp.mean(losses.huber(h_s, delta=self.delta), axis=-1)
                where = outputs["masks"][modality] & batch["valid"][:, None]
                # [B, N] as rows: the mean is over all real steps of the batch.
                shift = parallel.batch_mean(values.ravel(), where=where.ravel())
                terms[f"shift_{modality}"] = shift
                total += weight * shift
        return total, terms

    def _check(self) -> None:
        self.check_choices(_CHOICES)
        if unknown := set(self.gates) - set(MODALITIES):
            raise ValueError(
                f"config.model.gates has {sorted(unknown)}; choose from "
                f"{', '.join(MODALITIES)}"
            )

    def _steps(
        self, batch: Batch
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array], jax.Array]:
        """Audio and vision at the text's steps, or at those of the first that there is.

        Returns:
          [B, N, D] by modality; real steps [B, N] by modality; and of any: in a row
          without text, those of audio and vision.
        """
        present, lengths = self.spec.modalities, self.spec.lengths
        if present[0] != "text":
            leader = MODALITIES.index(present[0])
            batch = {**batch, "text_mask": batch[f"{present[0]}_mask"]}
            lengths = lengths[leader], *lengths[1:]
        mask = batch["text_mask"]
        (audio, audio_mask), (vision, vision_mask) = to_text(
            batch, lengths, pool=self.align
        )
        steps = jnp.where(
            jnp.any(mask, axis=1, keepdims=True), mask, audio_mask | vision_mask
        )
        x = {k: v for k, v in (("audio", audio), ("vision", vision)) if k in present}
        masks = {"text": mask} if "text" in present else {}
        for k in x:
            masks[k] = steps & jnp.any(batch[f"{k}_mask"], axis=1, keepdims=True)
        return x, masks, steps

    def _adjust(
        self, text: jax.Array, f: dict[str, jax.Array], steps: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array], dict[str, jax.Array]]:
        """The text that MSG-A and MSG-V read; p_att and x_att by the modality of an MBA."""
        gated = [k for k in f if k in self.gates]
        if not self.mba:
            return dict.fromkeys(gated, text), {}, {}
        texts, weights, attention = {}, {}, {}
        for modality in gated:
            crossed = [k for k in f if k != modality and self.routing == "crossed"]
            source = crossed[0] if crossed else modality
            texts[modality], weights[source], attention[source] = self._mba(source)(
                text, f[source], steps
            )
        return texts, weights, attention

    def _predict(self, x: jax.Array, steps: jax.Array, train: bool) -> Outputs:
        """'pred' and 'fusion' M_f from M*, [B, N, D]."""
        fusion = Linear(self.fusion_dim, name="fusion")(self._pool(x, steps))
        h = Dropout(self.dropout)(fusion, deterministic=not train)
        pred = Linear(self.spec.num_outputs, name="head")(h)
        return {"pred": self.squeeze_single(pred), "fusion": fusion}

    def _recurrent(self, modality: str) -> Recurrent:
        cell, bidirectional = _RECURRENT[self.recurrent]
        hidden = self.spec.dims[MODALITIES.index(modality)]
        return Recurrent(
            hidden, cell, bidirectional=bidirectional, name=f"{modality}_rnn"
        )

    def _gate(self, modality: str) -> MSG:
        text = modality == "text"
        return MSG(
            self.mu,
            norm=text and self.post_norm,
            dropout=self.gate_dropout if text else 0.0,
            name=f"msg_{modality}",
        )

    def _mba(self, modality: str) -> MBA:
        sizes: dict[str, int] = dict(zip(MODALITIES, self.kernel_sizes, strict=True))
        return MBA(
            self.spec.lengths[0],
            self.dim,
            kernel_sizes=(sizes["text"], sizes[modality]),
            scalar=self.scalar_weights,
            name=f"mba_{modality}",
        )

    def _text(self, batch: Batch, inject, train: bool) -> jax.Array:
        """M_t*, [B, N, D]: the layers behind (3) on what `inject` makes of F_t."""
        encoder = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        if encoder is None:
            return inject(batch["text"])
        return encoder(
            batch["text_ids"],
            mask=batch["text_mask"],
            segments=batch["text_type"],
            train=train,
            inject_after=self.layer,
            inject=inject,
        ).last

    def _pool(self, x: jax.Array, steps: jax.Array) -> jax.Array:
        """[B, N, D], [B, N] -> [B, D]."""
        if self.pooling == "mean":
            return mean_pool(x, steps)
        return mean_pool(x, summary_steps(self.encoder, steps))
