"""The folder of a run: one recipe, one process at a time, files written whole.

config.json, spec.json, results.json, predictions_<split>.csv and for each seed
seed_<n>/ with checkpoints, log.jsonl and TensorBoard events.
"""

import contextlib
import csv
import dataclasses
import fcntl
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msajax import config as configs
from msajax.data.spec import Spec


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Holds the folder, made where missing, for this process.

    Raises:
      ValueError: another process is running there, or the path is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--workdir {folder} is a file; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as lock:
        try:
            # The system drops this lock with the process, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise ValueError(
                f"another run (process {lock.read().strip() or 'unknown'}) is at work "
                f"in {folder}; wait for it, or take another --workdir"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def claim(
    folder: pathlib.Path,
    config: configs.Config,
    spec: Spec,
    data_sha256: str,
    phase_data: Mapping[str, str] | None = None,
    *,
    write_files: bool = True,
) -> None:
    """Saves what the run is, or makes sure that it is what the folder holds.

    Args:
      folder: of the run.
      config: of the run; the seeds that the folder holds join its own.
      spec: of the data.
      data_sha256: of the data.
      phase_data: {file: sha256} of the phases' own data.
      write_files: False only checks and joins: of several processes one writes.

    Raises:
      ValueError: the folder holds a run of another config or other data.
    """
    new = {**dataclasses.asdict(spec), "data_sha256": data_sha256}
    if phase_data:
        new["phase_data"] = dict(phase_data)
    if config.data.path and pathlib.Path(config.data.path).exists():
        config.data.path = str(pathlib.Path(config.data.path).resolve())
    if (folder / "config.json").exists() and (folder / "spec.json").exists():
        before = load_config(folder)
        changed = configs.differences(config, before)
        # Seeds are added, so that the results hold all of them.
        seeds = dict.fromkeys((*before.train.seeds, *config.train.seeds))
        config.train.seeds = tuple(seeds)
        old = {
            "vocabulary": 0,
            **_read_json(folder / "spec.json"),
        }  # older ones lack it
        if not changed and json.loads(json.dumps(new)) != old:
            changed = ["the data file's content"]
        if changed:
            raise ValueError(
                f"{folder} holds another run, with {'; '.join(changed)}. Take another "
                "--workdir, or delete this one"
            )
    if write_files:
        write(folder / "config.json", configs.to_json(config))
        write(folder / "spec.json", json.dumps(new, indent=2) + "\n")


def load_config(folder: pathlib.Path) -> configs.Config:
    """The config that a run in the folder was started with.

    Raises:
      ValueError: there is no run.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no run (no config.json); train there first, with "
            f"--mode train --workdir {folder}"
        )
    _read_json(path)
    return configs.from_json(path.read_text("utf-8"))


def load_spec(folder: pathlib.Path) -> Spec:
    """The spec that a run in the folder was trained for."""
    values = _read_json(folder / "spec.json")
    del values["data_sha256"]
    values.pop("phase_data", None)
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Spec(**fields)  # pyright: ignore


def data_sha256(folder: pathlib.Path) -> str:
    """Hash of the data that a run in the folder was trained on."""
    return _read_json(folder / "spec.json")["data_sha256"]


def write_json(path: pathlib.Path, values: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all; NaN, which JSON lacks, becomes null."""
    text = json.dumps(_without_nan(values), indent=2, allow_nan=False)
    write(path, text + "\n")


def write(path: pathlib.Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)


def write_csv(path: pathlib.Path, header: list[str], rows: Iterable[Iterable]) -> None:
    """Writes a csv file whole or not at all."""
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    os.replace(part, path)


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); take another --workdir, or delete this one"
        ) from error


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
