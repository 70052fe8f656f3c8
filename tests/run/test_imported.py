"""Weights of PyTorch references become workdirs that evaluate and predict as the references do."""

import numpy as np
import pytest

import msajax
from msajax import main, models, weights
from msajax.data.spec import MODALITIES
from msajax.run import imported, recipe
from tools.parity.case import read_case

SYSTEMS = ["tfn", "lf_dnn"]


def arguments(case):
    """The recipe's values for the sizes of a case."""
    hidden = tuple(case.setting("hidden_dims"))
    inputs = case.group("in/")
    arrays = [inputs[k] for k in ("text", "audio_sequence", "vision_sequence")]
    return [
        f"--config.data.dims={','.join(str(x.shape[2]) for x in arrays)}",
        f"--config.data.lengths={','.join(str(x.shape[1]) for x in arrays)}",
        f"--config.model.hidden_dims={','.join(map(str, hidden))}",
        f"--config.model.text_out={case.setting('text_out')}",
        f"--config.model.post_fusion_dim={case.setting('post_fusion_dim')}",
    ]


def write_clips(path, case):
    inputs = case.group("in/")
    names = {"text": "text", "audio": "audio_sequence", "vision": "vision_sequence"}
    arrays = {ours: inputs[theirs] for ours, theirs in names.items()}
    labels = inputs["labels"].reshape(-1)
    np.savez(path, id=[f"clip{i}" for i in range(len(labels))], label=labels, **arrays)
    return path


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_imported_checkpoint_predicts_as_its_reference(
    shared, tmp_path, torch_save, system, capsys
):
    case = read_case(shared / "golden" / system / "case_a")
    state = {f"Model.{name}": x for name, x in case.group("param/").items()}
    file, folder = torch_save(tmp_path / "model.pth", state), tmp_path / "run"
    command = ["--config", f"{system}:mosi", "--workdir", str(folder)]
    command += ["--mode", "import", "--weights", str(file), *arguments(case)]
    assert main.main(command) == 0, capsys.readouterr().err
    assert "config.model.padded is True, as in the reference" in capsys.readouterr().out
    clips = write_clips(tmp_path / "clips.npz", case)
    run = msajax.open_run(folder)
    found = run.predict(clips)
    reference = case.arrays["out/eval/M"].reshape(-1)
    assert np.ptp(reference) > 1e-3
    np.testing.assert_allclose(found.mean, reference, atol=1e-5)
    assert run.evaluate(data=clips)["mae"] == pytest.approx(
        np.mean(np.abs(reference - case.arrays["in/labels"].reshape(-1))), abs=1e-5
    )
    assert main.main(command) == 1
    assert "holds a run; take another workdir" in capsys.readouterr().err


def test_weights_of_another_size_are_refused_before_the_folder_is_made(
    shared, tmp_path, torch_save, capsys
):
    case = read_case(shared / "golden" / "tfn" / "case_a")
    file = torch_save(tmp_path / "model.pth", dict(case.group("param/")))
    command = ["--config", "tfn:mosi", "--workdir", str(tmp_path / "run")]
    command += ["--mode", "import", "--weights", str(file)]
    assert main.main(command) == 1
    assert "params/" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    "arguments,message",
    [
        (["--config", "text_only:demo", "--weights", "x.pth"], "no file x.pth"),
        (["--config", "tfn:demo", "--weights", "x.h5"], "no file of weights by its name"),
        (["--config", "tfn:demo"], "needs --weights FILE"),
        (["--weights", "x.pth"], "needs --config RECIPE"),
    ],
)  # fmt: skip
def test_wrong_commands(tmp_path, capsys, arguments, message):
    try:
        status = main.main(
            ["--mode", "import", "--workdir", str(tmp_path / "w"), *arguments]
        )
    except SystemExit as error:
        status = error.code
    assert status in (1, 2) and message in capsys.readouterr().err


def test_weights_of_a_system_on_labels_of_each_modality_need_no_data(tmp_path):
    """The published files of these data sets have such labels."""
    for dataset, own in (("sims", True), ("mosi", False)):
        spec, _ = imported._spec(recipe.load(f"lmf:{dataset}"), tmp_path)
        assert [f"label_{m}" in spec.fields for m in MODALITIES] == [own] * 3
    options = recipe.load("mtfn:sims")
    form = weights.reference_form("mtfn")
    model = models.get("mtfn")(imported._spec(options, tmp_path)[0], **form)
    assert weights.table_of(model).constants == dict(
        output_range=6.0, output_shift=-3.0
    )
