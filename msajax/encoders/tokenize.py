"""Raw text to the word pieces of a pretrained encoder, once per (text, tokenizer).

Audio and vision that have one row per word get one per piece, as in Rahman et
al., "Integrating Multimodal Information in Large Pretrained Transformers", ACL
2020: a word's row is repeated for its pieces, special tokens have zeros.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from msajax.data import parts, prepared, store
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split
from msajax.encoders import tokenizer_files, tokenizer_process
from msajax.encoders.context import Neighbours, own_first

# Raise it when the result changes: older entries of the cache are then left.
_VERSION = 1
_COMPARED = 50  # texts, to see whose word pieces a file has


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The word pieces of N texts, special tokens included.

    Attributes:
      ids, type: [N, L] int32, 0 on padding.
      word: [N, L] int32, the word (between single spaces) of each piece; -1 on
        special tokens and padding.
      length: [N] int32.
      cut: [N] bool, texts that had more than L pieces.
      own: [N, L] bool, what a text has alone: its pieces and the special tokens at both
        ends; None without a context.
      short: [N] bool, texts whose neighbours lost pieces; None without a context.
    """

    ids: np.ndarray
    type: np.ndarray
    word: np.ndarray
    length: np.ndarray
    cut: np.ndarray
    own: np.ndarray | None = None
    short: np.ndarray | None = None

    @property
    def mask(self) -> np.ndarray:
        """[N, L] bool, real pieces."""
        return np.arange(self.ids.shape[1]) < self.length[:, None]


def word_pieces(
    corpus: Corpus,
    folder: pathlib.Path,
    *,
    network: Mapping[str, str],
    max_length: int,
    prefix: str = "",
    raw: bool = False,
    words: bool = False,
    context: Neighbours | None = None,
    root: str | os.PathLike | None = None,
) -> Corpus:
    """A corpus with `text_ids`, `text_type` and `text_mask` in place of text features.

    With a context also `text_own`, the pieces of the utterance itself.

    Args:
      corpus: cleaned; word pieces that it brings along are used as they are, where there
        is neither prefix nor context.
      folder: of the encoder, with its tokenizer.
      network: what the encoder's config.json says of the tokenizer, once it is
        known to be of a network that we have: 'model_type', 'tokenizer_class'.
      max_length: longest sequence of pieces, special tokens included; longer texts are cut.
      prefix: in front of every text, and of its neighbours; its pieces are of no word.
      raw: tokenize the raw text all the same where the corpus has word pieces.
      words: audio and vision have one row per word of the raw text.
      context: what is joined to each text; None for nothing.
      root: of the cache, as in `store.prepare`.

    Returns:
      A corpus; the sequences of pieces are padded to max_length.

    Raises:
      DataError: no raw text, or word pieces of another tokenizer, or other rows
        than words.
      ValueError: the folder has no tokenizer, or one that does not end.
    """
    cache = store.cache(root) / "pieces"
    tokenizer = _Tokenizer(folder, network, max_length, prefix, cache, context)
    brought = {
        name: "text_ids" in split.arrays and not (raw or prefix or context)
        for name, split in corpus.splits.items()
    }
    made = {name: split for name, split in corpus.splits.items() if not brought[name]}
    blank = sum(_blank(name, split) for name, split in made.items())
    rows, marks, notes = [], [], []
    if context is not None:
        rows, notes = context.rows(corpus)
        marks, said = context.marks(corpus)
        notes += said
    found = tokenizer(
        [
            _sample(split) if brought[name] else split.raw_text
            for name, split in corpus.splits.items()
        ],
        rows,
        marks,
    )
    splits, cut, short = {}, 0, 0
    for (name, split), pieces in zip(corpus.splits.items(), found, strict=True):
        arrays = {k: v for k, v in split.arrays.items() if k != "text"}
        if brought[name]:
            _check_vocabulary(name, split, pieces)
        else:
            arrays |= {"text_ids": pieces.ids, "text_type": pieces.type}
            arrays["text_mask"] = pieces.mask
            cut += int(pieces.cut.sum())
            if pieces.own is not None and pieces.short is not None:
                arrays["text_own"] = pieces.own
                short += int(pieces.short.sum())
            if words:
                arrays |= _by_piece(name, split, pieces)
        splits[name] = Split(split.ids, split.raw_text, arrays)
    total, notes = sum(map(len, made.values())), [*corpus.notes, *notes]
    if blank:
        notes.append(f"{blank} of {total} texts are empty")
    if cut:
        notes.append(
            f"{cut} of {total} texts cut to {max_length} word pieces "
            "(config.text.max_length)"
        )
    if short:
        notes.append(
            f"the neighbours of {short} of {total} texts cut, to {max_length} word pieces "
            "with the text (config.text.max_length)"
        )
    return Corpus(
        corpus.dataset, splits, tuple(notes), corpus.sha256, media=corpus.media
    )


class _Tokenizer:
    """A tokenizer that is run where the cache lacks a result."""

    def __init__(
        self,
        folder: pathlib.Path,
        network: Mapping[str, str],
        max_length: int,
        prefix: str,
        cache: pathlib.Path,
        context: Neighbours | None,
    ):
        self._files = tokenizer_files.find(folder)
        self._folder, self._network = folder, network
        self._sizes = {"max_length": max_length, "prefix": prefix}
        self._cache, self._context = cache, context

    def __call__(
        self,
        texts: Sequence[np.ndarray],
        neighbours: Sequence[np.ndarray],
        marks: Sequence[np.ndarray],
    ) -> list[Pieces]:
        """The pieces of several arrays of texts, each with the rows of its neighbours, and their marks."""
        # All of them, for it is starting that takes a second.
        flat = np.concatenate([np.array([], str), *texts])
        starts = np.cumsum([0, *map(len, texts)])
        around = [
            row
            for start, rows in zip(starts, neighbours, strict=False)
            for row in np.where(rows < 0, -1, rows + start).tolist()
        ]
        names = [name for some in marks for name in some.tolist()]
        made = functools.cache(lambda: self._make(flat.tolist(), around, names))
        found = []
        for i, some in enumerate(texts):
            rows = slice(starts[i], starts[i + 1])
            found.append(
                store.kept(
                    self._path(some, neighbours[i : i + 1], marks[i : i + 1]),
                    lambda rows=rows: {k: v[rows] for k, v in made().items()},
                )
            )
        return [Pieces(**arrays) for arrays in found]

    def _path(
        self,
        texts: np.ndarray,
        neighbours: Sequence[np.ndarray],
        marks: Sequence[np.ndarray],
    ) -> pathlib.Path:
        parts = (
            *([path.name for path in self._files], prepared.fingerprint(self._files)),
            *(sorted(self._network.items()), self._sizes["max_length"], _VERSION),
            *filter(None, [self._sizes["prefix"]]),
        )
        digest = hashlib.sha256(repr(parts).encode())
        digest.update("\0".join(texts.tolist()).encode())
        for rows in neighbours:
            digest.update(repr((self._context, rows.tolist())).encode())
        for names in marks:
            digest.update(repr(names.tolist()).encode())
        return self._cache / f"{digest.hexdigest()[:32]}.npz"

    def _make(
        self, texts: list[str], around: list[list[int]], marks: list[str]
    ) -> dict[str, np.ndarray]:
        with parts.beside(pathlib.Path(tempfile.gettempdir()) / "job") as job:
            job.mkdir(mode=0o700)
            tokenizer_files.copy(self._files, job / "tokenizer", network=self._network)
            task = {**self._sizes, "texts": texts, "context": None}
            if self._context:
                own = {"rows": around, "marks": marks}
                task["context"] = own | dataclasses.asdict(self._context)
            (job / "job.json").write_text(json.dumps(task), "utf-8")
            failure = _run(job)
            if (error := job / "error").exists():
                failure = error.read_text("utf-8")
            if failure:
                raise ValueError(f"{self._folder}: {failure}")
            with np.load(job / "pieces.npz") as arrays:
                return dict(arrays)


def _run(job: pathlib.Path) -> str:
    """Runs a tokenizer in a process of its own; what was wrong with the process, or ''."""
    # Nothing is asked of the hub, nor said of a PyTorch that is not there.
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", tokenizer_process.__file__, str(job)],
        env=os.environ | quiet,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    if not done.returncode:
        return ""
    advice = tokenizer_process.ADVICE
    if done.returncode == -signal.SIGXCPU:
        step = (job / "step").read_text("utf-8")
        return f"its tokenizer takes more than {step}; {advice}"
    if b"memory allocation of" in done.stderr:
        return tokenizer_process.NO_MEMORY
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    reason = ascii("".join(last)[-200:])[1:-1] or f"signal {-done.returncode}"
    return f"its tokenizer ended its process ({reason}); {advice}"


def _blank(name: str, split: Split) -> int:
    """Number of texts without a word; refuses nothing else to train on, or beside word pieces."""
    count = sum(not text.strip() for text in split.raw_text.tolist())
    needed = name == "train" or (count and "text_ids" in split.arrays)
    if needed and count == len(split):
        raise DataError(
            f'the split "{name}" has no raw text to make word pieces of; give a file '
            "with transcripts, or leave config.text.encoder empty"
        )
    return count


def _sample(split: Split) -> np.ndarray:
    """An empty text, and the first texts of a split that has word pieces."""
    there = split.arrays["text_mask"].any(axis=1)
    texts = split.raw_text[there].tolist()
    return np.array(["", *[x for x in texts if x.strip()][:_COMPARED]], str)


def _check_vocabulary(name: str, split: Split, sample: Pieces) -> None:
    """Refuses word pieces that are not the tokenizer's.

    Most sequences end as its do (not all: they may be cut), and where there is
    raw text, most of the first ones' pieces are those that it makes: models share
    special tokens, but not vocabularies.

    Args:
      name, split: has word pieces.
      sample: the tokenizer's pieces of `_sample(split)`.
    """
    ids, mask = split.arrays["text_ids"], split.arrays["text_mask"]
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return
    last = ids[rows, mask[rows].sum(axis=1) - 1]
    # Not every tokenizer ends its texts with a special token.
    end = sample.ids[0, sample.length[0] - 1] if sample.length[0] else last
    wrong = ""
    if 2 * np.count_nonzero(last == end) < len(last):
        wrong = f"end with the id {np.bincount(last).argmax()}, but those of "
        wrong += f"config.text.encoder with {end}"
    elif _agreement(split, rows, sample) < 0.5:
        wrong = (
            "are not those that config.text.encoder's tokenizer makes of the raw text"
        )
    if wrong:
        raise DataError(
            f'the word pieces of the split "{name}" {wrong}: they were made by the '
            "tokenizer of another model. Choose the encoder that they were made for, or "
            "set config.text.raw=True to tokenize the raw text"
        )


def _agreement(split: Split, rows: np.ndarray, sample: Pieces) -> float:
    """Share of the pieces, special ones left out, that the tokenizer makes at the same place."""
    some = [i for i in rows.tolist() if str(split.raw_text[i]).strip()][:_COMPARED]
    made, word = sample.ids[1:], sample.word[1:]
    length = min(made.shape[1], split.arrays["text_ids"].shape[1])
    theirs = split.arrays["text_ids"][some, :length]
    both = split.arrays["text_mask"][some, :length] & (word[:, :length] >= 0)
    return float((theirs == made[:, :length])[both].mean()) if both.any() else 1.0


def _by_piece(name: str, split: Split, pieces: Pieces) -> dict[str, np.ndarray]:
    """Audio and vision, a row per word, as rows per piece: [N, T, D] -> [N, L, D].

    They are the utterance's alone: where it has neighbours, row i is of its i-th piece.
    """
    counts = np.array([text.count(" ") + 1 for text in split.raw_text.tolist()])
    word, mask = pieces.word, pieces.mask
    if pieces.own is not None:
        word, mask = own_first(word, pieces.own), own_first(pieces.own, pieces.own)
    arrays = {}
    for key in ("audio", "vision"):
        if key not in split.arrays:
            continue
        x, steps = split.arrays[key], split.arrays[f"{key}_mask"].sum(axis=1)
        wrong = (steps > 0) & (steps != counts)
        if wrong.any():
            i = int(np.argmax(wrong))
            raise DataError(
                f'{key} of "{split.ids[i][:80]}" (split "{name}") has {steps[i]} rows, but '
                f"its text {counts[i]} words; set config.text.words=False for data "
                "without a row per word"
            )
        of_word = np.clip(word, 0, x.shape[1] - 1)
        real = mask & (word >= 0) & (steps > 0)[:, None]
        rows = np.take_along_axis(x, of_word[:, :, None], axis=1)
        arrays[key] = np.where(real[:, :, None], rows, np.float32(0))
        arrays[f"{key}_mask"] = mask & (steps > 0)[:, None]
    return arrays
