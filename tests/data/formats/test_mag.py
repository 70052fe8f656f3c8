import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.read import read


def test_rows_are_padded_to_the_longest(samples, write):
    data = samples.mag_data()
    corpus = read(write(data), dataset="mosi")
    assert list(corpus.splits) == ["train", "valid", "test"]  # 'dev' in the file
    split = corpus.splits["train"]
    assert split.ids.tolist() == [f"train{i}[{i}]" for i in range(4)]
    assert split.raw_text.tolist()[1] == "w0 w1 w2"
    assert "text" not in split.arrays
    assert split.arrays["audio"].shape == (4, 5, 3)
    assert split.arrays["vision"].shape == (4, 5, 2)
    assert split.arrays["audio_mask"].sum(axis=1).tolist() == [2, 3, 4, 5]
    for i, ((_, visual, acoustic), label, _) in enumerate(data["train"]):
        n = len(visual)
        np.testing.assert_array_equal(
            split.arrays["vision"][i, :n], visual.astype("f4")
        )
        np.testing.assert_array_equal(
            split.arrays["audio"][i, :n], acoustic.astype("f4")
        )
        assert not split.arrays["audio"][i, n:].any()
        assert split.arrays["label"][i] == label[0, 0]


def test_words_without_a_face_keep_their_steps(samples, write):
    data = samples.mag_data()
    (words, visual, acoustic), label, segment = data["train"][3]
    visual[-2:] = 0
    corpus = read(write(data), dataset="mosi")
    assert corpus.splits["train"].arrays["vision_mask"][3].all()
    visual[:] = 0
    corpus = read(write(data), dataset="mosi")
    assert not corpus.splits["train"].arrays["vision_mask"][3].any()


def test_a_list_of_rows_is_one_split(samples, write):
    rows = samples.mag_data()["train"]
    corpus = read(write(rows), dataset="mosi", labels=False)
    assert list(corpus.splits) == ["all"] and len(corpus.splits["all"]) == 4


@pytest.mark.parametrize(
    "row, message",
    [
        ((1, 2), r"row 1 of the split \"train\" is not \(\(words, visual"),
        (((["a"], np.ones((2, 2)), np.ones((1, 3))), 0.0, "x"), "the row has 1 words"),
        (((["a"], np.ones((1, 9)), np.ones((1, 3))), 0.0, "x"), r"visual has other .*\[2, 9\]"),
        (((["a"], np.ones((1, 2)), np.ones((1, 3))), {}, "x"), "label holds a dict"),
        (((["a"], np.ones((1, 2)), np.ones((1, 3))), np.ones(2), "x"), "label has rows of the shapes"),
        (((["a"], np.ones((1, 2)), np.ones((1, 3))), 0.0, None), "segment holds a NoneType"),
    ],
)  # fmt: skip
def test_bad_rows(row, message, samples, write):
    data = samples.mag_data()
    data["train"][1] = row
    with pytest.raises(DataError, match=message):
        read(write(data), dataset="mosi")


def test_small_files_that_would_fill_the_memory(write):
    row = (["a"], np.ones((1, 2)), np.ones((1, 3)))
    rows = [(row, 0.0, "a"), (row, 0.0, "b")]
    with pytest.raises(DataError, match="row 1 of .* has the arrays of another"):
        read(write({"train": rows}), dataset="mosi")
    rows = [
        ((["a"] * n, np.ones((n, 1), "i1"), np.ones((n, 1), "i1")), 0.0, f"row{i}")
        for i, n in enumerate([300_000, *[1] * 1000])
    ]
    with pytest.raises(DataError, match=r"with acoustic \[1001, 300000, 1\], the"):
        read(write({"train": rows}), dataset="mosi")
