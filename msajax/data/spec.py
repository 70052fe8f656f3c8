"""The batch: the fields that readers write, the loader stacks and systems read.

A batch is a dict of arrays. `FIELDS` is the whole list; every field has a
leading axis N (rows of a split) in storage and B (rows of a batch) on the
device. Sequences are padded at the end, and masks, never lengths, say what is
real. The order of the modalities is text, audio, vision everywhere.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Gt, Lt

MODALITIES = ("text", "audio", "vision")
# What stands behind a text in `label_ids`, and does not count.
IGNORED = -100
# A width, a length or a number of rows.
Size = Annotated[int, Gt(0), Lt(2**31)]


@dataclasses.dataclass(frozen=True)
class Written:
    """How labels are texts, in pieces of the system's encoder: fields between separators.

    Attributes:
      length: most pieces of a text, with that of its end.
      separator, end: what stands between two fields, and behind the last.
      place: the field, from 0, that is the label.
      answers, values: what this field can be, and the label (the class) of each.
      fallback: the label that a text has of which this field is no answer.
    """

    length: Size
    separator: tuple[int, ...]
    end: int
    place: int
    answers: tuple[tuple[int, ...], ...]
    values: tuple[float, ...]
    fallback: float


class Field(NamedTuple):
    """Shape after the leading axis (letters or numbers) and dtype of a batch field."""

    shape: tuple[str, ...]
    dtype: str
    meaning: str


FIELDS: Mapping[str, Field] = {
    "text_ids": Field(("Lt",), "int32", "word pieces for a pretrained encoder"),
    "text_type": Field(("Lt",), "int32", "segment of each word piece"),
    "text": Field(("Lt", "Dt"), "float32", "precomputed text features"),
    "text_mask": Field(("Lt",), "bool", "True on real text steps"),
    "text_own": Field(("Lt",), "bool", "True on its own steps (config.text.context)"),
    "audio": Field(("La", "Da"), "float32", "audio features"),
    "audio_mask": Field(("La",), "bool", "True on real audio steps"),
    "vision": Field(("Lv", "Dv"), "float32", "vision features"),
    "vision_mask": Field(("Lv",), "bool", "True on real vision steps"),
    "label": Field((), "float32", "sentiment in the dataset's range (int32: class)"),
    "label_text": Field((), "float32", "the text's own label (CH-SIMS)"),
    "label_audio": Field((), "float32", "the audio's own label (CH-SIMS)"),
    "label_vision": Field((), "float32", "the vision's own label (CH-SIMS)"),
    "label_ids": Field(("Lw",), "int32", "pieces of the label as text, -100 behind"),
    "index": Field((), "int32", "row in the training split"),
    "valid": Field((), "bool", "False on rows that only fill up a batch"),
    "labelled": Field((), "bool", "False on rows without a label (semi-supervised)"),
    "dialogue": Field((), "int32", "dialogue that an utterance belongs to"),
    "turn": Field((), "int32", "position of an utterance in its dialogue"),
    "speaker": Field((), "int32", "speaker, numbered within the dialogue"),
    "utterance_mask": Field(("U",), "bool", "True on real turns (dialogue view)"),
    "commonsense": Field(("U", "Dc"), "float32", "RELATIONS of turns (dialogue view)"),
}

# COMET's vectors that `commonsense` holds side by side. In a store it is [N, 1, Dc].
RELATIONS = ("xEffect", "xReact", "xIntent", "oEffect", "oReact")

# Fields of an utterance that have an axis of turns in the dialogue view. Its features have
# it in the place of the steps.
OF_TURNS = ("label", *(f"label_{m}" for m in MODALITIES), "labelled", "speaker")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What the field fixes about a dataset: its labels and its metrics.

    Exactly one of `label_range` and `classes` is set; `metrics` names the
    family of `msajax.metrics`; `own_labels` says whether each modality has a label too.
    """

    title: str
    metrics: str
    label_range: tuple[float, float] | None = None
    classes: tuple[str, ...] = ()
    own_labels: bool = False


# In the order of CMU_MOSEI_Labels, where the sentiment comes before them.
MOSEI_EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
# In that of the numbers in the names of RAVDESS' files.
_RAVDESS = "neutral calm happy sad angry fearful disgust surprised"

_SENTIMENT: Mapping[str, Dataset] = {
    "mosi": Dataset("CMU-MOSI", "mosi", (-3.0, 3.0)),
    "mosei": Dataset("CMU-MOSEI", "mosi", (-3.0, 3.0)),
    "sims": Dataset("CH-SIMS", "sims", (-1.0, 1.0), own_labels=True),
    "simsv2": Dataset("CH-SIMS v2", "sims", (-1.0, 1.0), own_labels=True),
}


def _classes(title: str, *names: str) -> Dataset:
    return Dataset(title, "classes", classes=names)


DATASETS: Mapping[str, Dataset] = {
    **_SENTIMENT,
    # The files' classes instead of their scores (classification_labels, annotations).
    **{
        f"{name}_classes": _classes(
            f"{dataset.title} (classes)", "negative", "neutral", "positive"
        )
        for name, dataset in _SENTIMENT.items()
    },
    # Emotions of MOSEI are several at once: one at a time, present or not.
    **{
        f"mosei_{name}": _classes(f"CMU-MOSEI ({name})", "absent", "present")
        for name in MOSEI_EMOTIONS
    },
    "meld": _classes(
        "MELD", "neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"
    ),
    "iemocap": _classes(
        "IEMOCAP", "happy", "sad", "neutral", "angry", "excited", "frustrated"
    ),
    # In the order of MulT's file.
    "iemocap4": Dataset(
        "IEMOCAP (four emotions)",
        "emotions",
        classes=("neutral", "happy", "sad", "angry"),
    ),
    "ravdess": _classes("RAVDESS", *_RAVDESS.split()),
    "demo": Dataset("demo corpus", "mosi", (-3.0, 3.0), own_labels=True),
    "dialogue_demo": _classes("demo dialogues", "calm", "glad", "upset"),
}


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a system may know of its data before it sees a batch; hashable.

    Attributes:
      dims: feature widths (Dt, Da, Dv). A modality that the data lacks has
        width 1, length 1 and an all-False mask.
      lengths: padded lengths (Lt, La, Lv), fixed from the training split.
      num_train: rows of the training split, for memories per sample.
      label_range: (lowest, highest) label of a regression, else None.
      classes: names of the classes of a classification, else ().
      fields: the batch fields that the data has.
      vocabulary: number of ids in `text_ids`, of config.text.vocabulary; else 0.
      turns: U of the dialogue view, where a row is a dialogue and the steps of every
        modality are its turns: `lengths` is (U, U, U). 0 in the utterance view.
      speakers: P of the dialogue view: `speaker` is in [0, P).
      words: W of the dialogue view, where `text_ids` is [B, U, W].
      commonsense: Dc, the width of the field of that name.
      written: how labels are texts, for a system that writes them; its length is Lw.
    """

    dims: tuple[Size, Size, Size]
    lengths: tuple[Size, Size, Size]
    num_train: Size
    label_range: tuple[float, float] | None = (-3.0, 3.0)
    classes: tuple[str, ...] = ()
    fields: tuple[str, ...] = (
        *("text", "text_mask", "audio", "audio_mask", "vision", "vision_mask"),
        *("label", "index", "valid"),
    )
    vocabulary: int = 0
    turns: int = 0
    speakers: int = 0
    words: int = 0
    commonsense: int = 0
    written: Written | None = None

    @property
    def num_outputs(self) -> int:
        """Width of a system's last layer: 1 for regression, else the number of classes."""
        return len(self.classes) or 1

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the data has: all but those of width and length 1.

        In the dialogue view, whose lengths are its turns, all but those of width 1.
        """
        lengths = (1, 1, 1) if self.turns else self.lengths
        sizes = zip(MODALITIES, self.dims, lengths, strict=True)
        return tuple(m for m, dim, length in sizes if (dim, length) != (1, 1))

    @property
    def aligned(self) -> bool:
        """Whether the modalities that the data has are equally long: taken for word by word."""
        sizes = zip(MODALITIES, self.lengths, strict=True)
        return len({length for m, length in sizes if m in self.modalities}) == 1

    def shape(self, field: str) -> tuple[int, ...]:
        """Shape of a batch field after its leading axis."""
        sizes = {"U": self.turns, "Dc": self.commonsense}
        sizes["Lw"] = self.written.length if self.written else 0
        for letter, length, dim in zip("tav", self.lengths, self.dims, strict=True):
            sizes[f"L{letter}"], sizes[f"D{letter}"] = length, dim
        axes = FIELDS[field].shape
        if self.turns and field in OF_TURNS:
            axes = ("U", *axes)
        if self.turns and field == "text_ids":
            axes, sizes["W"] = ("U", "W"), self.words
        return tuple(sizes[size] for size in axes)

    def example(self, batch_size: int, seed: int = 0) -> dict[str, np.ndarray]:
        """A random batch of this spec, for initialisation and for tests.

        Args:
          batch_size: number of rows B.
          seed: seed of the features, lengths and labels.

        Returns:
          A dict of [B, ...] arrays with zeros on padded steps; each row has a
          length of its own, and all rows are valid. In the dialogue view it is that of
          all modalities.
        """
        rng = np.random.default_rng(seed)
        batch: dict[str, np.ndarray] = {}
        for modality, length in zip(MODALITIES, self.lengths, strict=True):
            steps = rng.integers(1, length + 1, (batch_size, 1))
            batch[f"{modality}_mask"] = np.arange(length) < steps
        if self.turns:
            real = batch["utterance_mask"] = batch["text_mask"]
            batch |= {f"{modality}_mask": real.copy() for modality in MODALITIES}
        for name in self.fields:
            shape, dtype = (batch_size, *self.shape(name)), FIELDS[name].dtype
            if name == "label" and self.classes:
                batch[name] = rng.integers(0, len(self.classes), shape).astype("int32")
            elif name.startswith("label") and dtype == "float32":
                batch[name] = rng.uniform(*(self.label_range or (0, 1)), shape).astype(
                    dtype
                )
            elif name == "index":
                batch[name] = np.arange(batch_size, dtype=dtype) % self.num_train
            elif name in (*MODALITIES, "commonsense"):
                mask = batch.get(f"{name}_mask", batch["text_mask"])
                batch[name] = rng.normal(size=shape).astype(dtype) * mask[..., None]
            elif dtype == "int32":
                many = {"text_ids": self.vocabulary, "speaker": self.speakers}
                ids = max(2, many.get(name, 0))
                batch[name] = rng.integers(0, ids, shape).astype(dtype)
            elif name == "text_own":
                batch[name] = batch["text_mask"] & (np.arange(self.lengths[0]) % 3 != 1)
            elif not name.endswith("_mask"):
                batch[name] = np.ones(shape, dtype)
        if self.turns:
            for name in OF_TURNS:
                if name in batch:
                    batch[name] *= batch["utterance_mask"]
        if (ids := batch.get("label_ids")) is not None:
            steps = rng.integers(1, ids.shape[1] + 1, (batch_size, 1))
            ids[np.arange(ids.shape[1]) >= steps] = IGNORED
        return batch


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows of one split in memory.

    Attributes:
      ids, raw_text: [N] str; ids are unique, texts empty where the file has none.
      arrays: batch fields with a leading axis N. A reader leaves out what its
        file lacks; `index` and `valid` are the loader's.
    """

    ids: np.ndarray
    raw_text: np.ndarray
    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:  # a notebook shows it; the arrays are thousands of lines
        return f"Split({len(self)} rows: {', '.join(self.arrays)})"

    def take(self, rows: np.ndarray) -> "Split":
        """Some of the rows: [N] bool, or numbers."""
        arrays = {key: array[rows] for key, array in self.arrays.items()}
        return Split(self.ids[rows], self.raw_text[rows], arrays)


class Reading(NamedTuple):
    """How `msajax.load_data` read a corpus, so that later edits of it are noticed.

    Attributes:
      content: hash of what it returned.
      modalities: those that it was to read.
      format, encoding: as it was called.
    """

    content: str
    modalities: tuple[str, ...]
    format: str
    encoding: str


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A dataset as a reader returns it.

    Attributes:
      dataset: a name in `DATASETS`.
      splits: 'train', 'valid', 'test' or what of them the file has; rows of a
        file that names no split are in 'all', rows that have no labels in 'unlabelled'.
      notes: one line for each thing that the reader cleaned or left out.
      sha256: hash of the file's (or the files') bytes.
      vocabulary: the words that `text_ids` number (`msajax.data.vocabulary`); else ().
      media: JSON of how its features were extracted (`msajax.media.settings`), or ''.
      reading: how it was read from its file, where its labels were read as well.
      written: how its labels are written as texts, for a system that does.
    """

    dataset: str
    splits: dict[str, Split]
    notes: tuple[str, ...] = ()
    sha256: str = ""
    vocabulary: tuple[str, ...] = ()
    media: str = ""
    reading: Reading | None = None
    written: Written | None = None

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {len(split)}" for name, split in self.splits.items())
        return f"Corpus({self.dataset}, rows: {rows})"


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of an unknown-name error: '; did you mean "x"? Known: w, x'."""
    names = sorted(known)
    # A name out of a file may have a million characters, difflib takes memory for each.
    cased = {name.casefold(): name for name in reversed(names)}
    near = difflib.get_close_matches(name[:100].casefold(), cased, n=1, cutoff=0.5)
    hint = f'; did you mean "{cased[near[0]]}"?' if near else "."
    return f"{hint} Known: {', '.join(names)}" if names else ""
