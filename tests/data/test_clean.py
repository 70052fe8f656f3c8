import numpy as np
import pytest

from msajax.data import clean
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split


def corpus_of(arrays, *, dataset="mosi", split="train", ids=None):
    rows = len(next(iter(arrays.values())))
    ids = np.array(ids or [f"{split}{i}" for i in range(rows)])
    texts = np.array([f"text {i}" for i in range(rows)])
    return Corpus(dataset, {split: Split(ids, texts, dict(arrays))})


def cleaned(split="train", **arrays):
    corpus = clean.clean(corpus_of(arrays, split=split))
    return corpus.splits[split].arrays, corpus.notes


def steps(*rows):
    """[N, L, 1] features from rows of numbers."""
    return np.array(rows, np.float64)[:, :, None]


def test_lengths_from_trailing_zeros():
    x = steps([1, 2, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0], [1, 0, 0, 4])
    arrays, notes = cleaned(audio=x)
    assert arrays["audio_mask"].sum(axis=1).tolist() == [2, 2, 0, 4]
    assert arrays["audio_mask"].dtype == bool and notes == ()
    np.testing.assert_array_equal(arrays["audio"], x)
    assert arrays["audio"].dtype == np.float32


def test_lengths_from_the_file():
    x = steps([1, 2, 3, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4])
    length = np.array([2.0, 3.0, 3.0, 9.0])
    arrays, notes = cleaned(audio=x, audio_length=length)
    assert arrays["audio_mask"].sum(axis=1).tolist() == [2, 3, 0, 4]
    assert arrays["audio"][0, :, 0].tolist() == [1, 2, 0, 0]
    assert notes == (
        "lengths set into 1 to 4: 1 in train audio",
        "steps beyond the file's lengths set to 0: 1 in train audio",
    )
    length = np.array([0.0, 1.0, 0.0, 4.0])  # of the row that lacks audio it is right
    arrays, notes = cleaned(audio=x, audio_length=length)
    assert arrays["audio_mask"].sum(axis=1).tolist() == [1, 1, 0, 4]
    assert "lengths set into 1 to 4: 1 in train audio" in notes


def test_huge_values_are_noted():
    x = steps([1, 1e20, -2e10, 0], [1e9, 2, 3, 4])
    arrays, notes = cleaned(audio=x)
    assert arrays["audio"][0, 1, 0] == np.float32(1e20)
    assert notes == (
        "values above 1e+09, which may overflow, are kept as they are: "
        "2 in train audio (the largest: 1e+20)",
    )
    assert cleaned(audio=np.clip(x, -1e9, 1e9))[1] == ()


def test_front_padding_is_turned():
    x = steps([0, 0, 1, 2], [0, 3, 4, 5], [6, 7, 8, 9], [0, 0, 0, 0], [0, 1, 0, 1])
    arrays, notes = cleaned(audio=x, vision=x[:, ::-1])
    expected = [[1, 2, 0, 0], [3, 4, 5, 0], [6, 7, 8, 9], [0, 0, 0, 0], [1, 0, 1, 0]]
    assert arrays["audio"][:, :, 0].tolist() == expected
    assert arrays["audio_mask"].sum(axis=1).tolist() == [2, 3, 4, 0, 3]
    assert notes == ("padding moved from the front to the end: train audio",)
    np.testing.assert_array_equal(arrays["vision"], x[:, ::-1])


def test_front_padding_with_lengths():
    x = steps([0, 0, 0, 2], [0, 3, 4, 5])
    arrays, notes = cleaned(audio=x, audio_length=np.array([2.0, 3.0]))
    assert arrays["audio"][:, :, 0].tolist() == [[0, 2, 0, 0], [3, 4, 5, 0]]
    assert arrays["audio_mask"].sum(axis=1).tolist() == [2, 3]
    assert notes == ("padding moved from the front to the end: train audio",)


def test_single_zero_steps_at_the_start_are_kept():
    x = np.ones((30, 4, 1))
    x[:5, 0] = 0  # no face yet
    x[5:15, 2:] = 0
    arrays, notes = cleaned(vision=x)
    np.testing.assert_array_equal(arrays["vision"], x)
    assert notes == ()


def test_values_that_are_not_finite():
    x = np.ones((2, 3, 2))
    x[0, 0] = [np.nan, -np.inf]
    x[1, 1, 0] = 1e300  # inf in float32
    x[1, 2] = np.nan  # leaves a zero step at the end
    arrays, notes = cleaned(audio=x, vision=np.full((2, 1, 1), 0.5))
    assert notes == ("non-finite values set to 0: 5 in train audio",)
    assert arrays["audio"].tolist() == [
        [[0, 0], [1, 1], [1, 1]],
        [[1, 1], [0, 1], [0, 0]],
    ]
    assert arrays["audio_mask"].tolist() == [[True] * 3, [True, True, False]]


def test_word_pieces_are_padded_with_zeros():
    arrays, _ = cleaned(
        text_ids=np.array([[5, 6, 1], [7, 1, 1]], np.int32),
        text_type=np.ones((2, 3), np.int32),
        text_length=np.array([2.0, 1.0]),
        text=np.ones((2, 3, 2)),
    )
    assert arrays["text_ids"].tolist() == [[5, 6, 0], [7, 0, 0]]
    assert arrays["text_type"].tolist() == [[1, 1, 0], [1, 0, 0]]
    assert arrays["text_mask"].tolist() == [[True, True, False], [True, False, False]]
    assert not arrays["text"][~arrays["text_mask"]].any()


def test_labels():
    arrays, _ = cleaned(label=np.array([-3.0, 0.2, 3.0]))
    assert arrays["label"].dtype == np.float32
    corpus = corpus_of({"label": np.array([0.0, 6.0])}, dataset="meld")
    label = clean.clean(corpus).splits["train"].arrays["label"]
    assert label.tolist() == [0, 6] and label.dtype == np.int32


@pytest.mark.parametrize(
    "dataset, values, message",
    [
        ("mosi", [0, 3.5, 4], '"train1" is 3.5, but CMU-MOSI has labels from -3 to 3; 2 of'),
        ("mosi", [0, np.nan], '"train1" is nan, but CMU-MOSI'),
        ("mosi", [-np.inf], '"train0" is -inf'),
        ("sims", [1.2], '"train0" is 1.2, but CH-SIMS has labels from -1 to 1; 1 of 1'),
        ("meld", [0, 7], '"train1" is 7, but MELD has classes from 0 to 6'),
        ("meld", [0.5], '"train0" is 0.5, but MELD has classes'),
    ],
)  # fmt: skip
def test_labels_out_of_range(dataset, values, message):
    corpus = corpus_of({"label": np.array(values)}, dataset=dataset)
    with pytest.raises(DataError, match=message):
        clean.clean(corpus)


def joined(first, second):
    return Corpus("mosi", {**first.splits, **second.splits})


def test_rows_that_do_not_match():
    x = {"audio": np.ones((2, 3, 4))}
    with pytest.raises(
        DataError, match='the id "a" of the split "train" is already in'
    ):
        clean.clean(corpus_of(x, ids=["a", "a"]))
    other = corpus_of(x, split="test", ids=["b", "train1"])
    with pytest.raises(
        DataError, match='"train1" of the split "test" is already in "train"'
    ):
        clean.clean(joined(corpus_of(x), other))
    with pytest.raises(DataError, match='label of the split "train" has 3 rows, but'):
        clean.clean(corpus_of({**x, "label": np.zeros(3)}))
    with pytest.raises(DataError, match='the split "valid" is empty'):
        clean.clean(corpus_of({"audio": np.ones((0, 3, 4))}, split="valid"))
    with pytest.raises(DataError, match="the file has no rows"):
        clean.clean(Corpus("mosi", {}))


def test_splits_that_do_not_match():
    train = corpus_of({"audio": np.ones((2, 3, 4))})
    other = corpus_of({"audio": np.ones((2, 3, 5))}, split="test")
    with pytest.raises(DataError, match="audio has other widths .* train 4, test 5"):
        clean.clean(joined(train, other))
    train = corpus_of({"audio": np.ones((2, 3, 4))})
    other = corpus_of({"vision": np.ones((2, 3, 5))}, split="test")
    with pytest.raises(DataError, match="audio is in the split train, but not in test"):
        clean.clean(joined(train, other))


def test_a_modality_without_any_row():
    zeros = {"audio": np.ones((2, 3, 4)), "vision": np.zeros((2, 3, 4))}
    cleaned = clean.clean(corpus_of(zeros))  # make_spec refuses to train on it
    assert not cleaned.splits["train"].arrays["vision_mask"].any()
    note = "zeros only, so that every row lacks it: train vision (2 rows)"
    assert cleaned.notes == (note,)
    chosen = clean.select(corpus_of(zeros), ("text", "audio"))
    assert set(clean.clean(chosen).splits["train"].arrays) == {"audio", "audio_mask"}


def test_select():
    arrays = {name: np.ones((2, 3, 4)) for name in ("text", "audio", "vision")}
    arrays |= {
        "text_ids": np.ones((2, 3)),
        "label": np.zeros(2),
        "label_text": np.zeros(2),
    }
    split = clean.select(corpus_of(arrays), ("vision",)).splits["train"]
    assert set(split.arrays) == {"vision", "label", "label_text"}
    assert split.raw_text.tolist() == ["", ""]
    split = clean.select(corpus_of(arrays), ("text",), labels=False).splits["train"]
    assert set(split.arrays) == {"text", "text_ids"} and split.raw_text[1] == "text 1"
    with pytest.raises(
        DataError, match='unknown modality "video"; did you mean "vision"'
    ):
        clean.select(corpus_of(arrays), ("video",))
    with pytest.raises(DataError, match="no modality is chosen"):
        clean.select(corpus_of(arrays), ())


def test_nothing_to_train_on():
    corpus = clean.select(corpus_of({"label": np.zeros(2)}), ("audio",))
    with pytest.raises(DataError, match='"train" has no text, audio or vision'):
        clean.clean(corpus)
