"""Word pieces of raw text: vocabularies, cuts, the cache, rows per word."""

import json
import logging

import numpy as np
import pytest
import transformers

from msajax.data import tokenize
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENGLISH = [*SPECIAL, "a", "lot", "of", "fun", "##ny", "##s", "not", "!"]
CHINESE = [*SPECIAL, *"我很高兴这电影不好看，。"]
CLS, SEP, FUN = 2, 3, ENGLISH.index("fun")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


def tokenizer(folder, words=ENGLISH, **options):
    """A folder with a WordPiece vocabulary, as BERT's are given out."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    facts = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


def corpus(texts, **arrays):
    ids = np.array([f"row{i}" for i in range(len(texts))])
    return Corpus("mosi", {"train": Split(ids, np.array(texts, str), arrays)})


def pieces(texts, folder, max_length=8, **options):
    """(ids without padding, types, note) of the texts."""
    found = tokenize.word_pieces(
        corpus(texts), folder, max_length=max_length, **options
    )
    arrays = found.splits["train"].arrays
    assert arrays["text_ids"].shape == (len(texts), max_length)
    assert arrays["text_ids"].dtype == arrays["text_type"].dtype == np.int32
    assert not arrays["text_ids"][~arrays["text_mask"]].any()
    assert not arrays["text_type"].any()
    rows = zip(arrays["text_ids"], arrays["text_mask"], strict=True)
    return [ids[mask].tolist() for ids, mask in rows], found.notes


def words(*names, of=ENGLISH):
    return [CLS, *map(of.index, names), SEP]


def test_upper_case_is_the_tokenizers_matter(tmp_path):
    lower = tokenizer(tmp_path / "uncased")
    assert pieces(["A LOT OF Funny"], lower)[0] == [
        words("a", "lot", "of", "fun", "##ny")
    ]
    cased = tokenizer(tmp_path / "cased", do_lower_case=False)
    assert pieces(["A lot"], cased)[0] == [words("[UNK]", "lot")]


def test_texts_without_a_word_and_other_scripts(tmp_path):
    texts = ["", "   \t", "fun \U0001f600 \u4e2d a\u0301", "\ufeff fun!", "a"]
    found, notes = pieces(texts, tokenizer(tmp_path / "t"))
    assert notes == ("2 of 5 texts are empty",)
    assert found[:2] == [[CLS, SEP]] * 2
    assert found[2] == words("fun", "[UNK]", "[UNK]", "a")
    assert found[3:] == [words("fun", "!"), words("a")]


def test_chinese_characters_are_words(tmp_path):
    found, _ = pieces(["我很高兴。", "good"], tokenizer(tmp_path / "t", CHINESE))
    assert found == [words(*"我很高兴。", of=CHINESE), words("[UNK]", of=CHINESE)]


def test_long_texts_are_cut_and_counted(tmp_path):
    folder = tokenizer(tmp_path / "t")
    found, notes = pieces(["a a a a", "a a a", "fun " * 100], folder, max_length=5)
    assert found == [words("a", "a", "a"), words("a", "a", "a"), words(*["fun"] * 3)]
    assert notes == ("2 of 3 texts cut to 5 word pieces (config.text.max_length)",)
    assert pieces(["a a a"], folder, max_length=5)[1] == ()
    with pytest.raises(ValueError, match="2 of them are special"):
        pieces(["a"], folder, max_length=2)


def test_made_once_per_text_and_tokenizer(tmp_path, root, monkeypatch, caplog):
    loads = []
    original = transformers.AutoTokenizer.from_pretrained

    def load(*args, **options):
        loads.append(args)
        return original(*args, **options)

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", load)
    folder = tokenizer(tmp_path / "t")
    first = pieces(["a lot", "fun " * 9], folder)
    assert pieces(["a lot", "fun " * 9], folder) == first and len(loads) == 1
    pieces(["a lot", "fun"], folder)
    pieces(["a lot", "fun"], folder, max_length=7)
    assert len(loads) == 3
    tokenizer(folder, [*SPECIAL, "lot", "a", "fun"])
    assert pieces(["a lot", "fun"], folder)[0][0] == [CLS, 6, 5, SEP]
    assert len(loads) == 4
    for file in (root / "cache" / "pieces").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert pieces(["a lot", "fun"], folder)[0][0] == [CLS, 6, 5, SEP]
    assert "made again" in caplog.text


def test_a_row_per_word_becomes_a_row_per_piece(tmp_path):
    audio = np.arange(1.0, 7).reshape(2, 3, 1).astype(np.float32)
    mask = np.array([[True, True, True], [True, False, False]])
    audio[~mask] = 0
    vision = np.zeros((2, 3, 2), np.float32)
    given = corpus(["not funny !", "a"], audio=audio, audio_mask=mask)
    given.splits["train"].arrays.update(vision=vision, vision_mask=mask & False)
    found = tokenize.word_pieces(
        given, tokenizer(tmp_path / "t"), max_length=7, words=True
    )
    arrays = found.splits["train"].arrays
    # [CLS] not fun ##ny ! [SEP]
    np.testing.assert_array_equal(
        arrays["audio"][..., 0], [[0, 1, 2, 2, 3, 0, 0], [0, 4, 0, 0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(arrays["audio_mask"], arrays["text_mask"])
    assert arrays["vision"].shape == (2, 7, 2) and not arrays["vision"].any()
    assert not arrays["vision_mask"].any()


def test_words_that_are_cut_lose_their_rows(tmp_path):
    audio = np.ones((1, 3, 1), np.float32) * [[[1], [2], [3]]]
    given = corpus(["a lot fun"], audio=audio, audio_mask=np.ones((1, 3), bool))
    found = tokenize.word_pieces(
        given, tokenizer(tmp_path / "t"), max_length=4, words=True
    )
    assert found.splits["train"].arrays["audio"][0, :, 0].tolist() == [0, 1, 2, 0]


def test_other_rows_than_words(tmp_path):
    given = corpus(
        ["a lot"], audio=np.ones((1, 3, 1)), audio_mask=np.ones((1, 3), bool)
    )
    with pytest.raises(DataError, match=r'audio of "row0".*3 rows.*2 words'):
        tokenize.word_pieces(given, tokenizer(tmp_path / "t"), max_length=8, words=True)


def _with_pieces(last, piece=FUN):
    ids = np.array([[CLS, piece, last], [CLS, last, 0]], np.int32)
    arrays = dict(text_ids=ids, text_type=ids * 0, text_mask=ids > 0)
    return corpus(["fun", ""], **arrays, text=np.ones((2, 3, 4), np.float32))


def test_pieces_of_the_file_are_used_as_they_are(tmp_path):
    given, folder = _with_pieces(SEP), tokenizer(tmp_path / "t")
    found = tokenize.word_pieces(given, folder, max_length=8)
    arrays = found.splits["train"].arrays
    assert arrays["text_ids"] is given.splits["train"].arrays["text_ids"]
    assert "text" not in arrays
    raw = tokenize.word_pieces(given, folder, max_length=8, raw=True)
    assert raw.splits["train"].arrays["text_ids"].shape == (2, 8)


def test_pieces_of_another_tokenizer(tmp_path):
    with pytest.raises(DataError, match=r"id 7, but .* 3: .*another model"):
        tokenize.word_pieces(_with_pieces(7), tokenizer(tmp_path / "t"), max_length=8)


def test_pieces_of_another_vocabulary_with_the_same_special_tokens(tmp_path):
    given = _with_pieces(SEP, piece=6)
    with pytest.raises(DataError, match="are not those that .* makes of the raw text"):
        tokenize.word_pieces(given, tokenizer(tmp_path / "t"), max_length=8)


def test_no_raw_text(tmp_path):
    with pytest.raises(DataError, match='split "train" has no raw text'):
        pieces(["", " "], tokenizer(tmp_path / "t"))
    given = corpus([" "])  # a clip to predict may have no word
    given = Corpus("mosi", {"all": given.splits["train"]})
    found = tokenize.word_pieces(given, tmp_path / "t", max_length=4)
    assert found.splits["all"].arrays["text_ids"].tolist() == [[CLS, SEP, 0, 0]]


def test_no_tokenizer(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "BertTokenizer"}'
    )
    with pytest.raises(ValueError, match=r"has no tokenizer; copy"):
        pieces(["a"], tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be loaded"):
        pieces(["a"], tmp_path)
