"""Batches: a pure function of (seed, cycle, phase, epoch, step); no iterator state exists."""

import numpy as np

from msajax.data.spec import DATASETS, MODALITIES, Corpus, Spec, Split

# What a feature width says about a file, for the error on a wrong one.
_KNOWN_WIDTHS = {
    ("text", 300): "GloVe (the MulT pickles)",
    ("text", 768): "BERT-base features (the MMSA pickles)",
    ("audio", 5): "the MMSA pickle of MOSI",
    ("audio", 25): "CH-SIMS v2",
    ("audio", 33): "CH-SIMS",
    ("audio", 73): "openSMILE functionals",
    ("audio", 74): "COVAREP (MOSEI or the MAG pickles)",
    ("vision", 20): "the MMSA pickle of MOSI",
    ("vision", 35): "FACET (MOSEI)",
    ("vision", 47): "FACET (the MAG pickle of MOSI)",
    ("vision", 177): "CH-SIMS v2",
    ("vision", 709): "OpenFace 2 (CH-SIMS)",
}


def make_spec(
    corpus: Corpus,
    *,
    dims: tuple[int, ...] = (),
    lengths: tuple[int, ...] = (),
    truncate: bool = False,
) -> Spec:
    """Dims, lengths and labels of a corpus, checked against what a recipe expects.

    Args:
      corpus: what a reader returned; its training split fixes the lengths.
      dims: expected widths (text, audio, vision), or () for any.
      lengths: longest sequences expected, or () for any.
      truncate: cut longer sequences to `lengths` instead of refusing them.

    Returns:
      The spec of the batches.

    Raises:
      ValueError: no features at all, or features that the recipe is not for.
    """
    train = corpus.splits.get("train") or next(iter(corpus.splits.values()))
    found = {name: train.arrays[name] for name in MODALITIES if name in train.arrays}
    if not found:
        raise ValueError(
            "the data has no feature arrays for text, audio or vision, only "
            f"{', '.join(sorted(train.arrays)) or 'raw text'}; give a file with features"
        )
    sizes, widths = [], []
    for i, name in enumerate(MODALITIES):
        length, width = found[name].shape[1:] if name in found else (1, 1)
        if name in found and dims and width != dims[i]:
            raise ValueError(
                f"{_width_error(name, width, dims[i])}; take the recipe of that dataset, "
                "or set config.data.dims to the widths of your file"
            )
        if lengths and length > lengths[i]:
            if not truncate:
                raise ValueError(
                    f"{name} has sequences of up to {length} steps, but the recipe "
                    f"expects at most {lengths[i]}; set config.data.truncate=True to "
                    f"cut them, or config.data.lengths to allow them"
                )
            length = lengths[i]
        sizes.append(length)
        widths.append(width)
    dataset = DATASETS[corpus.dataset]
    present = [*(m for n in found for m in (n, f"{n}_mask")), *train.arrays]
    absent = [m for n in MODALITIES if n not in found for m in (n, f"{n}_mask")]
    return Spec(
        dims=(widths[0], widths[1], widths[2]),
        lengths=(sizes[0], sizes[1], sizes[2]),
        num_train=len(train),
        label_range=dataset.label_range,
        classes=dataset.classes,
        fields=tuple(dict.fromkeys([*present, *absent, "index", "valid"])),
    )


def pad(split: Split, spec: Spec, *, truncate: bool = False) -> dict[str, np.ndarray]:
    """The arrays of a split in the shapes of a spec.

    Args:
      split: rows as a reader returned them.
      spec: shapes to pad (or, with `truncate`, cut) the sequences to.
      truncate: cut sequences that are longer than the spec's.

    Returns:
      {field: [N, ...]} without 'index' and 'valid', which belong to a batch.

    Raises:
      ValueError: other widths, or longer sequences, than the spec's.
    """
    arrays = {}
    for name in spec.fields:
        shape = spec.shape(name)
        if name in ("index", "valid"):
            continue
        if name not in split.arrays:
            if name.startswith("label"):
                continue
            modality = name.removesuffix("_mask")
            if modality in MODALITIES and modality in split.arrays:
                raise ValueError(f'the data has "{modality}" but lacks "{name}"')
            dtype = bool if name.endswith("_mask") else np.float32
            arrays[name] = np.zeros((len(split), *shape), dtype)
            continue
        array = split.arrays[name]
        if array.shape[2:] != shape[1:]:
            raise ValueError(
                f"{_width_error(name, array.shape[-1], shape[-1])}; the system was "
                "trained on those, so give a file with the same features"
            )
        arrays[name] = _fit(name, array, shape, truncate)
    return arrays


def epoch_rows(
    num_rows: int, batch_size: int, *, order: tuple[int, int, int, int]
) -> np.ndarray:
    """The rows of every batch of a training epoch, each row exactly once.

    Args:
      num_rows: rows of the split, N.
      batch_size: B.
      order: (seed, cycle, phase, epoch), the only source of the order.

    Returns:
      [steps, B] int32; -1 on the filler rows at the end of the last batch.

    Raises:
      ValueError: a batch larger than the split.
    """
    if batch_size > num_rows:
        raise ValueError(
            f"config.train.batch_size is {batch_size}, but the split has only "
            f"{num_rows} rows; set it to {num_rows} or less"
        )
    rng = np.random.default_rng(order)
    return _batches(rng.permutation(num_rows), batch_size)


def ordered_rows(num_rows: int, batch_size: int) -> np.ndarray:
    """The rows of every batch in file order, for evaluation: [steps, B] int32 with filler -1."""
    return _batches(np.arange(num_rows), batch_size)


def _batches(order: np.ndarray, batch_size: int) -> np.ndarray:
    steps = -(-len(order) // batch_size)
    rows = np.full(steps * batch_size, -1, np.int32)
    rows[: len(order)] = order
    return rows.reshape(steps, batch_size)


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
    fitted = np.zeros((len(array), *shape), array.dtype)
    fitted[:, : min(length, found)] = array[:, :length]
    return fitted


def _width_error(name: str, found: int, expected: int) -> str:
    known = _KNOWN_WIDTHS.get((name, found))
    looks = f": this looks like {known}" if known else ""
    return f"{name} has {found} features per step, but {expected} are expected{looks}"
