"""HCT-MG, built from the published description: a gate picks the primary modality, which reads what the others share.

Wang, Li, Liang, Morency, Bell and Lai, "Cross-Attention is Not Enough: Incongruity-Aware
Dynamic Hierarchical Fusion for Multimodal Affect Recognition", 2023 (arXiv 2305.13583), called
HCT-DMG in later versions. There is no public code, and only its abstract was read.
Established: a gate selects the primary modality by what it contributes (dynamically, in
later versions for each batch), the auxiliary modalities are fused with it in a hierarchy, and
there are less than a million parameters. All else is ours, and a field: the gate (a number
for each modality, or a layer that decides for each row, so that a row's prediction
does not depend on the others of its batch), its hard choice with a straight-through gradient, MulT's
encoders and their sizes, and the one vector of a sequence. Every order of the modalities is
computed by the same encoders, and the gate mixes their vectors. All modalities have the steps
of the words: audio and vision that are not aligned are pooled. No figure of the paper is claimed.
"""

from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import common_steps
from msajax.nn.attention import masked_softmax
from msajax.nn.convolution import TemporalConvolution
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.pooling import last_step, mean_pool
from msajax.nn.transformer import CrossmodalEncoder

Width = Annotated[int, Gt(0)]
_POOLING = {"mean": mean_pool, "last": last_step}
_CHOICES = {"gate": ("learned", "row"), "pooling": tuple(_POOLING)}


class HCTMG(Model):
    """Hierarchical crossmodal Transformer with modality gating.

    A modality that the data lacks has no parameters and is in no order.

    Attributes:
      dim: common width of the modalities.
      kernel_size: number of steps in a window of the temporal convolutions.
      heads: number of heads of every attention.
      layers: number of layers of each of the three encoders: of the auxiliary modalities, of
        the primary one, and of self-attention on top.
      causal: hide later keys, as MulT does.
      gate: what decides on the primary modality: 'learned', a number for each modality, or
        'row', a layer over the means of the row's modalities.
      hard: the modality of the largest weight alone is primary, with the gradient of the
        softmax; else the orders are mixed by the softmax.
      pooling: the one vector of an order: the 'mean' of its steps, or the 'last'.
      out_dim: width of the hidden layer of the output.
      attention_dropout, embed_dropout: dropout rates of attention weights, and of the inputs
        of the encoders.
      dropout: dropout rate inside the encoders' layers and before the last layer.

    Raises:
      ValueError: the data has fewer than two modalities.
    """

    dim: Width = 40
    kernel_size: Width = 3
    heads: Width = 4
    layers: Width = 2
    causal: bool = False
    gate: str = "learned"
    hard: bool = True
    pooling: str = "mean"
    out_dim: Width = 40
    attention_dropout: float = 0.1
    embed_dropout: float = 0.1
    dropout: float = 0.1

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Returns:
          'pred'; of the M modalities that the data has, in order: 'weights' [B, M], the
          gate's, and 'orders' [B, M, dim], the vector with each as the primary one;
          'fusion' [B, dim].
        """
        self.check_choices(_CHOICES)
        names = self.compared()
        x, steps = common_steps(batch, aligned=self.spec.aligned, padded=False)
        found = [self._project(m, x[m], steps[m]) for m in names]
        # An axis of modalities in front: [M, B, L, D], [M, B, L]
        z, masks = (jnp.stack(v) for v in zip(*found, strict=True))
        means = [mean_pool(h, mask) for h, mask in found]
        weights = self._weights(means, jnp.any(masks, axis=2).T)

        source, real = self._auxiliaries(z, masks, train)
        h = self._encode("primary", z, source, masks=(masks, real), train=train)
        h = self._encode("memory", h, None, masks=(masks, None), train=train)
        orders = jax.vmap(_POOLING[self.pooling], out_axes=1)(h, masks)
        fusion = jnp.einsum("bm,bmd->bd", weights.astype(orders.dtype), orders)
        outputs = self.spec.num_outputs
        head = FeedForward(self.out_dim, outputs, self.dropout, name="out")
        pred = self.squeeze_single(head(fusion, train=train))
        return {"pred": pred, "weights": weights, "orders": orders, "fusion": fusion}

    def _project(
        self, m: str, x: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        size = self.kernel_size
        return TemporalConvolution(self.dim, size, same=True, name=f"project_{m}")(
            x, mask
        )

    def _weights(self, means: list[jax.Array], has: jax.Array) -> jax.Array:
        """The gate: M vectors [B, dim], [B, M] bool, which of them a row has -> [B, M] float32."""
        if self.gate == "row":
            layer = Linear(len(means), name="gate")
            scores = layer(jnp.concatenate(means, axis=-1)).astype(jnp.float32)
        else:
            scores = self.param("gate", nn.initializers.zeros, (len(means),))[None]
            scores = jnp.broadcast_to(scores, has.shape).astype(jnp.float32)
        soft = masked_softmax(scores, has)
        if not self.hard:
            return soft
        first = jnp.argmax(soft, axis=1)
        one = jax.nn.one_hot(first, len(means)) * jnp.any(has, axis=1, keepdims=True)
        return one + soft - jax.lax.stop_gradient(soft)

    def _auxiliaries(
        self, z: jax.Array, masks: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """What the modalities other than each one share: [M, B, L, D], [M, B, L] bool -> alike.

        Of two auxiliaries each attends to the other, and both are summed; a single one stays.
        """
        size = z.shape[0]
        others = [[i for i in range(size) if i != k] for k in range(size)]
        if size == 2:
            return z[::-1], masks[::-1]
        # [2 M, B, L, D]: of each order both ways
        queries = jnp.array([i for pair in others for i in pair])
        sources = jnp.array([i for pair in others for i in pair[::-1]])
        own = masks[queries]
        h = self._encode(
            "auxiliary",
            z[queries],
            z[sources],
            masks=(own, masks[sources]),
            train=train,
        )
        h = jnp.where(own[..., None], h, 0).reshape(size, 2, *h.shape[1:])
        return jnp.sum(h, axis=1), jnp.any(own.reshape(size, 2, *own.shape[1:]), axis=1)

    def _encode(
        self,
        name: str,
        x: jax.Array,
        source: jax.Array | None,
        *,
        masks: tuple[jax.Array, jax.Array | None],
        train: bool,
    ) -> jax.Array:
        """Sequences [N, B, L, D], all by one encoder; their masks and their sources' are [N, B, L] bool."""
        encoder = CrossmodalEncoder(
            self.heads,
            self.layers,
            causal=self.causal,
            attention_dropout=self.attention_dropout,
            relu_dropout=self.dropout,
            residual_dropout=self.dropout,
            embed_dropout=self.embed_dropout,
            name=name,
        )
        encode = nn.vmap(
            lambda encoder, x, source, mask, source_mask: encoder(
                x, source, mask=mask, source_mask=source_mask, train=train
            ),
            variable_axes={"params": None, "intermediates": 0},
            split_rngs={"params": False, "dropout": True},
        )
        return encode(encoder, x, source, *masks)
