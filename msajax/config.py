"""Recipes: load a config file, apply the command line, refuse unknown keys, save what resulted."""

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import json
import pathlib
import sys
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from msajax import models
from msajax.book import Phase
from msajax.data.spec import DATASETS, Spec, suggest
from msajax.optim import Optimizer, check_regex

# A ConfigDict; its attributes are the recipe's, which no type checker can know.
Config = Any

# Keys that do not change what a run computes: another value may go on with it.
_FREE = (
    *("data.path", "data.on_device", "train.seeds", "train.seeds_at_once"),
    *("parallel.devices", "parallel.coordinator", "parallel.num_processes"),
    *("parallel.process_id", "checkpoint.seconds"),
)

# Keys with a few values.
_CHOICES = {
    "data.on_device": ("auto", "always", "never"),
    "precision": ("float32", "bfloat16"),
}


def load(path: str, overrides: Iterable[tuple[str, str]] = ()) -> Config:
    """The recipe of a config file, with the command line's values, checked.

    Args:
      path: a python file with get_config(); 'file.py:argument' calls
        get_config(argument).
      overrides: ('train.batch_size', '16') pairs.

    Returns:
      The config, locked.

    Raises:
      ValueError: no such file, or a wrong key, type or name; says the nearest.
    """
    file, _, argument = path.partition(":")
    source = pathlib.Path(file)
    if not source.is_file():
        near = suggest(source.name, (p.name for p in source.parent.glob("[a-z]*.py")))
        raise ValueError(f"no config file {file}{near}")
    sys.path.insert(0, str(source.resolve().parent.parent))  # for 'configs.common'
    try:
        spec = importlib.util.spec_from_file_location("recipe", source)
        module = importlib.util.module_from_spec(spec)  # pyright: ignore
        spec.loader.exec_module(module)  # pyright: ignore
        config = module.get_config(*([argument] if argument else []))
    except Exception as error:  # whatever the code of a recipe raises
        reason = str(error.args[0] if error.args else error).splitlines()[0]
        raise ValueError(
            f"the recipe {path} fails with {type(error).__name__}: {reason}"
        ) from error
    finally:
        sys.path.pop(0)
    for key, text in overrides:
        override(config, key, text)
    check(config)
    return config


def override(config: Config, key: str, text: str) -> None:
    """Sets one value from the command line.

    Args:
      config: changed in place.
      key: 'train.batch_size'.
      text: a python literal, or a bare string; '1,2' is a tuple.

    Raises:
      ValueError: an unknown key, or a value of another type.
    """
    *parents, last = key.split(".")
    node: Any = config
    known: Any = config
    for i, name in enumerate([*parents, last]):
        known = _fields(config.system) if node is config.model else node
        if not isinstance(node, ConfigDict) or name not in known:
            names = known if isinstance(node, ConfigDict) else ()
            where = ".".join(["config", *parents[:i]])
            raise ValueError(f'unknown key "{name}" in {where}{suggest(name, names)}')
        if i < len(parents):
            node = node[name]
    old = known[last]
    if isinstance(old, ConfigDict):
        raise ValueError(f"config.{key} is a group{suggest('', old)}")
    with node.ignore_type():  # 'auto' or a number; all else is checked here
        node[last] = _coerce(f"config.{key}", _parse(text), old)


def check(config: Config) -> None:
    """Refuses a config that no run can be made of.

    Raises:
      ValueError: an unknown system, dataset, model key, modality or optimizer key, a
        value of the wrong type, no seeds.
    """
    if config.data.dataset not in DATASETS:
        raise ValueError(
            f'unknown dataset "{config.data.dataset}"{suggest(config.data.dataset, DATASETS)}'
        )
    fields, hints = _fields(config.system), _hints(config.system)
    if config.model.get("criterion", "l1") not in models.CRITERIA:
        raise ValueError(
            f'unknown criterion "{config.model.criterion}"'
            f"{suggest(config.model.criterion, models.CRITERIA)}"
        )
    for name in config.model:
        if name not in fields:
            raise ValueError(
                f'unknown key "{name}" in config.model{suggest(name, fields)}'
            )
        key, default = f"config.model.{name}", fields[name]
        value = _coerce(key, config.model[name], default)
        fixed = isinstance(default, tuple) and ... not in typing.get_args(hints[name])
        if fixed and len(value) != len(default):
            raise ValueError(f"{key} is {value}; give {len(default)} values: {default}")
        if "dropout" in name and not all(0 <= v < 1 for v in np.ravel(value)):
            raise ValueError(f"{key} is {value}; a dropout rate is at least 0, below 1")
        config.model[name] = value
    _check_counts(config)
    _check_text(config)
    for key in ("dims", "lengths"):
        if len(config.data[key]) not in (0, 3):
            raise ValueError(
                f"config.data.{key} is {config.data[key]}; give three numbers (text, "
                "audio, vision), or () to take the file's"
            )
    seeds = config.train.seeds
    if (
        not seeds
        or len(set(seeds)) != len(seeds)
        or not all(_is_seed(s) for s in seeds)
    ):
        raise ValueError(
            f"config.train.seeds is {tuple(seeds)}; give at least one seed, each a "
            "different whole number from 0, for example --config.train.seeds=1,2,3"
        )
    check_regex("config.init_parameters", config.init_parameters)
    if config.init_parameters != ".*" and not config.init_from:
        raise ValueError(
            f"this recipe starts from another run's {config.init_parameters}; name its "
            "workdir: --config.init_from=DIR"
        )
    phases(config)


def _check_counts(config: Config) -> None:
    if config.cycles < 1 or config.parallel.devices < 0 or config.data.buckets < 1:
        raise ValueError(
            f"config.cycles is {config.cycles}, config.parallel.devices "
            f"{config.parallel.devices} and config.data.buckets {config.data.buckets}; "
            "give at least 1 cycle, 0 devices for all, and at least 1 bucket"
        )
    at_once = config.train.seeds_at_once
    if at_once != "auto" and not (type(at_once) is int and at_once >= 1):
        raise ValueError(
            f"config.train.seeds_at_once is {at_once!r}; give 'auto', or how many seeds "
            "one program trains, from 1"
        )
    for key, choices in _CHOICES.items():
        value = functools.reduce(lambda node, name: node[name], key.split("."), config)
        if value not in choices:
            raise ValueError(
                f'config.{key} is "{value}"; give one of {", ".join(choices)}'
            )


def _check_text(config: Config) -> None:
    text = config.text
    if text.max_length < 1:
        raise ValueError(f"config.text.max_length is {text.max_length}; give 1 or more")
    if not text.encoder:
        for key in ("frozen", "raw", "words"):
            if text[key]:
                raise ValueError(
                    f"config.text.{key} is set, but config.text.encoder names no encoder; "
                    "give a folder, an installed package or an id on the hub"
                )
    elif "text" not in config.data.modalities:
        raise ValueError(
            'config.text.encoder is set, but config.data.modalities lacks "text"'
        )
    elif not text.frozen and not encoder_kinds(config.system):
        raise ValueError(
            f"{config.system} takes text features and trains no encoder; set "
            "config.text.frozen=True to compute the features of config.text.encoder once"
        )


def encoder_kinds(system: str) -> tuple[type, ...]:
    """The configs that a system's encoder may have, type(None) where it may lack one; () for none."""
    hint = _hints(system).get("encoder")
    return typing.get_args(hint) or ((hint,) if hint else ())


def phases(config: Config) -> list[Phase]:
    """The phases of a recipe: `config.phases` over `config.train` and `config.optimizer`.

    Raises:
      ValueError: an unknown key in a phase or its optimizer, or a name twice.
    """
    train = {k: v for k, v in config.train.items() if not k.startswith("seeds")}
    base = {**train, "optimizer": config.optimizer.to_dict()}
    found = []
    for changes in config.phases or ({},):
        if not isinstance(changes, Mapping):
            raise ValueError(
                f"config.phases has {changes!r}; give dicts, for example "
                "dict(name='main', epochs=10)"
            )
        values = {**base, **changes}
        own = changes.get("optimizer", {})
        if not isinstance(own, Mapping):
            raise ValueError(f"a phase's optimizer is {own!r}, but must be a dict")
        own = {**base["optimizer"], **own}
        values["optimizer"] = _make(Optimizer, own, "optimizer")
        found.append(_make(Phase, values, "phase"))
    names = [phase.name for phase in found]
    if len(set(names)) < len(names):
        raise ValueError(f"config.phases has a name twice: {', '.join(names)}")
    return found


def build(config: Config, spec: Spec, encoder: Any = None) -> models.Model:
    """The system of a recipe for a spec; encoder is the config of the text's, if it has one."""
    given = {} if encoder is None else {"encoder": encoder}
    return models.get(config.system)(spec=spec, **given, **config.model.to_dict())


def to_json(config: Config) -> str:
    """The config as JSON text; `from_json` is the inverse."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str) -> Config:
    """The config of a saved JSON text, locked."""
    values = {"init_from": "", "init_parameters": ".*", **json.loads(text)}
    # Older texts lack these keys.
    values["data"] = {"weak": 0.0, "encoding": "", **values["data"]}
    config = ConfigDict({k: _tuples(v) for k, v in values.items()})
    config.lock()
    config.model.unlock()
    return config


def differences(new: Config, old: Config) -> list[str]:
    """'key: old -> new' for every value that makes two configs different runs."""
    flat_new, flat_old = _identity(new), _identity(old)
    keys = sorted(flat_new.keys() | flat_old.keys())
    changed = [k for k in keys if flat_new.get(k) != flat_old.get(k)]
    return [f"{k}: {flat_old.get(k)!r} -> {flat_new.get(k)!r}" for k in changed]


def sha256(config: Config) -> str:
    """Hash of everything in a config that changes what a run computes."""
    text = json.dumps(_identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(config: Config) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def visit(prefix: str, node: Mapping) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping):
                visit(f"{prefix}{key}.", value)
            else:
                flat[f"{prefix}{key}"] = value

    visit("", _tuples(json.loads(to_json(config))))
    return {k: v for k, v in flat.items() if k not in _FREE}


def _fields(system: str) -> dict[str, Any]:
    """Hyperparameters of a system and their defaults."""
    skipped = ("spec", "encoder", "parent", "name")  # not the recipe's
    fields = dataclasses.fields(models.get(system))
    return {f.name: f.default for f in fields if f.name not in skipped}


def _hints(system: str) -> dict[str, Any]:
    """Types of a system's fields."""
    return typing.get_type_hints(models.get(system))


def _make(kind: type, values: Mapping[str, Any], what: str) -> Any:
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in defaults:
            raise ValueError(f'unknown {what} key "{name}"{suggest(name, defaults)}')
        if defaults[name] is not dataclasses.MISSING:
            _coerce(f"{what} key {name}", value, defaults[name])
    return kind(**values)


def _parse(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _coerce(key: str, value: Any, like: Any) -> Any:
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    if isinstance(like, tuple) and isinstance(value, (list, tuple)):
        return tuple(value)
    if "auto" in (like, value) and {type(like), type(value)} == {int, str}:
        return value
    if isinstance(like, tuple) and like and type(value) is type(like[0]):
        return (value,)
    if type(like) is float and type(value) is int:
        return float(value)
    if like is not None and type(value) is not type(like):
        raise ValueError(
            f"{key} is {value!r} ({type(value).__name__}), but must be of type "
            f"{type(like).__name__}, as {like!r}"
        )
    return value


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value


def _is_seed(value: Any) -> typing.TypeGuard[int]:
    return type(value) is int and value >= 0
