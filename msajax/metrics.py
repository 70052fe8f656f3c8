"""Metrics of the field, in numpy, over a whole split.

'mosi' (MOSI, MOSEI) and 'sims' (CH-SIMS) follow thuiar/MMSA, which most papers
report with; CH-SIMS v2's two additions, `acc2_weak` and `r2`, follow
thuiar/ch-sims-v2. All are fractions. What readers of other code may miss:

- 'mosi': MAE and Corr take raw predictions; AccK rounds half to even after
  clipping to ±K//2. has0 is negative against non-negative on all samples,
  non0 negative against positive on samples whose label is not 0.
- 'sims': everything, MAE and Corr too, is on values clipped to ±1, in bins
  closed on the right: 0.1 is neutral in acc3, 0 is negative in acc2. The
  official code of MFON opens the right edges of acc5 and so scores values on an
  edge differently; we do not follow it. `acc2_weak` keeps labels in
  [-0.4, 0.4], as the code of ch-sims-v2 does (its comment says 0.6).
- Values meet bin edges in float32, where 0.1 and 0.7 lie on their edge.
- F1 is weighted by the support of the true classes, and 0 for a class that is
  neither present nor predicted.
- 'emotions' is 'classes' with the figures that MulT's paper has of each emotion, present
  or not: the accuracy and the F1 of these two, which is not the F1 of the class.
- What is undefined is NaN: Corr where predictions or labels are constant, r2
  where labels are, a metric of a subset of samples that is empty.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

METRICS: Mapping[str, tuple[str, ...]] = {
    "mosi": (
        *("mae", "corr", "acc7", "acc5", "acc3"),
        *("acc2_has0", "f1_has0", "acc2_non0", "f1_non0"),
    ),
    "sims": ("mae", "corr", "acc2", "f1", "acc3", "acc5", "acc2_weak", "r2"),
    "classes": ("accuracy", "weighted_f1"),  # and f1_<class> for each class
    "emotions": ("accuracy", "weighted_f1"),  # and acc2_, weighted_f1_<class>
}
# The edges of the three classes of 'sims'.
_THREE = np.array((-0.1, 0.1), np.float32)
# Of each class, in front of its name.
_OF_CLASSES: Mapping[str, tuple[str, ...]] = {
    "classes": ("f1",),
    "emotions": ("acc2", "weighted_f1"),
}


def names(family: str, *, classes: Sequence[str] = ()) -> tuple[str, ...]:
    """Names of a family's metrics, in the order of the tables.

    Args:
      family: 'mosi', 'sims', 'classes' or 'emotions'.
      classes: class names, for the families 'classes' and 'emotions'.

    Returns:
      The keys of `evaluate`.

    Raises:
      ValueError: an unknown family.
    """
    if family not in METRICS:
        raise ValueError(
            f'unknown family of metrics "{family}". Known: {", ".join(METRICS)}'
        )
    kinds = _OF_CLASSES.get(family, ())
    return METRICS[family] + tuple(f"{k}_{name}" for k in kinds for name in classes)


def better(name: str) -> str:
    """'min' or 'max': the direction in which a metric, or 'loss', improves.

    Raises:
      ValueError: an unknown name.
    """
    if name in ("loss", "mae"):
        return "min"
    known = {name for family in METRICS.values() for name in family}
    kinds = (f"{kind}_" for found in _OF_CLASSES.values() for kind in found)
    if name in known or name.startswith(tuple(kinds)):
        return "max"
    raise ValueError(
        f'unknown metric "{name}". Known: loss, {", ".join(sorted(known))}, f1_<class>'
    )


def improves(name: str, value: ArrayLike, best: ArrayLike) -> np.ndarray:
    """Whether a value of a metric is strictly better than the best one so far.

    NaN is never better, and every number is better than NaN: a search starts
    from NaN.

    Args:
      name: as in `better`.
      value: [...] float, for example one value per seed.
      best: [...] float, same shape.

    Returns:
      [...] bool.
    """
    value, best = np.asarray(value), np.asarray(best)
    ahead = value < best if better(name) == "min" else value > best
    return ahead | (np.isnan(best) & ~np.isnan(value))


def evaluate(
    family: str, pred: ArrayLike, label: ArrayLike, *, classes: Sequence[str] = ()
) -> dict[str, float]:
    """All metrics of a family on the predictions of a whole split.

    Args:
      family: 'mosi', 'sims', 'classes' or 'emotions' (`metrics` in `msajax.data.spec.Dataset`).
      pred: [N] float32 sentiment, or [N, C] logits of classes.
      label: [N] float32 sentiment, or [N] int class.
      classes: the C class names, for the families 'classes' and 'emotions'.

    Returns:
      {name: fraction} in the order of `names`.

    Raises:
      ValueError: shapes that do not fit, no sample, values that are not finite,
        a label that is no class.

    Source: utils/metricsTop.py of thuiar/MMSA and of thuiar/ch-sims-v2.
    """
    keys = names(family, classes=classes)
    pred, label = np.asarray(pred, np.float32), np.asarray(label)
    of_classes = family in _OF_CLASSES
    _check_shapes(pred, label, (len(classes),) if of_classes else ())
    _check_finite("predictions", pred)
    _check_finite("labels", label)
    if of_classes:
        values = _classes(pred, label, family)
    else:
        label = label.astype(np.float32)
        values = _mosi(pred, label) if family == "mosi" else _sims(pred, label)
    return {key: float(value) for key, value in zip(keys, values, strict=True)}


def polarity(family: str, score: float) -> str:
    """The class of a sentiment: 'negative', 'neutral' or 'positive', as in acc3.

    Args:
      family: 'mosi' or 'sims'.
      score: sentiment on the scale of the data set.
    """
    if family == "sims":
        place = np.searchsorted(_THREE, np.float32(score)) - 1
    else:
        place = np.round(np.clip(score, -1, 1))
    return ("neutral", "positive", "negative")[int(place)]


def confusion(logits: ArrayLike, label: ArrayLike) -> np.ndarray:
    """How often each class was taken for which.

    Args:
      logits: [N, C] float32.
      label: [N] int class.

    Returns:
      [C, C] int, true classes by predicted ones; rows of NaN count nowhere.
    """
    logits, label = np.asarray(logits), np.asarray(label, np.int64)
    finite, classes = np.isfinite(logits).all(axis=1), logits.shape[1]
    pairs = (label * classes + np.argmax(logits, axis=1))[finite]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def _mosi(pred: np.ndarray, label: np.ndarray) -> tuple[float, ...]:
    mae, corr = _mae(pred, label), _corr(pred, label)
    acc7, acc5, acc3 = (_rounded_accuracy(pred, label, top) for top in (3, 2, 1))
    has0 = _accuracy_f1(pred >= 0, label >= 0)
    kept = label != 0
    non0 = _accuracy_f1(pred[kept] > 0, label[kept] > 0)
    return mae, corr, acc7, acc5, acc3, *has0, *non0


def _sims(pred: np.ndarray, label: np.ndarray) -> tuple[float, ...]:
    pred, label = np.clip(pred, -1, 1), np.clip(label, -1, 1)
    acc2, f1 = _accuracy_f1(pred > 0, label > 0)
    acc3 = _binned_accuracy(pred, label, _THREE)
    acc5 = _binned_accuracy(pred, label, (-0.7, -0.1, 0.1, 0.7))
    weak = np.abs(label) <= np.float32(0.4)
    acc2_weak, _ = _accuracy_f1(pred[weak] > 0, label[weak] > 0)
    mae, corr, r2 = _mae(pred, label), _corr(pred, label), _r2(pred, label)
    return mae, corr, acc2, f1, acc3, acc5, acc2_weak, r2


def _classes(logits: np.ndarray, label: np.ndarray, family: str) -> tuple[float, ...]:
    num_classes = logits.shape[1]
    wrong = ~np.isin(label, np.arange(num_classes))
    if wrong.any():
        raise ValueError(
            f"labels must be the classes 0 to {num_classes - 1}; got {label[wrong][0]}"
            f" ({wrong.sum()} of {len(label)} labels are no class)"
        )
    chosen, label = np.argmax(logits, axis=1), label.astype(np.int64)
    whole = np.mean(chosen == label), _weighted_f1(chosen, label)
    if family == "classes":
        return *whole, *_f1(chosen, label, num_classes)
    pairs = [_accuracy_f1(chosen == c, label == c) for c in range(num_classes)]
    return *whole, *(acc for acc, _ in pairs), *(f1 for _, f1 in pairs)


def _mae(pred: np.ndarray, label: np.ndarray) -> float:
    return np.mean(np.abs(pred - label), dtype=np.float64)


def _corr(pred: np.ndarray, label: np.ndarray) -> float:
    if np.all(pred == pred[0]) or np.all(label == label[0]):
        return np.nan
    return np.corrcoef(pred, label)[0, 1]


def _r2(pred: np.ndarray, label: np.ndarray) -> float:
    if np.all(label == label[0]):
        return np.nan
    pred, label = pred.astype(np.float64), label.astype(np.float64)
    return 1 - np.sum((label - pred) ** 2) / np.sum((label - label.mean()) ** 2)


def _rounded_accuracy(pred: np.ndarray, label: np.ndarray, top: int) -> float:
    pred, label = np.clip(pred, -top, top), np.clip(label, -top, top)
    return np.mean(np.round(pred) == np.round(label))


def _binned_accuracy(pred: np.ndarray, label: np.ndarray, edges: ArrayLike) -> float:
    # side="left" closes the bins on the right.
    bins = np.asarray(edges, np.float32)
    return np.mean(np.searchsorted(bins, pred) == np.searchsorted(bins, label))


def _accuracy_f1(pred: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Accuracy and weighted F1 of two classes, NaN over no sample."""
    if len(label) == 0:
        return np.nan, np.nan
    return np.mean(pred == label), _weighted_f1(pred, label)


def _weighted_f1(pred: np.ndarray, label: np.ndarray) -> float:
    support = np.bincount(label)
    return np.average(_f1(pred, label, len(support)), weights=support)


def _f1(pred: np.ndarray, label: np.ndarray, num_classes: int) -> np.ndarray:
    """F1 of each class: [N] and [N] classes -> [C]."""
    classes = np.arange(num_classes)[:, None]
    pred, label = pred[None] == classes, label[None] == classes  # [C, N]
    hits, total = np.sum(pred & label, axis=1), np.sum(pred, 1) + np.sum(label, 1)
    return 2 * hits / np.maximum(total, 1)


def _check_shapes(
    pred: np.ndarray, label: np.ndarray, outputs: tuple[int, ...]
) -> None:
    if label.ndim != 1 or pred.shape != label.shape + outputs:
        expected = "[N, C]" if outputs else "[N]"
        classes = f" with C = {outputs[0]} classes" if outputs else ""
        raise ValueError(
            f"predictions must be {expected}{classes} and labels [N]; got shapes"
            f" {pred.shape} and {label.shape}"
        )
    if len(label) == 0:
        raise ValueError("metrics need at least one sample; got an empty split")


def _check_finite(what: str, values: np.ndarray) -> None:
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise ValueError(
            f"{bad} of {values.size} {what} are not finite, so no metric is defined"
        )
