"""The space of a search: --space KEY=LOW:HIGH or KEY=A,B,C, checked against the recipe's types."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import optuna

from msajax.data import typed
from msajax.run import recipe, saved

# With other values of these, trials would be judged by something else.
_JUDGE = (
    *("system", "train.select", "train.seeds", "data.dataset", "data.variant"),
    *("data.format", "data.encoding", "data.split", "data.seed", "data.weak"),
    *("data.unlabelled", "init_from", "init_parameters"),
)


@dataclasses.dataclass(frozen=True)
class Dimension:
    """An option that is searched.

    Attributes:
      key: of the recipe, 'optimizer.learning_rate'.
      text: as it was given, for the record of the study.
      distribution: of its values.
    """

    key: str
    text: str
    distribution: optuna.distributions.BaseDistribution

    @property
    def is_log(self) -> bool:
        """Whether its values are drawn by their logarithm."""
        return getattr(self.distribution, "log", False)

    @property
    def is_continuous(self) -> bool:
        """Whether it is a range of numbers that may be fractions."""
        return isinstance(self.distribution, optuna.distributions.FloatDistribution)

    def suggest(self, trial: optuna.Trial) -> Any:
        """The value of a trial, drawn where it has none yet."""
        d = self.distribution
        if isinstance(d, optuna.distributions.CategoricalDistribution):
            return trial.suggest_categorical(self.key, d.choices)
        if isinstance(d, optuna.distributions.IntDistribution):
            return trial.suggest_int(self.key, d.low, d.high, step=d.step, log=d.log)
        assert isinstance(d, optuna.distributions.FloatDistribution)
        return trial.suggest_float(self.key, d.low, d.high, step=d.step, log=d.log)


def parse(
    texts: Sequence[str], system: str, fixed: Mapping[str, str]
) -> list[Dimension]:
    """The dimensions of a space.

    Args:
      texts: 'KEY=LOW:HIGH', 'KEY=LOW:HIGH:log', 'KEY=LOW:HIGH:STEP' or 'KEY=A,B,C' each.
      system: of the recipe, whose types the values must have.
      fixed: values of the command line by their keys.

    Raises:
      ValueError: no dimension, a key that cannot be searched, or a wrong value.
    """
    found = [_dimension(text, system) for text in texts]
    if not found:
        raise ValueError(
            "there is nothing to search; give --space KEY=LOW:HIGH or KEY=A,B,C, for "
            "example --space optimizer.learning_rate=1e-5:1e-2:log"
        )
    keys = [dimension.key for dimension in found]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"--space has {key} twice; join the two")
        if key in fixed:
            raise ValueError(f"{key} is set by --space and by --config.{key}; drop one")
    return found


def _dimension(text: str, system: str) -> Dimension:
    key, equals, values = text.partition("=")
    if not equals or not values:
        raise ValueError(
            f"--space {text}: expected KEY=LOW:HIGH, KEY=LOW:HIGH:log, KEY=LOW:HIGH:STEP or "
            "KEY=A,B,C"
        )
    try:
        hint = recipe.type_of(system, key)
        _check_key(key, hint)
        if ":" in values:
            made = _range(key, values.split(":"), hint)
        else:
            made = _choices(key, values.split(","), hint)
    except ValueError as error:
        raise ValueError(f"--space {text}: {error}") from error
    return Dimension(key, values, made)


def _check_key(key: str, hint: Any) -> None:
    """Refuses options that change nothing, or what the trials are judged by."""
    if key in _JUDGE:
        raise ValueError(
            f"config.{key} decides what trials are trained or judged on, so their figures "
            f"could not be compared; set it for all: --config.{key}=VALUE"
        )
    if key in saved.FREE:
        raise ValueError(f"config.{key} does not change what a run computes")
    if typing.get_origin(hint) in (tuple, Mapping):
        raise ValueError(
            f"config.{key} is {typed.described(hint)}; only numbers and single choices can "
            "be searched"
        )


def _range(key: str, parts: Sequence[str], hint: Any) -> Any:
    kind = _number(hint)
    if kind is None:
        raise ValueError(
            f"config.{key} is {typed.described(hint)}, which has no range; list its values: "
            f"{key}=A,B,C"
        )
    if len(parts) not in (2, 3):
        raise ValueError("a range is LOW:HIGH, LOW:HIGH:log or LOW:HIGH:STEP")
    low, high = (_value(key, part, hint) for part in parts[:2])
    if not low < high:
        raise ValueError(f"{low} is not below {high}")
    log, step = parts[2:] == ["log"], None
    if log and low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, not at {low}")
    if parts[2:] and not log:
        step = _step(parts[2], kind, high - low)
    if kind is int:
        made = optuna.distributions.IntDistribution
        return made(low, high, log=log, step=step or 1)
    return optuna.distributions.FloatDistribution(low, high, log=log, step=step)


def _step(text: str, kind: type, width: float) -> Any:
    try:
        step = kind(text)
    except ValueError:
        step = 0
    if not 0 < step <= width:
        raise ValueError(
            f'the third part is "{text}"; give "log", or a step above 0 and at most {width:g}'
        )
    return step


def _choices(key: str, parts: Sequence[str], hint: Any) -> Any:
    values = [_value(key, part.strip(), hint) for part in parts]
    if len({repr(value) for value in values}) < max(2, len(values)):
        raise ValueError(
            f"give two values or more, each once: {key}=A,B (one value for all is "
            f"--config.{key}=A)"
        )
    return optuna.distributions.CategoricalDistribution(values)


def _value(key: str, text: str, hint: Any) -> Any:
    return typed.convert(f"config.{key}", typed.parse(key, text, hint), hint)


def _number(hint: Any) -> type | None:
    """int or float, where values of a type are such numbers."""
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _number(kinds[0])
    if origin in (typing.Union, types.UnionType):
        return next((n for kind in kinds if (n := _number(kind))), None)
    return hint if hint in (int, float) else None
