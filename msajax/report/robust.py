"""Curves of a run on rows that lack a modality, or whose features are noisy."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from msajax.data.spec import Split
from msajax.run.run import Run

# Shares of the rows of test that lack the modality.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Standard deviations of the noise, in those of each feature over the real steps of test.
LEVELS = (0.0, 0.5, 1.0, 2.0)
_SEED = 0

# A split, a modality and a level to the changed split.
Change = Callable[[Split, str, float], Split]


def missing(rows: Split, modality: str, share: float) -> Split:
    """A share of the rows without the modality; a larger share holds the rows of a smaller one."""
    order = np.random.default_rng(_SEED).permutation(len(rows))
    gone = order[: round(share * len(rows))]
    changed = {}
    for name in (modality, f"{modality}_mask"):
        array = rows.arrays[name].copy()
        array[gone] = 0
        changed[name] = array
    return _with(rows, changed)


def noisy(rows: Split, modality: str, level: float) -> Split:
    """Gaussian noise on the real steps of a modality's features."""
    x, mask = rows.arrays[modality], rows.arrays[f"{modality}_mask"]
    scale = level * x[mask].std(axis=0)
    noise = np.random.default_rng(_SEED).normal(size=x.shape) * scale * mask[..., None]
    return _with(rows, {modality: (x + noise).astype(x.dtype)})


def curves(
    run: Run, change: Change, levels: Sequence[float], *, metric: str
) -> Mapping[str, list[float]]:
    """A metric on test at each level, of each modality that the rows have as features.

    Args:
      run: finished.
      change: what is done to the rows.
      levels: of the change.
      metric: the mean of it over the seeds counts.

    Returns:
      {modality: a value for each level}.
    """
    rows = run.corpus().splits["test"]
    names = [m for m in run.spec.modalities if m in rows.arrays]
    wanted = [(m, level) for m in names for level in levels]
    arrays = [run.pad(change(rows, m, level)) for m, level in wanted]
    sources = {str(i): x for i, x in enumerate(run.sources(arrays))}
    made = {k: run.labelled(rows, x) for k, x in run.forward(sources).items()}
    found = run.results(made).splits
    means = [figures[metric]["mean"] for figures in found.values()]
    size = len(levels)
    return {m: means[i * size : (i + 1) * size] for i, m in enumerate(names)}


def _with(rows: Split, arrays: Mapping[str, np.ndarray]) -> Split:
    return dataclasses.replace(rows, arrays={**rows.arrays, **arrays})
