"""Graph-MFN: MFN whose attention is a graph of the modalities and of what each group of them says.

Zadeh, Liang, Poria, Cambria and Morency, "Multimodal Language Analysis in the Wild:
CMU-MOSEI Dataset and Interpretable Dynamic Fusion Graph", ACL 2018; the network and the
defaults (CMU-MOSI) are thuiar/MMSA's. As there, and unlike the paper, the graph reads the
hidden states of the LSTMs, not their cells, and the efficacies are not squashed
(`efficacy`). Unlike MMSA, the states stand still on padding, and the networks of the
vertices are trained: MMSA keeps these in a Python dict, so that they stay at their random
initial values and its checkpoints lack them (row `frozen_vertices` of the recipe). Data
that are not aligned word by word are pooled to the text's steps, as MMSA does.
"""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import common_steps
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.memory import GatedMemory, LSTMs, previous

_CHOICES = {"efficacy": ("linear", "sigmoid")}
# Vertices by the numbers of their modalities: the single ones, then in the order in which they are made.
SINGLES: tuple[tuple[int, ...], ...] = ((0,), (1,), (2,))
GROUPS: tuple[tuple[int, ...], ...] = ((0, 1), (0, 2), (1, 2), (0, 1, 2))


class GraphMFN(Model):
    """Graph Memory Fusion Network.

    Attributes:
      hidden_dims: widths of the LSTMs of text, audio and vision.
      memory: width of the memory (MMSA's memsize).
      node_dim: width of the vertices of two and three modalities, and of the graph's
        output (inner_node_dim).
      graph_dim: width of the hidden layer of each network in the graph.
      efficacy: form of an edge's efficacy: 'linear', or 'sigmoid', between 0 and 1 as
        in the paper.
      gate_dims, gate_dropouts: widths and dropout rates of the hidden layers that give
        what is written to the memory (NN), what stays of it (gamma1) and how much is
        written (gamma2).
      out_dim, out_dropout: width and dropout rate of the hidden layer of the output.
      padded: as MMSA, align and run over the padding.
    """

    hidden_dims: tuple[int, int, int] = (256, 32, 256)
    memory: int = 300
    node_dim: int = 64
    graph_dim: int = 100
    efficacy: str = "linear"
    gate_dims: tuple[int, int, int] = (32, 128, 64)
    gate_dropouts: tuple[float, float, float] = (0.0, 0.5, 0.5)
    out_dim: int = 256
    out_dropout: float = 0.0
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred'; 'text', 'audio', 'vision': last states; 'memory'; 'fusion': all four
          joined; 'efficacies' [B, L, 19], in the order of `Graph`.
        """
        self.check_choices(_CHOICES)
        x, masks = common_steps(batch, aligned=self.spec.aligned, padded=self.padded)
        found, real = LSTMs(self.hidden_dims, name="lstms")(x, masks)
        singles = []
        for m, dim in zip(MODALITIES, self.hidden_dims, strict=True):
            states = found[f"{m}_states"]
            window = jnp.concatenate([previous(states), states], axis=-1)
            singles.append(nn.relu(Linear(dim, name=f"vertex_{m}")(window)))
        graph = Graph(self.node_dim, self.graph_dim, self.efficacy, name="graph")
        graph, efficacies, _ = graph(singles)
        memory = GatedMemory(
            self.memory, self.gate_dims, self.gate_dropouts, name="memory"
        )(graph, real, train=train)

        last = {m: found[m] for m in MODALITIES} | {"memory": memory}
        fusion = jnp.concatenate([*last.values()], axis=-1)
        head = FeedForward(
            self.out_dim, self.spec.num_outputs, self.out_dropout, name="out"
        )
        return {
            "pred": self.squeeze_single(head(fusion, train=train)),
            **last,
            "fusion": fusion,
            "efficacies": jnp.swapaxes(efficacies, 0, 1),
        }


class Graph(nn.Module):
    """The Dynamic Fusion Graph (section 4.1): a vertex reads those of all parts of its group, times efficacies.

    Its networks are linear, two layers each; so is that of the efficacies, with three.

    Attributes:
      node_dim, hidden, efficacy: as `GraphMFN`'s node_dim, graph_dim, efficacy.
    """

    node_dim: int
    hidden: int
    efficacy: str = "linear"

    @nn.compact
    def __call__(
        self, singles: list[jax.Array]
    ) -> tuple[jax.Array, jax.Array, dict[tuple[int, ...], jax.Array]]:
        """Runs the graph, in each step alone.

        Args:
          singles: the vertices of text, audio and vision, [..., Dm] each.

        Returns:
          Its output [..., node_dim]; the efficacies [..., 19]: the two edges of each pair
          (text and audio, text and vision, audio and vision), the six of the vertex of all
          three, and the seven of the output; and the vertices, by the numbers of their
          modalities.
        """
        number = sum(len(parts(group)) for group in GROUPS) + len(SINGLES + GROUPS)
        h = self._two_layers("efficacy", jnp.concatenate(singles, axis=-1))
        efficacies = Linear(number, name="efficacy_out")(h)
        if self.efficacy == "sigmoid":
            efficacies = nn.sigmoid(efficacies)
        edges = iter(jnp.split(efficacies, number, axis=-1))
        vertices = dict(zip(SINGLES, singles, strict=True))

        def weighed(keys):
            return jnp.concatenate([next(edges) * vertices[k] for k in keys], axis=-1)

        for group in GROUPS:
            name = "_".join(MODALITIES[i] for i in group)
            x = weighed(parts(group))
            vertices[group] = self._two_layers(f"vertex_{name}", x)
        output = self._two_layers("output", weighed((*SINGLES, *GROUPS)))
        return output, efficacies, vertices

    def _two_layers(self, name: str, x: jax.Array) -> jax.Array:
        h = Linear(self.hidden, name=f"{name}_fc1")(x)
        return Linear(self.node_dim, name=f"{name}_fc2")(h)


def parts(group: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All smaller groups of a group's modalities, the smallest first: (0, 1) -> (0,), (1,)."""
    return [p for n in range(1, len(group)) for p in itertools.combinations(group, n)]
