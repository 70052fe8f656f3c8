"""What keeps the programs of a system's own tests few and small."""

import contextlib
from unittest import mock

import numpy as np

from msajax.train import step


def parameters(model, *, scale=0.3):
    """Parameters by path, drawn in NumPy with this deviation: no program is compiled for them."""
    rng = np.random.default_rng(0)
    return {
        path: rng.normal(path.endswith("scale"), scale, like.shape).astype(like.dtype)
        for path, like in step.shapes(model).params.items()
    }


@contextlib.contextmanager
def computed_once(model, batch, method="__call__", **options):
    """Yields what a method of a bound system gives in training; inside of it a call of the method gives the same.

    Each loss calls the network anew. XLA finds the forward passes of several to be one, but
    not the backward ones, and those are most of what a test compiles.
    """
    out = getattr(model, method)(batch, train=True, **options)

    def again(self, other, **_):
        assert self is model and other is batch
        return out

    with mock.patch.object(type(model), method, again):
        yield out
