import os

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.iml_cmm import IMLCMM
from msajax.nn.mixup import Mixup
from msajax.run import recipe
from tests import toys
from tools.bench import blocks, data, timing

QUICK = ["--rounds", "1", "--seconds", "0.001"]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(timing, "matmul_rate", lambda dtype: 1e9)
    # What the command sets does not outlive the test.
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def test_layers_are_timed(quick, capsys):
    sizes = ["--rows", "8", "--dim", "6", "--features", "4"]
    assert blocks.main(["kan", *sizes, *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["KAN", "dense", "MLP,"]
    assert "MLP, 24 hidden" in lines[2]  # 10 * 6 * 4 parameters


@pytest.mark.slow
def test_passes_are_timed(quick, monkeypatch, capsys):
    tiny = {type(toys.BERT): toys.BERT}
    monkeypatch.setitem(data.ENCODERS, "base", tiny)
    shape = data.Shape("simsv2", (6, 3, 4), (5, 4, 3))
    monkeypatch.setitem(blocks.SHAPES, "simsv2", shape)
    sizes = dict(dim=6, heads=2, head_dim=3, fusion_layers=1, ahl_layers=1)
    sizes |= dict(kan=False, mixed=("audio",))  # less to compile
    options = recipe.load("iml_cmm:simsv2")
    options = recipe.change(options, {f"model.{k}": v for k, v in sizes.items()})
    monkeypatch.setattr(recipe, "load", lambda name: options)
    assert blocks.main(["passes", "--batch", "2", *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(" ms ")[0][:16] for line in lines] == ["text read once  "] + [
        "text read three "
    ]


@pytest.mark.slow
def test_passes_that_share_nothing_are_the_same():
    spec = Spec((6, 3, 4), (5, 7, 6), 4)
    fields = dict(dim=6, tokens=2, heads=2, head_dim=3, mlp_dim=5, fusion_layers=1)
    batch = spec.example(4)
    mixes = {"vision": Mixup(np.float32(0.4), np.array([1, 0, 3, 2]))}
    found = []
    for kind in (IMLCMM, blocks.Apart):
        model = kind(spec, ahl_layers=1, grid_size=1, **fields)

        def run(key, model=model):
            params = model.init(key, batch, train=False)
            passes = model.apply(params, batch, mixes, train=True, method="passes")
            return [out["pred"] for out in passes]

        found.append(jax.jit(run)(jax.random.key(0)))
    np.testing.assert_allclose(*found, atol=1e-6)
