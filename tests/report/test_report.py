"""`python -m msajax.report`: one page and its figures from finished runs."""

import csv
import dataclasses
import json
import pathlib
import re
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the report needs matplotlib: msajax[report]")

from msajax.main import main as train
from msajax.report import card, charts, finished, papers, runs, significance
from msajax.report.__main__ import main as report
from msajax.run import recipe
from msajax.run.options import DataOptions

SHORT = ("--config.train.seeds=1,2", "--config.train.epochs=2")


@pytest.fixture(scope="module", autouse=True)
def few():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(significance, "RESAMPLES", 100)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "wide"
    args = ("--config", "lf_dnn:demo", "--workdir", str(folder), *SHORT)
    assert train([*args, "--config.parallel.devices=1"]) == 0
    return folder


@pytest.fixture(scope="module")
def better(trained):
    """The same run with its test errors halved, as of a system that writes labels."""
    folder = trained.with_name("better")
    shutil.copytree(trained, folder)
    results = json.loads((folder / "results.json").read_text())
    results["unread"] = {"test": [7, 0]}
    (folder / "results.json").write_text(json.dumps(results))
    path = folder / "predictions_test.csv"
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        label, pred = float(row["label"]), float(row["prediction"])
        row["prediction"] = f"{label + (pred - label) / 2:.9g}"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def written(trained, better, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "report"
    args = [str(trained), str(better), "--figure", "msg_mba_9", "--out", str(out)]
    assert report(args) == 0
    return out


@pytest.mark.parametrize("frozen,of", [("False", ", of encoders 5e-05"), ("True", "")])
def test_a_card_says_the_rate_of_an_encoder_that_is_trained(trained, frozen, of):
    options = recipe.load("text_only:mosi", [("text.frozen", frozen)])
    run = dataclasses.replace(finished.read(trained), options=options)
    made = card.sections(run)["Training"]
    assert made["optimizer"] == f"adamw, learning rate 0.001{of}"


def test_the_page_needs_no_other_file(written):
    page = (written / "report.html").read_text("utf-8")
    links = re.findall(r'(?:src|href)="([^"]{0,22})', page)
    assert links and all(link.startswith(("#", "data:image/png")) for link in links)
    assert 'name="viewport"' in page and "http" not in re.sub(
        r"base64,[^\"]*", "", page
    )
    assert page.count("<img") == len([*(written / "figures").glob("*.png")]) == 10
    assert {p.stem for p in (written / "figures").glob("*.pdf")} == {
        *("compare_mae", "msg_mba_9_f1"),
        *(
            f"{run}_{what}"
            for run in ("wide", "better")
            for what in ("train_loss", "valid_loss", "scatter", "calibration")
        ),
    }


def test_the_figures_of_the_page_are_those_of_the_run(written, trained):
    page = (written / "report.html").read_text("utf-8")
    result = json.loads((trained / "results.json").read_text())["test"]
    mean, std = result["mae"]["mean"], result["mae"]["std"]
    assert f"<td>{mean:.3f} ± {std:.3f}</td>" in page
    assert (written / "card_wide.md").read_text("utf-8").startswith("# lf_dnn on demo")
    assert f"| MAE | {mean:.3f} ± {std:.3f} |" in (written / "card_wide.md").read_text()


def test_the_better_run_is_marked(written):
    page = (written / "report.html").read_text("utf-8")
    line = next(x for x in re.findall("<tr>.*?</tr>", page) if "<td>MAE</td>" in x)
    cells = re.findall("<td>(.*?)</td>", line)
    assert float(cells[3]) < 0 and cells[5].endswith("†")


def test_labels_that_are_none_are_counted(written):
    page = (written / "report.html").read_text("utf-8")
    said = (
        "test: rows whose text is no label, so that 0 (or neutral) is their prediction"
    )
    assert page.count(f"better, {said}, by seed: 7, 0") == 1
    card = (written / "card_better.md").read_text("utf-8")
    assert f"- labels that it writes: {said}, by seed: 7, 0" in card
    assert "no label" not in (written / "card_wide.md").read_text("utf-8")


def test_worst_errors_come_first_with_their_texts(written, trained):
    page = (written / "report.html").read_text("utf-8")
    table = re.findall("<table>.*?</table>", page)[2]
    rows = [re.findall("<td.*?>(.*?)</td>", x) for x in table.split("</tr>")[1:-1]]
    errors = [float(row[3]) for row in rows]
    assert errors == sorted(errors, reverse=True) and len(rows) == 15
    run = finished.read(trained)
    worst = np.abs(run.test.mean - run.test.labels).max()
    assert errors[0] == pytest.approx(worst, abs=0.006)


def test_texts_of_a_run_that_learns_from_other_data_too():
    options = DataOptions(dataset="demo", also=("meld=FOLDER",))
    texts, reason = runs._texts(options)
    assert len(texts) > 500 and not reason


def test_the_same_report_has_the_same_bytes(written, trained, better, tmp_path):
    args = [str(trained), str(better), "--figure", "msg_mba_9", "--out", str(tmp_path)]
    assert report(args) == 0
    for path in ("report.html", "figures/wide_scatter.png", "figures/wide_scatter.pdf"):
        assert (tmp_path / path).read_bytes() == (written / path).read_bytes(), path


def test_a_classification(tmp_path):
    folder = tmp_path / "classes"
    args = ("--config", "bc_lstm:dialogue_demo", "--workdir", str(folder))
    short = ("--config.train.seeds=1", "--config.train.epochs=1")
    assert train([*args, *short, "--config.parallel.devices=1"]) == 0
    assert report([str(folder), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/figures/classes_confusion.png").exists()
    run = finished.read(folder)
    counts = json.loads((folder / "results.json").read_text())["confusion"]["test"]
    labels = np.asarray(run.test.labels)
    for found, pred in zip(counts, run.test.seeds.values(), strict=True):
        expected = np.zeros_like(np.array(found))
        np.add.at(expected, (labels, pred.argmax(-1)), 1)
        np.testing.assert_array_equal(found, expected)


def refused(capsys, *args):
    assert report([*map(str, args)]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_reported_is_refused(trained, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    assert "holds no run" in refused(capsys, tmp_path, *out)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(trained, unfinished)
    (unfinished / "results.json").unlink()
    assert "its run is not finished" in refused(capsys, unfinished, *out)
    cut = tmp_path / "cut"
    shutil.copytree(trained, cut)
    (cut / "predictions_test.csv").write_text("id,label,prediction,seed\nx,1,")
    assert "predictions_test.csv cannot be read" in refused(capsys, cut, *out)
    assert "two workdirs are called wide" in refused(capsys, trained, trained, *out)
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    for name in ("config.json", "results.json"):
        text = (other / name).read_text()
        (other / name).write_text(text.replace('"demo"', '"mosi"'))
    assert "figures of different data sets" in refused(capsys, trained, other, *out)
    assert 'did you mean "mfon_4"' in refused(
        capsys, trained, "--figure", "mfon4", *out
    )
    said = refused(capsys, trained, "--figure", "mfon_4", *out)
    assert "is drawn from runs of mfon" in said
    assert not (tmp_path / "out").exists()
    assert "is a file; name a folder" in refused(
        capsys, trained, "--out", trained / "config.json"
    )


def test_the_licence_of_an_encoder(tmp_path):
    assert card.licence(str(tmp_path)) == ""
    (tmp_path / "README.md").write_text(
        "---\nlanguage: en\nlicense: apache-2.0\n---\n#"
    )
    assert card.licence(str(tmp_path)) == "apache-2.0"


def test_numbers_in_a_matrix_can_be_read_on_their_colours():
    made = charts.matrix(np.array([[0.0, 1.0]]), rows=["a"], cols=["b", "c"])
    light, dark = made.axes[0].texts
    assert (light.get_color(), dark.get_color()) == ("black", "white")
    made = charts.matrix(np.array([[-0.5, 2.0]]), rows=["a"], cols=["b", "c"])
    assert made.axes[0].images[0].get_clim() == (-2, 2)  # 0 is in the middle


@pytest.mark.slow
def test_figures_of_the_papers(tmp_path):
    out = tmp_path / "out"
    for system, rows in (("msg_mba", "no_modules"), ("mfon", "no_losses")):
        folders = [tmp_path / f"{system}_{name}" for name in ("full", rows)]
        for folder, name in zip(
            folders, (f"{system}:demo", f"{system}:demo/{rows}"), strict=True
        ):
            args = ("--config", name, "--workdir", str(folder))
            assert train([*args, *SHORT, "--config.parallel.devices=1"]) == 0
        # These need a text encoder, and runs on different modalities.
        names = {name for name in papers.names() if name.startswith(system)}
        figures = [
            x
            for name in sorted(names - {"msg_mba_6", "mfon_1"})
            for x in ("--figure", name)
        ]
        assert report([*map(str, folders), *figures, "--out", str(out)]) == 0
    drawn = {path.stem for path in (out / "figures").glob("*.png")}
    assert {"mfon_4_vision", "msg_mba_9_f1", "msg_mba_8_audio_positive"} <= drawn
    assert {f"msg_mba_7_{m}" for m in ("text", "audio", "vision")} <= drawn


def test_the_list_of_figures_is_documented():
    text = pathlib.Path(papers.__file__).with_name("README.md").read_text("utf-8")
    for name in papers.names():
        assert f"`{name}`" in text


def test_each_phase_has_a_curve_of_its_own_loss():
    phases = [SimpleNamespace(name=name, select="loss") for name in ("cca", "fuse")]
    history = [
        {"phase": "cca", "train_loss": -8.0, "valid_loss": -7.0},
        {"phase": "fuse", "train_loss": 1.0, "valid_loss": 1.5},
        {"phase": "fuse", "train_loss": 0.5, "valid_loss": 1.25},
    ]
    run: Any = SimpleNamespace(
        options=SimpleNamespace(plan=phases), history={1: history}
    )
    drawn = {
        name: [line.get_xydata().tolist() for line in made.axes[0].get_lines()]
        for name, made, _ in runs._curves(run)
    }
    assert drawn == {
        "train_loss": [[[1, -8]]],
        "train_loss_1": [[[2, 1], [3, 0.5]]],
        "valid_loss": [[[2, 1.5], [3, 1.25]]],
    }
