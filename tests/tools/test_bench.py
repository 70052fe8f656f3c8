import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from msajax import config as configs
from msajax import interop
from msajax.data.spec import MODALITIES, Spec
from tools import bench, timing

TINY = bench.Shape("mosi", (6, 3, 4), (7, 9, 8))
# Importing the package itself fails: it needs a dead one.
MMSA = all(importlib.util.find_spec(name) for name in ("torch", "MMSA"))
ALIGNED = bench.Shape("mosi", (6, 3, 4), (7, 7, 7))


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(bench, "NUM_ROWS", 12)
    monkeypatch.setitem(bench.SHAPES, "mosi", TINY)
    return ["--systems", "lmf", "--shapes", "mosi", "--batch", "4", "--rounds", "1"]


def test_the_command_prints_and_writes_the_table(tiny, tmp_path, capsys):
    path = tmp_path / "results.json"
    assert bench.main([*tiny, "--seconds", "0.01", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())["results"]
    assert (row["system"], row["batch"], row["form"]) == ("lmf", 4, "masked")
    assert row["samples_per_second"]["train"]["msajax"] > 0
    assert row["train_ratio"] == {}
    assert "lmf      mosi" in capsys.readouterr().out


def test_an_unknown_name_gets_the_nearest(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--systems", "tfm"])
    assert 'did you mean "tfn"' in capsys.readouterr().err


def test_training_steps_are_the_trainers_own():
    """The loop that is timed updates as many times as asked."""
    ours = _ours("lmf", TINY)
    ours.train(5)  # more than the three steps of an epoch: two dispatches
    counts = optax.tree_utils.tree_get_all_with_path(ours.state.opt_state, "count")
    assert {int(count[0]) for _, count in counts} == {5}


def test_evaluation_runs_whole_splits():
    ours = _ours("lmf", TINY)
    assert ours.evaluate(2).shape == (1, 12)
    assert ours.evaluate(6).shape == (1, 24)


def test_flops_count_every_turn_of_a_scan():
    def program(x, w):
        h, _ = jax.lax.scan(lambda h, _: (h @ w, None), x, None, length=5)
        return h

    jaxpr = jax.make_jaxpr(program)(jnp.ones((2, 3)), jnp.ones((3, 3))).jaxpr
    assert timing.matmul_flops(jaxpr) == 5 * 2 * (2 * 3 * 3)


def test_flops_of_a_convolution():
    def program(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
        )

    jaxpr = jax.make_jaxpr(program)(jnp.ones((2, 9, 4)), jnp.ones((3, 4, 5))).jaxpr
    assert timing.matmul_flops(jaxpr) == 2 * (2 * 7 * 5) * (3 * 4)


def test_medians_leave_the_first_round_out():
    calls = []
    speeds = timing.alternate(
        {"a": lambda n: calls.append(("a", n)), "b": lambda n: calls.append(("b", n))},
        {"a": 2, "b": 3},
        rounds=2,
    )
    assert calls == [("a", 2), ("b", 3)] * 3
    assert set(speeds) == {"a", "b"}


@pytest.mark.skipif(not MMSA, reason="the extra bench (mmsa, torch) is not installed")
@pytest.mark.parametrize(
    ("system", "shape"),
    [
        ("tfn", TINY),
        ("lmf", TINY),
        ("lf_dnn", TINY),
        # The alignment of unaligned data in mmsa 2.2.1 averages every T-th step, and
        # that of its repository, which ours follows, neighbours.
        ("ef_lstm", ALIGNED),
        ("mult", TINY),
        ("mult", ALIGNED),
    ],
)
def test_mmsa_computes_what_ours_does(system, shape):
    """With its weights our padded form predicts the same: both sides do the same work."""
    import torch

    from tools import mmsa_torch

    config, spec = _recipe(system, shape)
    module = mmsa_torch.build(system, spec, config.model).eval()
    arrays = spec.example(4)
    inputs = [torch.from_numpy(arrays[name]) for name in MODALITIES]
    if system in mmsa_torch.AVERAGED:
        inputs[1:] = [x.mean(dim=1, keepdim=True) for x in inputs[1:]]
    with torch.no_grad():
        theirs = module(*inputs)["M"][:, 0].numpy()
    model = configs.build(config, spec)
    weights = {
        name.removeprefix("system."): np.asarray(value)
        for name, value in module.state_dict().items()
    }
    variables = interop.load(model, weights)
    ours = model.apply(variables, arrays, train=False)["pred"]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def _recipe(system, shape):
    config = configs.load(str(bench.ROOT / "configs" / f"{system}_mosi.py"))
    config.model.update(bench.mmsa_form(system))
    return config, Spec(shape.dims, shape.lengths, 12)


def _ours(system, shape):
    config, spec = _recipe(system, shape)
    config.train.batch_size = 4
    arrays = spec.example(12)
    del arrays["index"], arrays["valid"]
    (phase,) = configs.phases(config)
    return bench.Ours(configs.build(config, spec), phase, arrays, "mosi")
