"""`tools/export.py`: an exported system predicts the same without msajax."""

import json
import subprocess
import sys
import types
from typing import Any

import jax
import numpy as np
import pytest

pytest.importorskip("flatbuffers", reason="jax writes programs by it: msajax[export]")

import msajax
from msajax import models
from msajax.data import demo
from msajax.train import step
from tests import toys
from tests.encoders import test_lora
from tests.models import test_registry
from tools import export

QUIET = dict(epochs=1, quiet=True)


def exported(run, folder, *args):
    assert (
        export.main(
            ["--workdir", str(run.folder), "--out", str(folder), *map(str, args)]
        )
        == 0
    )
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A system with statistics and states: the demo's, of two seeds."""
    folder = tmp_path_factory.mktemp("runs") / "lf_dnn"
    return msajax.fit("lf_dnn:demo", workdir=folder, seeds=(1, 2), **QUIET)


def inputs(run):
    (rows,) = (demo.generate(0).splits["test"],)
    batch = run.pad(rows)
    return {k: v for k, v in batch.items() if k in export.fields_of(run.spec)} | {
        "valid": np.ones(len(rows), bool)
    }


def alone(folder, batch, tmp_path):
    """Predictions in a process that knows neither msajax nor flax."""
    np.savez(tmp_path / "batch.npz", **batch)
    code = (
        "import sys, runpy\n"
        "for name in ('msajax', 'flax', 'optax', 'safetensors'): sys.modules[name] = None\n"
        f"sys.argv = ['load.py', {str(folder)!r}, {str(tmp_path / 'batch.npz')!r}]\n"
        f"runpy.run_path({str(folder / 'load.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return np.loadtxt(done.stdout.splitlines())


def test_predictions_are_equal_without_msajax(run, tmp_path):
    folder = exported(run, tmp_path / "out", "--seed", 2)
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["system"] == "lf_dnn" and facts["seed"] == 2 and facts["rows"] == 0
    batch = inputs(run)
    found = alone(folder, batch, tmp_path)
    expected = run.outputs("test", "pred")[2]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert export.PLATFORMS == ("cpu", "cuda")


def test_a_wrong_batch_is_named(run, tmp_path):
    from tools.exported import loader

    system = loader.System(exported(run, tmp_path / "out", "--rows", 4))
    batch = system.example(4)
    assert system(batch).shape == (4,)
    with pytest.raises(ValueError, match="has 3 rows, but must have 4"):
        system(system.example(3))
    with pytest.raises(ValueError, match='"audio" has the shape'):
        system(batch | {"audio": batch["audio"][..., :-1]})
    del batch["text"]
    with pytest.raises(ValueError, match=r'lacks "text" \[B, \d+, \d+\]'):
        system(batch)


def test_the_loader_of_a_folder_as_a_command(tmp_path, monkeypatch, capsys):
    from tools.exported import loader

    assert loader.main([]) == 2
    assert "usage: python load.py FOLDER batch.npz" in capsys.readouterr().err
    assert loader.main([str(tmp_path), "batch.npz"]) == 1
    assert "cannot be run (FileNotFoundError" in capsys.readouterr().err
    np.savez(tmp_path / "batch.npz", text=np.zeros(2))
    found = {"pred": np.arange(12.0).reshape(2, 3, 2)}
    system = types.SimpleNamespace(outputs=lambda batch: found)
    monkeypatch.setattr(loader, "System", lambda folder: system)
    assert loader.main(["out", str(tmp_path / "batch.npz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["0 1", "2 3", "4 5", "6 7", "8 9", "10 11"]  # a line for each turn


def test_a_text_that_is_no_label_is_told(tmp_path, monkeypatch, capsys):
    from tools.exported import loader

    class Written(loader.System):
        def __init__(self, folder):
            self.facts = {"fields": {"text": ((), "float32")}, "rows": 0}
            self._variables = {}
            found = {"pred": np.array([0.0, 1.5, 0.0]), "unread": np.array([1, 0, 0])}
            self._call = lambda variables, batch: found

    batch = {"text": np.zeros(3)}
    with pytest.warns(UserWarning, match="1 of 3 rows: the text that .* is no label"):
        assert Written("out")(batch).tolist() == [0, 1.5, 0]
    np.savez(tmp_path / "batch.npz", **batch)
    monkeypatch.setattr(loader, "System", Written)
    assert loader.main(["out", str(tmp_path / "batch.npz")]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == ["0 1", "1.5 0", "0 0"]
    assert "1 of 3 rows" in said.err


def test_what_cannot_be_exported_is_refused(run, tmp_path, capsys):
    def refused(*args):
        assert export.main([*map(str, args)]) == 1
        return capsys.readouterr().err

    out = ("--out", tmp_path / "out")
    assert "holds no run" in refused("--workdir", tmp_path, *out)
    assert "has the seeds 1, 2" in refused("--workdir", run.folder, *out, "--seed", 3)
    assert "not an empty folder" in refused(
        "--workdir", run.folder, "--out", run.folder
    )
    assert not (tmp_path / "out").exists()


def stand_in(model) -> Any:
    """What `export.exported` takes of a run."""
    plan = [types.SimpleNamespace(predict="__call__")]
    options = types.SimpleNamespace(plan=plan)
    return types.SimpleNamespace(model=model, options=options, precision="float32")


def flat(state):
    return {f"params/{k}": x for k, x in state.params.items()} | state.collections


def test_adapters_are_merged():
    state = test_lora.drawn(test_lora.system(toys.BERT))
    expected = test_lora.predict(test_lora.system(toys.BERT), state)
    merged = flat(state._replace(params=test_lora.LORA.merge(state.params)))
    fields = export.fields_of(test_lora.SPEC)
    made = export.exported(stand_in(test_lora.system(toys.BERT)), merged, fields, 3)
    batch = test_lora.SPEC.example(3)
    given = {k: batch[k] for k in fields}
    np.testing.assert_allclose(made.call(merged, given)["pred"], expected, atol=1e-5)


# Its KAN layers are computed in blocks of rows.
FIXED_ROWS = {"iml_cmm"}


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_every_system_is_exported_for_any_number_of_rows(name):
    model = test_registry.build(name)
    state = step.shapes(model)
    args: Any = stand_in(model), flat(state), export.fields_of(model.spec)
    if name in FIXED_ROWS:
        with pytest.raises(jax.errors.InconclusiveDimensionOperation):
            export.exported(*args, 0)
    made = export.exported(*args, 4 * (name in FIXED_ROWS))
    # The predictions, and where these are only substitutes.
    assert len(made.out_avals) == 1 + bool(model.unread)
    assert made.platforms == export.PLATFORMS
