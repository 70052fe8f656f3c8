"""What of a file does not fit a recipe: widths, lengths, rows; in one message."""

from typing import NamedTuple

from msajax.data import dialogues
from msajax.data.spec import MODALITIES, Corpus, Split

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


class Misfit(NamedTuple):
    """What the data has, and what the recipe expects of it: at most, of steps; at least, of rows."""

    name: str
    kind: str  # 'width', 'steps' or 'rows'
    found: int
    expected: int


def misfits(
    corpus: Corpus,
    *,
    dims: tuple[int, ...] = (),
    lengths: tuple[int, ...] = (),
    truncate: bool = False,
    batch_size: int = 0,
    view: str = "utterance",
) -> list[Misfit]:
    """All that does not fit of the training split; arguments as of `make_spec`."""
    if view == "dialogue":
        corpus, lengths = dialogues.grouped(corpus), ()
    train = training_split(corpus)
    wrong = []
    for i, (name, (length, width)) in enumerate(
        zip(MODALITIES, sizes(train), strict=True)
    ):
        if dims and name in train.arrays and width != dims[i]:
            wrong.append(Misfit(name, "width", width, dims[i]))
        if lengths and length > lengths[i] and not truncate:
            wrong.append(Misfit(name, "steps", length, lengths[i]))
    if len(train) < batch_size:
        wrong.append(Misfit("train", "rows", len(train), batch_size))
    return wrong


def training_split(corpus: Corpus) -> Split:
    """The split that fixes the lengths."""
    return corpus.splits.get("train") or next(iter(corpus.splits.values()))


def sizes(split: Split) -> list[tuple[int, int]]:
    """(steps, width) of each modality; (1, 1) of one that is absent, width 1 of word pieces."""
    found = []
    for name in MODALITIES:
        shape = split.arrays[name].shape[1:] if name in split.arrays else (1, 1)
        if name == "text" and name not in split.arrays and "text_ids" in split.arrays:
            shape = split.arrays["text_ids"].shape[1], 1
        found.append(shape)
    return found


def refuse(
    corpus: Corpus,
    *,
    dims: tuple[int, ...],
    lengths: tuple[int, ...],
    truncate: bool,
    batch_size: int,
) -> None:
    """One error on all that does not fit, with the flags that make it fit.

    Raises:
      ValueError: something does not fit.
    """
    wrong = misfits(
        corpus, dims=dims, lengths=lengths, truncate=truncate, batch_size=batch_size
    )
    if not wrong:
        return
    shown = []
    for name, kind, found, expected in wrong:
        if kind == "width":
            shown.append(width_error(name, found, expected))
        elif kind == "steps":
            shown.append(
                f"{name} has sequences of up to {found} steps, but at most {expected} "
                "are expected"
            )
        else:
            shown.append(
                f"a batch has {expected} rows, but the training split only {found}"
            )
    flags, hints = _flags(training_split(corpus), wrong, dims, lengths)
    recipe = any(misfit.kind != "rows" for misfit in wrong)
    start = "take the recipe of that dataset, or set" if recipe else "set"
    raise ValueError("; ".join([*shown, f"{start} {' '.join(flags)}", *hints]))


def _flags(
    train: Split,
    wrong: list[Misfit],
    dims: tuple[int, ...],
    lengths: tuple[int, ...],
) -> tuple[list[str], list[str]]:
    """The values that make the data fit, and what may be done instead."""
    kinds = {misfit.kind for misfit in wrong}
    flags, hints = [], []
    if "width" in kinds:
        pairs = zip(MODALITIES, sizes(train), dims, strict=True)
        found = [width if m in train.arrays else dim for m, (_, width), dim in pairs]
        flags.append(f"--config.data.dims={','.join(map(str, found))}")
    if "steps" in kinds:
        pairs = zip(sizes(train), lengths, strict=True)
        found = [max(length, expected) for (length, _), expected in pairs]
        flags.append(f"--config.data.lengths={','.join(map(str, found))}")
        hints.append("--config.data.truncate=True cuts longer sequences instead")
    if "rows" in kinds:
        flags.append(f"--config.train.batch_size={len(train)}")
        hints.append("a phase with a batch_size of its own has it in config.phases")
    return flags, hints


def width_error(name: str, found: int, expected: int) -> str:
    """Says that a modality has another width, and what has such a width."""
    known = _KNOWN_WIDTHS.get((name, found))
    looks = f": this looks like {known}" if known else ""
    return f"{name} has {found} features per step, but {expected} are expected{looks}"
