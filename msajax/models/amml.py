"""AMML, built from the published description: learners of single modalities, adapted before they are fused.

Sun, Mai and Hu, "Learning to Learn Better Unimodal Representations via Adaptive Multimodal
Meta-Learning", IEEE Transactions on Affective Computing, 2022. There is no public code, and only
its abstract was read. Established: meta-training on the tasks of single modalities with a
learned learning rate for each, a meta-test on the multimodal task, and a layer that transforms
the distribution of each modality's representation. All else is ours, and a field: the networks
and their sizes, the weights of the losses, one inner step by a rate for each modality, whether
its gradient is of the first order. In training half of the rows are the support of the
inner step, the others the query of the fusion; a row's half changes from step to step. The
transformation is to a Gaussian near N(0, 1), which is sampled in training. In evaluation
nothing is adapted. No figure of the paper is claimed.
"""

import math
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax import losses, parallel
from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.dropout import Dropout
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.recurrent import LSTM

Width = Annotated[int, Gt(0)]


class AMML(Model):
    """Adaptive multimodal meta-learning.

    A modality that the data lacks has no parameters.

    Attributes:
      hidden: width of the LSTM of each modality.
      dim: width of the representations.
      out_dim: width of the hidden layer of the output.
      dropout: dropout rate of the LSTM's last state and before the last layer.
      inner_rate: learning rate of the inner steps that each modality's own starts from.
      first_order: no gradient flows through the inner step's gradient.
      unimodal: weight of the sum of the losses of single modalities on the support.
      divergence: weight of the sum of the divergences from N(0, 1), each a mean over the width.
    """

    hidden: Width = 64
    dim: Width = 64
    out_dim: Width = 64
    dropout: float = 0.1
    inner_rate: Annotated[float, Gt(0)] = 0.01
    first_order: bool = False
    unimodal: float = 0.1
    divergence: float = 1e-3

    def setup(self):
        """Makes the learners, what transforms their representations, and the fusion."""
        names = [m for m in MODALITIES if m in self.spec.modalities]
        sizes = (self.hidden, self.dim, self.spec.num_outputs, self.dropout)
        self.learner = {m: _Learner(*sizes) for m in names}
        self.transform = {m: Linear(2 * self.dim) for m in names}
        init = nn.initializers.constant(math.log(self.inner_rate))
        self.rate = {m: self.param(f"rate_{m}", init, ()) for m in names}
        self.out = FeedForward(self.out_dim, self.spec.num_outputs, self.dropout)

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions without adaptation.

        Returns:
          'pred'; of each modality m 'm' [B, dim], its representation, and 'pred_m', as 'pred';
          'fusion' [B, M dim], the transformed ones.
        """
        learned = {
            m: learner(batch[m], batch[f"{m}_mask"], train=train)
            for m, learner in self.learner.items()
        }
        h = {m: h for m, (h, _) in learned.items()}
        pred, fusion, _ = self.fuse(h, train=train)
        own = {f"pred_{m}": self.squeeze_single(y) for m, (_, y) in learned.items()}
        return {"pred": pred, **h, **own, "fusion": fusion}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The adapted fusion's loss on the query and the weighted others; in evaluation the task's."""
        if not train:
            return super().loss(batch, train=train, progress=progress)
        labelled = batch.get("labelled", True)
        support = (batch["index"] + progress["step"]) % 2 == 0
        query = {**batch, "labelled": labelled & ~support}
        h, own = {}, []
        for m in self.learner:
            has = jnp.any(batch[f"{m}_mask"], axis=1)
            rows = {**batch, "labelled": labelled & support & has}
            h[m], loss = self._adapted(m, rows)
            own.append(loss)
        pred, _, divergence = self.fuse(h, train=train)
        divergence = parallel.batch_mean(divergence, where=self.counted(query))
        fused = self.task_loss(pred.astype(jnp.float32), query)
        unimodal = jnp.sum(jnp.stack(own))
        total = fused + self.unimodal * unimodal + self.divergence * divergence
        return total, dict(fused=fused, unimodal=unimodal, divergence=divergence)

    def fuse(
        self, h: dict[str, jax.Array], *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Representations {m: [B, dim]} -> predictions, the transformed [B, M dim], divergences [B]."""
        transformed, divergences = [], []
        for m, x in h.items():
            mean, log_std = jnp.split(self.transform[m](x), 2, axis=-1)
            kl = jnp.mean(losses.gaussian_kl(mean, log_std), axis=-1)
            divergences.append(kl)
            if train:
                mean = mean + jnp.exp(log_std) * self._noise(mean)
            transformed.append(mean)
        fusion = jnp.concatenate(transformed, axis=-1)
        pred = self.squeeze_single(self.out(fusion, train=train))
        return pred, fusion, jnp.sum(jnp.stack(divergences), axis=0)

    def _noise(self, like: jax.Array) -> jax.Array:
        """N(0, 1) like an array [B, D], drawn for the global batch."""
        key = self.make_rng("sample")
        shape = like.shape[1:]
        noise = parallel.draw(lambda n: jax.random.normal(key, (n, *shape)), len(like))
        return noise.astype(like.dtype)

    def _adapted(self, m: str, rows: Batch) -> tuple[jax.Array, jax.Array]:
        """A modality's representations after a step on the rows that `rows` counts, and their loss before it.

        Returns:
          [B, dim] of all rows, and a scalar.
        """
        module, variables = self.learner[m].unbind()
        rngs = {"dropout": self.make_rng("dropout")} if self.dropout else {}

        def learn(params: Any) -> Any:
            inputs = rows[m], rows[f"{m}_mask"]
            return module.apply({"params": params}, *inputs, train=True, rngs=rngs)

        def loss_of(params: Any) -> jax.Array:
            pred = self.squeeze_single(learn(params)[1])
            return self.task_loss(pred.astype(jnp.float32), rows)

        params = variables["params"]
        loss, gradient = jax.value_and_grad(loss_of)(params)
        gradient = parallel.mean(gradient)
        if self.first_order:
            gradient = jax.lax.stop_gradient(gradient)
        rate = jnp.exp(self.rate[m])
        adapted = jax.tree.map(
            lambda p, g: p - (rate * g).astype(p.dtype), params, gradient
        )
        return learn(adapted)[0], loss


class _Learner(nn.Module):
    """An LSTM, a hidden layer that is the representation, and a prediction of it."""

    hidden: int
    dim: int
    outputs: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """[B, L, D], [B, L] bool -> [B, dim], [B, outputs]."""
        _, last = LSTM(self.hidden, name="lstm")(x, mask, train=train)
        last = Dropout(self.dropout)(last, deterministic=not train)
        h = nn.relu(Linear(self.dim, name="represent")(last))
        return h, Linear(self.outputs, name="predict")(h)
