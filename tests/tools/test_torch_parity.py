import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.weights.numpy_reference import relu
from tools import parity, torch_parity

ROOT = pathlib.Path(__file__).parent.parent.parent
# They compile several networks, or parts that other cases have too.
SLOW = {
    *("almt", "bbfn", "cormult", "hubert", "imr", "kan", "mag_bert", "mmlatch"),
    *("cosmic", "dialogue_rnn", "dialoguegcn", "mm_dfn", "mult", "raven", "xlnet"),
    "resnet50",
}
MODELS = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in parity.names()
]


def write(folder, model, arrays, **settings):
    folder.mkdir(exist_ok=True)
    facts = {
        "model": model,
        "hyperparameters": settings,
        "arrays": {name: {"shape": list(a.shape)} for name, a in arrays.items()},
    }
    (folder / "case.json").write_text(json.dumps(facts))
    np.savez(folder / "arrays.npz", **arrays)
    return str(folder)


def align_case(folder, **changes):
    """A case of AlignSubNet worked out by hand: audio 5 steps to 2, vision unchanged."""
    rng = np.random.default_rng(0)
    text, vision = rng.normal(size=(2, 2, 3)), rng.normal(size=(2, 2, 1))
    audio = rng.normal(size=(2, 5, 2))
    pooled = [audio[:, :3].mean(1), (audio[:, 3] + 2 * audio[:, 4]) / 3]
    arrays = {
        **{"in/text": text, "in/audio": audio, "in/vision": vision},
        **{"out/text": text, "out/audio": np.stack(pooled, 1), "out/vision": vision},
    }
    arrays = {k: v.astype(np.float32) for k, v in (arrays | changes).items()}
    return write(folder, "align_subnet", arrays, mode="avg_pool")


@pytest.mark.parametrize("model", MODELS)
def test_reference_numbers(shared, model, capsys):
    theirs = {ours: name for name, ours in parity.ALIASES.items()}
    (folder,) = (shared / "golden" / theirs.get(model, model)).iterdir()
    status = torch_parity.main([str(folder)])
    printed = capsys.readouterr().out
    assert status == 0, printed
    compared = {line.split()[0] for line in printed.splitlines() if line.endswith("ok")}
    with np.load(folder / "arrays.npz") as arrays:
        results = {n for n in arrays.files if not n.startswith(("in/", "param/"))}
    assert compared == results


@pytest.mark.parametrize("model", ["lmf", "mult_encoder"])
def test_a_changed_weight_shows(shared, model, tmp_path, capsys):
    (folder,) = (shared / "golden" / model).iterdir()
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    with np.load(folder / "arrays.npz") as stored:
        arrays = dict(stored)
    name = next(n for n in arrays if n.startswith("param/") and n.endswith("bias"))
    arrays[name] = arrays[name] + np.float32(1e-3)
    np.savez(tmp_path / "arrays.npz", **arrays)
    assert torch_parity.main([str(tmp_path)]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_a_case_it_has_never_seen(tmp_path, capsys):
    assert torch_parity.main([align_case(tmp_path)]) == 0
    assert "3 of 3 arrays within tolerance" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change,remark",
    [
        ({"out/audio": np.zeros((2, 2, 2))}, "out/audio"),
        ({"out/audio": np.full((2, 2, 2), np.nan)}, "out/audio"),
        ({"out/audio": np.zeros((2, 3, 2))}, "shape (2, 2, 2), not (2, 3, 2)"),
        ({"out/attention": np.zeros(3)}, "not computed by our module"),
        ({"loss/total": np.zeros(())}, "not computed by our module"),
    ],
)
def test_every_result_must_be_right(tmp_path, change, remark, capsys):
    assert torch_parity.main([align_case(tmp_path, **change)]) == 1
    (wrong,) = (x for x in capsys.readouterr().out.splitlines() if "WRONG" in x)
    assert remark in wrong


def test_tolerance_is_the_largest_of_floor_share_and_noise(tmp_path):
    folder = align_case(tmp_path)
    case = torch_parity.read_case(folder)
    case.noise["out/vision"] = 0.5
    rows = {row.name: row for row in torch_parity.compare(case)}
    largest = np.abs(case.arrays["out/audio"]).max()
    assert rows["out/audio"].tolerance == pytest.approx(max(1e-5, 2e-5 * largest))
    assert rows["out/vision"].tolerance == 1.5


def test_unusable_cases_exit_2_and_the_others_still_run(tmp_path, capsys):
    good = align_case(tmp_path / "good")
    bad = write(tmp_path / "bad", "lfdnn", {"out/M": np.zeros(1)})
    empty = write(tmp_path / "empty", "align_subnet", {"in/text": np.zeros((1, 1, 1))})
    assert torch_parity.main([bad, empty, str(tmp_path / "none"), good]) == 2
    printed = capsys.readouterr()
    assert 'of "lfdnn" can be recomputed; did you mean "lf_dnn"' in printed.err
    assert 'the case has no array "audio"' in printed.err
    assert "none is no case: it has no file case.json" in printed.err
    assert "3 of 3 arrays within tolerance" in printed.out


def test_weights_that_do_not_fit_are_named(tmp_path, capsys):
    rng = np.random.default_rng(0)
    inputs = {
        f"in/{m}": rng.normal(size=(2, 3, 1)) for m in ("text", "audio", "vision")
    }
    arrays = inputs | {
        "in/labels": np.zeros((2, 1)),
        "out/eval/M": relu(np.ones((2, 1))),
    }
    settings = dict(hidden_dims=2, num_layers=1, output_dim=1)
    assert torch_parity.main([write(tmp_path, "ef_lstm", arrays, **settings)]) == 2
    assert "missing: lstm.weight_ih_l0" in capsys.readouterr().err


def test_runs_as_a_program(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "torch_parity.py")]
    command += [align_case(tmp_path / "case"), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr  # the second is no case
    assert "out/audio" in done.stdout
