"""Recipes: load a config file, apply the command line, refuse unknown keys, save what resulted."""

import dataclasses
import functools
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import sys
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from msajax import config_text, config_values, models
from msajax.book import Phase
from msajax.config_schema import SavedConfig
from msajax.data import json_file
from msajax.data.spec import DATASETS, MODALITIES, Spec, suggest
from msajax.data.splits import check_shares
from msajax.optim import Optimizer, check_regex

# A ConfigDict; its attributes are the recipe's, which no type checker can know.
Config = Any

# Keys that do not change what a run computes: another value may go on with it.
_FREE = (
    *("data.path", "data.on_device", "train.seeds", "train.seeds_at_once"),
    *("parallel.devices", "parallel.coordinator", "parallel.num_processes"),
    *("parallel.process_id", "checkpoint.seconds"),
)

# Keys that name a folder, which may be spelled in several ways.
_PATHS = ("init_from", "text.encoder")

# config.data.unlabelled: the rows without labels of the data file itself.
OWN_ROWS = "train_mix"

# No system has as many; more would take minutes to build.
_LAYERS, _SIZE = 1000, 2**16

# Defaults of systems that were others before `epochs_scale` was a key.
_BEFORE = {
    "alr": {"start": -5.0, "scales": False},
    "iml_cmm": {"ffn": "gelu", "mix_terms": "all"},
}

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
        reason = str(error.args[0] if error.args else "no reason").partition("\n")[0]
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
        node[last] = config_values.coerce(
            f"config.{key}", config_values.parse(text), old
        )


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
    if str(config.model.get("criterion", "l1")) not in models.CRITERIA:
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
        value = config_values.coerce(key, config.model[name], default)
        kinds = typing.get_args(hints[name])
        fixed = isinstance(default, tuple) and ... not in kinds
        if fixed and len(value) != len(default):
            raise ValueError(f"{key} is {value}; give {len(default)} values: {default}")
        if isinstance(default, tuple):
            like = (default or (kinds[0](),))[0]
            value = tuple(config_values.coerce(key, item, like) for item in value)
        if "dropout" in name and not all(0 <= v < 1 for v in np.ravel(value)):
            raise ValueError(f"{key} is {value}; a dropout rate is at least 0, below 1")
        if "layers" in name and not all(0 <= v <= _LAYERS for v in np.ravel(value)):
            raise ValueError(f"{key} is {value}; give 0 to {_LAYERS} layers")
        _check_sizes(key, value)
        config.model[name] = value
    _check_counts(config)
    config_text.check(config)
    for key in ("dims", "lengths"):
        if len(config.data[key]) not in (0, 3):
            raise ValueError(
                f"config.data.{key} is {config.data[key]}; give three numbers (text, "
                "audio, vision), or () to take the file's"
            )
    if not config.data.modalities or set(config.data.modalities) - {*MODALITIES}:
        raise ValueError(
            f"config.data.modalities is {config.data.modalities}; give some of "
            f"{', '.join(MODALITIES)}"
        )
    check_shares(config.data.split, config.data.fraction)
    seeds = config.train.seeds
    if (
        not seeds
        or len(set(seeds)) != len(seeds)
        or not all(_is_seed(s) for s in seeds)
    ):
        raise ValueError(
            f"config.train.seeds is {tuple(seeds)}; give at least one seed, each a "
            f"different whole number from 0 to {2**32 - 1}, for example "
            "--config.train.seeds=1,2,3"
        )
    check_regex("config.init_parameters", config.init_parameters)
    if config.init_parameters != ".*" and not config.init_from:
        raise ValueError(
            f"this recipe starts from another run's {config.init_parameters}; name its "
            "workdir: --config.init_from=DIR"
        )
    phases(config)


def _check_sizes(key: str, value: Any) -> None:
    """Refuses numbers of a system that would be built for minutes, or not at all."""
    sizes = [v for v in np.ravel(np.asarray(value, object)) if type(v) is int]
    least = 1 if re.search(r"dim|heads|hidden", key.rpartition(".")[2]) else 0
    if not all(least <= v <= _SIZE for v in sizes):
        raise ValueError(f"{key} is {value}; give {least} to {_SIZE}")


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
        values["optimizer"] = config_values.make(Optimizer, own, "optimizer")
        phase = config_values.make(Phase, values, "phase")
        found.append(phase.scaled(config.epochs_scale))
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


def from_json(text: str | bytes, *, name: str = "config.json") -> Config:
    """The config of a saved JSON text, locked.

    Raises:
      ValueError: a missing or unknown key, or a wrong value; name stands for the text.
    """
    advice = "the file was changed, or is of another version of msajax"
    found = json_file.parse(text, SavedConfig, name=name, advice=advice)
    values = config_values.tuples(dataclasses.asdict(found))
    if found.epochs_scale is None:  # of before that key, and of other defaults
        values["epochs_scale"] = 1.0
        values["model"] = _BEFORE.get(found.system, {}) | values["model"]
    config = ConfigDict(values)
    try:
        check(config)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
    config.lock()
    config.model.unlock()
    return config


def differences(new: Config, old: Config) -> list[str]:
    """'key: old -> new' for every value that makes two configs different runs.

    Which files they train on does not: of these the content counts, see `workdir.claim`.
    """
    flat_new, flat_old = (_without_files(_identity(config)) for config in (new, old))
    keys = sorted(flat_new.keys() | flat_old.keys())
    changed = [k for k in keys if flat_new.get(k) != flat_old.get(k)]
    for key in _PATHS:
        if key in changed and _same_file(flat_new[key], flat_old[key]):
            changed.remove(key)
    return [f"{k}: {flat_old.get(k)!r} -> {flat_new.get(k)!r}" for k in changed]


def _without_files(flat: dict[str, Any]) -> dict[str, Any]:
    own = flat["data.unlabelled"] in ("", OWN_ROWS)
    phases = [
        {**p, "data": "a file"} if p.get("data", "train") != "train" else p
        for p in flat["phases"]
    ]
    return flat | {"phases": phases} | ({} if own else {"data.unlabelled": "a file"})


def _same_file(new: str, old: str) -> bool:
    return os.path.exists(new) and os.path.exists(old) and os.path.samefile(new, old)


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

    visit("", config_values.tuples(json.loads(to_json(config))))
    return {k: v for k, v in flat.items() if k not in _FREE}


def _fields(system: str) -> dict[str, Any]:
    """Hyperparameters of a system and their defaults."""
    skipped = ("spec", "encoder", "parent", "name")  # not the recipe's
    fields = dataclasses.fields(models.get(system))
    return {f.name: f.default for f in fields if f.name not in skipped}


def _hints(system: str) -> dict[str, Any]:
    """Types of a system's fields."""
    return typing.get_type_hints(models.get(system))


def _is_seed(value: Any) -> typing.TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**32  # what a key of jax holds
