"""MISA: of each modality one vector in a space that all share, and one in a space of its own.

Hazarika, Zimmermann and Poria, "MISA: Modality-Invariant and -Specific
Representations for Multimodal Sentiment Analysis", ACM MM 2020; the network is that of
thuiar/MMSA, as are the defaults (CMU-MOSI). Unlike in their code, audio and vision are
read over their own lengths (`text_lengths` restores the text's), and a row that lacks a
modality has no part in its CMD, products and reconstruction; a pair is of the rows that
have both. CMD and products are of the global batch. MMSA's adversarial variant fails when
it is run there; it is not here.
"""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import losses, parallel
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.norm import LayerNorm
from msajax.nn.pooling import final_states, mean_pool
from msajax.nn.post_norm import PostNormLayer
from msajax.nn.recurrent import CELLS, Recurrent

ORDER = ("text", "vision", "audio")  # of the authors' tokens
_CHOICES = {"pooling": ("mean", "recurrent"), "cell": tuple(CELLS)}


class MISA(Model):
    """Modality-invariant and -specific representations.

    A modality that the data lacks has no parameters.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the
        text features of the data.
      dim: width of all representations.
      pooling: the text's one vector: 'mean' of its steps, or 'recurrent', the network
        that reads audio and vision, as the authors read GloVe.
      cell: cell of the networks that read audio and vision: 'lstm' or 'gru'.
      text_lengths: read as many steps of audio and vision as the text has, as MMSA.
      heads, hidden: number of heads of the fusion's Transformer layer, and width of its
        feed-forward block.
      fusion_dropout: dropout rate inside the fusion's Transformer layer.
      dropout: dropout rate before the last layer.
      similarity, difference, reconstruction: weights α, β, γ of the losses.
      remat, scan: options of the encoder's layers, as in `TextOnly`.

    Raises:
      ValueError: the data has fewer than two modalities.
    """

    criterion: str = "mse"
    encoder: Encoder | None = None
    dim: int = 128
    pooling: str = "mean"
    cell: str = "lstm"
    text_lengths: bool = False
    heads: int = 2
    hidden: int = 2048
    fusion_dropout: float = 0.1
    dropout: float = 0.2
    similarity: float = 0.3
    difference: float = 0.1
    reconstruction: float = 1.0
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred'; 'text', 'vision', 'audio': the utterance's vectors u_m; then of these
          three in this order, [B, 3, dim] each: 'projected', 'private' (h^p), 'shared'
          (h^c), 'decoded'; 'fused' [B, 6, dim].
        """
        # Utterance-level representations
        streams = self._streams()
        if "text" in streams:
            encoder = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
            batch = text_steps(encoder, batch, train=train)
        u = {m: self._utterance(m, batch) for m in streams}
        h = {m: self._project(m, x) for m, x in u.items()}
        projected = jnp.stack([*h.values()], axis=1)

        # Modality-invariant and -specific representations
        private = [Linear(self.dim, name=f"private_{m}")(x) for m, x in h.items()]
        private = nn.sigmoid(jnp.stack(private, axis=1))
        shared = nn.sigmoid(Linear(self.dim, name="shared")(projected))
        both = dict(zip(u, jnp.moveaxis(private + shared, 1, 0), strict=True))
        decoded = [Linear(self.dim, name=f"decode_{m}")(x) for m, x in both.items()]
        out = dict(projected=projected, private=private, shared=shared)
        out["decoded"] = jnp.stack(decoded, axis=1)

        # Modality fusion
        layer = PostNormLayer(self.heads, self.hidden, self.fusion_dropout, name="fuse")
        x = jnp.concatenate([private, shared], axis=1)
        every = jnp.ones((x.shape[0], x.shape[1], x.shape[1]), bool)
        fused = layer(x, mask=every, train=train)
        y = Linear(3 * self.dim, name="fc")(fused.reshape(fused.shape[0], -1))
        y = nn.relu(Dropout(self.dropout)(y, deterministic=not train))
        pred = Linear(self.spec.num_outputs, name="head")(y)
        return {"pred": self.squeeze_single(pred), **u, **out, "fused": fused}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """L_task + α L_sim + β L_diff + γ L_recon; in evaluation L_task alone, which picks the checkpoint."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        task = self.task_loss(pred, batch)
        if not train:
            return task, {"pred": pred}
        terms = self.regularisers(out, batch)
        total = task + sum(getattr(self, name) * x for name, x in terms.items())
        return total, {"task": task, **terms}

    def regularisers(self, out: Outputs, batch: Batch) -> dict[str, jax.Array]:
        """The losses on the representations of the global batch, by their weights' names.

        Args:
          out: of `__call__`.
          batch: has the masks.

        Returns:
          Scalars: L_sim, the mean over pairs of modalities of CMD between what is
          shared; L_diff, the sum over each modality's two representations and over
          pairs of private ones; L_recon, the mean over modalities.
        """
        present = [jnp.any(batch[f"{m}_mask"], axis=1) for m in self._streams()]
        own = jnp.stack(present, axis=1) & batch["valid"][:, None]
        vectors = jnp.concatenate([out["private"], out["shared"]], axis=1)
        vectors, has = map(parallel.gather, (vectors, own))
        private, shared = jnp.split(jnp.moveaxis(vectors, 1, 0), 2)
        has, size = has.T, len(present)
        pairs = [*itertools.combinations(range(size), 2)]
        distances = [
            losses.cmd(shared[i], shared[j], where=has[i] & has[j]) for i, j in pairs
        ]
        compared = [(private[i], shared[i], has[i]) for i in range(size)]
        compared += [(private[i], private[j], has[i] & has[j]) for i, j in pairs]
        products = [losses.orthogonality(x, y, where=w) for x, y, w in compared]
        error = losses.mse(out["decoded"], out["projected"].astype(jnp.float32))
        error = jnp.mean(error, axis=-1)  # [B, M]
        errors = [
            parallel.batch_mean(error[:, i], where=own[:, i]) for i in range(size)
        ]
        return {
            "similarity": jnp.mean(jnp.stack(distances)),
            "difference": jnp.sum(jnp.stack(products)),
            "reconstruction": jnp.mean(jnp.stack(errors)),
        }

    def _streams(self) -> list[str]:
        """The modalities that the data has."""
        self.check_choices(_CHOICES)
        return self.compared(ORDER)

    def _utterance(self, m: str, batch: Batch) -> jax.Array:
        """The vector u_m of a modality: [B, D]."""
        x, mask = batch[m], batch[f"{m}_mask"]
        if m == "text" and self.pooling == "mean":
            return mean_pool(x, mask)
        if m != "text" and self.text_lengths:
            length = jnp.sum(batch["text_mask"], axis=1, keepdims=True)
            steps = jnp.arange(mask.shape[1])[None] < length
            mask = steps & jnp.any(mask, axis=1, keepdims=True)
        return _Reader(self.cell, name=f"read_{m}")(x, mask)

    def _project(self, m: str, x: jax.Array) -> jax.Array:
        """To the common width."""
        h = nn.relu(Linear(self.dim, name=f"project_{m}")(x))
        return LayerNorm(name=f"project_{m}_norm")(h)


class _Reader(nn.Module):
    """Two recurrent layers in both directions, a LayerNorm between them; their final states."""

    cell: str

    @nn.compact
    def __call__(self, x, mask):
        """[B, L, D], mask [B, L] bool -> [B, 4 D]."""
        width = x.shape[-1]
        h = Recurrent(width, self.cell, True, name="layer_0")(x, mask)
        first = final_states(h, mask)
        h = Recurrent(width, self.cell, True, name="layer_1")(
            LayerNorm(name="norm")(h), mask
        )
        # [B, 2, 2, D], direction before layer, as in the authors' code
        return jnp.stack([first, final_states(h, mask)], axis=2).reshape(x.shape[0], -1)
