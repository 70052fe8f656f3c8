"""A vocabulary of one's own: words, ids, unknown words, and the file that a run keeps."""

import numpy as np
import pytest

from msajax.data import vocabulary
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split

TRAIN = ("A good film, a GOOD one", "not a bad film", "", "Não é bad, não é")


def corpus(train=TRAIN, test=("a splendid film",)):
    made = {}
    for name, texts in (("train", train), ("test", test)):
        ids = np.array([f"{name}{i}" for i in range(len(texts))])
        arrays = {
            "text": np.ones((len(texts), 9, 2)),
            "audio": np.ones((len(texts), 3)),
        }
        made[name] = Split(ids, np.array(texts), arrays)
    return Corpus("demo", made, ("a note",), "abc")


def test_words_are_cut_as_berts_basic_tokenizer():
    split = vocabulary.split_words
    assert split("Don't STOP—now_ok 3.5") == [
        *("don", "'", "t", "stop", "—", "now", "_", "ok", "3", ".", "5")
    ]
    assert split("Café 我很 高兴!") == ["cafe", "我", "很", "高", "兴", "!"]
    assert split(" \u2028\t ") == []


def test_words_of_the_training_split_by_frequency():
    # Twice: "film", ",", "good", "bad", "nao", "e"; "a" three times. Once: unknown.
    words = vocabulary.build(corpus())
    assert words == ("a", ",", "bad", "e", "film", "good", "nao")
    assert vocabulary.size(words) == 9 and vocabulary.size(()) == 0
    for text in ("", "each word once"):
        with pytest.raises(DataError, match="config.text.vocabulary=False"):
            vocabulary.build(corpus(train=(text,)))


def test_ids_go_back_to_words():
    words = vocabulary.build(corpus())
    made = vocabulary.encode(corpus(), words, max_length=6)
    assert made.vocabulary == words and made.sha256 == "abc"
    names = dict(enumerate(words, vocabulary.FIRST)) | {vocabulary.UNKNOWN: "?"}
    found = []
    for split in made.splits.values():
        assert set(split.arrays) == {"text_ids", "text_mask", "audio"}
        ids, mask = split.arrays["text_ids"], split.arrays["text_mask"]
        assert ids.dtype == np.int32 and not ids[~mask].any()
        found += [
            [names[i] for i in row[m].tolist()]
            for row, m in zip(ids, mask, strict=True)
        ]
    assert found == [
        ["a", "good", "film", ",", "a", "good"],
        ["?", "a", "bad", "film"],
        [],
        ["nao", "e", "bad", ",", "nao", "e"],
        ["a", "?", "film"],
    ]
    assert made.notes == (
        "a note",
        "2 of 19 words are not in the vocabulary of 7 words, made of a training split "
        "(at least 2 times)",
        "1 of 5 texts have no word",
        "1 of 5 texts cut to 6 words (config.text.max_length)",
    )


def test_the_file_of_a_run(tmp_path):
    assert vocabulary.read(tmp_path) is None
    words = ("gut", "我", "\ud800", "é")
    vocabulary.write(words, tmp_path)
    assert vocabulary.read(tmp_path) == words
    assert [path.name for path in tmp_path.iterdir()] == [vocabulary.FILE]
    for content in (b"gut\ngut", b"", b"gut\n", b"\xff"):
        (tmp_path / vocabulary.FILE).write_bytes(content)
        with pytest.raises(DataError, match="run the training command again"):
            vocabulary.read(tmp_path)
    with pytest.raises(
        DataError, match="is damaged: it is no UTF-8 text; delete it and run"
    ):
        vocabulary.read(tmp_path)
