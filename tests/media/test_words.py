import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.media import settings, words
from msajax.media.words import Word


def test_means_over_words():
    features = np.arange(10, dtype=np.float32)[:, None] * [1, 10]  # step i at i / 10 s
    found = words.average(
        features,
        [
            Word("two steps", 0.0, 0.2),
            Word("the next three", 0.2, 0.5),
            Word("between two", 0.52, 0.58),
            Word("to the end and beyond", 0.8, 2.0),
            Word("behind", 3.0, 4.0),
        ],
        step=0.1,
    )
    expected = [0.5, 3, 6, 8.5, 9]
    np.testing.assert_allclose(found, np.outer(expected, [1, 10]), rtol=1e-6)
    assert found.dtype == np.float32
    with pytest.raises(DataError, match="need the times of the words"):
        words.average(features, [], step=0.1)


def test_times_of_a_file(tmp_path):
    (tmp_path / "v").mkdir()
    path = tmp_path / "v" / "1.csv"
    path.write_text("word,start,end\nit,0.1,0.25\nis,0.25,0.4\n")
    assert words.find(tmp_path, "v", "1") == path
    assert words.read(path) == [("it", 0.1, 0.25), ("is", 0.25, 0.4)]
    path.write_text("word,start,end\nit,0.3,0.25\n")
    with pytest.raises(DataError, match=r"row 2 of 1.csv: a word from 0.3 to 0.25 s"):
        words.read(path)
    path.write_text("word,start,end\n")
    with pytest.raises(DataError, match="has no words"):
        words.read(path)
    with pytest.raises(DataError, match="there is no file .*2.csv; write the times"):
        words.find(tmp_path, "v", "2")


def test_pictures_a_second_are_needed():
    assert words.step_of(settings.vision("openface:rate=25")) == 0.04
    with pytest.raises(ValueError, match="say them, as in openface:rate=30"):
        words.step_of(settings.vision("openface"))
