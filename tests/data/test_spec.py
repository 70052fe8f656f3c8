"""The tables of data sets and of their published files."""

import numpy as np

from msajax.data.file_sizes import FILES
from msajax.data.spec import DATASETS, Corpus, Split, suggest


def test_the_table_of_published_files():
    assert FILES["mosi/unaligned"] == (
        (768, 5, 20),
        (50, 375, 500),
        (1284, 229, 686),
    )
    assert sum(FILES["sims/unaligned"].rows) == 2281
    for name in FILES:
        assert name.partition("/")[0] in DATASETS


def test_a_wrong_name_has_the_nearest():
    assert (
        suggest("mosy", ("mosei", "mosi"))
        == '; did you mean "mosi"? Known: mosei, mosi'
    )
    assert suggest("?", ("b", "a")) == ". Known: a, b"
    assert suggest("MAE", ("corr", "mae")) == '; did you mean "mae"? Known: corr, mae'
    assert suggest("x" * 10**6, ("a",)) == ". Known: a"


def test_a_corpus_shows_as_one_line():
    ids = np.array(["a", "b"])
    corpus = Corpus("mosi", {"test": Split(ids, ids, {"label": np.ones(2)})})
    assert repr(corpus) == "Corpus(mosi, rows: test 2)"
    assert repr(corpus.splits["test"]) == "Split(2 rows: label)"
