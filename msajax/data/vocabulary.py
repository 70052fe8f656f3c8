"""A vocabulary of the training split's words, for systems that learn an embedding of their own.

Texts are cut into words as BERT's basic tokenizer cuts them: in lower case, without
accents, each punctuation mark and each Chinese character by itself. No pretrained
vocabulary is read.
"""

import collections
import pathlib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np

from msajax.data import parts
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split

# The file of a run's workdir, a word a line.
FILE = "vocabulary.txt"

# Ids: 0 is padding, 1 any word that the vocabulary lacks, the first word is 2.
UNKNOWN = 1
FIRST = 2
# A word that occurs once stands for all that are unknown, whose vector so is trained.
_LEAST = 2

_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_WORD = re.compile(rf"[{_CHINESE}]|[^\W_{_CHINESE}]+|[^\w\s]|_")


def split_words(text: str) -> list[str]:
    """The words of a text: "Don't stop" -> ["don", "'", "t", "stop"]."""
    letters = unicodedata.normalize("NFD", text.lower())
    return _WORD.findall("".join(c for c in letters if unicodedata.category(c) != "Mn"))


def build(corpus: Corpus) -> tuple[str, ...]:
    """The words that occur at least twice in a corpus' training split, most frequent first.

    Raises:
      DataError: there is none.
    """
    train = corpus.splits.get("train")
    texts: list[str] = [] if train is None else train.raw_text.tolist()
    counts = collections.Counter(word for text in texts for word in split_words(text))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    known = tuple(word for word in words if counts[word] >= _LEAST)
    if not known:
        raise DataError(
            'the split "train" has no raw text in which a word occurs twice, so there is '
            "no vocabulary to make; give a file with transcripts, or set "
            "config.text.vocabulary=False to take the text features of the data"
        )
    return known


def encode(corpus: Corpus, vocabulary: tuple[str, ...], *, max_length: int) -> Corpus:
    """A corpus with the numbers of its words, `text_ids`, in place of text features.

    Args:
      corpus: cleaned.
      vocabulary: words by their ids, from `FIRST` on.
      max_length: longest text in words; the words after these are cut off.

    Returns:
      A corpus with `text_ids` and `text_mask` [N, max_length], and a note on words
      that are unknown or cut off.
    """
    number = {word: i for i, word in enumerate(vocabulary, FIRST)}
    splits, cut, blank, texts, unknown, total = {}, 0, 0, 0, 0, 0
    for name, split in corpus.splits.items():
        rows = [split_words(text) for text in split.raw_text.tolist()]
        ids = np.zeros((len(split), max_length), np.int32)
        for i, words in enumerate(rows):
            found = [number.get(word, UNKNOWN) for word in words[:max_length]]
            ids[i, : len(found)] = found
        arrays = {k: v for k, v in split.arrays.items() if not _is_text(k)}
        arrays |= {"text_ids": ids, "text_mask": ids > 0}
        splits[name] = Split(split.ids, split.raw_text, arrays)
        cut, texts = cut + sum(len(r) > max_length for r in rows), texts + len(rows)
        blank += sum(not words for words in rows)
        unknown += np.count_nonzero(ids == UNKNOWN)
        total += np.count_nonzero(ids)
    notes = [
        f"{unknown} of {total} words are not in the vocabulary of {len(vocabulary)} "
        f"words, made of a training split (at least {_LEAST} times)"
    ]
    if blank:
        notes.append(f"{blank} of {texts} texts have no word")
    if cut:
        notes.append(
            f"{cut} of {texts} texts cut to {max_length} words (config.text.max_length)"
        )
    notes = (*corpus.notes, *notes)
    return Corpus(
        corpus.dataset, splits, notes, corpus.sha256, vocabulary, corpus.media
    )


def size(vocabulary: tuple[str, ...]) -> int:
    """Number of ids of a vocabulary, 0 where there is none."""
    return FIRST + len(vocabulary) if vocabulary else 0


def write(vocabulary: Iterable[str], folder: pathlib.Path) -> None:
    """Writes a vocabulary into a run's folder, whole or not at all."""
    # Lone surrogates may come from a damaged file.
    content = "\n".join(vocabulary).encode("utf-8", "surrogatepass")
    with parts.replacing(folder / FILE) as part, open(part, "xb") as file:
        file.write(content)


def read(folder: pathlib.Path) -> tuple[str, ...] | None:
    """The vocabulary of a run's folder; None where it has none.

    Raises:
      DataError: a damaged file.
    """
    path = folder / FILE
    try:
        text = path.read_bytes().decode("utf-8", "surrogatepass")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); {_ADVICE}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged: it is no UTF-8 text; {_ADVICE}") from error
    words = tuple(text.split("\n"))
    if "" in words or len(set(words)) < len(words):
        raise DataError(f"{path} is damaged: a word is empty or twice; {_ADVICE}")
    return words


_ADVICE = "delete it and run the training command again, which writes it"


def _is_text(field: str) -> bool:
    return field in ("text", "text_ids", "text_type", "text_mask")
