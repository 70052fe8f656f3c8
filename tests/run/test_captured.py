"""Arrays that a system gives, as values and as an npz."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import parallel
from msajax.api import create_model, fit, load_data
from msajax.main import main
from msajax.nn.attention import MultiHeadAttention
from msajax.nn.gates import MAGGate
from msajax.run import captured


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "lf_dnn"
    options = {"parallel.devices": 1}
    few = dict(seeds=(1, 2), epochs=1, options=options, quiet=True)
    return fit("lf_dnn:demo", workdir=folder, **few)


def test_every_row_has_its_arrays(run, tmp_path, capsys):
    path = tmp_path / "arrays.npz"
    args = ["--workdir", str(run.folder), "--mode", "evaluate", "--export", str(path)]
    assert main([*args, "--arrays", "fus*,pred"]) == 0
    said = "2 arrays of every row in"
    assert said in capsys.readouterr().out
    with np.load(path) as file:
        arrays = dict(file)
    test = load_data(dataset="demo").splits["test"]
    assert arrays["id"].tolist() == list(test.ids)
    np.testing.assert_array_equal(arrays["label"], test.arrays["label"])
    found = {f"seed_{seed}/{name}" for seed in (1, 2) for name in ("fusion", "pred")}
    assert arrays.keys() == {"id", "label", *found}
    fusion = run.outputs("test", "fusion")
    for seed in (1, 2):
        np.testing.assert_array_equal(arrays[f"seed_{seed}/fusion"], fusion[seed])
    assert (arrays["seed_1/pred"] != arrays["seed_2/pred"]).any()


def test_what_cannot_be_exported_is_refused(run, tmp_path, capsys, monkeypatch):
    args = ["--workdir", str(run.folder), "--mode", "evaluate"]
    path = str(tmp_path / "arrays.npz")
    with pytest.raises(
        ValueError, match='gives no array of rows "fusio"; did you mean'
    ):
        run.export(path, names=("fusio",))
    with pytest.raises(
        ValueError, match='gives no array "fusio"; did you mean "fusion'
    ):
        run.outputs("test", "fusio")
    with pytest.raises(SystemExit):
        main([*args, "--arrays", "fusion"])
    assert "--arrays needs --export" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*args[:2], "--mode", "predict", "--data", "x.npz", "--export", path])
    assert "--export is for --mode evaluate" in capsys.readouterr().err
    assert main([*args, "--export", path, "--arrays", "pred,fusio"]) == 1
    said = capsys.readouterr()
    assert 'gives no array of rows "fusio"' in said.err
    assert "MAE" not in said.out  # before the metrics are computed
    assert main([*args, "--export", str(tmp_path / "none" / "a.npz")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    monkeypatch.setattr(parallel, "memory", lambda devices: 1000)
    with pytest.raises(ValueError, match="arrays of 150 rows take .* GB of memory"):
        run.export(path)
    assert not any(tmp_path.iterdir())


def test_layers_that_are_one_program_give_rows_first():
    mult = create_model("mult:demo", load_data(dataset="demo"))
    arrays = captured.known(mult, "float32")
    found = arrays["text_memory/layers/attention/attention"]
    assert found.axis == 1 and found.shape[0] == 2


def test_weights_are_kept_only_where_somebody_asks():
    layer = MultiHeadAttention(2)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 160, 4)), jnp.float32)
    mask = jnp.ones((1, 160, 160), bool)
    variables = layer.init(jax.random.key(0), x, mask=mask, train=False)
    assert "intermediates" not in variables
    plain = layer.apply(variables, x, mask=mask, train=False)
    asked, state = layer.apply(
        variables, x, mask=mask, train=False, mutable=["intermediates"]
    )
    (weights,) = state["intermediates"]["attention"]
    assert weights.shape == (1, 2, 160, 160)
    # Long attention computes the same without them.
    np.testing.assert_allclose(plain, asked, atol=1e-6)
    # For a processor; the trace has other platforms' code, too.
    without = jax.jit(lambda v: layer.apply(v, x, mask=mask, train=False))
    text = without.lower(variables).as_text()
    assert "160x160" in text and "1x2x160x160" not in text


def test_a_gate_is_among_the_intermediates():
    rng = np.random.default_rng(0)
    x = [jnp.asarray(rng.normal(size=(2, 3, d)), jnp.float32) for d in (4, 5, 6)]
    every = dict(train=False, mutable=["params", "intermediates"])
    _, state = MAGGate().init_with_output(jax.random.key(0), *x, **every)
    for name in ("gate_audio", "gate_vision"):
        (gate,) = state["intermediates"][name]
        assert gate.shape == (2, 3, 4) and (gate >= 0).all() and (gate > 0).any()
