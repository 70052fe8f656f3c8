"""What the tests of MLF-DNN, MTFN and MLMF share: a system with random weights, and its reference in numpy."""

import jax
import numpy as np

from msajax import models, weights
from msajax.data.spec import Spec
from tests.weights import numpy_reference

OWN = ("label_text", "label_audio", "label_vision")
SPEC = Spec((5, 3, 4), (4, 6, 7), 6, (-1.0, 1.0), fields=(*Spec.fields, *OWN))
BATCH = SPEC.example(5, seed=1)
SIZES = dict(hidden_dims=(6, 2, 3), post_dims=(4, 3, 2))
_VIDEO = {"vision": "video"}


def ready(name, spec=SPEC, **fields):
    """A system and random variables."""
    rng = np.random.default_rng(0)
    model = models.get(name)(spec, **SIZES, **fields)

    def draw(path, leaf):
        low = 0.5 if path[-1].key == "var" else -1.0
        return rng.uniform(low, 1.0, leaf.shape).astype(np.float32)

    shapes = weights.template(model, spec.example(2), train=False)
    return model, jax.tree_util.tree_map_with_path(draw, shapes)


def compare(name, reference, *, batch=BATCH, constants=(), **fields):
    """The system as MMSA's, on lengths of its own, against numpy."""
    form = weights.reference_form(name)
    model, variables = ready(name, **{**form, **fields})
    state = weights.table_of(model).arrays(variables) | dict(constants)
    variables = weights.load(model, state)
    out = jax.jit(lambda v, b: model.apply(v, b, train=False))(variables, batch)
    wanted = reference(state, batch)
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(out["pred"], wanted, atol=2e-5)
    embeddings = numpy_reference.subnets(state, batch)
    for m, h in zip(("text", "audio", "vision"), embeddings, strict=True):
        for i in (1, 2, 3):
            h = numpy_reference.linear(state, f"post_{_VIDEO.get(m, m)}_layer_{i}", h)
            h = numpy_reference.relu(h) if i < 3 else h
        np.testing.assert_allclose(out[f"pred_{m}"], h[:, 0], atol=2e-5)
    return model, variables, out
