"""The MMSA pickle: CMU-MOSI, CMU-MOSEI (aligned, unaligned), CH-SIMS, CH-SIMS v2.

A dict of splits, each a dict of arrays over N rows: `id`, `raw_text`, `text`
[N, Lt, 768] BERT features, `text_bert` [N, 3, Lt] (word pieces, mask, segments),
`audio`, `vision` [N, L, D], `regression_labels` (CH-SIMS: also `_T`, `_A`, `_V`),
`classification_labels` (0 negative, 1 neutral, 2 positive) or `annotations` (the
same by name, see `labels`), and in unaligned files `audio_lengths`, `vision_lengths`.
Of CH-SIMS v2 `train_mix` holds the rows of `train` and rows without labels, whose
`mask` is 0, and a split `unlabeled` only such.

Format: Mao et al., "M-SENA: An Integrated Platform for Multimodal Sentiment
Analysis", ACL 2022 demos, and its MMSA repository.
"""

from typing import Any

import numpy as np

from msajax.data.errors import DataError, option
from msajax.data.formats import columns, labels
from msajax.data.formats.decode import Decoder
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Split

_LABELS = {
    "label": "regression_labels",
    "label_text": "regression_labels_T",
    "label_audio": "regression_labels_A",
    "label_vision": "regression_labels_V",
}
_CLASSES = ("classification_labels", "annotations")
_MIXED = "train_mix"


def convert(
    data: Any, *, dataset: str, decoder: Decoder, labels: bool = True
) -> Corpus:
    """The rows of a loaded MMSA pickle, before cleaning.

    Args:
      data: what `pickles.load` returned; its arrays are taken out, to save memory.
      dataset: name in `DATASETS`.
      decoder: of its text.
      labels: False leaves the labels out.

    Returns:
      A corpus for `clean.clean`.

    Raises:
      DataError: no such structure, or a missing key.
    """
    entries, notes = columns.splits(data, _MIXED)
    splits: dict[str, Split] = {}
    for name, entry in entries.items():
        keys = _label_keys(name, entry, dataset, decoder) if labels else {}
        splits[name] = _split(name, entry, decoder, keys)
        if DATASETS[dataset].classes and _LABELS["label"] in keys.values():
            _refuse_scores(splits[name].arrays["label"], dataset)
    if _MIXED in splits:
        mask = columns.numbers(columns.get(entries[_MIXED], "mask"), name="mask")
        notes = (*notes, *_take_apart(splits, mask > 0))
    return Corpus(dataset, splits, notes)


def _label_keys(
    split: str, entry: Any, dataset: str, decoder: Decoder
) -> dict[str, str]:
    """The keys of a split's labels by field: sentiment, or the classes of a dataset of classes.

    Raises:
      DataError: the split lacks them; says which dataset takes those it has.
    """
    if split == columns.UNLABELLED or not isinstance(entry, dict):
        return {}
    columns.get(entry, "id", split=split)
    known = [key for key in _CLASSES if key in entry]
    if not DATASETS[dataset].classes:
        if _LABELS["label"] not in entry and known:
            # Numbers do not say which classes they are, names do.
            values = columns.labels(entry[known[-1]], name=known[-1], decoder=decoder)
            names = values if values.dtype.kind == "U" else np.array(["neutral"])
            raise DataError(
                f'the key "{_LABELS["label"]}" is missing; the file has {known[0]}: to '
                "train on these classes, set "
                f"{option('dataset', labels.of_names(names, dataset))}"
            )
        columns.get(entry, _LABELS["label"], split=split)
        return {field: key for field, key in _LABELS.items() if key in entry}
    scores = (_LABELS["label"],) if _LABELS["label"] in entry else ()
    return {"label": (*known, *scores, _CLASSES[0])[0]}


def _refuse_scores(values: np.ndarray, dataset: str) -> None:
    """Refuses `regression_labels` of one number a row for a dataset of classes.

    Whole ones can be classes, or scores that were rounded. Names, one-hots and MOSEI's
    emotions say themselves what they are.

    Raises:
      DataError: says how to save classes, and which dataset takes scores.
    """
    if values.dtype.kind == "U" or values.size != len(values):
        return
    known = DATASETS[dataset]
    finite = values[np.isfinite(values)]
    span = f"from {finite.min():g} to {finite.max():g}" if len(finite) else "not finite"
    family = dataset.partition("_")[0]
    family = family if family in DATASETS and not DATASETS[family].classes else "mosi"
    advice = f"set {option('dataset', family)}, or another of mosi, mosei, sims, simsv2"
    if len(finite) and columns.are_whole(finite).all():
        names = ", ".join(f"{i} {name}" for i, name in enumerate(known.classes))
        advice = (
            f"if these whole numbers are classes, save them as {_CLASSES[0]} ({names}); "
            f"if they are scores, {advice}"
        )
    raise DataError(
        f"{known.title} is a dataset of classes, but the file has {_LABELS['label']} "
        f"without {' or '.join(_CLASSES)}, numbers {span}; {advice}"
    )


def _take_apart(splits: dict[str, Split], labelled: np.ndarray) -> tuple[str, ...]:
    """Puts the rows without labels of `train_mix` in a split of their own; notes.

    Raises:
      DataError: the mask has other rows.
    """
    mixed = splits.pop(_MIXED)
    for key, array in {"mask": labelled, **mixed.arrays}.items():
        if len(array) != len(mixed):
            raise DataError(
                f"{key} of {_MIXED} has {len(array)} rows, but there are {len(mixed)} ids"
            )
    rest = mixed.take(~labelled)
    arrays = {k: x for k, x in rest.arrays.items() if not k.startswith("label")}
    splits[columns.UNLABELLED] = Split(rest.ids, rest.raw_text, arrays)
    own = mixed.take(labelled)
    if "train" not in splits:
        splits["train"] = own
        return ()
    if other := np.count_nonzero(~np.isin(own.ids, splits["train"].ids)):
        return (f"left out: {other} labelled rows of {_MIXED} that train lacks",)
    return ()


def _split(split: str, entry: Any, decoder: Decoder, labels: dict[str, str]) -> Split:
    if not isinstance(entry, dict):
        raise DataError(
            f"a split is of type {type(entry).__name__}, expected a dict of arrays"
        )
    for key in ("id", *labels.values()):  # before anything is taken out
        columns.get(entry, key, split=split)
    ids = columns.strings(entry["id"], name="id", decoder=decoder)
    arrays: dict[str, np.ndarray] = {}
    for name in MODALITIES:
        if name in entry:
            arrays[name] = columns.features(entry.pop(name), name=name)
        if f"{name}_lengths" in entry:
            lengths = columns.numbers(entry[f"{name}_lengths"], name=f"{name}_lengths")
            arrays[f"{name}_length"] = lengths
    if "text_bert" in entry:
        arrays |= columns.word_pieces(entry["text_bert"])
    for name, key in labels.items():
        arrays[name] = columns.labels(entry[key], name=key, decoder=decoder)
    raw_text = entry.get("raw_text", [""] * len(ids))
    texts = columns.strings(raw_text, name="raw_text", decoder=decoder)
    return Split(ids, texts, arrays)
