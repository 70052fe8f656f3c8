"""Memory of a seed in training, by shapes alone."""

import jax
import jax.numpy as jnp
import pytest

from msajax.run import options, recipe
from msajax.train import memory, step
from msajax.train.plan import Phase
from tests import toys
from tools.bench.data import SHAPES, example


class Waves(toys.Model, kw_only=True):
    """A chain of sines, each of which keeps its cosine for the gradient."""

    count: int = 1
    again: bool = False

    @toys.nn.compact
    def __call__(self, batch, *, train):
        scale = self.param("scale", toys.nn.initializers.ones, (3,))

        def chain(x):
            for _ in range(self.count):
                x = jnp.sin(x)
            return x

        chain = jax.checkpoint(chain) if self.again else chain
        found = chain(batch["text"].mean(1) * scale[None])
        return {"pred": found @ scale}


def test_activations_are_what_the_gradient_reads():
    def kept(rows, precision="float32", **fields):
        model = Waves(spec=toys.SPEC, **fields)
        return memory.activations(model, Phase(), rows=rows, precision=precision)

    more = kept(8, count=5) - kept(8, count=1)
    assert more == 4 * 8 * 3 * 4  # four sines, [8, 3] float32
    assert kept(4, count=5) - kept(4, count=1) == more // 2
    half = kept(8, "bfloat16", count=5) - kept(8, "bfloat16", count=1)
    assert half == more // 2
    # What does not grow with the batch: the number of rows, without the scale [3].
    assert 2 * kept(8, count=0) - kept(16, count=0) == 4
    assert kept(8, count=5, again=True) < kept(8, count=1) + more


def test_parameters_count_by_what_trains_them():
    model = Waves(spec=toys.SPEC)
    phases = [Phase(batch_size=4), Phase(batch_size=8)]
    kept = memory.activations(model, phases[1], rows=4)
    found = memory.of_seed(model, phases, devices=2, precision="float32")
    assert found == 4 * 4 * 3 + kept


@pytest.mark.slow
def test_five_seeds_of_bert_base():
    """MSG/MBA in float32, batch 48: 21 GB for five seeds, of which the parameters' part is 8.9."""
    recipe_of = recipe.load("msg_mba:mosi", [("model.align", "True")])
    spec, _, encoder = example("msg_mba", SHAPES["mosi"], 48, "base")
    model = options.build(recipe_of, spec, encoder)
    found = memory.of_seed(model, recipe_of.plan, devices=1, precision="float32")
    parameters = sum(x.size for x in step.shapes(model).params.values())
    assert 5 * 16 * parameters == pytest.approx(8.9e9, rel=0.01)
    assert 5 * found == pytest.approx(20.8e9, rel=0.02)
