"""Rows divided anew: exact cover, whole videos, any order of the file; and the first training rows."""

import numpy as np
import pytest

from msajax.data import loader, splits, stored, videos
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split

SHARES = (0.7, 0.15, 0.15)


def corpus(ids, cuts, shuffle=None):
    """Rows with those ids, whose features are their numbers; cut into train, valid and test."""
    number = np.arange(len(ids))
    order = number if shuffle is None else shuffle
    made = {}
    for name, rows in zip(splits.NAMES, np.split(order, cuts), strict=True):
        steps = 3 + len(made)
        x = np.repeat(number[rows, None, None], steps, axis=1).astype(np.float32)
        arrays = {"audio": x, "audio_mask": np.ones((len(rows), steps), bool)}
        arrays["label"] = number[rows].astype(np.float32)
        texts = np.array([f"text {i}" for i in rows])
        made[name] = Split(np.array(ids)[rows], texts, arrays)
    return Corpus("mosei", made, ("a note",), "abc")


def clips(form, sizes):
    """Ids of clips: so many of each video."""
    return [form.format(f"v{i}", j) for i, n in enumerate(sizes) for j in range(n)]


def members(made):
    return {name: set(split.ids.tolist()) for name, split in made.splits.items()}


@pytest.mark.parametrize("form", ["{}$_${}", "{}[{}]", "{}_utt{}"])
def test_every_row_once_and_videos_whole(form):
    sizes = np.random.default_rng(0).integers(1, 12, 300)
    ids = clips(form, sizes)
    cuts = [len(ids) // 2, len(ids) - 9]
    made = splits.divide(corpus(ids, cuts), SHARES, seed=0)
    found = members(made)
    assert sorted(i for part in found.values() for i in part) == sorted(ids)
    assert sum(map(len, found.values())) == len(ids)
    wanted = np.array(SHARES) * len(ids)
    np.testing.assert_allclose([len(part) for part in found.values()], wanted, atol=1)
    names = [{i[: i.index(form[2])] for i in part} for part in found.values()]
    assert sum(map(len, names)) == 300 == len(set.union(*names))
    # Rows keep what is theirs, padded to the longest split's steps.
    for split in made.splits.values():
        number = np.array([ids.index(i) for i in split.ids.tolist()])
        np.testing.assert_array_equal(split.arrays["label"], number)
        np.testing.assert_array_equal(split.arrays["audio"][:, 0, 0], number)
        assert split.raw_text.tolist() == [f"text {i}" for i in number]
        assert split.arrays["audio"].shape[1:] == (5, 1)
        steps = split.arrays["audio_mask"].sum(1)
        np.testing.assert_array_equal(steps, 3 + np.searchsorted(cuts, number, "right"))
    assert made.notes[0] == "a note" and made.sha256 == "abc"
    assert f"all {len(ids)} rows divided anew" in made.notes[1]
    assert "whole videos of 300" in made.notes[1]
    # Another order of the file and other splits in it: the same rows; another seed: others.
    shuffled = corpus(ids, [5, 90], np.random.default_rng(1).permutation(len(ids)))
    assert members(splits.divide(shuffled, SHARES, seed=0)) == found
    assert members(splits.divide(shuffled, SHARES, seed=1)) != found


def test_dialogues_stay_whole_and_keep_their_neighbours():
    """MELD numbers the dialogues of each split from 0."""
    made = {}
    for name, count in (("train", 9), ("valid", 4), ("test", 5)):
        rows = [(d, u) for d in range(count) for u in range(3)]
        ids = np.array([f"{name}_dia{d}_utt{u}" for d, u in rows])
        arrays = {"dialogue": [d for d, _ in rows], "turn": [u for _, u in rows]}
        arrays = {k: np.array(x, np.int32) for k, x in arrays.items()}
        made[name] = Split(ids, ids, {**arrays, "label": arrays["turn"]})
    divided = splits.divide(Corpus("meld", made), SHARES, seed=0)
    assert "whole dialogues of 18 " in divided.notes[0]
    seen = set()
    for split in divided.splits.values():
        owners = [row_id[: row_id.rindex("_")] for row_id in split.ids.tolist()]
        assert not seen & {*owners} and all(owners.count(x) == 3 for x in owners)
        seen |= {*owners}
        table, groups, unknown = videos.neighbours(split, 1, 1)
        assert (groups, unknown) == (len({*owners}), 0)
        assert np.count_nonzero(table >= 0) == 4 * groups
        for i, near in enumerate(table.tolist()):
            assert {owners[j] for j in near if j >= 0} == {owners[i]}
    assert len(seen) == 18


def test_the_papers_counts():
    """Section 4.1.1: 16417, 3518 and 3518 of 23453 clips."""
    made = corpus([f"clip_{i}" for i in range(23453)], [3, 9])
    for split in made.splits.values():
        split.arrays.pop("audio"), split.arrays.pop("audio_mask")
    divided = splits.divide(made, SHARES, seed=0)
    assert [len(split) for split in divided.splits.values()] == [16417, 3518, 3518]
    assert "videos" not in divided.notes[1]


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.0, 0.0, 0.0)])
def test_shares_that_are_none(shares):
    with pytest.raises(DataError, match="0.7,0.15,0.15"):
        splits.divide(corpus(list("abcdef"), [2, 4]), shares, seed=0)
    with pytest.raises(DataError, match="no row for valid of 6"):
        splits.divide(corpus(clips("{}[{}]", [6]), [2, 4]), SHARES, seed=0)


def test_the_first_rows_train():
    made = corpus([f"{i}" for i in range(40)], [25, 30])
    few = splits.first(made, 0.1)
    assert few.splits["train"].ids.tolist() == ["0", "1"]
    assert {k: len(v) for k, v in few.splits["train"].arrays.items()} == {
        **dict(audio=2, audio_mask=2, label=2)
    }
    assert len(few.splits["valid"]) == 5 and few.splits["test"] is made.splits["test"]
    assert few.notes[1:] == (
        "trains on the first 2 of 25 training rows (config.data.fraction=0.1)",
    )
    assert loader.make_spec(few).num_train == 2
    assert splits.first(made, 1.0) is made
    for fraction in (0.0, 1.1, float("nan")):
        with pytest.raises(DataError, match="config.data.fraction"):
            splits.first(made, fraction)


def test_rows_of_stores_stay_there():
    class Source:
        """Sequences without padding, as a store's data source; counts what is read."""

        def __init__(self, lengths, first):
            self.rows, self.taken = (
                list(zip(lengths, range(first, 99), strict=False)),
                [],
            )

        def read(self, index, field, seen):
            self.taken += index
            return [np.full((n, 1), i) for n, i in map(self.rows.__getitem__, index)]

    sources = Source((2, 1, 3), 0), Source((4, 2), 3)
    parts = [
        stored.StoredSequences(source, "audio", (n, steps, 1), np.float32)
        for source, n, steps in zip(sources, (3, 2), (3, 4), strict=True)
    ]
    chosen = splits.take(parts, np.array([4, 0, 3, 2]))
    assert chosen.shape == (4, 4, 1) and not sources[0].taken and not sources[1].taken
    found = chosen[[0, 2, 2, 3]]
    np.testing.assert_array_equal(found[:, 0, 0], [4, 3, 3, 2])
    np.testing.assert_array_equal((found > 0).sum((1, 2)), [2, 4, 4, 3])
    assert sources[0].taken == [2] and sources[1].taken == [1, 0, 0]
    np.testing.assert_array_equal(chosen.with_length(1)[:][:, 0, 0], [4, 0, 3, 2])


def test_rows_without_labels_are_not_divided():
    """Scored against the zero that stands for their label, they would spoil the figures."""
    ids = clips("{}[{}]", [3] * 40)
    given = corpus(ids, [60, 90])
    known = np.arange(60) % 3 != 0
    given.splits["train"].arrays["labelled"] = known
    for name, count in (("valid", 30), ("test", 30)):
        given.splits[name].arrays["labelled"] = np.ones(count, bool)
    made = splits.divide(given, SHARES, seed=0)
    found = set.union(*members(made).values())
    assert found == set(ids) - set(np.array(ids)[:60][~known].tolist())
    assert all(split.arrays["labelled"].all() for split in made.splits.values())
    assert made.notes[-1].startswith(
        "left out: 20 rows without labels; all 100 rows div"
    )
