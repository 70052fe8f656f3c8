"""Recipes: python files that return options; how they are written, found and changed.

A recipe file has a table DATASETS, where its paper has ablations a table ROWS, and

    def get_config(argument=""):
        return recipe.make("mult", recipe.values(argument, DATASETS, base=recipe.MMSA))

so that `configs/mult.py:mosi`, or `mult:mosi` in any folder, names its recipe on CMU-MOSI.
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from msajax.data import typed
from msajax.data.file_sizes import FILES
from msajax.data.spec import MODALITIES, suggest
from msajax.run import model_options, row_changes
from msajax.run.options import Options
from msajax.run.row_changes import Changes

# What thuiar/MMSA's recipes share. It stops by patience alone, without a limit of epochs.
MMSA: Changes = dict(data=dict(variant="unaligned"), train=dict(epochs=100, patience=8))


# Rows of systems that read text features, for `rows`: those of a frozen encoder of English.
# MMSA's files have pieces of BERT alone, so XLNet reads the raw text.
_ENGLISH = ("mosi", "mosei", "demo")
FEATURES: Mapping[str, Changes] = {
    "bert_features": dict(
        text=dict(encoder="bert-base-uncased", frozen=True), datasets=_ENGLISH
    ),
    "xlnet_features": dict(
        text=dict(encoder="xlnet-base-cased", frozen=True, raw=True), datasets=_ENGLISH
    ),
}


class _Whole(dict):
    """A recipe of a data set that the recipes' base is no part of."""


def demo(**changes: Any) -> dict[str, Any]:
    """A recipe of the embedded demo corpus, of sizes that train in a minute or two on two cores."""
    data = dict(dataset="demo")
    train = dict(seeds=(1, 2, 3), epochs=30, batch_size=32)
    return _Whole(merge(dict(data=data, train=train), changes))


def dialogue_demo(**changes: Any) -> dict[str, Any]:
    """A recipe of the embedded demo dialogues."""
    data = dict(dataset="dialogue_demo")
    train = dict(seeds=(1, 2, 3), epochs=40, batch_size=32, select="weighted_f1")
    return _Whole(merge(dict(data=data, train=train), changes))


def poria(**changes: Any) -> dict[str, Any]:
    """A recipe of CMU-MOSI utterance vectors on the split of Poria et al.

    Each modality is a sequence of length one. No publication gives sizes for these data.
    Those of EF-LSTM, LF-DNN, LMF, MulT and TFN were chosen on the validation split, as
    IML-CMM's learning rate; the others' are the demo corpus', a little wider.
    """
    data = dict(dataset="mosi", variant="poria")
    train = dict(epochs=60, patience=10, batch_size=32)
    optimizer = dict(learning_rate=1e-3, weight_decay=1e-3)
    return _Whole(merge(dict(data=data, train=train, optimizer=optimizer), changes))


def values(
    argument: str,
    datasets: Mapping[str, Changes],
    *,
    base: Changes = MMSA,
    rows: Mapping[str, Changes]
    | Callable[[Changes], Mapping[str, Changes]]
    | None = None,
    numbered: Callable[[str], Changes | None] = lambda name: None,
    also: str = "",
) -> dict[str, Any]:
    """The values of a recipe: those of a data set over the base, with a row's changes.

    Args:
      argument: DATASET, or DATASET/ROW; rows joined by '+' are applied one after another.
      datasets: {name: {section: values}}. A name that is no data set gives data.dataset.
      base: what the data sets share, but for those of `demo` and `poria`.
      rows: {name: changes}, or a function of the values that returns them. A key of a
        row's changes is a field of the system, 'modalities' (of the data; those that the
        recipe lacks stay away), a key of `Options`, SECTION.KEY, as 'data.split', or
        'datasets': the recipes that the row is for, else all.
      numbered: the changes of a row whose name has numbers; None where it is no such name.
      also: what the error on an unknown row says of those, and of what is no row.

    Returns:
      {section: values}, for `make`.

    Raises:
      ValueError: an unknown data set or row, or a row of which the others leave nothing.
    """
    name, _, row = argument.partition("/")
    if name not in datasets:
        problem = f'unknown data set "{name}"' if name else "name a data set"
        raise ValueError(f"{problem}{suggest(name, datasets)}")
    chosen = datasets[name]
    found = merge({}, chosen if isinstance(chosen, _Whole) else merge(base, chosen))
    found.setdefault("data", {}).setdefault("dataset", name)
    every = rows(found) if callable(rows) else rows or {}
    if row and not every:
        raise ValueError(f'this system has no rows; leave out "/{row}"')
    if row:
        known = row_changes.fitting(every, name, MODALITIES)
        for part in every.keys() & {*row.split("+")} - known.keys():
            raise ValueError(
                f'the row "{part}" is for {", ".join(every[part]["datasets"])}, not for '
                f"{name}; leave it out"
            )
        row_changes.apply(found, row_changes.join(row, known, numbered, also))
    return found


def make(system: str, values: Changes) -> Options:
    """The options of a recipe.

    Args:
      system: a name in `msajax.models.names()`.
      values: {section: values}, as `values` returns it. Widths and lengths of the data
        are those of the published file, where they are not given.

    Raises:
      ValueError: as `Options`.
    """
    data = dict(values.get("data", {}))
    file = FILES.get(f"{data.get('dataset')}/{data.get('variant', '')}")
    if file:
        data = dict(dims=file.dims, lengths=file.lengths) | data
    return typed.make(Options, {"system": system, **values, "data": data}, "config")


def merge(a: Changes, b: Changes) -> dict[str, Any]:
    """A dict with b's values over a's; dicts in both are merged alike, nothing is shared."""
    found: dict[str, Any] = {
        k: merge(v, {}) if isinstance(v, Mapping) else v for k, v in a.items()
    }
    for key, value in b.items():
        if isinstance(value, Mapping):
            own = found.get(key)
            found[key] = merge(own if isinstance(own, Mapping) else {}, value)
        else:
            found[key] = value
    return found


def fine_tune(
    *,
    learning_rate: float,
    head: float,
    weight_decay: float = 0.01,
    frozen_layers: int | None = 0,
    **others: Any,
) -> dict[str, Any]:
    """AdamW with a rate of its own for encoders, warmed up over a tenth of the updates.

    Biases and norms do not decay.

    Args:
      learning_rate: of the encoder, and of that of the voice.
      head: learning rate of all else.
      weight_decay: of both.
      frozen_layers: first layers that stay as they are, with the embeddings and a table
        of distances that all layers read; 0 trains all, None nothing of the encoder.
        Their dropout stays on in training, as in PyTorch's `model.train()`.
      others: of `train.optim.Optimizer`, as lora_rank or layer_decay.

    Returns:
      The values of the section 'optimizer'.
    """
    frozen: tuple[tuple[str, None], ...] = ()
    if frozen_layers is None:
        frozen = ((r"encoder/.*", None),)
    elif frozen_layers:
        layers = "|".join(map(str, range(frozen_layers)))
        shared = "relative_attention_bias|rel_embeddings|LayerNorm|conv"
        first = rf"embeddings(_project)?|word_embedding|encoder/({shared})"
        first = rf"({first}|(encoder/)?layer/({layers}))"
        frozen = ((rf"encoder/{first}/.*", None),)
    small = (r".*(bias|[nN]orm(_\d+)?/scale)", dict(weight_decay=0.0))
    groups = (*frozen, small, (r".*", {}))
    return dict(
        name="adamw",
        learning_rate=head,
        encoder_rate=learning_rate,
        weight_decay=weight_decay,
        schedule="warmup_linear",
        warmup=0.1,
        groups=groups,
        **others,
    )


def subnet_decays(
    *, text: float, audio: float, vision: float, other: float
) -> dict[str, Any]:
    """Weight decays of MMSA's multi-task systems: of each subnetwork, and of all else.

    Returns:
      Values of the section 'optimizer'.
    """
    own = dict(text=text, audio=audio, vision=vision)
    groups = ((rf"subnets/{m}/.*", dict(weight_decay=x)) for m, x in own.items())
    return dict(weight_decay=other, groups=(*groups, (r".*", {})))


def home() -> pathlib.Path:
    """The folder of the recipes: configs/ of a checkout, msajax/recipes of an installation."""
    package = pathlib.Path(__file__).resolve().parent.parent
    checkout = package.parent / "configs"
    installed = package / "recipes"
    return installed if installed.is_dir() else checkout


def names() -> list[str]:
    """Every recipe as `load` takes it: 'mfon:mosi', 'mfon:mosi/no_prompts'.

    Rows that are not for a data set are left out, as 'vision' of 'mosi_audio'.
    """
    found = []
    for path in sorted(home().glob("[a-z]*.py")):
        module = _import(path)
        rows = getattr(module, "ROWS", {})
        for name, values in getattr(module, "DATASETS", {}).items():
            has = values.get("data", {}).get("modalities", MODALITIES)
            fit = (f"/{row}" for row in row_changes.fitting(rows, name, has))
            found += [f"{path.stem}:{name}{row}" for row in ("", *fit)]
    return found


def load(name: str, overrides: Iterable[tuple[str, str]] = ()) -> Options:
    """The options of a recipe, with the command line's values.

    Args:
      name: 'mult:mosi', or a file and its argument, 'configs/mult.py:mosi'.
      overrides: ('train.batch_size', '16') pairs.

    Raises:
      ValueError: no such recipe, or a wrong key, type or name; says the nearest.
    """
    file, _, argument = name.partition(":")
    source = pathlib.Path(file) if file.endswith(".py") else home() / f"{file}.py"
    if not source.is_file():
        known = (p.name for p in source.parent.glob("[a-z]*.py"))
        if not file.endswith(".py"):
            known = (pathlib.Path(p).stem for p in known)
        kind = "recipe file" if file.endswith(".py") else "recipe"
        advice = suggest(pathlib.Path(file).name, known)
        if (home() / source.name).is_file():  # of ours, but not in this folder
            ours = ":".join(part for part in (source.stem, argument) if part)
            advice = f"; give its path, or `{ours}`, which works in any folder"
        raise ValueError(f'there is no {kind} "{file}"{advice}')
    try:
        made = _import(source).get_config(*([argument] if argument else []))
    except ValueError as error:  # what it says of its argument or its values
        raise ValueError(f"the recipe {name}: {error}") from error
    except Exception as error:  # whatever the code of a recipe raises
        reason = str(error.args[0] if error.args else "no reason").partition("\n")[0]
        raise ValueError(
            f"the recipe {name} fails with {type(error).__name__}: {reason}; --traceback "
            "shows where"
        ) from error
    if not isinstance(made, Options):
        raise ValueError(
            f"the recipe {name} returns {type(made).__name__}; let get_config return "
            "what msajax.run.recipe.make returns"
        )
    return override(made, overrides)


def _import(source: pathlib.Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipe", source)
    module = importlib.util.module_from_spec(spec)  # pyright: ignore
    spec.loader.exec_module(module)  # pyright: ignore
    return module


def override(options: Options, pairs: Iterable[tuple[str, str]]) -> Options:
    """Options with values of the command line: ('train.seeds', '1,2,3') pairs.

    Raises:
      ValueError: an unknown key, or a value of another type.
    """
    texts = dict(pairs)
    system = texts.get("system", options.system)
    values = {
        k: typed.parse(f"config.{k}", text, type_of(system, k))
        for k, text in texts.items()
    }
    return change(options, values)


def change(options: Options, values: Changes) -> Options:
    """Options with other values by their keys: {'train.epochs': 3, 'model.dim': 60}.

    Raises:
      ValueError: an unknown key, or a value of another type.
    """
    changed: dict[str, Any] = {}
    for key, value in values.items():
        type_of(values.get("system", options.system), key)
        section, _, name = key.rpartition(".")
        if section:
            changed.setdefault(section, {})[name] = value
        else:
            changed[key] = value
    made = vars(options).copy()
    for key in ("plan", "lora"):  # which are computed of the others
        made.pop(key, None)
    for key, value in changed.items():
        if key == "model":
            made[key] = {**options.model, **value}
        elif dataclasses.is_dataclass(made.get(key)):
            made[key] = {**vars(made[key]), **value}
        else:
            made[key] = value
    return typed.make(Options, made, "config")


def type_of(system: str, key: str) -> Any:
    """The type annotation of a key of a system's options, 'train.batch_size'.

    Raises:
      ValueError: there is no such key, or it is a section.
    """
    where = "config"
    names: Mapping[str, Any] = typed.hints_of(Options)
    hint: Any = None
    for name in key.split("."):
        if name not in names:
            raise ValueError(typed.unknown(name, where, names))
        hint, where = names[name], f"{where}.{name}"
        if where == "config.model":
            names = {k: h for k, (h, _) in model_options.fields(system).items()}
        else:
            names = typed.hints_of(hint) if dataclasses.is_dataclass(hint) else {}
    if where == "config.model" or dataclasses.is_dataclass(hint):
        raise ValueError(f"config.{key} is a group{suggest('', names)}")
    return hint
