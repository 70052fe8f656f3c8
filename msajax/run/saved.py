"""Options as the JSON text of a workdir, and what makes two of them the same run."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from msajax.data import json_file, typed, unlabelled
from msajax.data.errors import DataError
from msajax.run.options import Options

# Options that do not change what a run computes: a run may be resumed with other values.
FREE = (
    *("data.path", "data.on_device", "train.seeds", "train.seeds_at_once"),
    *("parallel.devices", "parallel.coordinator", "parallel.num_processes"),
    *("parallel.process_id", "checkpoint.seconds"),
)

# Options that name a folder, which may be spelled in several ways.
_PATHS = ("init_from", "text.encoder", "audio.encoder")

# Options that texts of older versions lack; their defaults are what those did. The hash
# of a run leaves them out at their defaults, and so stays what it was.
_LATER = (
    *(
        "text.context",
        "text.context_behind",
        "text.context_mark",
        "text.context_speaker",
    ),
    *("text.prefix", "text.reinit_layers", "data.also"),
    *("optimizer.layer_decay", "optimizer.lora_rank", "optimizer.lora_rate"),
    *("optimizer.lora_alpha", "optimizer.lora_targets", "train.ema", "audio.encoder"),
    *("optimizer.encoder_rate", "audio.frozen", "audio.frames"),
)
# Others, which are part of every hash since they are there.
_HASHED = (
    *("data.weak", "data.encoding", "data.unlabelled", "data.split", "data.fraction"),
    *("text.vocabulary", "epochs_scale", "init_from", "init_parameters"),
)

# Defaults of systems that were others before `epochs_scale` was an option.
_BEFORE = {
    "alr": {"start": -5.0, "scales": False},
    "iml_cmm": {"ffn": "gelu", "mix_terms": "all"},
}


def to_dict(options: Options) -> dict[str, Any]:
    """The options as plain values, {section: {key: value}}."""
    return typed.plain(options)


def to_json(options: Options) -> str:
    """The options as JSON text; `from_json` is the inverse."""
    return json.dumps(to_dict(options), indent=2) + "\n"


def from_json(text: str | bytes, *, name: str = "config.json") -> Options:
    """The options of a saved JSON text.

    Raises:
      ValueError: a missing or unknown key, or a wrong value; name stands for the text.
    """
    advice = "the file was changed, or is of another version of msajax"
    values = json_file.parse(text, dict[str, Any], name=name, advice=advice)
    system = values.get("system")
    if "epochs_scale" not in values and isinstance(values.get("model"), dict):
        values["model"] = _BEFORE.get(str(system), {}) | values["model"]
    try:
        _check_keys(values)
        return typed.make(Options, values, "config")
    except ValueError as error:
        raise DataError(f"{name}: {error}; {advice}") from error


def _check_keys(values: Mapping[str, Any]) -> None:
    """Refuses a text that lacks an option that every version wrote."""
    known, later = to_dict(Options(system="lf_dnn")), {*_LATER, *_HASHED}
    for key, value in known.items():
        needed = value if isinstance(value, Mapping) and key != "model" else {}
        found = values.get(key, {})
        new = bool(needed) and {f"{key}.{name}" for name in needed} <= later
        paths = {key: key in values or new}  # a section of such options alone
        if isinstance(found, Mapping):
            paths |= {f"{key}.{name}": name in found for name in needed}
        for path, present in paths.items():
            if not present and path not in later:
                raise ValueError(f'"{path}" is missing')


def differences(new: Options, old: Options) -> list[str]:
    """'key: old -> new' for every value that makes two options different runs.

    Which files they train on does not: of these the content counts, see `workdir.claim`.
    """
    flat_new, flat_old = (_without_files(_identity(made)) for made in (new, old))
    keys = sorted(flat_new.keys() | flat_old.keys())
    if flat_new["system"] != flat_old["system"]:  # whose hyperparameters differ anyway
        keys = ["system", *(k for k in keys if not k.startswith(("model.", "system")))]
    changed = [k for k in keys if flat_new.get(k) != flat_old.get(k)]
    for key in _PATHS:
        if key in changed and _same_file(flat_new[key], flat_old[key]):
            changed.remove(key)
    return [f"{k}: {flat_old.get(k)!r} -> {flat_new.get(k)!r}" for k in changed]


def _without_files(flat: dict[str, Any]) -> dict[str, Any]:
    own = flat["data.unlabelled"] in ("", unlabelled.OWN_ROWS)
    phases = [
        {**p, "data": "a file"} if p.get("data", "train") != "train" else p
        for p in flat["phases"]
    ]
    also = tuple(entry.partition("=")[0] for entry in flat["data.also"])
    changed = {"phases": phases, "data.also": also}
    return flat | changed | ({} if own else {"data.unlabelled": "a file"})


def _same_file(new: str, old: str) -> bool:
    return os.path.exists(new) and os.path.exists(old) and os.path.samefile(new, old)


def sha256(options: Options) -> str:
    """Hash of everything in the options that changes what a run computes."""
    usual, found = _identity(Options(system="lf_dnn")), _identity(options)
    same = {k for k in _LATER if found[k] == usual[k]}
    text = json.dumps({k: v for k, v in found.items() if k not in same}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _identity(options: Options) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def visit(prefix: str, node: Mapping) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping):
                visit(f"{prefix}{key}.", value)
            else:
                flat[f"{prefix}{key}"] = value

    visit("", typed.as_tuples(to_dict(options)))
    return {k: v for k, v in flat.items() if k not in FREE}
