"""Word pieces of raw text: vocabularies, cuts, the cache, rows per word."""

import json
import logging
import time

import numpy as np
import pytest
import tokenizers
import transformers

from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split
from msajax.encoders import tokenize
from tests import small_encoders

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENGLISH = [*SPECIAL, "a", "lot", "of", "fun", "##ny", "##s", "not", "!"]
CHINESE = [*SPECIAL, *"我很高兴这电影不好看，。"]
RUN = tokenize._run  # in a process of its own
CLS, SEP, FUN = 2, 3, ENGLISH.index("fun")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture(autouse=True)
def here(tokenizer_in_process):
    """Starting a process for each test would take seconds."""


def word_pieces(*args, **options):
    return tokenize.word_pieces(*args, network={"model_type": "bert"}, **options)


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
    found = word_pieces(corpus(texts), folder, max_length=max_length, **options)
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


@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_a_text_of_t5_ends_with_its_token(tmp_path, kind):
    small_encoders.t5(tmp_path)
    given = corpus(["a lot of funny", "", "not  fun !", "a " * 20])
    found = tokenize.word_pieces(
        given, tmp_path, network={"model_type": kind}, max_length=7
    )
    arrays = found.splits["train"].arrays
    a, lot, of, fun, ny, no, mark = 4, 5, 6, 7, 8, 10, 11
    expected = [[a, lot, of, fun, ny, 1], [1], [no, fun, 3, mark, 1], [*[a] * 6, 1]]
    for ids, mask, wanted in zip(
        arrays["text_ids"], arrays["text_mask"], expected, strict=True
    ):
        assert ids.tolist() == [*wanted, *[0] * (7 - len(wanted))]
        assert mask.sum() == len(wanted)
    assert "1 of 4 texts cut to 7 word pieces" in found.notes[-1]


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


@pytest.mark.parametrize("settings", [None, {"do_lower_case": False}])
def test_a_deberta_has_the_normalizer_of_its_file(settings, tmp_path):
    """Its class in transformers would make one of its own."""
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"▁a ▁lot ▁film ... s [MASK]".split()]
    made = tokenizers.Tokenizer(
        tokenizers.models.Unigram([(name, -1.0) for name in names], unk_id=3)
    )
    made.add_special_tokens([*names[:4], names[-1]])
    made.normalizer = tokenizers.normalizers.NFKC()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    if settings is not None:
        facts = {"tokenizer_class": "DebertaV2Tokenizer", **settings}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(facts))
    found = tokenize.word_pieces(
        corpus(["ﬁlms…", "a lot of", ""]),
        tmp_path,
        network={"model_type": "deberta-v2"},
        max_length=5,
    )
    ids = found.splits["train"].arrays["text_ids"]
    film = names.index("▁film")
    expected = [[1, film, names.index("s"), film + 1, 2], [1, 4, 5, 3, 2], [1, 2]]
    for row, some in zip(ids.tolist(), expected, strict=True):
        assert row == some + [0] * (5 - len(some))


def test_long_texts_are_cut_and_counted(tmp_path):
    folder = tokenizer(tmp_path / "t")
    found, notes = pieces(["a a a a", "a a a", "fun " * 100], folder, max_length=5)
    assert found == [words("a", "a", "a"), words("a", "a", "a"), words(*["fun"] * 3)]
    assert notes == ("2 of 3 texts cut to 5 word pieces (config.text.max_length)",)
    assert pieces(["a a a"], folder, max_length=5)[1] == ()
    with pytest.raises(ValueError, match="2 of them are special"):
        pieces(["a"], folder, max_length=2)


def test_a_prefix_is_in_front_of_every_text(tmp_path):
    """Also where pieces are of words: its own are of none."""
    folder = tokenizer(tmp_path / "t")
    audio = np.array([[[1.0], [2.0]]], np.float32)
    given = corpus(["a fun"], audio=audio, audio_mask=np.ones((1, 2), bool))
    given.splits["train"].arrays["text_ids"] = np.full((1, 3), 9, np.int32)
    found = word_pieces(given, folder, max_length=8, prefix="not of: ", words=True)
    arrays = found.splits["train"].arrays
    wanted = words("not", "of", "[UNK]", "a", "fun")
    assert arrays["text_ids"][arrays["text_mask"]].tolist() == wanted
    assert arrays["audio"][0, :, 0].tolist() == [0, 0, 0, 0, 1, 2, 0, 0]
    # What the cache has is of the same prefix.
    assert pieces(["a fun"], folder)[0] == [words("a", "fun")]
    assert pieces(["a fun"], folder, prefix="not ")[0] == [words("not", "a", "fun")]
    with pytest.raises(ValueError, match="5 of them are special tokens and of config"):
        pieces(["a"], folder, max_length=5, prefix="not of a")


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
    found = word_pieces(given, tokenizer(tmp_path / "t"), max_length=7, words=True)
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
    found = word_pieces(given, tokenizer(tmp_path / "t"), max_length=4, words=True)
    assert found.splits["train"].arrays["audio"][0, :, 0].tolist() == [0, 1, 2, 0]


def test_other_rows_than_words(tmp_path):
    given = corpus(
        ["a lot"], audio=np.ones((1, 3, 1)), audio_mask=np.ones((1, 3), bool)
    )
    with pytest.raises(DataError, match=r'audio of "row0".*3 rows.*2 words'):
        word_pieces(given, tokenizer(tmp_path / "t"), max_length=8, words=True)


def _with_pieces(last, piece=FUN):
    ids = np.array([[CLS, piece, last], [CLS, last, 0]], np.int32)
    arrays = dict(text_ids=ids, text_type=ids * 0, text_mask=ids > 0)
    return corpus(["fun", ""], **arrays, text=np.ones((2, 3, 4), np.float32))


def test_pieces_of_the_file_are_used_as_they_are(tmp_path):
    given, folder = _with_pieces(SEP), tokenizer(tmp_path / "t")
    found = word_pieces(given, folder, max_length=8)
    arrays = found.splits["train"].arrays
    assert arrays["text_ids"] is given.splits["train"].arrays["text_ids"]
    assert "text" not in arrays
    raw = word_pieces(given, folder, max_length=8, raw=True)
    assert raw.splits["train"].arrays["text_ids"].shape == (2, 8)


def test_pieces_of_another_tokenizer(tmp_path):
    with pytest.raises(DataError, match=r"id 7, but .* 3: .*another model"):
        word_pieces(_with_pieces(7), tokenizer(tmp_path / "t"), max_length=8)


def test_pieces_of_another_vocabulary_with_the_same_special_tokens(tmp_path):
    given = _with_pieces(SEP, piece=6)
    with pytest.raises(DataError, match="are not those that .* makes of the raw text"):
        word_pieces(given, tokenizer(tmp_path / "t"), max_length=8)


def test_no_raw_text(tmp_path):
    with pytest.raises(DataError, match='split "train" has no raw text'):
        pieces(["", " "], tokenizer(tmp_path / "t"))
    given = corpus([" "])  # a clip to predict may have no word
    given = Corpus("mosi", {"all": given.splits["train"]})
    found = word_pieces(given, tmp_path / "t", max_length=4)
    assert found.splits["all"].arrays["text_ids"].tolist() == [[CLS, SEP, 0, 0]]


def test_no_tokenizer(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "BertTokenizer"}'
    )
    with pytest.raises(ValueError, match=r"has no tokenizer; copy"):
        pieces(["a"], tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="tokenizer.json is no JSON"):
        pieces(["a"], tmp_path)


def test_a_process_of_its_own(tmp_path, monkeypatch):
    """Under limits: its results are those of this process, and what does not end is ended."""
    texts, folder = ["a lot of funny", "not fun !"], tokenizer(tmp_path / "t")
    found = pieces(texts, folder)
    monkeypatch.setattr(tokenize, "_run", RUN)
    assert pieces([*texts, "a"], folder)[0][:2] == found[0]


GROWS = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}


def fast(folder, **changes):
    """A folder with the same vocabulary as tokenizer.json."""
    tokenizer(folder)
    loaded = transformers.AutoTokenizer.from_pretrained(folder)
    facts = json.loads(loaded.backend_tokenizer.to_str())
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer.json").write_text(json.dumps({**facts, **changes}))
    return folder


def test_a_tokenizer_that_does_not_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenize, "_run", RUN)
    grows = {"type": "Sequence", "normalizers": [GROWS] * 60}
    folder = generic(tmp_path / "t", normalizer=grows)
    start = time.monotonic()
    with pytest.raises(ValueError, match="takes more|ended its process"):
        pieces(["a a a"], folder)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("number", [-1, 2**31, 2**32 - 1, 2**64, 1.5, "3", None])
def test_ids_that_are_none(tmp_path, number):
    token = {"id": number, "content": "fun", "special": False}
    token |= {k: False for k in ("single_word", "lstrip", "rstrip", "normalized")}
    folder = fast(tmp_path / "t", added_tokens=[token])
    with pytest.raises(ValueError, match="tokenizer.json.*added_tokens.0.id"):
        pieces(["fun"], folder)


def generic(folder, **changes):
    """As `fast`; all that its tokenizer.json says holds, and no class changes it."""
    fast(folder, **changes)
    facts = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    return folder


def test_an_id_that_the_pieces_hold(tmp_path):
    post = json.loads((fast(tmp_path / "t") / "tokenizer.json").read_text())
    post = post["post_processor"]
    post["special_tokens"]["[SEP]"]["ids"] = [2**32 - 1]
    folder = generic(tmp_path / "t", post_processor=post)
    with pytest.raises(ValueError, match=r"'\[SEP\]' the id 4294967295, but ids end"):
        pieces(["fun"], folder)


def test_a_tokenizer_without_special_tokens(tmp_path):
    folder = generic(tmp_path / "t", post_processor=None)
    assert pieces(["a fun"], folder)[0] == [words("a", "fun")[1:-1]]
    with pytest.raises(DataError, match="are not those"):  # and ends with none
        word_pieces(_with_pieces(SEP), folder, max_length=8)


@pytest.mark.parametrize(
    "facts,key",
    [
        ([], "content"),
        ({"do_lower_case": "yes"}, "do_lower_case"),
        ({"tokenizer_class": ["BertTokenizer"]}, "tokenizer_class"),
        ({"cls_token": {"content": 3}}, "cls_token"),
        ({"added_tokens_decoder": {"-1": {"content": "a"}}}, "added_tokens_decoder.-1"),
        ({"added_tokens_decoder": {str(2**32): {"content": "a"}}}, "added_tokens_dec"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, facts, key):
    folder = tokenizer(tmp_path / "t")
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=f"tokenizer_config.json.*{key}"):
        pieces(["fun"], folder)


def test_settings_lead_to_no_other_file(tmp_path):
    other = tokenizer(tmp_path / "other", [*SPECIAL, "fun"])
    names = ("vocab_file", "tokenizer_file", "gguf_file", "name_or_path")
    leads = {name: str(other / "vocab.txt") for name in names}
    folder = tokenizer(tmp_path / "t", fast_tokenizer_files=["../x.json"], **leads)
    assert pieces(["fun"], folder)[0] == [words("fun")]


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"model": 3}', "[" * 9999])
@pytest.mark.parametrize("name", ["tokenizer.json", "added_tokens.json"])
def test_files_of_another_shape(tmp_path, name, text):
    if name == "added_tokens.json":
        text = text.replace("{}", '{"fun": -1}').replace("3", '"3"')
    folder = fast(tmp_path / "t")
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        pieces(["fun"], folder)


def test_code_of_a_folder_is_never_run(tmp_path, monkeypatch):
    folder = tokenizer(tmp_path / "t", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    (folder / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: 0\n"
    )
    with pytest.raises(ValueError, match="code of its own .auto_map.* never run"):
        pieces(["a"], folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["AutoTokenizer.from_pretrained", "os.system", "Evil"])
def test_a_tokenizer_class_that_is_none(tmp_path, name):
    folder = tokenizer(tmp_path / "t", tokenizer_class=name)
    with pytest.raises(ValueError, match='"tokenizer_class" is'):
        pieces(["a"], folder)
