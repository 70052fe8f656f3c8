"""Batches: a pure function of (seed, cycle, phase, epoch, step); no iterator state exists."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from msajax.data import dialogues, misfit, vocabulary
from msajax.data.spec import (
    DATASETS,
    FIELDS,
    MODALITIES,
    OF_TURNS,
    Corpus,
    Spec,
    Split,
)
from msajax.data.stored import StoredSequences

# Fields of dialogues that only the systems get that name them (`Model.own_fields`).
OWN_FIELDS = {"commonsense"}
# The modality whose steps a field has on its second axis.
_LENGTH_OF = {
    name: modality
    for name, field in FIELDS.items()
    for modality in MODALITIES
    if field.shape[:1] == (f"L{modality[0]}",)
}


def make_spec(
    corpus: Corpus,
    *,
    dims: tuple[int, ...] = (),
    lengths: tuple[int, ...] = (),
    truncate: bool = False,
    batch_size: int = 0,
    view: str = "utterance",
    own_fields: Collection[str] = (),
) -> Spec:
    """Dims, lengths and labels of a corpus, checked against what a recipe expects.

    Args:
      corpus: what a reader returned; its training split fixes the lengths.
      dims: expected widths (text, audio, vision), or () for any.
      lengths: longest sequences expected, or () for any.
      truncate: cut longer sequences to `lengths` instead of refusing them.
      batch_size: rows of the largest batch of the training split.
      view: what a row is, 'utterance' or 'dialogue'; the turns are then the steps.
      own_fields: those of OWN_FIELDS that the system reads.

    Returns:
      The spec of the batches.

    Raises:
      ValueError: no features at all, features that the recipe is not for, or no
        dialogues where they are wanted.
    """
    if view == "dialogue":
        corpus, lengths = dialogues.grouped(corpus), ()
    train = misfit.training_split(corpus)
    found = {name: train.arrays[name] for name in MODALITIES if name in train.arrays}
    pieces = train.arrays.get("text_ids")
    if not found and pieces is None:
        raise ValueError(
            "the data has no feature arrays for text, audio or vision, only "
            f"{', '.join(sorted(train.arrays)) or 'raw text'}; give a file with "
            "features, or an encoder for the text (config.text.encoder)"
        )
    for name in found:
        if not np.any(train.arrays.get(f"{name}_mask", True)):
            raise ValueError(
                f"{name} is missing in all {len(train)} rows of the training split (zeros "
                "only); choose the other modalities (config.data.modalities)"
            )
    expected: Any = dict(dims=dims, lengths=lengths, truncate=truncate)
    misfit.refuse(corpus, **expected, batch_size=batch_size)
    sizes, widths = map(list, zip(*misfit.sizes(train), strict=True))
    if lengths:
        sizes = [min(pair) for pair in zip(sizes, lengths, strict=True)]
    dataset = DATASETS[corpus.dataset]
    present = [*(m for n in found for m in (n, f"{n}_mask")), *train.arrays]
    absent = [m for n in MODALITIES if n not in found for m in (n, f"{n}_mask")]
    turns = train.arrays["utterance_mask"].shape[1] if view == "dialogue" else 0
    words = 0
    if turns:
        sizes = [turns] * 3
        words = pieces.shape[2] if pieces is not None else 0
    fields = {*present, "index", "valid"} - (OWN_FIELDS - {*own_fields})
    if pieces is not None:
        absent = [name for name in absent if name != "text"]
    return Spec(
        dims=(widths[0], widths[1], widths[2]),
        lengths=(sizes[0], sizes[1], sizes[2]),
        num_train=len(train),
        label_range=dataset.label_range,
        classes=dataset.classes,
        # Not the order of a dict, which differs between a file and its prepared store.
        fields=tuple(k for k in FIELDS if k in {*fields, *absent}),
        vocabulary=vocabulary.size(corpus.vocabulary),
        turns=turns,
        speakers=dialogues.speakers(corpus) if turns else 0,
        words=words,
        commonsense=(
            train.arrays["commonsense"].shape[-1] if "commonsense" in fields else 0
        ),
        written=corpus.written,
    )


def pad(split: Split, spec: Spec, *, truncate: bool = False) -> dict[str, np.ndarray]:
    """The arrays of a split in the shapes of a spec.

    Args:
      split: rows as a reader returned them; dialogues where the spec has turns.
      spec: shapes to pad (or, with `truncate`, cut) the sequences to.
      truncate: cut sequences that are longer than the spec's.

    Returns:
      {field: [N, ...]} without 'index' and 'valid', which belong to a batch.

    Raises:
      ValueError: other widths, or longer sequences, than the spec's.
    """
    arrays = {}
    if dialogues.PLACES in split.arrays:
        places = split.arrays[dialogues.PLACES]
        arrays[dialogues.PLACES] = resize(places, spec.turns, fill=-1)
    for name in spec.fields:
        shape = spec.shape(name)
        if name in ("index", "valid"):
            continue
        if name not in split.arrays:
            if name.startswith("label"):
                continue
            if name in OWN_FIELDS:
                raise ValueError(
                    f'the data has no "{name}", which the system was trained with; give a '
                    "file that has it (msajax/data/README.md)"
                )
            modality = name.removesuffix("_mask")
            if modality in MODALITIES and modality in split.arrays:
                raise ValueError(f'the data has "{modality}" but lacks "{name}"')
            arrays[name] = np.zeros((len(split), *shape), FIELDS[name].dtype)
            continue
        array = split.arrays[name]
        if name in {*MODALITIES, *OWN_FIELDS} and array.shape[2:] != shape[1:]:
            raise ValueError(
                f"{misfit.width_error(name, array.shape[-1], shape[-1])}; the system was "
                "trained on those, so give a file with the same features"
            )
        arrays[name] = _fit(name, array, shape, truncate)
    return arrays


def parts(
    arrays: dict[str, np.ndarray], count: int, *, cut: bool = True
) -> list[dict[str, np.ndarray]]:
    """A split in parts of similar lengths, each without the padding that none of its rows needs.

    Args:
      arrays: {field: [N, ...]}.
      count: of parts; with more than one, rows with fewer steps (of all
        modalities together) come first, and each part has about as many.
      cut: False leaves the padding (systems that depend on it).

    Returns:
      Each part's {field: [n, ...]} with 'index', its rows' places in the split.
    """
    axes = _length_of(arrays)
    steps = {
        name: _lengths(arrays[f"{name}_mask"])
        for name in {*axes.values()}
        if f"{name}_mask" in arrays
    }
    number = len(next(iter(arrays.values())))
    order = np.argsort(
        sum(steps.values()) if steps else np.zeros(number), kind="stable"
    )
    made = []
    for rows in np.array_split(order, min(count, number)):
        rows = np.sort(rows)
        part = {}
        for name, array in arrays.items():
            array = array if len(rows) == number else array[rows]
            axis = axes.get(name)
            if cut and axis in steps:
                array = resize(array, max(1, steps[axis][rows].max(initial=0)))
            part[name] = array
        made.append({**part, "index": rows.astype(np.int32)})
    return made


class Batches(NamedTuple):
    """Rows of consecutive batches.

    Attributes:
      rows: [..., steps, B] int32, places in the batch's part; -1 on filler rows.
      part: [steps] int32, the part that a batch is from.
    """

    rows: np.ndarray
    part: np.ndarray


def epoch_batches(
    sizes: Sequence[int], batch_size: int, *, order: tuple[int, int, int, int]
) -> Batches:
    """The batches of a training epoch, each row exactly once.

    The parts follow each other in the same order for every seed, so that
    several seeds can do the same step together.

    Args:
      sizes: rows of each part of the split.
      batch_size: B; a batch is from one part.
      order: (seed, cycle, phase, epoch), the only source of the order.

    Returns:
      The batches; filler rows complete the last of each part.

    Raises:
      ValueError: a batch larger than the split.
    """
    if batch_size > sum(sizes):
        raise ValueError(
            f"config.train.batch_size is {batch_size}, but the split has only "
            f"{sum(sizes)} rows; set it to {sum(sizes)} or less"
        )
    if len(sizes) == 1:
        return _batches(
            [np.random.default_rng(order).permutation(sizes[0])], batch_size
        )
    made = _batches(
        [
            np.random.default_rng((*order, i)).permutation(n)
            for i, n in enumerate(sizes)
        ],
        batch_size,
    )
    mixed = np.random.default_rng(order[1:]).permutation(len(made.part))
    return Batches(made.rows[mixed], made.part[mixed])


def ordered_batches(sizes: Sequence[int], batch_size: int) -> Batches:
    """The batches of a split in order, part after part, for evaluation."""
    return _batches([np.arange(n) for n in sizes], batch_size)


def _batches(orders: Sequence[np.ndarray], batch_size: int) -> Batches:
    made = []
    for order in orders:
        steps = -(-len(order) // batch_size)
        rows = np.full(steps * batch_size, -1, np.int32)
        rows[: len(order)] = order
        made.append(rows.reshape(steps, batch_size))
    part = np.repeat(np.arange(len(made), dtype=np.int32), [len(r) for r in made])
    return Batches(np.concatenate(made), part)


def _length_of(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """What a field's second axis is as long as: a modality, or a dialogue (its 'utterance')."""
    if "utterance_mask" not in arrays:
        return _LENGTH_OF
    of_turns = {*_LENGTH_OF, *OF_TURNS, *OWN_FIELDS, "utterance_mask"}
    return dict.fromkeys(of_turns & arrays.keys(), "utterance")


def _lengths(mask: np.ndarray) -> np.ndarray:
    """[N, L] bool -> [N], steps up to the last real one."""
    return np.where(mask.any(1), mask.shape[1] - mask[:, ::-1].argmax(1), 0)


def _fit(
    name: str, array: np.ndarray, shape: tuple[int, ...], truncate: bool
) -> np.ndarray:
    if array.shape[1:] == shape:
        return array
    length, found = shape[0], array.shape[1]
    if found > length and not truncate:
        raise ValueError(
            f"{name} has {found} steps, but the system was made for at most {length}; "
            "set config.data.truncate=True to cut them"
        )
    return resize(array, length)


def resize(array: Any, length: int, *, fill: int = 0) -> Any:
    """[N, L, ...] -> [N, length, ...], cut or padded with `fill`."""
    if isinstance(array, StoredSequences):
        return array.with_length(length)
    if length <= array.shape[1]:
        return array[:, :length]
    padded = np.full((len(array), length, *array.shape[2:]), fill, array.dtype)
    padded[:, : array.shape[1]] = array
    return padded
