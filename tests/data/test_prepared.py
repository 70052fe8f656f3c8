import json
import os
from typing import Any

import numpy as np
import pytest

from msajax.data import array_records, builder, prepared, stored
from msajax.data.errors import DataError
from msajax.data.formats import budget
from msajax.data.read import read


def assert_equal(found, expected):
    """Equal corpora, to the bit."""
    assert found.dataset == expected.dataset
    assert found.notes == expected.notes and found.sha256 == expected.sha256
    assert found.media == expected.media
    assert list(found.splits) == list(expected.splits)
    for name, split in expected.splits.items():
        other = found.splits[name]
        assert other.ids.tolist() == split.ids.tolist()
        assert other.raw_text.tolist() == split.raw_text.tolist()
        assert other.arrays.keys() == split.arrays.keys()
        for key, array in split.arrays.items():
            assert other.arrays[key].dtype == array.dtype
            assert other.arrays[key].shape == array.shape
            assert other.arrays[key].tobytes() == array.tobytes(), (name, key)


@pytest.mark.parametrize("name", ["mmsa", "mag", "meld", "label_csv", "npz"])
def test_a_corpus_comes_back_to_the_bit(name, tiny_files, write, tmp_path):
    dataset = {"meld": "meld", "mmsa": "sims"}.get(name, "mosi")
    corpus = read(write(tiny_files[name]), dataset=dataset)
    store = prepared.write(corpus, tmp_path / "new")
    moved = store.rename(tmp_path / "elsewhere")
    assert prepared.is_store(moved) and not prepared.is_store(tmp_path)
    assert_equal(prepared.load(moved), corpus)


def test_missing_rows_notes_and_lengths_come_back(samples, write, tmp_path):
    arrays = samples.npz_data()
    arrays["audio"][:4] = 0
    arrays["vision"][5, 0, 0] = np.nan
    arrays["audio"][:, 5:] = 0  # no row fills the padded length
    arrays["commonsense"] = np.arange(100.0).reshape(10, 10)
    arrays["media_settings"] = np.array("{}")
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    assert corpus.media == "{}"
    found = prepared.load(prepared.write(corpus, tmp_path / "new"))
    assert_equal(found, corpus)
    train = found.splits["train"].arrays
    assert train["audio"].shape[1] == 7 and found.notes
    assert train["commonsense"].shape == (4, 1, 10)


def test_padding_is_not_stored(samples, write, tmp_path):
    arrays = samples.npz_data()
    arrays["audio"] = np.zeros((10, 2000, 3))
    arrays["audio"][:, 0] = 1
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "new")
    import tensorflow_datasets as tfds

    made: Any = tfds.builder_from_directory(str(store))
    assert made.as_data_source("train")[0]["audio"].shape == (1, 3)
    assert_equal(prepared.load(store), corpus)


def test_a_split_of_any_size_is_written_without_tensorflow(
    tiny_files, write, tmp_path, monkeypatch
):
    from tensorflow_datasets.core import shuffle

    # Of more bytes than this tfds' own writer makes temporary files, by TensorFlow.
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)
    corpus = read(write(tiny_files["npz"]), dataset="mosi")
    assert_equal(prepared.load(prepared.write(corpus, tmp_path / "new")), corpus)


def test_metadata(tiny_files, write, tmp_path):
    corpus = read(write(tiny_files["npz"]), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "new")
    info = json.loads((store / "dataset_info.json").read_text())
    rows = {split["name"]: split["shardLengths"] for split in info["splits"]}
    assert rows == {"train": ["4"], "valid": ["3"], "test": ["3"]}
    assert info["fileFormat"] == "array_record"
    metadata = json.loads((store / "metadata.json").read_text())
    assert metadata["sha256"] == corpus.sha256
    assert "prepare_data.py" in builder.MsajaxCorpus.MANUAL_DOWNLOAD_INSTRUCTIONS


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_store_is_refused(damage, tiny_files, write, tmp_path):
    corpus = read(write(tiny_files["npz"]), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "new")
    (path,) = store.glob("*train.array_record*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "flip":
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"train\.array_record"):
        prepared.load(store)


def test_read_takes_a_store(tiny_files, write, tmp_path):
    corpus = read(write(tiny_files["npz"]), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "new")
    assert_equal(read(store, dataset="mosi"), corpus)
    chosen = read(store, dataset="mosi", labels=False, modalities=["audio"])
    assert set(chosen.splits["test"].arrays) == {"audio", "audio_mask"}
    with pytest.raises(DataError, match='holds the dataset "mosi", not "sims"'):
        read(store, dataset="sims")


def test_sequences_that_stay_in_the_store_are_read_row_by_row(
    tiny_files, write, tmp_path
):
    corpus = read(write(tiny_files["mmsa"]), dataset="sims")
    store = prepared.write(corpus, tmp_path / "new")
    found = prepared.load(store, limit=0)
    for name, split in corpus.splits.items():
        arrays = found.splits[name].arrays
        for key in ("text", "audio", "vision"):
            kept, whole = arrays[key], split.arrays[key]
            assert isinstance(kept, stored.StoredSequences)
            assert (kept.shape, kept.dtype) == (whole.shape, whole.dtype)
            assert kept.nbytes == whole.nbytes and len(kept) == len(whole)
            index = np.array([[len(whole) - 1, 0], [0, 0]])
            np.testing.assert_array_equal(kept[index], whole[index])
            np.testing.assert_array_equal(
                kept.with_length(2)[index], whole[:, :2][index]
            )
            longer = kept.with_length(whole.shape[1] + 1)
            assert longer.shape[1] == whole.shape[1] + 1
            np.testing.assert_array_equal(longer[index][:, :, :-1], whole[index])
            assert not longer[index][:, :, -1].any()
            np.testing.assert_array_equal(np.asarray(kept), whole)
        for key in set(split.arrays) - {"text", "audio", "vision"}:
            np.testing.assert_array_equal(arrays[key], split.arrays[key])


def test_a_store_is_opened_without_its_rows_and_each_is_read_once(
    tiny_files, write, tmp_path, monkeypatch
):
    corpus = read(write(tiny_files["mmsa"]), dataset="sims")
    store = prepared.write(corpus, tmp_path / "new")
    taken, examples = [], prepared._Records.examples
    monkeypatch.setattr(
        prepared._Records,
        "examples",
        lambda self, index: taken.extend(index) or examples(self, index),
    )
    found = prepared.load(store, limit=0)
    assert not taken
    rows, arrays = np.array([[2, 0], [3, 2]]), found.splits["train"].arrays
    part = stored.take(arrays, rows)
    assert taken == [2, 0, 3, 2]
    whole = stored.in_memory(arrays)
    assert taken[4:] == [0, 1, 2, 3]
    expected = corpus.splits["train"].arrays
    assert list(part) == list(whole) == list(arrays) and {*part} == {*expected}
    for key, array in expected.items():
        np.testing.assert_array_equal(part[key], array[rows])
        np.testing.assert_array_equal(whole[key], array)
        assert part[key].dtype == whole[key].dtype == array.dtype
    # Older versions did not write the columns into the metadata.
    rewritten(store, "metadata.json", lambda x: x.pop("rows"))
    del taken[:]
    older = prepared.load(store, limit=0)
    assert len(taken) == sum(map(len, corpus.splits.values()))
    for name, split in older.splits.items():
        assert split.ids.tolist() == found.splits[name].ids.tolist()
        assert split.raw_text.tolist() == found.splits[name].raw_text.tolist()
        for key, array in split.arrays.items():
            same = found.splits[name].arrays[key]
            assert array.shape == same.shape and array.dtype == same.dtype
            if isinstance(array, np.ndarray):
                np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize(
    ("values", "message"),
    [([1], "4 rows have 1 values of audio"), ([8] * 4, "audio has more than 7 steps")],
)
def test_metadata_that_does_not_fit_is_refused(
    values, message, tiny_files, write, tmp_path
):
    corpus = read(write(tiny_files["npz"]), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "new")
    rewritten(store, "metadata.json", lambda x: x["rows"]["train"].update(audio=values))
    with pytest.raises(DataError, match=message):
        prepared.load(store, limit=0)


def test_a_limit_that_suffices_loads_all(tiny_files, write, tmp_path):
    corpus = read(write(tiny_files["mmsa"]), dataset="sims")
    store = prepared.write(corpus, tmp_path / "new")
    arrays = [item for s in corpus.splits.values() for item in s.arrays.items()]
    sequences = [a for key, a in arrays if a.ndim > 1 and not key.endswith("_mask")]
    size = sum(array.nbytes for array in sequences)
    assert_equal(prepared.load(store, limit=size), corpus)
    audio = prepared.load(store, limit=size - 1).splits["train"].arrays["audio"]
    assert isinstance(audio, stored.StoredSequences)


def rewritten(store, name, change):
    """Changes a JSON file of a store, and its checksum, as somebody could on purpose."""
    content = json.loads((store / name).read_text())
    change(content)
    (store / name).write_text(json.dumps(content))
    sums = json.loads((store / "checksums.json").read_text())
    sums[name] = prepared.fingerprint([store / name])
    (store / "checksums.json").write_text(json.dumps(sums))


@pytest.mark.parametrize("name", ["/dev/zero", "../checksums.json", "fifo"])
def test_only_files_of_the_store_are_hashed(name, tiny_files, write, tmp_path):
    corpus = read(write(tiny_files["npz"]), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "new")
    os.mkfifo(store / "fifo")
    sums = json.loads((store / "checksums.json").read_text())
    (store / "checksums.json").write_text(json.dumps({**sums, name: "0"}))
    with pytest.raises(DataError, match=f"the store's file {name} is damaged"):
        prepared.load(store)


def test_a_store_cannot_have_modules_imported(tiny_files, write, tmp_path, monkeypatch):
    corpus = read(write(tiny_files["npz"]), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "new")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    features = ("featuresDict", "features", "audio")

    def change(key, value):
        def apply(content):
            part = content
            for name in features:
                part = part[name]
            (part if key == "pythonClassName" else part["tensor"])[key] = value

        rewritten(store, "features.json", apply)

    change("pythonClassName", "evil.Tensor")
    with pytest.raises(DataError, match="it holds what msajax does not write"):
        prepared.load(store)
    assert not (tmp_path / "pwned").exists()
    change("pythonClassName", "tensorflow_datasets.core.features.tensor_feature.Tensor")
    assert prepared.load(store)
    change("encoding", "zlib")
    with pytest.raises(DataError, match="it holds what msajax does not write"):
        prepared.load(store)


def test_a_store_does_not_unfold_to_any_size(samples, write, tmp_path, monkeypatch):
    arrays = samples.npz_data()
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "claim")
    rewritten(store, "metadata.json", lambda x: x["steps"]["train"].update(audio=10**8))
    with pytest.raises(DataError, match=r"audio \[4, 100000000, 3\], the file's"):
        prepared.load(store)
    with pytest.raises(DataError, match=r"audio \[4, 100000000\], the file's"):
        prepared.load(store, limit=0)
    arrays["audio"] = np.ones((10, 10**4, 6), np.float32)
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "ones")
    monkeypatch.setattr(budget, "_PER_BYTE", 10)
    monkeypatch.setattr(budget, "_FREE", 10**7)
    with pytest.raises(DataError, match="the records of .* would unfold to"):
        prepared.load(store)


def test_unpacked_sizes_of_records(samples, write, tmp_path):
    arrays = samples.npz_data()
    arrays["audio"] = np.random.default_rng(0).normal(size=(10, 900, 50))
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    store = prepared.write(corpus, tmp_path / "new")  # of many blocks of 64 kB
    found = sum(map(array_records.unpacked, store.glob("*.array_record*")))
    assert 0 < found - 10 * 900 * 50 * 4 < 5000
    assert_equal(prepared.load(store), corpus)
