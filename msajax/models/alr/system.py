"""ALR: text interacts with audio and with vision, each reduced to what predicts.

The paper of the "adaptive language-interacted representation", on CMU-MOSEI, MELD and
IEMOCAP; there is no public code. It names what its parts do and hardly how: here they
are those of ALMT (embedding), MIB (unimodal representation), MutualFormer (interaction)
and MMMU-BA (fusion). Where it is silent:
- Text is the stream r of every layer, and the next one's d is what the layer made.
- "Linguistic features at different scales" (section III-A) are ALMT's: a layer of a
  Transformer makes the text of each layer but the first. The fusion reads the first.
- MMMU-BA attends over the utterances of a video. Here rows are single utterances: the
  attention is over the tokens of one.
- The divergence of equation 5 is a mean over elements, and the deviations start at the
  prior's. In nats of a whole vector beta = 1 has a constant z for its optimum, as
  I(y; z) <= I(x; z). From MIB's start of softplus(-5), which belongs to its beta of
  1e-3, the divergence is 4.5 nats an element: ten times the task's loss.
- The convolutions F, g and h are linear layers, h of a layer's inputs, and the FFN of
  equation 13 is one layer on the normalised H, whose residual is H.
- U is the mean of the fused tokens; equation 18 is a mean, and has its minus sign.
- The losses of the bottlenecks are added in training; equations 16 and 18 alone choose
  the checkpoint.
"""

import itertools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import losses, parallel
from msajax.data.spec import MODALITIES
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.models.alr.bottleneck import Bottleneck, sample
from msajax.models.alr.cda import PAIRINGS, CrossDiffusion
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.activations import gelu
from msajax.nn.bimodal import attend_pair
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.norm import LayerNorm
from msajax.nn.token_transformer import PreNormEncoder, TokenTransformer

PRIOR = math.log(math.e - 1)  # softplus of it is 1
_CHOICES = {
    "pairing": PAIRINGS,
    "fusion": ("mmmu_ba", "concatenation", "addition", "multiplication"),
}


class ALR(Model):
    """Adaptive Language-interacted Representation.

    Modalities that the data lacks (config.data.modalities) have no parameters.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the
        text features of the data.
      dim: common width d.
      tokens: n, that each modality is reduced to.
      heads: number of heads of every attention; the heads of the Transformers that make
        the tokens are 64 wide, as in ALMT.
      embed_layers: number of layers of the Transformers that make the tokens.
      bottleneck: the unimodal representation (UR); False leaves it out.
      hidden: width of the bottlenecks' layer.
      beta: weight of the divergence of a bottleneck from its prior. The divergence is a
        mean over all elements (a vector's sum would be beta = dim); the weight in MIB's
        code is 1e-3.
      start: the deviations are about softplus(start) at first: 1, the prior's. MIB's
        is -5.
      bottleneck_weight: weight of the bottlenecks' losses.
      layers: number of layers of adaptive language interaction (ALI); 0 leaves it out.
      share: a of cross-diffusion attention, as in its authors' code.
      pairing: 'received', as there: F of a stream is given what the stream has from
        the other; 'sent', the letter of equations 10 and 11: what the other has from it.
      scales: text goes through a layer of a Transformer before every layer of ALI but
        the first; False gives every layer the same text.
      fusion: 'mmmu_ba', 'concatenation', 'addition', 'multiplication'.
      dropout: dropout rate before the head.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    encoder: Encoder | None = None
    dim: int = 256
    tokens: int = 8
    heads: int = 8
    embed_layers: int = 1
    bottleneck: bool = True
    hidden: int = 1024
    beta: float = 1.0
    start: float = PRIOR
    bottleneck_weight: float = 1.0
    layers: int = 6
    share: float = 0.6
    pairing: str = "received"
    scales: bool = True
    fusion: str = "mmmu_ba"
    dropout: float = 0.5
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, and what they are made of.

        Args:
          batch: as in `Model`.
          train: as in `Model`; the bottlenecks' vectors are samples, else means.

        Returns:
          'pred'; 'fusion' U, [B, D]; 'text', 'audio', 'vision': x_l, P_a and P_v,
          [B, n, dim]; and by modality, without UR {}: 'gaussians', the mean and the
          logarithm of the deviation, [B, n, dim] each, and 'unimodal', predictions.
        """
        self.check_choices(_CHOICES)
        if "text" not in self.spec.modalities:
            raise ValueError(
                "alr builds audio and vision by the text, which the data lacks; add "
                '"text" to config.data.modalities, or take another system'
            )
        x, gaussians, unimodal = self._embed(batch, train), {}, {}
        if self.bottleneck:
            x, gaussians, unimodal = self._represent(x, train)
        p = dict(x)
        others = [m for m in x if m != "text"]
        if self.layers and others:
            scales = self._scales(x["text"])
            p |= {m: self._interact(m, scales, x[m]) for m in others}
        tokens = fuse([p[m] for m in reversed(p)], self.fusion)  # (14): P_v, P_a, x_l
        u = jnp.mean(tokens, axis=1)
        h = Dropout(self.dropout)(u, deterministic=not train)
        pred = Linear(self.spec.num_outputs, name="head")(h)  # (15), (17)
        made = dict(fusion=u, gaussians=gaussians, unimodal=unimodal)
        return {"pred": self.squeeze_single(pred), **p, **made}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Equation 16 or 18; in training also the bottlenecks' (5), of the rows that have the modality."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        total = task = self.task_loss(pred, batch)
        if not train or not self.bottleneck:
            return task, {"pred": pred}
        terms = {"task": task}
        for m, gaussian in out["gaussians"].items():
            valid = self.present(batch, m)
            own = self.task_loss(out["unimodal"][m], {**batch, "valid": valid})
            values = jnp.mean(losses.gaussian_kl(*gaussian), axis=(1, 2))
            kl = parallel.batch_mean(values, where=valid)
            terms |= {f"task_{m}": own, f"kl_{m}": kl}
            total += self.bottleneck_weight * (own + self.beta * kl)
        return total, terms

    # Modality embedding (section III-C) ------------------------------------------

    def _embed(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """Equation (1): {modality: [B, n, dim]}."""
        encoder = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        batch = text_steps(encoder, batch, train=train)
        x = {}
        for m, length in zip(MODALITIES, self.spec.lengths, strict=True):
            if m in self.spec.modalities:
                embed = TokenTransformer(
                    self.tokens,
                    length,
                    layers=self.embed_layers,
                    heads=self.heads,
                    mlp_dim=self.dim,
                    name=f"embed_{m}",
                )
                h = Linear(self.dim, name=f"project_{m}")(batch[m])
                x[m] = embed(h, batch[f"{m}_mask"])
        return x

    # Unimodal representation (section III-D) -------------------------------------

    def _represent(
        self, x: dict[str, jax.Array], train: bool
    ) -> tuple[dict[str, jax.Array], dict[str, tuple], dict[str, jax.Array]]:
        """Equations (2) to (5): by modality what replaces x, its Gaussian, its prediction."""
        z, gaussians, unimodal = {}, {}, {}
        for m, h in x.items():
            gaussians[m] = mean, log_std = Bottleneck(
                self.hidden, self.start, name=f"ur_{m}"
            )(h)
            z[m] = mean.astype(h.dtype)
            if train:
                noise = parallel.draw(self._noise, len(h))
                z[m] = sample(mean, log_std, noise).astype(h.dtype)
            pred = Linear(self.spec.num_outputs, name=f"head_{m}")(jnp.mean(z[m], 1))
            unimodal[m] = self.squeeze_single(pred)
        return z, gaussians, unimodal

    def _noise(self, rows: int) -> jax.Array:
        shape = rows, self.tokens, self.dim
        return jax.random.normal(self.make_rng("noise"), shape)

    # Adaptive language interaction (section III-E) --------------------------------

    def _scales(self, text: jax.Array) -> jax.Array:
        """The text that each layer reads: [layers, B, n, dim]."""
        if not self.scales:
            return jnp.broadcast_to(text[None], (self.layers, *text.shape))
        encoder = PreNormEncoder(self.layers - 1, self.heads, self.dim, name="scales")
        return jnp.stack(encoder(text, mask=jnp.ones(text.shape[:2], bool)))

    def _interact(self, m: str, scales: jax.Array, d: jax.Array) -> jax.Array:
        """The hyper-modality representation P_m: [B, n, dim]."""
        # Compiled once, not once a layer: parameters have a leading axis [layers].
        stack = nn.scan(
            lambda layer, d, r: (layer(r, d), None),
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
            check_constancy_invariants=False,
        )
        layer = _ALI(self.heads, self.share, self.pairing, name=f"ali_{m}")
        return stack(layer, d, scales)[0]


class _ALI(nn.Module):
    """A layer of adaptive language interaction."""

    heads: int
    share: float
    pairing: str

    @nn.compact
    def __call__(self, r, d):
        dim = d.shape[-1]
        cda = CrossDiffusion(self.heads, self.share, self.pairing, name="cda")
        both = jnp.concatenate(cda(r, d), axis=-1)  # (6) to (11)
        h = Linear(dim, name="g")(both)  # (12)
        h += Linear(dim, name="h")(jnp.concatenate([r, d], axis=-1))
        inner = Linear(dim, name="ffn")(LayerNorm(name="norm")(h))
        return gelu(inner) + h  # (13)


# Multimodal fusion (section III-F) ------------------------------------------------


def fuse(streams: Sequence[jax.Array], how: str) -> jax.Array:
    """Equation (14) before its mean over the tokens.

    Args:
      streams: [B, n, D] each: P_v, P_a and x_l, or those of them that there are.
      how: 'concatenation', 'addition', 'multiplication', or 'mmmu_ba', bi-modal
        attention of each pair, over tokens, beside the streams: Ghosal et al.,
        "Contextual Inter-modal Attention for Multi-modal Sentiment Analysis", EMNLP
        2018, where it is over the utterances of a video.

    Returns:
      [B, n, D]; concatenated [B, n, 3 D], and from 'mmmu_ba' [B, n, 9 D].
    """
    if how == "addition":
        return sum(streams[1:], start=streams[0])
    if how == "multiplication":
        return jnp.prod(jnp.stack(streams), axis=0)
    parts = list(streams)
    if how == "mmmu_ba":
        for x, y in itertools.combinations(streams, 2):
            parts += attend_pair(x, y)
    return jnp.concatenate(parts, axis=-1)
