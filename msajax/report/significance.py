"""Whether one run is better than another: paired bootstrap over rows, paired t-test over seeds."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from msajax import metrics
from msajax.data.spec import DATASETS
from msajax.report.results import Predictions

# Resamples of the bootstrap: a p of 0.05 has a standard error of 0.007.
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A metric of two runs.

    Attributes:
      metric: its name.
      first, second: of each run the mean over its seeds.
      low, high: the 95 % interval of `second - first` over resampled rows.
      p_rows: two-sided, of the paired bootstrap over rows; NaN where the metric is.
      p_seeds: two-sided, of the paired t-test over the seeds that both runs have (the one
        behind MSG/MBA's dagger); NaN where they share fewer than two.
    """

    metric: str
    first: float
    second: float
    low: float
    high: float
    p_rows: float
    p_seeds: float

    @property
    def difference(self) -> float:
        """Of the second run to the first."""
        return self.second - self.first


def compare(
    dataset: str, first: Predictions, second: Predictions, *, seed: int = 0
) -> list[Comparison]:
    """Every metric of two runs on the same rows.

    Args:
      dataset: of both, by its name.
      first, second: with labels; the rows may be in another order.
      seed: of the resamples.

    Raises:
      ValueError: their rows or labels are not the same.
    """
    first, second = _aligned(first, second)
    family = DATASETS[dataset].metrics

    def figures(
        made: Predictions, rows: np.ndarray | slice
    ) -> dict[int, dict[str, float]]:
        labels = _labels(made)[rows]
        return {
            k: metrics.evaluate(family, x[rows], labels, classes=made.classes)
            for k, x in made.seeds.items()
        }

    whole = [figures(made, slice(None)) for made in (first, second)]
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(first), len(first))
        means = [_means(figures(made, rows)) for made in (first, second)]
        drawn.append([means[1][name] - means[0][name] for name in means[0]])
    return [
        _comparison(name, whole, differences)
        for name, differences in zip(_means(whole[0]), np.array(drawn).T, strict=True)
    ]


def _comparison(
    name: str, whole: list[dict[int, dict[str, float]]], drawn: np.ndarray
) -> Comparison:
    first, second = (_means(figures)[name] for figures in whole)
    drawn = drawn[np.isfinite(drawn)]
    low = high = p_rows = float("nan")
    if len(drawn):
        low, high = map(float, np.quantile(drawn, (0.025, 0.975)))
        # The resample that was measured counts, so that p is never 0.
        tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
        p_rows = min(1.0, 2 * (tail + 1) / (len(drawn) + 1))
    both = [k for k in whole[0] if k in whole[1]]
    pairs = np.array([[figures[k][name] for k in both] for figures in whole])
    return Comparison(name, first, second, low, high, p_rows, paired_t(*pairs))


def paired_t(first: np.ndarray, second: np.ndarray) -> float:
    """The two-sided p of Student's paired t-test.

    Args:
      first, second: [N] values of the same seeds.

    Returns:
      NaN of fewer than two pairs and where a value is NaN; 1 or 0 where all differences
      are the same (0 or not).
    """
    differences = second - first
    if len(differences) < 2 or not np.isfinite(differences).all():
        return float("nan")
    spread = differences.std(ddof=1)
    if spread == 0:
        return float(differences[0] == 0)
    from scipy import special

    t = differences.mean() / (spread / np.sqrt(len(differences)))
    return float(2 * special.stdtr(len(differences) - 1, -abs(t)))


def _aligned(
    first: Predictions, second: Predictions
) -> tuple[Predictions, Predictions]:
    """The second's rows in the order of the first's."""
    place = {name: i for i, name in enumerate(second.ids)}
    missing = [name for name in first.ids if name not in place]
    if missing or len(first) != len(second):
        raise ValueError(
            f"the runs were not measured on the same rows: {len(first)} and "
            f"{len(second)}, {len(missing)} of the first are not in the second; a paired "
            "test needs the same ones"
        )
    order = np.array([place[name] for name in first.ids])
    labels = _labels(second)[order]
    if not np.array_equal(labels, _labels(first)):
        raise ValueError(
            "the runs were measured on the same rows with other labels; a paired test "
            "needs the same ones"
        )
    seeds = {k: x[order] for k, x in second.seeds.items()}
    return first, dataclasses.replace(second, ids=first.ids, seeds=seeds, labels=labels)


def _labels(made: Predictions) -> np.ndarray:
    assert made.labels is not None
    return made.labels


def _means(figures: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """The mean over the seeds of each metric."""
    names = next(iter(figures.values()))
    return {k: float(np.mean([f[k] for f in figures.values()])) for k in names}
