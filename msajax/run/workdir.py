"""The folder of a run: one recipe, one process at a time, files written whole.

config.json, spec.json, results.json, predictions_<split>.csv and for each seed
seed_<n>/ with checkpoints, log.jsonl and TensorBoard events.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msajax.data import json_file, parts, unlabelled
from msajax.data.errors import DataError
from msajax.data.spec import FIELDS, MODALITIES, Spec, suggest
from msajax.run import saved
from msajax.run.options import Options
from msajax.train import checkpoint
from msajax.train.checkpoint import Checkpoints, Owner

# Fields that every spec has.
_NEEDED = {"audio", "vision", *(f"{m}_mask" for m in MODALITIES), "index", "valid"}
_ADVICE = "take another workdir, or delete this one"


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Holds the folder, made where missing, for this process.

    Raises:
      ValueError: another process is running there, or the path is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"the workdir {folder} is a file; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with open(_lock_file(folder), "r+", encoding="utf-8") as lock:
        try:
            # The system drops this lock with the process, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"another run (process {lock.read().strip() or 'unknown'}) is at work "
                f"in {folder}; wait for it, or take another workdir"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _lock_file(folder: pathlib.Path) -> int:
    path = folder / ".lock"
    try:
        return os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
        )
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ValueError(
            f"{path} is a link, which no run makes: it would be written through to "
            f"{os.readlink(path)}; remove it"
        ) from error


def claim(
    folder: pathlib.Path,
    options: Options,
    spec: Spec,
    data_sha256: str,
    phase_data: Mapping[str, str] | None = None,
    *,
    write_files: bool = True,
) -> Options:
    """Saves what the run is, or makes sure that it is what the folder holds.

    Args:
      folder: of the run.
      options: of the run.
      spec: of the data.
      data_sha256: of the data.
      phase_data: {file: sha256} of the other files that it trains on.
      write_files: False only checks and joins: of several processes one writes.

    Returns:
      The options, with the seeds that the folder holds before their own.

    Raises:
      ValueError: the folder holds a run of other options or other data.
    """
    new = _Saved(
        **dataclasses.asdict(spec),
        data_sha256=data_sha256,
        phase_data=_by_use(options, phase_data or {}),
        recipe_sha256=saved.sha256(options),
    )
    path, seeds = options.data.path, options.train.seeds
    if path and pathlib.Path(path).exists():
        path = str(pathlib.Path(path).resolve())
    if (folder / "config.json").exists() and (folder / "spec.json").exists():
        before, old = load_options(folder), _load_saved(folder)
        old = dataclasses.replace(old, phase_data=_by_use(before, old.phase_data))
        # Seeds are added, so that the results hold all of them.
        seeds = tuple(dict.fromkeys((*before.train.seeds, *seeds)))
        # Of versions with other keys the hash of the same recipe is another one.
        known = old.recipe_sha256 or new.recipe_sha256
        new, old = (dataclasses.replace(s, recipe_sha256=known) for s in (new, old))
        changed = saved.differences(options, before) or _differences(new, old)
        if changed:
            raise ValueError(
                f"{folder} holds another run, with {'; '.join(changed)}. Take another "
                "workdir, or delete this one"
            )
    options = dataclasses.replace(
        options,
        data=dataclasses.replace(options.data, path=path),
        train=dataclasses.replace(options.train, seeds=seeds),
    )
    if write_files:
        text = json.dumps(dataclasses.asdict(new), indent=2)
        # First: the hashes of an older one go by the file names in its config.
        write(folder / "spec.json", text + "\n")
        write(folder / "config.json", saved.to_json(options))
    return options


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Saved(Spec):
    """spec.json: the spec and where it comes from; older ones lack the keys with a default.

    Attributes:
      data_sha256: of the data file.
      phase_data: {use: sha256} of the other files; {file: sha256} in older ones.
      recipe_sha256: of the version that made the folder.
    """

    data_sha256: str
    phase_data: dict[str, str] = dataclasses.field(default_factory=dict)
    recipe_sha256: str = ""


def _by_use(options: Options, hashes: Mapping[str, str]) -> dict[str, str]:
    """The hashes of a recipe's files by what each is for: names have several spellings."""
    files = {
        f"phase {phase.name}": phase.data
        for phase in options.plan
        if phase.data != "train"
    }
    if options.data.unlabelled not in ("", unlabelled.OWN_ROWS):
        files["config.data.unlabelled"] = options.data.unlabelled
    for entry in options.data.also:
        name, _, path = entry.partition("=")
        files[f"config.data.also: {name}"] = path or name
    found = {use: hashes.get(use, hashes.get(file)) for use, file in files.items()}
    return {use: sha256 for use, sha256 in found.items() if sha256}


def _differences(new: _Saved, old: _Saved) -> list[str]:
    """What makes two runs of one recipe different: 'dims: old -> new'."""
    pairs = {key: (value, getattr(new, key)) for key, value in vars(old).items()}
    # Older versions wrote the fields in the order in which the file was read.
    before, after = pairs["fields"]
    pairs["fields"] = tuple(sorted(before)), tuple(sorted(after))
    changed = [key for key, (before, after) in pairs.items() if before != after]
    if "data_sha256" in changed:
        return ["other content of the data file"]
    if "phase_data" in changed:
        before, after = pairs["phase_data"]
        uses = sorted(use for use, _ in before.items() ^ after.items())
        return [f"other content of the file of {use}" for use in dict.fromkeys(uses)]
    return [f"data.{key}: {pairs[key][0]} -> {pairs[key][1]}" for key in changed]


def load_options(folder: pathlib.Path) -> Options:
    """The options that a run in the folder was started with.

    Raises:
      ValueError: there is no run, or the file is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no run (no config.json); train there first: msajax --config "
            f'RECIPE --workdir {folder}, or fit(RECIPE, workdir="{folder}")'
        )
    return saved.from_json(path.read_bytes(), name=str(path))


def load_spec(folder: pathlib.Path) -> Spec:
    """The spec that a run in the folder was trained for."""
    found = vars(_load_saved(folder))
    return Spec(**{field.name: found[field.name] for field in dataclasses.fields(Spec)})


def data_sha256(folder: pathlib.Path) -> str:
    """Hash of the data that a run in the folder was trained on."""
    return _load_saved(folder).data_sha256


def checkpoints(
    folder: pathlib.Path, seed: int, warn: Callable[[str], None] = print
) -> Checkpoints:
    """The checkpoints of a seed of the run in a folder."""
    known = (folder / "spec.json").is_file()
    owner = Owner(seed, _load_saved(folder).recipe_sha256 if known else "")
    home = folder / f"seed_{seed}" / "checkpoints"
    return Checkpoints(home, owner=owner, warn=warn)


def clean(folder: pathlib.Path) -> None:
    """Removes what saves that were killed left in a run's folder, which is locked."""
    for home in folder.glob("seed_*/checkpoints"):
        checkpoint.clean(home)


def _load_saved(folder: pathlib.Path) -> _Saved:
    found = json_file.read(folder / "spec.json", _Saved, advice=_ADVICE)
    for name in _NEEDED - {*found.fields}:
        raise DataError(f'{folder / "spec.json"}: "fields" lacks "{name}"; {_ADVICE}')
    if found.label_range and not found.label_range[0] < found.label_range[1]:
        raise DataError(
            f'{folder / "spec.json"}: "label_range" is {found.label_range}, but its first '
            f"number is the lowest label; {_ADVICE}"
        )
    for name in found.fields:
        if name not in FIELDS:
            raise DataError(
                f'{folder / "spec.json"}: "fields" has the unknown field "{name[:40]}"'
                f"{suggest(name, FIELDS)}; {_ADVICE}"
            )
    return found


def write_json(path: pathlib.Path, values: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all; NaN, which JSON lacks, becomes null."""
    text = json.dumps(_without_nan(values), indent=2, allow_nan=False)
    write(path, text + "\n")


def write(path: pathlib.Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with parts.replacing(path) as part, open(part, "x", encoding="utf-8") as file:
        file.write(text)


def write_csv(path: pathlib.Path, header: list[str], rows: Iterable[Iterable]) -> None:
    """Writes a csv file whole or not at all."""
    with parts.replacing(path) as part, open(part, "x", encoding="utf-8") as file:
        file.writelines(",".join(map(_cell, row)) + "\n" for row in (header, *rows))


def _cell(value: Any) -> str:
    """A value as csv has it. Python's writer leaves a lone carriage return without quotes."""
    text = str(value)
    quoted = '"' + text.replace('"', '""') + '"'
    return quoted if any(c in text for c in ',"\r\n') else text


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
