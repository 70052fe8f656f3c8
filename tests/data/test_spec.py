"""The tables of data sets and of their published files."""

from msajax.data.spec import DATASETS, FILES, suggest


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
    assert suggest("x" * 10**6, ("a",)) == ". Known: a"
