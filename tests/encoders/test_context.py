"""Utterances that are read with their neighbours (config.text.context)."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import tokenizers
import transformers

from msajax.data import dialogues
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split
from msajax.encoders import tokenize, tokenizer_process
from msajax.encoders.context import Neighbours
from tests import small_encoders
from tests.encoders.test_tokenize import ENGLISH, tokenizer

WORDS = ("a", "lot", "of", "fun", "not", "!")
A, LOT, OF, FUN, NOT = (ENGLISH.index(w) for w in WORDS[:5])
CLS, SEP, UNKNOWN = 2, 3, ENGLISH.index("[UNK]")
# Of `roberta`.
S, END, R = 0, 2, {w: 5 + i for i, w in enumerate(WORDS)}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "root"))


@pytest.fixture(autouse=True)
def here(tokenizer_in_process):
    """Starting a process for each test would take seconds."""


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tokenizer(tmp_path_factory.mktemp("bert") / "t")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    """<s> A </s></s> B </s>, all of one segment, as of RoBERTa and MPNet."""
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    names = {name: i for i, name in enumerate((*special, *WORDS))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(names, "<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()  # pyright: ignore
    made.post_processor = tokenizers.processors.RobertaProcessing(  # pyright: ignore
        ("</s>", END), ("<s>", S), add_prefix_space=False
    )
    folder = tmp_path_factory.mktemp("roberta")
    keys = ("bos", "pad", "eos", "unk", "mask")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        cls_token="<s>",
        sep_token="</s>",
        **{f"{k}_token": v for k, v in zip(keys, special, strict=True)},
    )
    fast.save_pretrained(folder)
    return folder


def corpus(texts, name="train", **arrays):
    """{id: text} as a corpus of one split."""
    rows = Split(np.array([*texts], str), np.array([*texts.values()], str), arrays)
    return Corpus("mosi", {name: rows})


def context(before, behind=0, mark="auto", segments=True):
    return Neighbours(before, behind, mark, segments)


def joined(given, folder, around, max_length=12, **options):
    return tokenize.word_pieces(
        given,
        folder,
        network={"model_type": "bert"},
        max_length=max_length,
        context=around,
        **options,
    )


def rows(given, folder, around, max_length=12):
    """(ids, segments, ids of the utterance itself) without padding, and the notes."""
    found = joined(given, folder, around, max_length)
    (split,) = found.splits.values()
    names = ("text_ids", "text_type", "text_mask", "text_own")
    made = []
    for ids, kinds, mask, own in zip(*(split.arrays[n] for n in names), strict=True):
        assert (
            not (own & ~mask).any() and not ids[~mask].any() and not kinds[~mask].any()
        )
        made.append((ids[mask].tolist(), kinds[mask].tolist(), ids[own].tolist()))
    return made, found.notes


VIDEO = {"v$_$10": "fun", "v$_$9": "a lot", "v$_$11": "not", "w$_$9": "of"}


def test_segments_tell_neighbours_apart(bert):
    found, notes = rows(corpus(VIDEO), bert, context(1, 1))
    assert found == [
        # The separator belongs to the text before it, as in BERT's pairs.
        (
            [CLS, A, LOT, SEP, FUN, SEP, NOT, SEP],
            [0, 1, 1, 1, 0, 0, 1, 0],
            [CLS, FUN, SEP],
        ),
        ([CLS, SEP, A, LOT, SEP, FUN, SEP], [0, 1, 0, 0, 0, 1, 0], [CLS, A, LOT, SEP]),
        ([CLS, FUN, SEP, NOT, SEP, SEP], [0, 1, 1, 0, 0, 0], [CLS, NOT, SEP]),
        ([CLS, SEP, OF, SEP, SEP], [0, 1, 0, 0, 0], [CLS, OF, SEP]),
    ]
    assert notes == ("context: 4 texts of 2 videos or dialogues",)


def test_a_prefix_is_in_front_of_the_neighbours(bert):
    """The utterance's own pieces are those that it has without them, the prefix too."""
    given = corpus(VIDEO)
    arrays = joined(given, bert, context(1, 1), prefix="not ").splits["train"].arrays
    row, mask, own = (arrays[f"text_{k}"][0] for k in ("ids", "mask", "own"))
    wanted = [CLS, NOT, A, LOT, SEP, FUN, SEP, NOT, SEP]
    assert row[mask].tolist() == wanted
    assert arrays["text_type"][0][mask].tolist() == [0, 0, 1, 1, 1, 0, 0, 1, 0]
    alone = joined(given, bert, None, prefix="not ").splits["train"].arrays
    assert row[own].tolist() == alone["text_ids"][0][alone["text_mask"][0]].tolist()
    assert row[own].tolist() == [CLS, NOT, FUN, SEP]


def test_a_mark_tells_them_apart_without_segments(roberta):
    given = corpus(VIDEO)
    first = [S, R["a"], R["lot"], END, END, S, R["fun"], END]
    for around in (context(1, segments=False), context(1)):  # the tokenizer has none
        (found, *_), _ = rows(given, roberta, around)
        assert found == (first, [0] * 8, [S, R["fun"], END])
    (found, *_), _ = rows(given, roberta, context(1, mark="never"))
    assert found[0] == [S, R["a"], R["lot"], END, END, R["fun"], END]
    missing, _ = rows(given, roberta, context(2))
    assert missing[3][0] == [S, END, END, END, END, S, R["of"], END]


def test_xlnet_ends_with_its_first_token(tmp_path):
    small_encoders.xlnet(tmp_path)
    piece = {name: i for i, name in enumerate(small_encoders.XLNET_PIECES)}
    a, lot, fun, not_ = (piece[f"▁{word}"] for word in ("a", "lot", "fun", "not"))
    sep, cls = piece["<sep>"], piece["<cls>"]
    (found, *_), _ = rows(corpus(VIDEO), tmp_path, context(1, 1))
    assert found == (
        [a, lot, sep, fun, sep, not_, sep, cls],
        [1, 1, 1, 0, 0, 1, 0, 2],
        [fun, sep, cls],
    )


def test_the_mark_of_t5_is_its_first_extra_token(tmp_path):
    small_encoders.t5(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "extra_ids": 2}))
    a, lot, fun, end, extra = 4, 5, 7, 1, 12  # <extra_id_0>
    given = corpus({"v[1]": "a lot", "v[2]": "fun"})
    found = tokenize.word_pieces(
        given,
        tmp_path,
        network={"model_type": "t5"},
        max_length=8,
        context=context(1, segments=False),
    )
    ids = found.splits["train"].arrays["text_ids"][1]
    assert ids.tolist() == [a, lot, end, extra, fun, end, 0, 0]


def test_marks_beside_segments(bert):
    (found, *_), _ = rows(corpus(VIDEO), bert, context(1, mark="always"))
    assert found[0] == [CLS, A, LOT, SEP, CLS, FUN, SEP]
    (found, *_), _ = rows(corpus(VIDEO), bert, context(1, segments=False, mark="never"))
    assert found[1] == [0] * 6


def conversation(**arrays):
    """Two dialogues: 'a lot' of speaker 0, 'fun' of 1; 'not' of speaker 1."""
    given = dict(dialogue=[4, 4, 7], turn=[0, 1, 0], speaker=[0, 1, 1])
    given = {k: np.array(v, np.int32) for k, v in given.items()} | arrays
    return corpus({"x": "a lot", "y": "fun", "z": "not"}, **given)


def test_who_speaks_is_in_front_of_each_text(bert, roberta):
    """But no piece of it is the utterance's own, and no neighbour is of another dialogue."""
    names = dialogues.written_names(["of", "a lot", "a " * 21])
    given = conversation(**{dialogues.NAMES: names})
    around = dataclasses.replace(context(1), speakers=True)
    found, notes = rows(given, bert, around)
    colon = UNKNOWN  # as all that the vocabulary lacks
    assert found[:2] == [
        ([CLS, SEP, OF, colon, A, LOT, SEP], [0, 1] + [0] * 5, [CLS, A, LOT, SEP]),
        (
            [CLS, OF, colon, A, LOT, SEP, A, LOT, colon, FUN, SEP],
            [0] + [1] * 5 + [0] * 5,
            [CLS, FUN, SEP],
        ),
    ]
    # Names have 40 letters at most; also they give way to the utterance.
    assert found[2][0] == [CLS, *[A] * 9, NOT, SEP] and found[2][2] == [CLS, NOT, SEP]
    assert dialogues.speaker_names(given.splits["train"])[0][2] == "a " * 20
    assert "context: the speakers' names stand in front of the texts" in notes
    # Of a network without segments behind its mark.
    marked = dataclasses.replace(around, segments=False)
    (_, second, _), _ = rows(given, roberta, marked, 16)
    said = [S, R["of"], 3, R["a"], R["lot"], END, END, S, R["a"], R["lot"], 3, R["fun"]]
    assert second[0] == [*said, END] and second[2] == [S, R["fun"], END]


def test_speakers_without_names_are_numbered(bert):
    around = dataclasses.replace(context(1), speakers=True)
    assert around.marks(conversation())[0][0].tolist() == [
        "speaker 0:",
        "speaker 1:",
        "speaker 1:",
    ]
    (_, second, _), notes = rows(conversation(), bert, around, 16)
    unknown = [UNKNOWN] * 3
    assert second[0] == [CLS, *unknown, A, LOT, SEP, *unknown, FUN, SEP]
    assert "context: the speakers' numbers stand in front of the texts" in notes
    # Other marks are other pieces, also of the cache.
    assert rows(conversation(), bert, context(1), 16)[0][1] != second
    other = conversation(speaker=np.array([1, 0, 0], np.int32))
    names = dialogues.written_names(["fun"] * 3)
    named = conversation(**{dialogues.NAMES: names})
    assert rows(named, bert, around, 16)[0][1] != rows(other, bert, around, 16)[0][1]


def test_data_that_do_not_say_who_speaks(bert):
    around = dataclasses.replace(context(1), speakers=True)
    with pytest.raises(DataError, match="does not say it; give MELD's csv files"):
        joined(corpus(VIDEO), bert, around)
    # New texts are read as they are.
    new = corpus(VIDEO, "all")
    found, notes = rows(new, bert, around)
    assert found == rows(new, bert, context(1))[0]
    assert "context: the data does not say who speaks" in notes


def test_where_there_is_no_room_the_speaker_gives_way_before_the_utterance(bert):
    around = dataclasses.replace(context(1), speakers=True)
    expected = {
        9: [CLS, UNKNOWN, A, LOT, SEP, *[UNKNOWN] * 3, SEP],
        6: [CLS, SEP, *[UNKNOWN] * 3, SEP],
    }
    given = conversation()
    given.splits["train"].raw_text[1] = ""
    for length, ids in expected.items():
        assert rows(given, bert, around, length)[0][1][0] == ids, length
    (first, *_), _ = rows(conversation(), bert, around, 4)
    assert first[0] == [CLS, A, LOT, SEP]


def test_the_farthest_pieces_are_cut_first_and_the_utterance_last(bert):
    texts = {"v[1]": "a lot", "v[2]": "of of", "v[3]": "fun fun fun", "v[4]": "not"}
    expected = {
        13: [CLS, A, LOT, SEP, OF, OF, SEP, FUN, FUN, FUN, SEP, NOT, SEP],
        # The neighbour behind is nearer than the second one before.
        12: [CLS, LOT, SEP, OF, OF, SEP, FUN, FUN, FUN, SEP, NOT, SEP],
        11: [CLS, SEP, OF, OF, SEP, FUN, FUN, FUN, SEP, NOT, SEP],
        # Of two equally near ones the one before stays.
        10: [CLS, SEP, OF, OF, SEP, FUN, FUN, FUN, SEP, SEP],
        9: [CLS, SEP, OF, SEP, FUN, FUN, FUN, SEP, SEP],
        8: [CLS, SEP, SEP, FUN, FUN, FUN, SEP, SEP],
        7: [CLS, SEP, FUN, FUN, FUN, SEP, SEP],
        6: [CLS, SEP, FUN, FUN, FUN, SEP],
        5: [CLS, FUN, FUN, FUN, SEP],
        4: [CLS, FUN, FUN, SEP],
    }
    for length, ids in expected.items():
        found, notes = rows(corpus(texts), bert, context(2, 1), length)
        assert found[2][0] == ids, length
        assert any("the neighbours of" in x for x in notes) == (length < 13)
    assert "1 of 4 texts cut to 4 word pieces (config.text.max_length)" in notes


def test_pieces_of_the_utterance_are_those_that_it_has_alone(bert, roberta):
    rng = np.random.default_rng(0)
    texts = {
        f"v{i % 4}$_${i}": " ".join(rng.choice(WORDS, rng.integers(0, 9)))
        for i in rng.permutation(40)
    }
    for folder in (bert, roberta):
        alone = joined(corpus(texts), folder, None, 7).splits["train"].arrays
        for around, length in (
            (context(1), 7),
            (context(3, 2), 7),
            (context(2, 1), 30),
        ):
            split = joined(corpus(texts), folder, around, length).splits["train"]
            assert split.arrays["text_ids"].shape == (40, length)
            for i, own in enumerate(split.arrays["text_own"]):
                ids = alone["text_ids"][i][alone["text_mask"][i]].tolist()
                kept = split.arrays["text_ids"][i][own].tolist()
                assert kept == ids if length == 7 else kept[: len(ids) - 1] == ids[:-1]


def test_nothing_comes_from_another_split(bert):
    splits = {
        name: corpus(texts).splits["train"]
        for name, texts in {
            "train": {"v$_$1": "a", "v$_$3": "lot"},
            "valid": {"v$_$2": "fun", "v$_$4": "not"},
        }.items()
    }
    found = joined(Corpus("mosi", splits), bert, context(1, 1)).splits
    ids = {name: x.arrays["text_ids"].tolist() for name, x in found.items()}
    assert [x[:6] for x in ids["train"]] == [
        [CLS, SEP, A, SEP, LOT, SEP],
        [CLS, A, SEP, LOT, SEP, SEP],
    ]
    assert [x[:6] for x in ids["valid"]] == [
        [CLS, SEP, FUN, SEP, NOT, SEP],
        [CLS, FUN, SEP, NOT, SEP, SEP],
    ]


def test_one_clip_to_predict_stands_alone(bert):
    found, notes = rows(corpus({"new": "fun"}, "all"), bert, context(2, 1))
    assert found == [
        ([CLS, SEP, SEP, FUN, SEP, SEP], [0, 1, 1, 0, 0, 0], [CLS, FUN, SEP])
    ]
    assert notes[1] == "context: 1 texts whose ids name no video are alone"


def test_rows_of_words_are_the_utterances_alone(bert):
    mask = np.array([[True, False], [True, True]])
    audio = np.array([[[5.0], [0.0]], [[7.0], [8.0]]], np.float32)
    given = corpus({"v[1]": "not", "v[2]": "a lot"}, audio=audio, audio_mask=mask)
    found = joined(given, bert, context(1), 8, words=True).splits["train"].arrays
    # Of [CLS] not [SEP] a lot [SEP] as without a context: a row for each own piece.
    alone = joined(given, bert, None, 8, words=True).splits["train"].arrays
    assert found["audio"][1, :, 0].tolist() == [0, 7, 8, 0, 0, 0, 0, 0]
    for key in ("audio", "audio_mask"):
        np.testing.assert_array_equal(found[key], alone[key])
    assert found["text_own"].sum(axis=1).tolist() == [3, 4]
    assert found["audio_mask"].sum(axis=1).tolist() == [3, 4]


def test_neighbours_belong_to_the_kept_pieces(bert):
    one = rows(corpus(VIDEO), bert, context(1))
    other = {"u$_$1": "fun", "v$_$9": "a lot", "v$_$11": "not", "w$_$9": "of"}
    renamed = dict(zip(other, VIDEO.values(), strict=True))
    assert rows(corpus(renamed), bert, context(1))[0] != one[0]
    assert rows(corpus(VIDEO), bert, context(1)) == one
    assert rows(corpus(VIDEO), bert, context(0, 1))[0] != one[0]


def test_word_pieces_of_the_data_give_way_to_the_raw_text(bert):
    """Also to predict: a run that was trained with a context cannot read them."""
    pieces = dict(
        text_ids=np.full((2, 3), CLS, np.int32),
        text_type=np.zeros((2, 3), np.int32),
        text_mask=np.ones((2, 3), bool),
    )
    texts = {"v[1]": "a", "v[2]": "fun"}
    found, notes = rows(corpus(texts, "all", **pieces), bert, context(1))
    assert found == rows(corpus(texts, "all"), bert, context(1))[0]
    assert notes[1] == "context: made of the raw text, not of the data's word pieces"
    given = corpus(dict.fromkeys(texts, " "), "all", **pieces)
    with pytest.raises(DataError, match='the split "all" has no raw text'):
        joined(given, bert, context(1))


@pytest.mark.parametrize("ids", [("one", "two"), ("train_1", "train_2")])
def test_ids_that_name_no_video(bert, ids):
    message = f'the id "{ids[0]}" names none; give ids such as "video$_$3"'
    with pytest.raises(DataError, match=re.escape(message)):
        joined(corpus(dict.fromkeys(ids, "a")), bert, context(1))


def test_a_text_that_is_too_long_is_cut_as_without_a_context(tmp_path):
    cut = {}
    for side in ("left", "right"):
        folder = tokenizer(tmp_path / side, truncation_side=side)
        given = corpus({"v[1]": "a lot of fun !", "v[2]": "not"})
        alone = joined(given, folder, None, 5).splits["train"].arrays["text_ids"]
        found, _ = rows(given, folder, context(1), 5)
        assert found[0][0] == alone[0].tolist()
        cut[side] = found[0][0][1:-1]
    assert cut["right"] == [A, LOT, OF] and cut["left"][:2] == [OF, FUN]


def test_the_time_to_join_grows_with_the_texts(bert, tmp_path):
    """A row of 4096 pieces takes 4 ms."""
    shutil.copytree(bert, tmp_path / "tokenizer")
    around = {"rows": [[-1]] * 100, "before": 1, "behind": 0}
    task = {"texts": ["a"] * 100, "max_length": 4096, "prefix": ""}
    task["context"] = {**around, "mark": "never", "segments": True}
    (tmp_path / "job.json").write_text(json.dumps(task), "utf-8")
    seconds = {}
    tokenizer_process.make(tmp_path, within=seconds.__setitem__)
    assert 8 < seconds["to join 100 texts with their neighbours"] < 60


def test_tokenizers_that_put_nothing_between_texts(tmp_path):
    names = {"a": 0, "<unk>": 1}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(names, "<unk>"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(
        tmp_path
    )
    with pytest.raises(
        ValueError, match="puts no token between two texts, which config"
    ):
        joined(corpus({"v[1]": "a"}), tmp_path, context(1))
