"""A checkpoint's config and weights to an encoder's, and the account of what did not fit."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from flax import traverse_util

from msajax.data import json_file
from msajax.encoders import files, tokenizer_files
from msajax.encoders.files import Weights
from msajax.encoders.kinds import Encoder, Voice, readers
from msajax.encoders.locate import CONFIG
from msajax.weights.table import Table

_Config = TypeVar("_Config", Encoder, Voice)

# By model_type. ALBERT or the first DeBERTa differ in more than names.
_ARCHITECTURES = readers(Encoder)

# Names of a report that are listed.
_SHOWN = 20

# Parameters that a checkpoint may lack: many were saved with a head of pretraining.
_OPTIONAL = "pooler/"

# What a parameter's shape hangs on, by its path and the axis that differs (None: any).
_CAUSES = (
    (r"word_embeddings?/", 0, "another vocabulary (vocab_size)"),
    (r"position_embeddings/", 0, "another longest length (max_position_embeddings)"),
    (r"token_type_embeddings/", 0, "another number of segments (type_vocab_size)"),
    (
        r"/(intermediate(_dense)?|layer_1|wi(_\d)?)/",
        -1,
        "another width of the feed-forward blocks",
    ),
    (
        r"(rel_embeddings|rel_attn_embed|relative_attention_bias)/",
        0,
        "another number of distances (position_buckets, num_buckets, "
        "relative_attention_num_buckets)",
    ),
    (r"/conv_layers/", None, "other convolutions (conv_dim, conv_kernel)"),
    (
        r"pos_conv_embed/",
        None,
        "other convolutions of positions (num_conv_pos_embeddings, "
        "num_conv_pos_embedding_groups, conv_pos_kernel_size)",
    ),
    (r"", -1, "another width (hidden_size, d_model), so another model"),
)


ADVICE = "copy it again from where the weights come from"


@dataclasses.dataclass(frozen=True)
class _Names:
    """The names in a config.json of networks and tokenizers."""

    model_type: str | None = None
    architectures: tuple[str, ...] | None = None
    tokenizer_class: str | None = None


class Named(Protocol):
    """An encoder that says its parameters' names in PyTorch's files."""

    def names(self) -> Table:
        """Its parameters by their names."""
        ...


@dataclasses.dataclass(frozen=True)
class Report:
    """What a loading found.

    Attributes:
      source: the file.
      loaded: number of the encoder's parameters that were read.
      missing: those that are not in the file; they keep their initial values.
      unused: names in the file that have no place in the encoder.
    """

    source: str
    loaded: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.loaded} parameters"]
        if self.missing:
            lines.append(f"  not in the file, initial: {_listed(self.missing)}")
        if self.unused:
            lines.append(f"  in the file, not used: {_listed(self.unused)}")
        return "\n".join(lines)


def read_config(folder: pathlib.Path) -> Encoder:
    """The config of the encoder in a folder.

    Raises:
      ValueError: config.json is missing, damaged, or of a network that we do not
        have.
    """
    return read(folder, _ARCHITECTURES)


def read(folder: pathlib.Path, known: Mapping[str, Callable[..., _Config]]) -> _Config:
    """The config in a folder, as one of the known types of networks reads it.

    Raises:
      ValueError: as `read_config`.
    """
    facts, _, kind = _read_facts(folder, known)
    try:
        found = known[kind]({**facts, "model_type": kind})
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from error
    _check_size(folder, found)
    return found


def kind_of(folder: pathlib.Path, known: Mapping[str, Any]) -> str:
    """The type of the network in a folder, which is a known one.

    Raises:
      ValueError: as `read_config`.
    """
    return _read_facts(folder, known)[2]


def tokenizer_facts(folder: pathlib.Path) -> dict[str, str]:
    """What the config.json of a folder says of the tokenizer: the type of the network, and a class.

    Raises:
      ValueError: as `read_config`, or the class is none of a tokenizer.
    """
    _, named, kind = _read_facts(folder, _ARCHITECTURES)
    if named.tokenizer_class is None:
        return {"model_type": kind}
    tokenizer_files.check_class(named.tokenizer_class, folder / CONFIG)
    return {"model_type": kind, "tokenizer_class": named.tokenizer_class}


def _read_facts(
    folder: pathlib.Path, known: Mapping[str, Any]
) -> tuple[dict[str, Any], _Names, str]:
    """All of config.json, its names, and the type of the network, which is a known one."""
    file = folder / CONFIG
    if not file.is_file():
        raise ValueError(
            f"{folder} has no {CONFIG}; copy it from where the weights come from: it "
            "says what network they belong to"
        )
    facts = json_file.read(file, dict[str, Any], advice=ADVICE, nan=True)
    named = json_file.read(file, _Names, advice=ADVICE, extra="ignore", nan=True)
    kind = named.model_type or _by_class(facts, named)
    if kind not in known:
        raise ValueError(
            f'{file} describes a network of type "{_plain(kind)}"; supported are '
            f"{', '.join(known)}. Choose a checkpoint of one of these"
        )
    if facts.get("auto_map"):
        raise ValueError(
            f"{file} describes a network with code of its own (auto_map), which is never "
            f"run; choose another encoder, or where the network is a plain {kind} all the "
            "same, delete the key"
        )
    return facts, named, kind


def _check_size(folder: pathlib.Path, config: Encoder | Voice) -> None:
    """Refuses a config of more parameters than the weights beside it can hold.

    Building such a network would take minutes and more memory than there is.
    """
    size = files.size(folder)
    if size and config.least_parameters > size:
        raise ValueError(
            f"{folder / CONFIG} describes a network of {config.least_parameters} "
            f"parameters or more, but the weights beside it have {size} bytes: they are "
            f"truncated, or of another network; copy both again from one place"
        )


def _by_class(facts: dict[str, Any], named: _Names) -> str:
    """The type by the class that was saved, for files from before model_type.

    The first ones, bert_config.json, say neither.
    """
    if "architectures" not in facts and {"hidden_size", "type_vocab_size"} <= set(
        facts
    ):
        return "bert"
    name = (named.architectures or ("unknown",))[0]
    return re.sub(r"(Model|For\w+|LMHeadModel)$", "", name).lower()


def load(folder: pathlib.Path, encoder: Named, params: Any) -> tuple[Any, Report]:
    """An encoder's parameters with a checkpoint's values.

    Args:
      folder: has the weights.
      encoder: of the checkpoint's config.
      params: its initial parameters.

    Returns:
      (a tree like params of numpy arrays, the report).

    Raises:
      ValueError: the weights are damaged, or of another network: the shapes
        differ, or parameters other than the pooler's are missing.
    """
    found = files.read(folder)
    table = encoder.names()
    rules = {rule.leaf.removeprefix("params/"): rule for rule in table.rules}
    names = {
        leaf: table.flax.get(rule.leaf, leaf) if found.flax else rule.names[0]
        for leaf, rule in rules.items()
    }
    sources = _encoder_names(found, anchor=next(iter(names.values())))
    leaves: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    values = {}
    for leaf, name in names.items():
        if name in sources:
            array = found.arrays[sources[name]]
            values[leaf] = array if found.flax else rules[leaf].read(array)
    _check_shapes(found.file, values, leaves)
    missing = tuple(leaf for leaf in leaves if leaf not in values)
    _check_missing(found.file, missing)
    used = {sources.get(name) for name in names.values()}
    unused = tuple(
        name
        for name in found.arrays
        if name not in used and not any(re.fullmatch(r, name) for r in table.ignored)
    )
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        loaded = {
            leaf: np.asarray(values[leaf], dtype=initial.dtype)
            if leaf in values
            else initial
            for leaf, initial in leaves.items()
        }
    _check_finite(found.file, {leaf: loaded[leaf] for leaf in values})
    report = Report(str(found.file), len(values), missing, unused)
    return traverse_util.unflatten_dict(loaded, sep="/"), report


def _encoder_names(found: Weights, anchor: str) -> dict[str, str]:
    """Names within the encoder to those in the file, which may put it under a prefix."""
    prefixes = [
        prefix
        for name in found.arrays
        if name.endswith(anchor)
        and ((prefix := name.removesuffix(anchor)) == "" or prefix[-1] in "./")
    ]
    if not prefixes:
        some = ", ".join(_plain(name) for name in list(found.arrays)[:3])
        raise ValueError(
            f"{found.file} has no {anchor}: these are not the weights of such an "
            f"encoder. It has {len(found.arrays)} arrays: {some}, ..."
        )
    prefix = min(prefixes, key=len)
    # DeBERTa's heads have the pooler beside the encoder, not in it.
    beside = {name: name for name in found.arrays if re.match(r"pooler[./]", name)}
    return beside | {
        _modern(name.removeprefix(prefix)): name
        for name in found.arrays
        if name.startswith(prefix)
    }


def _modern(name: str) -> str:
    """The names of LayerNorm's parameters before 2019, and of weight norm's before 2023, to those since."""
    for i, letter in enumerate("gv"):
        name = name.replace(
            f".weight_{letter}", f".parametrizations.weight.original{i}"
        )
    return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name))


def _check_shapes(
    file: pathlib.Path, values: dict[str, np.ndarray], leaves: dict[str, Any]
) -> None:
    wrong = [leaf for leaf in values if values[leaf].shape != leaves[leaf].shape]
    if not wrong:
        return
    leaf = wrong[0]
    got, expected = values[leaf].shape, tuple(leaves[leaf].shape)
    raise ValueError(
        f"{file} does not fit the encoder: {leaf} is {got} in the file, but "
        f"{expected} in the encoder: {_cause(leaf, got, expected)}. "
        f"{len(wrong)} of {len(values)} shapes differ. Build the encoder from the "
        f"{CONFIG} that belongs to these weights"
    )


def _cause(leaf: str, got: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if len(got) == len(expected):
        for pattern, axis, cause in _CAUSES:
            if not re.search(pattern, leaf):
                continue
            wrong = [i for i, size in enumerate(got) if size != expected[i]]
            last = pattern == "" and got[-1] != expected[-1]
            if axis is None or last or (pattern and wrong == [axis % len(got)]):
                return cause
    return "another architecture"


def _check_finite(file: pathlib.Path, loaded: dict[str, np.ndarray]) -> None:
    wrong = [leaf for leaf, array in loaded.items() if not np.isfinite(array).all()]
    if wrong:
        raise ValueError(
            f"{file} has values that are no numbers (NaN or infinite) in "
            f"{len(wrong)} arrays, such as {wrong[0]}: it is damaged, or its training "
            "failed; copy it again, or choose another encoder"
        )


def _listed(names: Sequence[str]) -> str:
    """The first names of a list that a file may have made of any length."""
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*(_plain(name) for name in names[:_SHOWN]), *more])


def _plain(name: str) -> str:
    """A file's name for something, harmless to a terminal."""
    return ascii(name[:120])[1:-1]


def _check_missing(file: pathlib.Path, missing: tuple[str, ...]) -> None:
    needed = [leaf for leaf in missing if not leaf.startswith(_OPTIONAL)]
    if needed == ["lm_head/kernel"]:
        raise ValueError(
            f"{file} lacks lm_head/kernel, the head of a network that writes by one of "
            "its own: a newer transformers saved it as if the table of words were the "
            "head. Take the weights as they were published"
        )
    if needed:
        more = f" and {len(needed) - 3} more" if len(needed) > 3 else ""
        raise ValueError(
            f"{file} lacks {', '.join(needed[:3])}{more}, which the encoder has: the "
            f"file is incomplete, or {CONFIG} belongs to a deeper network"
        )
