"""Rows without labels: CH-SIMS v2's train_mix, its unsupervised file, and joining them to training."""

import numpy as np
import pytest

from msajax.data import loader, store, unlabelled
from msajax.data.errors import DataError
from msajax.data.read import read
from msajax.data.spec import Corpus


def rows_without_labels(samples, name="unlabeled"):
    """An entry as of the unsupervised file: 4 rows, ids of its own."""
    entry = samples.mmsa_data(sims=True, seed=1)["train"]
    entry["id"] = [f"{name}$_${i}" for i in range(4)]
    return {k: v for k, v in entry.items() if "labels" not in k and k != "annotations"}


def mixed(samples):
    """A file with train_mix, whose last four rows have no labels."""
    data = samples.mmsa_data(sims=True)
    more = rows_without_labels(samples)
    mix = {}
    for key, value in data["train"].items():
        other = more.get(key, np.full(4, np.nan))
        joined = np.concatenate([np.asarray(value), np.asarray(other)])
        mix[key] = joined.tolist() if isinstance(value, list) else joined
    mix["mask"] = [1] * 4 + [0] * 4
    return {**data, "train_mix": mix}


def read_mixed(samples, write, **options):
    return read(write(mixed(samples)), dataset="simsv2", **options)


def test_train_mix_is_labelled_rows_and_others(samples, write):
    corpus = read_mixed(samples, write)
    assert list(corpus.splits) == ["train", "valid", "test", "unlabelled"]
    assert corpus.notes == ()
    rows = corpus.splits["unlabelled"]
    assert rows.ids.tolist() == [f"unlabeled$_${i}" for i in range(4)]
    assert len(corpus.splits["train"]) == 4 and not rows.arrays["label"].any()
    expected = mixed(samples)["train_mix"]["audio"][4:].astype("f4")
    np.testing.assert_array_equal(rows.arrays["audio"], expected)
    data = mixed(samples)
    del data["train"]
    alone = read(write(data), dataset="simsv2").splits
    np.testing.assert_array_equal(
        alone["train"].arrays["label_text"], corpus.splits["train"].arrays["label_text"]
    )


def test_a_train_mix_that_does_not_match(samples, write):
    data = mixed(samples)
    data["train_mix"]["mask"] = [1, 0]
    with pytest.raises(DataError, match="mask of train_mix has 2 rows, .* 8 ids"):
        read(write(data), dataset="simsv2")
    del data["train_mix"]["mask"]
    with pytest.raises(DataError, match='the key "mask" is missing'):
        read(write(data), dataset="simsv2")
    data = mixed(samples)
    data["train_mix"]["id"] = np.array([f"x{i}" for i in range(8)])
    corpus = read(write(data), dataset="simsv2")
    assert corpus.notes == ("left out: 4 labelled rows of train_mix that train lacks",)


def test_the_unsupervised_file(samples, write):
    for name in ("unlabeled", "unlabelled"):
        path = write({name: rows_without_labels(samples)})
        for labels in (True, False):
            corpus = read(path, dataset="simsv2", labels=labels)
            assert list(corpus.splits) == ["unlabelled"]
            rows = corpus.splits["unlabelled"]
            assert len(rows) == 4 and "label" not in rows.arrays
            assert unlabelled.rows_of("x", corpus) is rows


def test_supervised_training_leaves_them_out(samples, write):
    corpus = unlabelled.drop(read_mixed(samples, write), advise=True)
    assert list(corpus.splits) == ["train", "valid", "test"]
    assert "labelled" not in corpus.splits["train"].arrays
    assert corpus.notes == (
        "left out: 4 rows without labels (config.data.unlabelled=train_mix trains on "
        "them too)",
    )


def test_rows_join_the_training_split(samples, write):
    source = read_mixed(samples, write)
    corpus = unlabelled.join(source, source.splits["unlabelled"])
    assert corpus.notes == ("training: 4 rows with labels, 4 without",)
    train = corpus.splits["train"]
    assert "unlabelled" not in corpus.splits and len(train) == len(train.raw_text) == 8
    assert train.arrays["labelled"].tolist() == [True] * 4 + [False] * 4
    assert corpus.splits["valid"].arrays["labelled"].all()
    assert set(train.arrays) == {*source.splits["train"].arrays, "labelled"}
    for key, array in source.splits["train"].arrays.items():
        other = source.splits["unlabelled"].arrays[key]
        np.testing.assert_array_equal(train.arrays[key], np.concatenate([array, other]))


def test_dialogues_of_the_rows_that_join_stay_apart(samples, write):
    source = read_mixed(samples, write)
    rows = source.splits["unlabelled"]
    numbers = np.array([0, 0, 1, 1], np.int32)
    for split in (source.splits["train"], rows):
        split.arrays["dialogue"] = numbers
    found = unlabelled.join(source, rows).splits["train"].arrays["dialogue"]
    assert found.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_rows_of_other_lengths_are_padded(samples, write):
    source = read_mixed(samples, write)
    rows = source.splits["unlabelled"]
    longer = {k: loader.resize(rows.arrays[k], 9) for k in ("audio", "audio_mask")}
    rows.arrays.update(longer)
    arrays = unlabelled.join(source, rows).splits["train"].arrays
    assert arrays["audio"].shape[:2] == arrays["audio_mask"].shape == (8, 9)
    np.testing.assert_array_equal(arrays["audio"][4:], longer["audio"])


def test_rows_that_do_not_fit(samples, write):
    source = read_mixed(samples, write)
    rows = source.splits["unlabelled"]
    with pytest.raises(DataError, match=r'"train0\$_\$1" of a row .* \(4 such ids\)'):
        unlabelled.join(source, source.splits["train"])
    with pytest.raises(DataError, match="audio has 9 features per step in the rows"):
        unlabelled.join(source, with_array(rows, audio=np.ones((4, 7, 9))))
    with pytest.raises(DataError, match="lack vision, which .*; they have: audio"):
        unlabelled.join(source, with_array(rows, vision=None))
    with pytest.raises(ValueError, match="x is to be trained on, .* only valid"):
        unlabelled.rows_of("x", Corpus("simsv2", {"valid": rows}))


def with_array(split, **changes):
    arrays = {k: changes.get(k, x) for k, x in split.arrays.items()}
    arrays = {k: x for k, x in arrays.items() if x is not None}
    return type(split)(split.ids, split.raw_text, arrays)


def test_no_row_without_labels_is_said(samples, write):
    corpus = read(write(samples.mmsa_data()), dataset="mosi")
    (note,) = unlabelled.join(corpus, None).notes
    assert note.startswith("training: no row is without a label, although config.data")


def test_rows_of_a_store_join_row_by_row(samples, write, tmp_path):
    """Sequences that stay in their store, before and behind those in memory."""
    root = tmp_path / "root"
    store.prepare(write(mixed(samples)), dataset="simsv2", name="mix", root=root)
    memory = store.open_corpus("mix", dataset="simsv2", root=root)
    stored = store.open_corpus("mix", dataset="simsv2", root=root, limit=0)
    expected = unlabelled.join(memory, memory.splits["unlabelled"]).splits["train"]
    for first, second in ((stored, stored), (stored, memory), (memory, stored)):
        joined = unlabelled.join(first, second.splits["unlabelled"]).splits["train"]
        for key, array in expected.arrays.items():
            np.testing.assert_array_equal(np.asarray(joined.arrays[key]), array)
            np.testing.assert_array_equal(joined.arrays[key][[6, 1]], array[[6, 1]])


def test_npz_rows_with_word_pieces(samples, write):
    arrays = samples.npz_data()
    rows = len(arrays["id"])
    ids = np.arange(3 * rows).reshape(rows, 3) % 7 + 1
    del arrays["text"]
    arrays["text_bert"] = np.stack([ids, np.ones_like(ids), 0 * ids], axis=1)
    arrays["labelled"] = (
        np.arange(rows) != np.flatnonzero(arrays["split"] == "train")[0]
    )
    arrays["label"] = np.where(arrays["labelled"], arrays["label"], np.nan)
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    for name, split in corpus.splits.items():
        np.testing.assert_array_equal(
            split.arrays["text_ids"], ids[arrays["split"] == name]
        )
        assert split.arrays["text_mask"].all() and not split.arrays["text_type"].any()
    assert not corpus.splits["train"].arrays["labelled"][0]
    # Rows without labels as a split.
    del arrays["labelled"]
    arrays["split"] = np.where(np.isnan(arrays["label"]), "unlabeled", arrays["split"])
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    assert len(corpus.splits["unlabelled"]) == 1
    assert "text_ids" in corpus.splits["unlabelled"].arrays
