"""Paired tests between runs."""

import numpy as np
import pytest
from scipy import stats

from msajax import metrics
from msajax.report import significance
from msajax.report.results import Predictions


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(significance, "RESAMPLES", 300)


def made(error=1.0, seeds=(1, 2, 3), n=60, classes=()):
    rng = np.random.default_rng(0)
    labels = rng.uniform(-3, 3, n).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=(len(seeds), n)).astype(np.float32)
    preds = labels + error * noise
    ids = np.array([f"v{i}" for i in range(n)])
    if classes:
        labels = rng.integers(0, len(classes), n)
        right = rng.random((len(seeds), n)) < error
        chosen = np.where(right, labels, (labels + 1) % len(classes))
        preds = np.eye(len(classes), dtype=np.float32)[chosen]
    return Predictions(ids, dict(zip(seeds, preds, strict=True)), classes, labels)


def test_a_run_with_half_the_error_is_better_and_the_figures_are_the_metrics():
    first, second = made(1.0), made(0.5)
    rows = {row.metric: row for row in significance.compare("mosi", first, second)}
    assert tuple(rows) == metrics.names("mosi")
    mae = rows["mae"]
    expected = [
        np.mean([np.abs(x - run.labels).mean() for x in run.seeds.values()])
        for run in (first, second)
    ]
    np.testing.assert_allclose([mae.first, mae.second], expected, rtol=1e-6)
    assert mae.low < mae.difference < mae.high < 0
    assert mae.p_rows == pytest.approx(2 / (significance.RESAMPLES + 1))
    by_seed = [
        [np.abs(x - run.labels).mean() for x in run.seeds.values()]
        for run in (first, second)
    ]
    assert mae.p_seeds == pytest.approx(
        stats.ttest_rel(by_seed[0], by_seed[1]).pvalue, rel=1e-4
    )


def test_the_interval_is_the_normal_one_of_many_rows():
    first, second = made(1.0, seeds=(1,), n=400), made(0.9, seeds=(1,), n=400)
    (mae, *_) = significance.compare("mosi", first, second)
    change = np.abs(second.seeds[1] - second.labels) - np.abs(
        first.seeds[1] - first.labels
    )
    half = 1.96 * change.std() / 20
    np.testing.assert_allclose(
        [mae.low, mae.high], change.mean() + [-half, half], atol=0.1 * half
    )
    assert np.isnan(mae.p_seeds)


def test_equal_runs_do_not_differ_and_order_does_not_matter():
    first = made()
    order = np.random.default_rng(2).permutation(len(first))
    seeds = {k: x[order] for k, x in first.seeds.items()}
    second = Predictions(first.ids[order], seeds, (), np.asarray(first.labels)[order])
    for row in significance.compare("mosi", first, second):
        assert row.difference == pytest.approx(0, abs=1e-7)
        assert row.p_rows == 1


def test_classes():
    classes = tuple("abcdefg")
    rows = significance.compare(
        "meld", made(0.5, classes=classes), made(0.9, classes=classes)
    )
    assert rows[0].metric == "accuracy" and rows[0].low > 0
    assert rows[0].second == pytest.approx(0.9, abs=0.05)


def test_runs_of_other_rows_are_refused():
    first, second = made(), made(n=59)
    with pytest.raises(ValueError, match="60 and 59, 1 of the first are not in"):
        significance.compare("mosi", first, second)
    other = made()
    np.asarray(other.labels)[3] += 1
    with pytest.raises(ValueError, match="same rows with other labels"):
        significance.compare("mosi", first, other)


@pytest.mark.parametrize(
    "first,second,p", [([1, 2], [2, 3], 0.0), ([1, 2], [1, 2], 1.0), ([1], [2], np.nan)]
)
def test_where_all_differences_are_the_same(first, second, p):
    found = significance.paired_t(np.array(first, float), np.array(second, float))
    np.testing.assert_equal(found, p)
