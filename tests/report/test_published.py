"""The published figures, against cells that were read in the papers by eye."""

import collections
import tomllib
from pathlib import Path

import pytest

from msajax import metrics, models
from msajax.data.spec import DATASETS
from msajax.report import published
from msajax.run import recipe

# Settings that no recipe has as a row: features that no recipe reads, a mean of other rows, and
# what tools/reproduce.py sets by options.
NO_ROW = {"glove", "average", "xlnet", "blstm", "sgru", "bgru"}
# Result rows (systems and their settings on a data set) and filled cells of each table.
COUNTS = {
    ("alr", 3): (13, 13 * 5 - 4),  # IMR lacks two, UniMSE two
    ("alr", 4): (16, 16 * 2 - 2),  # COSMIC lacks two
    ("alr", 5): (4, 20),
    ("alr", 6): (3, 15),
    ("alr", 7): (4, 20),
    ("alr", 8): (3, 15),
    ("alr", 9): (3, 15),
    ("cormult", 2): (5, 25),
    ("cormult", 3): (5, 25),
    ("cormult", 4): (11, 55),
    ("cormult", 5): (4, 20),
    ("cormult", 6): (4, 20),
    ("iml_cmm", 2): (16, 16 * 6 - 2),  # ALMT lacks two
    ("iml_cmm", 3): (1, 6),
    ("iml_cmm", 4): (5, 45),
    ("iml_cmm", 5): (8, 72),
    # Four on MOSI and five on MOSEI lack has0 of Acc-2 and F1; MulT and MISA lack Acc-7.
    ("mfon", 2): (22, 22 * 7 - 2 * (4 + 5) - 4),
    ("mfon", 3): (8, 31),
    ("mfon", 4): (20, 140),
    ("mfon", 5): (10, 40),
    ("msg_mba", 1): (29, 29 * 5 - 1),  # MCTN lacks Acc-7
    ("msg_mba", 2): (25, 125),
    ("msg_mba", 3): (14, 70),
    ("msg_mba", 4): (7, 35),
    ("msg_mba", 5): (4, 20),
    ("msg_mba", 6): (8, 40),
}
CELLS = """
alr 3 mosei tfn - acc7 49.80
alr 3 mosei imr - f1_non0 81.00
alr 3 mosei hct_mg - acc7 50,60
alr 3 mosei unimse - corr 0.809
alr 3 mosei alr - mae 0.541
alr 4 meld mm_dfn - weighted_f1 59.46
alr 4 iemocap cosmic - weighted_f1 65.28
alr 4 iemocap alr - accuracy 72.10
alr 5 mosei alr no_audio_vision acc7 45.96
alr 6 mosei alr no_ur acc2_non0 81.49
alr 7 mosei alr addition f1_non0 82.42
alr 8 mosei alr layers_9 corr 0.761
alr 9 mosei alr dim_512 corr 76.23
cormult 2 mosei cormult strategy_b mae 0.554
cormult 2 mosei cormult average acc2_non0 83.3
cormult 3 mosei cormult mahalanobis mae 54.7
cormult 4 mosei bbfn - mae 0.526
cormult 4 mosei ef_lstm - corr 0.609
cormult 4 mosei mmlatch - acc7 52.1
cormult 5 mosei cormult features_res epoch_seconds 43.14
cormult 5 mosei cormult features_mel loss_vision 0.449
cormult 6 mosei cormult pre_vt f1_non0 86.1
iml_cmm 2 simsv2 graph_mfn - r2 13.78
iml_cmm 2 simsv2 almt - mae 0.404
iml_cmm 2 simsv2 iml_cmm - acc2_weak 76.89
iml_cmm 2 simsv2 av_mc - corr 73.17
iml_cmm 3 simsv2 iml_cmm semi r2 53.75
iml_cmm 4 simsv2 iml_cmm no_mixup_v loss 0.816
iml_cmm 4 simsv2 iml_cmm no_kan acc5 53.7
iml_cmm 5 simsv2 iml_cmm mtv acc3 77.66
iml_cmm 5 simsv2 iml_cmm ma loss 0.717
mfon 2 mosi tfn - acc2_non0 80.8
mfon 2 mosei tfn - f1_non0 82.1
mfon 2 mosi misa - mae 0.804
mfon 2 mosei misa - acc2_has0 82.59
mfon 2 mosi conki - acc7 48.43
mfon 2 mosei amml - corr 0.776
mfon 2 mosi mfon - f1_non0 86.86
mfon 3 sims mmim - mae 0.607
mfon 4 mosi mfon no_contrast f1_non0 84.49
mfon 4 mosei mfon audio f1_non0 61.5
mfon 4 mosei mfon no_distillation acc2_non0 86.16
mfon 4 mosi mfon vision_query acc7 41.63
mfon 5 sims mfon no_losses corr 0.521
msg_mba 1 mosi mctn glove mae 0.909
msg_mba 1 mosi cm_bert - corr 0.787
msg_mba 1 mosi mult xlnet_features acc2_non0 80.8
msg_mba 1 mosi misa - acc7 42.8
msg_mba 1 mosi msg_mba xlnet f1_non0 87.0
msg_mba 2 mosei mfm bert_features acc7 50.8
msg_mba 2 mosei mag_xlnet - f1_non0 85.9
msg_mba 2 mosei qmf glove mae 0.640
msg_mba 3 mosei msg_mba msg_tv acc7 49.5
msg_mba 3 mosi msg_mba no_shift_loss mae 0.752
msg_mba 4 mosi msg_mba audio_vision corr 0.073
msg_mba 5 mosi msg_mba xlnet+msg_tav mae 0.732
msg_mba 6 mosi msg_mba xlnet+bgru corr 0.806
"""


def test_every_table_has_its_rows_and_cells():
    found = published.figures()
    tables = [(paper, n) for paper, of in published.TABLES.items() for n in of]
    assert sorted(COUNTS) == sorted(tables) and set(published.PAPERS) == {
        paper for paper, _ in tables
    }
    for table, counts in COUNTS.items():
        mine = [f for f in found if (f.paper, f.table) == table]
        rows = {(f.dataset, f.system, f.setting) for f in mine}
        assert (len(rows), len(mine)) == counts, table
    keys = [(f.paper, f.table, f.dataset, f.system, f.setting, f.metric) for f in found]
    assert len(set(keys)) == len(keys) == sum(cells for _, cells in COUNTS.values())


@pytest.mark.parametrize("line", CELLS.split("\n")[1:-1])
def test_a_cell_that_was_read_by_eye(line):
    paper, table, dataset, system, setting, metric, printed = line.split()
    found = published.figures(paper, int(table), dataset=dataset, system=system)
    (figure,) = (
        f
        for f in found
        if f.setting == setting.removeprefix("-") and f.metric == metric
    )
    assert figure.printed == printed


def test_names_are_those_of_msajax():
    rows = collections.defaultdict(set)
    for name in recipe.names():
        system, _, argument = name.partition(":")
        rows[system].add(argument.partition("/")[2])
    reported = {"loss_text", "loss_audio", "loss_vision", "epoch_seconds"}
    for figure in published.figures():
        family = DATASETS[figure.dataset].metrics
        known = {*metrics.names(family), "loss", *reported}
        assert figure.metric in known, figure
        assert figure.system in models.names(), figure
        parts = set(filter(None, figure.setting.split("+")))
        assert parts <= rows[figure.system] | NO_ROW, figure


def test_values_are_fractions_and_of_a_plausible_size():
    for figure in published.figures():
        if figure.metric.startswith(("acc", "f1", "weighted", "r2")):
            assert 0.1 < figure.value < 0.9, figure
        elif figure.metric == "mae":
            assert 0.2 < figure.value < 1.5, figure
        elif figure.metric == "corr":
            assert 0 < figure.value < 0.9, figure
    (found,) = (
        f for f in published.figures("iml_cmm", 2, system="iml_cmm") if f.metric == "r2"
    )
    assert found.value == pytest.approx(0.5629)


@pytest.mark.parametrize(
    ("paper", "table", "system", "metric", "words"),
    [
        ("alr", 3, "unimse", "mae", "authors' figures on MOSI"),
        ("alr", 3, "hct_mg", "acc7", "misprint for 50.60"),
        ("cormult", 4, "mult", "corr", "digit for digit the row Average"),
        ("cormult", 4, "mmlatch", "acc7", "digit for digit strategy C"),
        ("iml_cmm", 2, "iml_cmm", "acc2_weak", "acc3 of Table 4"),
        ("iml_cmm", 2, "almt", "acc2", "ALMT's figures on CH-SIMS (v1)"),
        ("mfon", 2, "lmf", "acc2_non0", "slash is unreadable"),
    ],
)
def test_misprints_stand_in_the_note(paper, table, system, metric, words):
    found = published.figures(paper, table, system=system)
    notes = [f.note for f in found if f.metric == metric]
    assert notes and all(words in note for note in notes)


def test_what_is_not_there_is_refused_with_what_is():
    with pytest.raises(ValueError, match='paper "mfom"; did you mean "mfon"'):
        published.figures("mfom")
    with pytest.raises(ValueError, match='table "1". Known: 2, 3, 4, 5'):
        published.figures("mfon", 1)
    with pytest.raises(ValueError, match='system "bbfn"'):
        published.figures("mfon", 2, system="bbfn")


def test_the_wheel_has_the_csv():
    root = Path(__file__).parents[2]
    facts = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    data = facts["tool"]["setuptools"]["package-data"]
    assert data["msajax.report"] == ["published.csv"]
    assert (root / "msajax/report/published.csv").is_file()
