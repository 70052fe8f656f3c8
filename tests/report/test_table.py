import csv
import io
import itertools
import json
import math

import pytest
from rich.console import Console

from msajax import metrics
from msajax.data.spec import DATASETS
from msajax.report import table

NAN = float("nan")


def run(system, dataset="mosi", *, offset=0.0, seeds=(1, 2), **replaced):
    """A run whose every metric is 0.5 + offset for the first seed and 0.1 more each."""
    data = DATASETS[dataset]
    names = metrics.names(data.metrics, classes=data.classes)
    per_seed = [
        dict.fromkeys(names, 0.5 + offset + 0.1 * number)
        for number in range(len(seeds))
    ]
    for name, values in replaced.items():
        for figures, value in zip(per_seed, values, strict=True):
            figures[name] = value
    result = {"system": system, "dataset": dataset, "seeds": list(seeds)}
    return result | {split: table.summarise(per_seed) for split in ("valid", "test")}


def printed(results, *, width=80, terminal=False, **options):
    text = io.StringIO()
    colors = "standard" if terminal else None
    console = Console(
        file=text, width=width, force_terminal=terminal, color_system=colors
    )
    console.print(table.render(results, **options))
    return text.getvalue()


def lines(text):
    return [line.strip() for line in text.splitlines()]


def test_mean_std_and_values_over_the_seeds():
    summary = table.summarise([{"mae": 1.0, "corr": 0.5}, {"mae": 4.0, "corr": 0.5}])
    assert summary == {
        "mae": {"mean": 2.5, "std": 1.5, "values": [1.0, 4.0]},  # ddof 0, as MMSA
        "corr": {"mean": 0.5, "std": 0.0, "values": [0.5, 0.5]},
    }
    assert json.loads(json.dumps(summary)) == summary


def test_figures_of_single_emotions():
    shown = lines(printed(run("mult", "iemocap4", acc2_happy=(0.6, 0.8))))
    names = [line.partition(" ↑")[0] for line in shown if "↑" in line]
    emotions = ("neutral", "happy", "sad", "angry")
    wanted = [f"{kind} {name}" for kind in ("Acc-2", "F1") for name in emotions]
    assert names == ["Acc", "F1 weighted", *wanted]
    assert any(line.startswith("Acc-2 happy ↑    70.00 ± 10.00") for line in shown)


def test_nan_of_one_seed_stays_visible():
    summary = table.summarise([{"corr": 0.5}, {"corr": NAN}])["corr"]
    assert math.isnan(summary["mean"]) and math.isnan(summary["std"])
    text = printed(run("tfn", corr=(0.5, NAN)))
    assert "Corr ↑         nan (1 of 2)" in lines(text)


def test_one_run_metric_by_metric():
    text = printed(run("mult", mae=(0.712, 0.714)), splits=("test", "valid"))
    assert lines(text) == [
        "mult on CMU-MOSI, seeds 1, 2",
        "metric                 test          valid",
        "──────────────────────────────────────────",
        "MAE ↓         0.713 ± 0.001  0.713 ± 0.001",
        "Corr ↑        0.550 ± 0.050  0.550 ± 0.050",
        "Acc-7 ↑        55.00 ± 5.00   55.00 ± 5.00",
        "Acc-5 ↑        55.00 ± 5.00   55.00 ± 5.00",
        "Acc-3 ↑        55.00 ± 5.00   55.00 ± 5.00",
        "Acc-2 has0 ↑   55.00 ± 5.00   55.00 ± 5.00",
        "F1 has0 ↑      55.00 ± 5.00   55.00 ± 5.00",
        "Acc-2 non0 ↑   55.00 ± 5.00   55.00 ± 5.00",
        "F1 non0 ↑      55.00 ± 5.00   55.00 ± 5.00",
        "mean ± std over the seeds; Acc and F1 in %",
    ]


def test_one_seed_has_no_std():
    text = printed(run("mult", seeds=(7,)))
    assert lines(text)[0] == "mult on CMU-MOSI, seed 7"
    assert lines(text)[3:6:2] == ["MAE ↓         0.500 ± -", "Acc-7 ↑       50.00 ± -"]


def test_a_run_on_a_file_without_a_dataset_name():
    result = run("mult on clips[1].npz")
    del result["dataset"]
    assert lines(printed(result))[0] == "mult on clips[1].npz, seeds 1, 2"


def test_several_runs_system_by_system():
    text = printed([run("tfn", "sims"), run("graph_mfn", "sims", offset=0.1)])
    assert lines(text) == [
        "CH-SIMS, test",
        "Acc-2",
        "system     MAE ↓ Corr ↑ Acc-2 ↑  F1 ↑ Acc-3 ↑ Acc-5 ↑ weak ↑   R² ↑",
        "───────────────────────────────────────────────────────────────────",
        "tfn        0.550  0.550   55.00 55.00   55.00   55.00  55.00  0.550",
        "±0.050 ±0.050   ±5.00 ±5.00   ±5.00   ±5.00  ±5.00 ±0.050",
        "graph_mfn  0.650  0.650   65.00 65.00   65.00   65.00  65.00  0.650",
        "±0.050 ±0.050   ±5.00 ±5.00   ±5.00   ±5.00  ±5.00 ±0.050",
        "mean ± std over the seeds; Acc and F1 in %",
    ]


def test_no_two_columns_have_one_name():
    """Accuracy and F1 with zero labels and without: in every form of the table."""
    runs = [run("tfn"), run("lmf")]
    first, second = printed(runs).splitlines()[1:3]
    names = [
        " ".join((first[start:end].strip(), second[start:end].strip()))
        for start, end in columns_of(second)
    ]
    assert names[-4:] == ["Acc-2 has0 ↑", "F1 has0 ↑", "Acc-2 non0 ↑", "F1 non0 ↑"]
    assert len(set(names)) == len(names) == 10
    header = table.markdown(runs).splitlines()[2].strip("| ").split(" | ")
    assert header[-4:] == names[-4:] and len(set(header)) == 10
    rows = list(csv.DictReader(io.StringIO(table.csv(runs))))
    assert {"acc2_has0", "f1_has0", "acc2_non0", "f1_non0"} < {
        r["metric"] for r in rows
    }


def columns_of(line):
    """Where the columns of a heading begin and end; each ends with its arrow."""
    ends = [0, len("system"), *(i + 1 for i, c in enumerate(line) if c in "↑↓")]
    return itertools.pairwise(ends)


def test_several_splits_of_several_runs():
    text = printed([run("tfn"), run("lmf")], splits=("test", "valid"))
    names = [line.split("  ")[0] for line in lines(text)[4:-1:2]]
    assert names == ["tfn test", "lmf test", "tfn valid", "lmf valid"]


@pytest.mark.parametrize("dataset", ["mosi", "sims", "meld", "iemocap"])
def test_a_comparison_fits_into_80_columns(dataset):
    runs = [run(system, dataset) for system in ("ef_lstm", "graph_mfn")]
    narrow, wide = printed(runs), printed(runs, width=200)
    assert lines(narrow) == lines(wide)
    assert "…" not in narrow


def test_markdown_marks_the_best():
    worse = run("tfn", "meld", offset=-0.2, accuracy=(0.9, 0.8))
    same = run("lmf", "meld", f1_joy=(0.1, NAN))
    text = table.markdown([worse, run("mult", "meld"), same])
    assert text.splitlines()[0] == (
        "MELD, test: mean ± std over the seeds; Acc and F1 in %"
    )
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    assert rows[0][:4] == ["system", "Acc ↑", "F1 weighted ↑", "F1 neutral ↑"]
    assert rows[1] == [":--", *["--:"] * 9]
    assert rows[2][:3] == ["tfn", "**85.00** ± 5.00", "35.00 ± 5.00"]
    assert rows[3][:3] == ["mult", "55.00 ± 5.00", "**55.00** ± 5.00"]
    assert rows[4][:3] == ["lmf", "55.00 ± 5.00", "**55.00** ± 5.00"]
    joy = rows[0].index("F1 joy ↑")
    assert [row[joy] for row in rows[3:]] == ["**55.00** ± 5.00", "nan (1 of 2)"]


def test_texts_that_are_no_label_are_told():
    written = run("unimse") | {"unread": {"valid": [3, 4], "test": [1, 0]}}
    for shown in (
        printed(written, width=200),
        printed([run("tfn"), written], width=200),
    ):
        assert "no label" in shown and "by seed: 1, 0" in shown
    for text in (table.markdown(written), table.markdown([run("tfn"), written])):
        (line,) = (line for line in text.splitlines() if line.startswith("- "))
        assert line.startswith("- unimse, test: rows whose text is no label")
        assert line.endswith("by seed: 1, 0")
    assert "label" not in table.markdown([run("tfn"), run("lmf")])


def test_the_lowest_mae_is_the_best():
    runs = [run("tfn"), run("lmf", offset=0.1)]
    rows = [line.strip("| ").split(" | ") for line in table.markdown(runs).splitlines()]
    assert rows[4][1:3] == ["**0.550** ± 0.050", "0.550 ± 0.050"]
    assert rows[5][1:3] == ["0.650 ± 0.050", "**0.650** ± 0.050"]


def test_markdown_of_one_run():
    text = table.markdown(run("mult"), splits=("test", "valid"))
    assert text.splitlines()[:5] == [
        "mult on CMU-MOSI, seeds 1, 2: mean ± std over the seeds; Acc and F1 in %",
        "",
        "| metric | test | valid |",
        "| :-- | --: | --: |",
        "| MAE ↓ | 0.550 ± 0.050 | 0.550 ± 0.050 |",
    ]


def test_csv_keeps_fractions_and_full_precision():
    runs = [run("tfn", acc7=(1 / 3, 1 / 3)), run("lmf", "sims", seeds=(4,))]
    rows = list(csv.DictReader(io.StringIO(table.csv(runs, splits=("valid", "test")))))
    assert len(rows) == 2 * 9 + 2 * 8
    assert rows[2] == {
        "system": "tfn",
        "dataset": "mosi",
        "seeds": "1 2",
        "split": "valid",
        "metric": "acc7",
        "mean": repr(1 / 3),
        "std": "0.0",
    }
    assert rows[-1]["seeds"] == "4" and rows[-1]["dataset"] == "sims"


def test_colours_only_on_a_terminal():
    runs = [run("tfn"), run("lmf")]
    assert "\x1b[" in printed(runs, terminal=True)
    assert "\x1b[" not in printed(runs)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match='results of mult have no split "train"'):
        table.render(run("mult"), splits=("train",))
    with pytest.raises(ValueError, match="one dataset; got mosi, sims"):
        table.markdown([run("mult"), run("mult", "sims")])
    with pytest.raises(ValueError, match="one dataset; got no run"):
        table.render([])


def test_a_seed_of_nan_counts_nowhere_in_a_confusion_matrix():
    counts = {"test": [[[0, 0], [0, 0]], [[3, 1], [0, 2]]]}
    run = {"classes": ("good", "bad"), "confusion": counts}
    console = Console(file=io.StringIO(), width=80)
    console.print(table.confusion(run))
    shown = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["good", "75.0", "25.0", "4"] in shown
    assert ["bad", "0.0", "100.0", "2"] in shown
