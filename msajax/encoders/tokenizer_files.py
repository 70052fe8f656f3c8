"""The files of a tokenizer, checked before any code of a tokenizer reads them."""

import dataclasses
import importlib.util
import json
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge, Lt

from msajax.data import json_file
from msajax.data.errors import DataError
from msajax.data.formats import kinds

# Of a model of sentencepiece, which takes its package to read.
_SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "spm.model")
# Without one of these, transformers makes a tokenizer that knows no word.
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", *_SENTENCEPIECE)
_SETTINGS = "tokenizer_config.json"
# Whose class in transformers takes only the vocabulary from tokenizer.json, and drops
# its normalizer: these have the class that runs the file as it is.
_WHOLE = {"deberta-v2": {"tokenizer_class": "PreTrainedTokenizerFast"}}
# The files that may make up a tokenizer.
FILES = (
    *(*_VOCABULARIES, "merges.txt", "added_tokens.json"),
    *(_SETTINGS, "special_tokens_map.json"),
)

_ADVICE = "copy it again from where the weights come from"

Id = Annotated[int, Ge(0), Lt(2**31)]


@dataclasses.dataclass(frozen=True)
class _Token:
    content: str


@dataclasses.dataclass(frozen=True)
class _Added(_Token):
    id: Id


@dataclasses.dataclass(frozen=True)
class _Model:
    vocab: dict[str, Id] | list[tuple[str, float]]


@dataclasses.dataclass(frozen=True)
class _Whole:
    """tokenizer.json, as far as it holds ids."""

    model: _Model
    added_tokens: tuple[_Added, ...] = ()


_Special = str | _Token | None
_Specials = tuple[_Special, ...] | dict[str, _Special] | None
_Flag = bool | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Settings:
    """The keys of tokenizer_config.json that change the pieces; no others are passed on."""

    tokenizer_class: str | None = None
    add_bos_token: _Flag = None
    add_eos_token: _Flag = None
    add_prefix_space: _Flag = None
    do_basic_tokenize: _Flag = None
    do_lower_case: _Flag = None
    keep_accents: _Flag = None
    remove_space: _Flag = None
    split_by_punct: _Flag = None
    split_special_tokens: _Flag = None
    strip_accents: _Flag = None
    tokenize_chinese_chars: _Flag = None
    trim_offsets: _Flag = None
    truncation_side: str | None = None
    unk_id: Id | None = None
    bos_token: _Special = None
    cls_token: _Special = None
    eos_token: _Special = None
    mask_token: _Special = None
    pad_token: _Special = None
    sep_token: _Special = None
    unk_token: _Special = None
    additional_special_tokens: _Specials = None
    extra_special_tokens: _Specials = None
    added_tokens_decoder: dict[Id, _Token] | None = None


_KINDS: dict[str, Any] = {
    "tokenizer.json": _Whole,
    "vocab.json": dict[str, Id],
    "added_tokens.json": dict[str, Id],
    "special_tokens_map.json": dict[str, str | _Token | _Specials],
}


def find(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files of the tokenizer in a folder.

    Raises:
      ValueError: there is no vocabulary, or none that can be read here.
    """
    files = [folder / name for name in FILES if (folder / name).is_file()]
    vocabularies = {path.name for path in files} & {*_VOCABULARIES}
    if not vocabularies:
        raise ValueError(
            f"{folder} has no tokenizer; copy its tokenizer.json (or vocab.txt, or "
            "spiece.model) and tokenizer_config.json from where the weights come from"
        )
    if vocabularies <= {*_SENTENCEPIECE}:
        if importlib.util.find_spec("sentencepiece") is None:
            raise ValueError(
                f"{folder} has its vocabulary only in {min(vocabularies)}, which takes "
                "the package sentencepiece to read: pip install sentencepiece, or add the "
                "tokenizer.json that belongs to it"
            )
    return files


def copy(
    files: list[pathlib.Path], folder: pathlib.Path, *, network: Mapping[str, str]
) -> None:
    """Copies a tokenizer for transformers to load: what was checked and nothing else.

    Args:
      files: as `find` returns them.
      folder: new one.
      network: its config.json, as far as it concerns the tokenizer.

    Raises:
      DataError: a file has another shape, or asks for code of its own.
    """
    folder.mkdir()
    whole = any(file.name == "tokenizer.json" for file in files)
    changes = _WHOLE.get(network["model_type"], {}) if whole else {}
    (folder / "config.json").write_text(json.dumps({**network, **changes}), "utf-8")
    for file in files:
        if what := kinds.placeholder(file):
            raise DataError(f"{file} {what}")
        if file.name == _SETTINGS:
            settings = json.dumps(_settings(file) | changes)
            (folder / file.name).write_text(settings, "utf-8")
            continue
        if kind := _KINDS.get(file.name):
            json_file.read(file, kind, advice=_ADVICE, extra="ignore")
        shutil.copyfile(file, folder / file.name)


def check_class(name: str, file: pathlib.Path) -> None:
    """Refuses a "tokenizer_class" that names something else of transformers."""
    if not re.fullmatch(r"\w*Tokenizer(Fast)?|TokenizersBackend", name):
        raise DataError(
            f'{file}: "tokenizer_class" is {ascii(name[:60])}, which is no tokenizer of '
            f"transformers; {_ADVICE}"
        )


def _settings(file: pathlib.Path) -> dict[str, Any]:
    """What tokenizer_config.json says of the pieces."""
    facts = json_file.read(file, dict[str, Any], advice=_ADVICE, nan=True)
    if facts.get("auto_map"):
        raise DataError(
            f"{file} asks for a tokenizer with code of its own (auto_map), which is never "
            "run; choose another encoder, or where its tokenizer_class is one of "
            "transformers all the same, delete the key"
        )
    names = {field.name for field in dataclasses.fields(_Settings)}
    known = {key: value for key, value in facts.items() if key in names}
    found = json_file.read(file, _Settings, advice=_ADVICE, extra="ignore", nan=True)
    if found.tokenizer_class is not None:
        check_class(found.tokenizer_class, file)
    return known
