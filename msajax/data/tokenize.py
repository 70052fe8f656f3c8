"""Raw text to the word pieces of a pretrained encoder, once per (text, tokenizer).

Audio and vision that have one row per word get one per piece, as in Rahman et
al., "Integrating Multimodal Information in Large Pretrained Transformers", ACL
2020: a word's row is repeated for its pieces, special tokens have zeros.
"""

import dataclasses
import hashlib
import os
import pathlib
from typing import Any

import numpy as np

from msajax.data import prepared, store
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split

# Without one of these, transformers makes a tokenizer that knows no word.
_VOCABULARIES = (
    *("tokenizer.json", "vocab.txt", "vocab.json"),
    *("spiece.model", "sentencepiece.bpe.model"),
)
# The files that may make up a tokenizer.
FILES = (
    *(*_VOCABULARIES, "merges.txt", "added_tokens.json"),
    *("tokenizer_config.json", "special_tokens_map.json"),
)

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
    """

    ids: np.ndarray
    type: np.ndarray
    word: np.ndarray
    length: np.ndarray
    cut: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """[N, L] bool, real pieces."""
        return np.arange(self.ids.shape[1]) < self.length[:, None]


def word_pieces(
    corpus: Corpus,
    folder: pathlib.Path,
    *,
    max_length: int,
    raw: bool = False,
    words: bool = False,
    root: str | os.PathLike | None = None,
) -> Corpus:
    """A corpus with `text_ids`, `text_type` and `text_mask` in place of text features.

    Args:
      corpus: cleaned; word pieces that it brings along are used as they are.
      folder: of the encoder, with its tokenizer.
      max_length: longest sequence of pieces, special tokens included; a text with
        more is cut, and a note says how many are.
      raw: tokenize the raw text all the same where the corpus has word pieces.
      words: audio and vision have one row per word of the raw text.
      root: of the cache, as in `store.prepare`.

    Returns:
      A corpus; the sequences of pieces are padded to max_length.

    Raises:
      DataError: no raw text, or word pieces of another tokenizer, or other rows
        than words.
      ValueError: the folder has no tokenizer.
    """
    tokenizer = _Tokenizer(folder, max_length, store.cache(root) / "pieces")
    splits, notes = {}, list(corpus.notes)
    blank, cut, total = 0, 0, 0
    for name, split in corpus.splits.items():
        arrays = {k: v for k, v in split.arrays.items() if k != "text"}
        if "text_ids" in arrays and not raw:
            _check_vocabulary(name, split, tokenizer)
        else:
            blank += _blank(name, split)
            pieces = tokenizer(split.raw_text)
            arrays |= {"text_ids": pieces.ids, "text_type": pieces.type}
            arrays["text_mask"] = pieces.mask
            cut, total = cut + int(pieces.cut.sum()), total + len(split)
            if words:
                arrays |= _by_piece(name, split, pieces)
        splits[name] = Split(split.ids, split.raw_text, arrays)
    if blank:
        notes.append(f"{blank} of {total} texts are empty")
    if cut:
        notes.append(
            f"{cut} of {total} texts cut to {max_length} word pieces "
            "(config.text.max_length)"
        )
    return Corpus(corpus.dataset, splits, tuple(notes), corpus.sha256)


class _Tokenizer:
    """A tokenizer that is loaded where the cache lacks a result."""

    def __init__(self, folder: pathlib.Path, max_length: int, cache: pathlib.Path):
        self._files = [folder / name for name in FILES if (folder / name).is_file()]
        if not any(path.name in _VOCABULARIES for path in self._files):
            raise ValueError(
                f"{folder} has no tokenizer; copy its tokenizer.json (or vocab.txt, or "
                "spiece.model) and tokenizer_config.json from where the weights come from"
            )
        self._folder, self.max_length, self._cache = folder, max_length, cache
        self._loaded: Any = None

    def __call__(self, texts: np.ndarray) -> Pieces:
        names = [path.name for path in self._files]
        parts = (names, prepared.fingerprint(self._files), self.max_length, _VERSION)
        digest = hashlib.sha256(repr(parts).encode())
        digest.update("\0".join(texts.tolist()).encode())
        path = self._cache / f"{digest.hexdigest()[:32]}.npz"
        return Pieces(**store.kept(path, lambda: vars(self._make(texts.tolist()))))

    @property
    def last_id(self) -> int:
        """The special token that ends every text."""
        return self._load()("")["input_ids"][-1]

    def _load(self) -> Any:
        if self._loaded is None:
            # Else transformers says, once per process, that PyTorch is not there.
            os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
            import transformers

            try:
                loaded = transformers.AutoTokenizer.from_pretrained(
                    self._folder, local_files_only=True
                )
            except Exception as error:  # whatever a tokenizer's own code raises
                raise ValueError(
                    f"{self._folder}: its tokenizer cannot be loaded "
                    f"({type(error).__name__}: {str(error)[:200]}); copy its files again"
                ) from error
            if not loaded.is_fast:
                raise ValueError(
                    f"{self._folder}: {type(loaded).__name__} does not say where in the "
                    "text a piece is; add the tokenizer.json that belongs to it"
                )
            self._loaded = loaded
        return self._loaded

    def _make(self, texts: list[str]) -> Pieces:
        if not (special := len(self._load()("")["input_ids"])) < self.max_length:
            raise ValueError(
                f"config.text.max_length is {self.max_length}, but {special} of them "
                "are special tokens; give more"
            )
        encoded = self._load()(
            texts,
            truncation=True,
            max_length=self.max_length,
            padding=False,
            return_token_type_ids=True,
        ).encodings
        shape = (len(texts), self.max_length)
        ids, types = np.zeros((2, *shape), np.int32)
        word = np.full(shape, -1, np.int32)
        for i, (text, row) in enumerate(zip(texts, encoded, strict=True)):
            n = len(row.ids)
            ids[i, :n], types[i, :n] = row.ids, row.type_ids
            # A piece may begin with the space before its word, so its end counts.
            spaces = np.cumsum([0, *(c == " " for c in text)])
            places = spaces[[end for _, end in row.offsets]]
            word[i, :n] = np.where(row.special_tokens_mask, -1, places)
        length = np.array([len(row.ids) for row in encoded], np.int32)
        cut = np.array([bool(row.overflowing) for row in encoded])
        return Pieces(ids, types, word, length, cut)


def _blank(name: str, split: Split) -> int:
    """Number of texts without a word; refuses to train on nothing else."""
    count = sum(not text.strip() for text in split.raw_text.tolist())
    if name == "train" and count == len(split):
        raise DataError(
            'the split "train" has no raw text to make word pieces of; give a file '
            "with transcripts, or leave config.text.encoder empty"
        )
    return count


def _check_vocabulary(name: str, split: Split, tokenizer: _Tokenizer) -> None:
    """Refuses word pieces that are not the tokenizer's.

    Most sequences end as its do (not all: they may be cut), and where there is
    raw text, most of the first ones' pieces are those that it makes: models share
    special tokens, but not vocabularies.
    """
    ids, mask = split.arrays["text_ids"], split.arrays["text_mask"]
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return
    last = ids[rows, mask[rows].sum(axis=1) - 1]
    wrong = ""
    if 2 * np.count_nonzero(last == tokenizer.last_id) < len(last):
        wrong = f"end with the id {np.bincount(last).argmax()}, but those of "
        wrong += f"config.text.encoder with {tokenizer.last_id}"
    elif _agreement(split, rows, tokenizer) < 0.5:
        wrong = (
            "are not those that config.text.encoder's tokenizer makes of the raw text"
        )
    if wrong:
        raise DataError(
            f'the word pieces of the split "{name}" {wrong}: they were made by the '
            "tokenizer of another model. Choose the encoder that they were made for, or "
            "set config.text.raw=True to tokenize the raw text"
        )


def _agreement(split: Split, rows: np.ndarray, tokenizer: _Tokenizer) -> float:
    """Share of the pieces, special ones left out, that the tokenizer makes at the same place."""
    some = [i for i in rows.tolist() if str(split.raw_text[i]).strip()][:_COMPARED]
    made = tokenizer(split.raw_text[some])
    length = min(made.ids.shape[1], split.arrays["text_ids"].shape[1])
    theirs = split.arrays["text_ids"][some, :length]
    both = split.arrays["text_mask"][some, :length] & (made.word[:, :length] >= 0)
    return float((theirs == made.ids[:, :length])[both].mean()) if both.any() else 1.0


def _by_piece(name: str, split: Split, pieces: Pieces) -> dict[str, np.ndarray]:
    """Audio and vision, a row per word, as rows per piece: [N, T, D] -> [N, L, D]."""
    counts = np.array([text.count(" ") + 1 for text in split.raw_text.tolist()])
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
        of_word = np.clip(pieces.word, 0, x.shape[1] - 1)
        real = (pieces.word >= 0) & (steps > 0)[:, None]
        rows = np.take_along_axis(x, of_word[:, :, None], axis=1)
        arrays[key] = np.where(real[:, :, None], rows, np.float32(0))
        arrays[f"{key}_mask"] = pieces.mask & (steps > 0)[:, None]
    return arrays
