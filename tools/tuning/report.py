"""What a search leaves to be read: a table, a figure, and the best recipe as a file."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter
from optuna.trial import FrozenTrial, TrialState

from msajax.data import parts
from msajax.report import charts
from msajax.run import workdir
from tools.tuning.space import Dimension
from tools.tuning.study import Study

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_COMPLETE, _BEST, _PRUNED, *_ = charts.COLOURS
_COLUMNS = 2


def write(study: Study, select: str, *, config: str, values: dict[str, str]) -> None:
    """Writes trials.csv, trials.md and, once a trial is complete, best.py.

    Args:
      study: of the search.
      select: the validation figure that trials are judged by.
      config: the recipe.
      values: those of the command line.
    """
    rows = [_row(trial, study.space, select) for trial in study.trials()]
    if not rows:
        return
    workdir.write_csv(
        study.home / "trials.csv", list(rows[0]), [list(r.values()) for r in rows]
    )
    workdir.write(study.home / "trials.md", _markdown(study, rows, select))
    if (best := study.best()) is None:
        return
    workdir.write(
        study.home / "best.py",
        _recipe(study, best, select, config=config, values=values),
    )


def shown(value: Any) -> str:
    """A value of the space, or a figure, as it is printed."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(trial: FrozenTrial, space: Sequence[Dimension], select: str) -> dict[str, str]:
    figure = trial.value if trial.value is not None else ""
    attrs = trial.user_attrs
    return {
        "trial": str(trial.number),
        "state": _STATES[trial.state],
        f"valid_{select}": f"{figure:.6g}" if figure != "" else "",
        **{d.key: shown(trial.params.get(d.key, "")) for d in space},
        "epochs": " ".join(map(str, attrs.get("epochs", ()))),
        "seconds": shown(attrs.get("seconds", "")),
        "note": attrs.get("reason", ""),
    }


def _markdown(study: Study, rows: Sequence[dict[str, str]], select: str) -> str:
    """The trials, the best first, then those without a figure that counts."""
    ranked = sorted(study.trials(), key=lambda t: _rank(study, t))
    lines = [
        f"Trials by {select} on validation, the best first. The test split was not read.",
        "",
        f"| {' | '.join(rows[0])} |",
        f"| {' | '.join('--:' if k != 'note' else ':--' for k in rows[0])} |",
    ]
    for trial in ranked:
        cells = (cell.replace("|", "\\|") for cell in rows[trial.number].values())
        lines.append(f"| {' | '.join(cells)} |")
    states = [row["state"] for row in rows]
    counts = [f"{states.count(s)} {s}" for s in _STATES.values() if s in states]
    return "\n".join([*lines, "", f"{len(rows)} trials: {', '.join(counts)}.", ""])


def _rank(study: Study, trial: FrozenTrial) -> tuple[int, float, int]:
    sign = -1 if study.study.direction.name == "MAXIMIZE" else 1
    value = trial.value if trial.value is not None else 0.0
    return list(_STATES).index(trial.state), sign * value, trial.number


def _recipe(
    study: Study,
    best: FrozenTrial,
    select: str,
    *,
    config: str,
    values: dict[str, str],
) -> str:
    """A recipe file: the values of a trial over those of the recipe that was searched."""
    file, colon, argument = config.partition(":")
    if file.endswith(".py"):  # which is found from this folder alone
        config = f"{pathlib.Path(file).resolve()}{colon}{argument}"
    lines = [
        f'"""Trial {best.number} of a search over {config}, the best by {select} on '
        f'validation: {shown(best.value)}."""',
        "",
        "from msajax.run import recipe",
        "",
        "",
        'def get_config(argument=""):',
        "    if argument:",
        "        raise ValueError(\"leave out ':' and what follows: there is one form\")",
    ]
    if values:
        pairs = [
            f"        ({json.dumps(k)}, {json.dumps(v)})," for k, v in values.items()
        ]
        lines += ["    given = [", *pairs, "    ]"]
    given = ", given" if values else ""
    found = [
        f"        {json.dumps(d.key)}: {_literal(best.params[d.key])},"
        for d in study.space
    ]
    lines += ["    found = {", *found, "    }"]
    lines.append(
        f"    return recipe.change(recipe.load({json.dumps(config)}{given}), found)"
    )
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def plot(study: Study, select: str, path: pathlib.Path) -> None:
    """Draws the figures of the trials in their order, and against each option."""
    rows = -(-(1 + len(study.space)) // _COLUMNS)
    made, axes = charts.figure(5.0 * _COLUMNS, 3.2 * rows, rows=rows, cols=_COLUMNS)
    first, *others = axes.flat
    judged = [t for t in study.trials() if t.value is not None and np.isfinite(t.value)]
    _history(first, study, judged)
    for axis, dimension in zip(others, study.space, strict=False):
        _slice(axis, dimension, judged)
    for axis in axes.flat[: 1 + len(study.space)]:
        axis.set_ylabel(f"{select} on validation")
        axis.margins(y=0.1)
    for axis in axes.flat[1 + len(study.space) :]:
        axis.remove()
    charts.legend(made, first)
    with parts.replacing(path) as part, open(part, "xb") as file:
        file.write(charts.saved(made, "png"))


def _history(axis: Any, study: Study, judged: Sequence[FrozenTrial]) -> None:
    _dots(axis, [(t.number, t) for t in judged])
    done = [t for t in judged if t.state == TrialState.COMPLETE]
    best = np.maximum if study.study.direction.name == "MAXIMIZE" else np.minimum
    values = best.accumulate([float(t.value or 0.0) for t in done])
    numbers, style = [t.number for t in done], dict(drawstyle="steps-post")
    axis.plot(numbers, values, color=_BEST, label="best so far", **style)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("trial")


def _slice(axis: Any, dimension: Dimension, judged: Sequence[FrozenTrial]) -> None:
    """The figures against the values of an option; those of choices are spread a little."""
    choices = getattr(dimension.distribution, "choices", None)
    if choices is None:
        _dots(axis, [(t.params[dimension.key], t) for t in judged])
        low, high = (getattr(dimension.distribution, end) for end in ("low", "high"))
        if dimension.is_log and high >= 10 * low:
            axis.set_xscale("log")
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlim(*_padded(low, high, log=axis.get_xscale() == "log"))
    else:
        spread = np.random.default_rng(0).uniform(-0.12, 0.12, len(judged))
        at = [choices.index(t.params[dimension.key]) for t in judged]
        _dots(axis, list(zip(at + spread, judged, strict=True)))
        axis.set_xticks(range(len(choices)), map(str, choices))
        axis.set_xlim(-0.5, len(choices) - 0.5)
    axis.set_xlabel(dimension.key)


def _padded(low: float, high: float, *, log: bool) -> tuple[float, float]:
    """The ends of an axis that shows a whole range with a margin."""
    if log:
        factor = (high / low) ** 0.05
        return low / factor, high * factor
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _dots(axis: Any, points: Sequence[tuple[float, FrozenTrial]]) -> None:
    """Dots of complete trials, crosses of pruned ones."""
    for state, marker, color in (
        (TrialState.COMPLETE, "o", _COMPLETE),
        (TrialState.PRUNED, "x", _PRUNED),
    ):
        own = [(x, t.value) for x, t in points if t.state == state]
        if own:
            x, y = zip(*own, strict=True)
            style = dict(s=28, zorder=3, marker=marker, color=color)
            axis.scatter(x, y, label=_STATES[state], **style)
