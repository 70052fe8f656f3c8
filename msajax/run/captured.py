"""What a system computes on its way to a prediction: representations, attention weights, gates."""

import fnmatch
import os
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from msajax import parallel
from msajax.data import durable
from msajax.data.spec import Corpus, Split, suggest
from msajax.models.base import Model
from msajax.run import corpora, placed
from msajax.train import evaluate

if TYPE_CHECKING:
    from msajax.run.run import Path, Run


class _Array(NamedTuple):
    """The axis of the rows of an array, and its shape for two of them with that axis in front."""

    axis: int
    shape: tuple[int, ...]


def known(model: Model, precision: str) -> dict[str, _Array]:
    """The arrays that have the rows of a batch, by name."""

    def of(rows: int) -> evaluate.Arrays:
        def compute(key):
            batch: Any = model.spec.example(rows)
            variables = model.init_with_output(key, batch, train=False)[1]
            return evaluate.arrays(model, variables, batch, precision)

        return jax.eval_shape(compute, jax.random.key(0))

    two, three = of(2), of(3)
    found = {}
    for name, array in two.items():
        sizes = zip(array.shape, three[name].shape, strict=True)
        # Layers that are compiled as one give theirs with an axis of layers in front.
        axes = [i for i, (a, b) in enumerate(sizes) if (a, b) == (2, 3)]
        if len(axes) == 1:
            shape = list(array.shape)
            found[name] = _Array(axes[0], (shape.pop(axes[0]), *shape))
    return found


def one(
    run: "Run", split: str, name: str, data: "Path | Corpus | None"
) -> dict[int, np.ndarray]:
    """`Run.outputs`."""
    arrays = known(run.model, run.precision)
    if name not in arrays:
        raise ValueError(
            f'{run.options.system} gives no array "{name}"{suggest(name, arrays)}'
        )
    if (turns := run.spec.turns) and arrays[name].shape[1:2] != (turns,):
        raise ValueError(
            f'"{name}" of {run.options.system} is not of utterances: it has the shape '
            f"{arrays[name].shape} for 2 dialogues of {turns} turns; take another array"
        )
    split, rows = _rows(run, split, data)
    (source,) = placed.splits(run, [run.pad(rows)])
    found = run.forward({split: source}, outputs={name: arrays[name].axis})[split]
    return {seed: made[name] for seed, made in found.items()}


def chosen(run: "Run", names: Sequence[str]) -> dict[str, _Array]:
    """The arrays of rows whose names fit patterns, before anything is computed.

    Raises:
      ValueError: none fits one of the patterns; names the nearest.
    """
    turns, arrays = run.spec.turns, known(run.model, run.precision)
    arrays = {k: x for k, x in arrays.items() if not turns or x.shape[1:2] == (turns,)}
    for name in names:
        if not fnmatch.filter(arrays, name):
            hint = suggest(name, arrays)
            raise ValueError(
                f'{run.options.system} gives no array of rows "{name}"{hint}'
            )
    return {
        name: array
        for name, array in arrays.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in names)
    }


def write(
    run: "Run",
    path: pathlib.Path,
    split: str,
    *,
    names: Sequence[str],
    data: "Path | Corpus | None",
) -> list[str]:
    """`Run.export`."""
    taken = chosen(run, names)
    split, rows = _rows(run, split, data)
    _check_size(run, taken, len(rows))
    (source,) = placed.splits(run, [run.pad(rows)])
    outputs = {name: array.axis for name, array in taken.items()}
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as file:
            _add(file, "id", np.asarray(rows.ids, str))
            if "label" in rows.arrays:
                _add(file, "label", rows.arrays["label"])
            for seed in run.options.train.seeds:  # no more than one in memory
                made = run.forward({split: source}, seeds=[seed], outputs=outputs)
                for name, values in made[split][seed].items():
                    _add(file, f"seed_{seed}/{name}", values)
        durable.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return list(taken)


def _rows(run: "Run", split: str, data: "Path | Corpus | None") -> tuple[str, Split]:
    """A split of the data, and its name: 'all' where the data has none."""
    corpus = run.corpus(data, labels=False) if data is not None else run.corpus()
    split = "all" if "all" in corpus.splits else split
    corpora.need_splits(corpus, (split,))
    return split, corpus.splits[split]


def _check_size(run: "Run", arrays: Mapping[str, _Array], rows: int) -> None:
    """Refuses what does not fit into half of the memory, before anything is computed."""
    sizes = {
        name: 4 * rows * int(np.prod(x.shape[2 if run.spec.turns else 1 :]))
        for name, x in arrays.items()
    }
    total, limit = sum(sizes.values()), parallel.memory(run.devices) // 2
    if total > limit:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"{len(sizes)} arrays of {rows} rows take {total / 1e9:.1f} GB of memory, but "
            f"{limit / 1e9:.1f} GB are half of what there is; name fewer: --arrays PATTERN, "
            f'or names=("PATTERN",). The largest is {largest}, {sizes[largest] / 1e9:.1f} GB'
        )


def _add(file: zipfile.ZipFile, name: str, array: Any) -> None:
    with file.open(f"{name}.npy", "w", force_zip64=True) as part:
        np.lib.format.write_array(part, np.asarray(array), allow_pickle=False)
