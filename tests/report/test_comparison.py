import csv
import io

import pytest

from msajax.report import comparison, published
from msajax.report.results import Results


def results(seeds=(1, 2), **metrics):
    test = {
        name: {"mean": mean, "std": std, "values": []}
        for name, (mean, std) in metrics.items()
    }
    return Results("x", "mosei", seeds, {"test": test})


def rows_of(paper, number, system, ours=None, state=""):
    found = published.figures(paper, number, system=system)
    return comparison.Row(found, ours, state, recipe=f"{system}:mosei" if ours else "")


@pytest.fixture
def rows():
    reached = results(acc7=(0.5112, 0.004), mae=(0.6, 0.01), f1_has0=(0.7, 0.1))
    return [
        rows_of("alr", 3, "hct_mg", state="msajax has no such system"),
        rows_of("alr", 3, "mult", reached, "seeds 3 are not run yet"),
    ]


def test_markdown_has_ours_published_and_the_difference(rows):
    lines = comparison.markdown(rows, demo=False).splitlines()
    assert lines[0] == "# ALR, Table 3: baselines on CMU-MOSEI"
    assert "| system | Acc-7 | Acc-2 non0 | F1 non0 | MAE | Corr |" in lines
    start = "| mult | 51.12 ± 0.40 / 48.20 (+2.92) | - / 80.20* | - / 80.50* |"
    end = " 0.600 ± 0.010 / 0.638 (-0.038) | - / 0.659 |"
    assert start + end in lines
    # As printed with a comma, which the note says.
    assert any(x.startswith("| hct_mg | - / 50.60* | - / 81.60*") for x in lines)
    assert "- misprint for 50.60: hct_mg Acc-7 (mosei)" in lines
    assert "- hct_mg (mosei): msajax has no such system" in lines
    assert "- mult (mosei): seeds 3 are not run yet" in lines
    assert "- mult: mult:mosei, seeds 1, 2" in lines
    assert "demo" not in "\n".join(lines)


def test_figures_of_the_demo_corpus_are_called_so(rows):
    for text in (
        comparison.markdown(rows, demo=True),
        comparison.page(rows, demo=True),
    ):
        assert "the differences mean nothing" in text


def test_csv_has_a_line_per_published_cell_in_fractions(rows):
    sheet = list(csv.DictReader(io.StringIO(comparison.sheet(rows))))
    assert len(sheet) == 10
    (mae,) = (x for x in sheet if x["system"] == "mult" and x["metric"] == "mae")
    assert float(mae["difference"]) == pytest.approx(-0.038)
    assert (mae["seeds"], mae["corpus"], mae["dataset"]) == ("1 2", "mosei", "mosei")
    (corr,) = (x for x in sheet if x["system"] == "mult" and x["metric"] == "corr")
    assert corr["mean"] == corr["difference"] == corr["seeds"] == ""
    assert sheet[0]["state"] == "msajax has no such system"
    assert float(sheet[0]["published"]) == pytest.approx(0.506)


def test_html_is_one_file_with_escaped_text(rows):
    unsafe = [comparison.Row(rows[0].figures, None, "no <b> here", "")]
    text = comparison.page(unsafe, demo=False)
    assert "no &lt;b&gt; here" in text and "<b>" not in text
    assert "src=" not in text and "href=" not in text
    assert text.count("<td>hct_mg</td>") == 1


def test_losses_and_times_are_not_in_percent():
    text = comparison.markdown([rows_of("cormult", 5, "cormult")], demo=False)
    assert "- / 178.240" in text and "- / 0.315" in text


def test_losses_and_times_of_a_run_stand_beside_the_published_ones():
    found = published.figures("cormult", 5)
    (full,) = {f.setting for f in found if f.setting.endswith("full")}
    mine = [f for f in found if f.setting == full]
    more = {"loss_text": (0.1, 0.01), "epoch_seconds": (2.5, 0.5)}
    row = comparison.Row(mine, results(mae=(0.6, 0.0)), "", "cormult:demo", more)
    text = comparison.markdown([row], demo=True)
    assert "| 0.100 ± 0.010 / 0.142 (-0.042) |" in text
    assert "| 2.500 ± 0.500 / 41.020 (-38.520) |" in text
    assert "Losses and seconds are those of the evaluator" in text
    assert "Losses and seconds" in comparison.page([row], demo=True)
    text = comparison.markdown([rows_of("iml_cmm", 5, "iml_cmm")], demo=False)
    assert "Loss: ours is that on validation" in text
    assert "Loss" not in comparison.markdown([rows_of("alr", 3, "mult")], demo=False)


def test_a_single_seed_has_no_std():
    reached = results((7,), mae=(0.6, 0.0))
    text = comparison.markdown([rows_of("alr", 3, "mult", reached)], demo=False)
    assert "0.600 / 0.638 (-0.038)" in text
