import importlib
import logging
import os
import pickle
import sys
import tracemalloc

import numpy as np
import pytest

from msajax.data import clean, loader, prepared, read, store
from msajax.data.errors import DataError
from msajax.data.formats import budget, mapped


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "root"))
    monkeypatch.setattr(store, "_SMALL", 0)  # the cache takes tiny files, too
    return tmp_path / "root"


@pytest.fixture
def source(tiny_files, write):
    return write(tiny_files["mmsa"])


@pytest.fixture
def reads(monkeypatch):
    """The paths that were read from their source."""
    paths = []
    original = read.read

    def counted(path, **options):
        paths.append(str(path))
        return original(path, **options)

    monkeypatch.setattr(read, "read", counted)
    return paths


def content(corpus):
    """What makes corpora equal."""
    splits = {
        name: (split.ids.tolist(), {k: a.tobytes() for k, a in split.arrays.items()})
        for name, split in corpus.splits.items()
    }
    return corpus.dataset, corpus.notes, corpus.sha256, splits


def test_prepare_and_open_by_name(source, root):
    folder = store.prepare(source, dataset="sims", name="sims/unaligned")
    assert folder == root / "sims" / "unaligned"
    assert os.listdir(folder.parent) == ["unaligned"]
    found = store.open_corpus("sims/unaligned", dataset="sims")
    assert content(found) == content(read.read(source, dataset="sims"))
    assert content(store.open_corpus(folder, dataset="sims")) == content(found)


def test_preparing_again_replaces(source, samples, write):
    store.prepare(source, dataset="sims", name="a")
    other = write(samples.mmsa_data(seed=1), "other.pkl")
    store.prepare(other, dataset="sims", name="a")
    found = store.open_corpus("a", dataset="sims")
    assert content(found) == content(read.read(other, dataset="sims"))


def test_wrong_names(source):
    store.prepare(source, dataset="sims", name="sims/unaligned")
    with pytest.raises(DataError, match='did you mean "sims/unaligned"'):
        store.open_corpus("sims/unalinged", dataset="sims")
    with pytest.raises(DataError, match='unknown dataset "simms"; did you mean "sims"'):
        store.open_corpus("sims/unaligned", dataset="simms")
    for name in ("../x", "/x", "", "a//b", ".x"):
        with pytest.raises(DataError, match="is no name for a store"):
            store.prepare(source, dataset="sims", name=name)


def test_the_second_use_reads_the_store(source, reads):
    first = store.open_corpus(source, dataset="sims")
    second = store.open_corpus(source, dataset="sims")
    assert reads == [str(source)]
    assert content(first) == content(second)


def test_the_cache_is_keyed_by_content_and_options(source, reads, samples):
    store.open_corpus(source, dataset="sims")
    audio = store.open_corpus(source, dataset="sims", modalities=("audio",))
    assert "vision" not in audio.splits["train"].arrays and len(reads) == 2
    before = os.stat(source)
    source.write_bytes(pickle.dumps(samples.mmsa_data(sims=True, seed=5)))
    os.utime(source, (before.st_atime, before.st_mtime))
    changed = store.open_corpus(source, dataset="sims")
    assert len(reads) == 3
    assert content(changed) == content(read.read(source, dataset="sims"))


def test_the_cache_is_keyed_by_the_encoding(source, reads, samples):
    data = samples.mmsa_data(sims=True)
    texts = [f"今天天气不错，我们去公园吧 {i}" for i in range(4)]
    data["train"]["raw_text"] = [text.encode("gbk") for text in texts]
    source.write_bytes(pickle.dumps(data))
    for _ in range(2):
        corpus = store.open_corpus(source, dataset="sims", encoding="gbk")
        assert corpus.splits["train"].raw_text.tolist() == texts
    assert len(reads) == 1
    store.open_corpus(source, dataset="sims", encoding="gb18030")
    assert len(reads) == 2
    with pytest.raises(DataError, match="no UTF-8 text; its encoding is likely gbk"):
        store.open_corpus(source, dataset="sims")
    with pytest.raises(DataError, match='unknown encoding "gkb"'):
        store.open_corpus(source, dataset="sims", encoding="gkb")


def test_small_files_and_files_to_predict_are_read(source, reads, monkeypatch, root):
    store.open_corpus(source, dataset="sims", labels=False)
    monkeypatch.setattr(store, "_SMALL", 2**20)
    store.open_corpus(source, dataset="sims")
    assert len(reads) == 2 and not root.exists()


@pytest.mark.parametrize("damage", ["half", "flip", "metadata"])
def test_a_damaged_entry_is_made_again(damage, source, reads, root, caplog):
    first = store.open_corpus(source, dataset="sims")
    (folder,) = (root / "cache").iterdir()
    (record,) = folder.glob("*train*")
    if damage == "half":
        (folder / "checksums.json").unlink()
    elif damage == "flip":
        flipped = bytearray(record.read_bytes())
        flipped[100] ^= 1
        record.write_bytes(flipped)
    else:
        (folder / "metadata.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        again = store.open_corpus(source, dataset="sims")
    assert content(first) == content(again) and len(reads) == 2
    assert len(caplog.records) == (0 if damage == "half" else 1)
    store.open_corpus(source, dataset="sims")
    assert len(reads) == 2
    assert os.listdir(root / "cache") == [folder.name]


def no_space(*_):
    raise RuntimeError("write() failed: No space left on device")


def test_a_full_disk_falls_back_to_the_source(source, root, monkeypatch, caplog):
    from msajax.data import builder

    monkeypatch.setattr(builder.MsajaxCorpus, "write", no_space)
    with caplog.at_level(logging.WARNING):
        found = store.open_corpus(source, dataset="sims")
    assert content(found) == content(read.read(source, dataset="sims"))
    (record,) = caplog.records
    assert "is not cached" in record.getMessage() and "No space" in record.getMessage()
    assert os.listdir(root / "cache") == []


def test_a_cache_that_cannot_be_written(source, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        found = store.open_corpus(source, dataset="sims")
    assert content(found) == content(read.read(source, dataset="sims"))
    assert len(caplog.records) == 1


def test_reading_needs_no_tfds(tiny_files, write, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    path = write(tiny_files["npz"])
    assert read.read(path, dataset="mosi").splits
    with pytest.raises(ImportError):
        importlib.import_module("tensorflow_datasets")


@pytest.mark.parametrize("name", ["mmsa", "mult", "mag", "label_csv", "npz"])
def test_the_first_use_of_a_file_is_as_every_later_one(tiny_files, write, name):
    """A run that was started on a file is resumed on its cache: nothing may tell them apart."""
    source = write(tiny_files[name])
    dataset = "sims" if name == "mmsa" else "mosi"
    first, again = (store.open_corpus(source, dataset=dataset) for _ in range(2))
    direct = read.read(source, dataset=dataset)
    assert content(first) == content(again)
    for found in (first, direct):
        for split, other in zip(
            found.splits.values(), again.splits.values(), strict=True
        ):
            assert list(split.arrays) == list(other.arrays) or found is direct
            assert split.ids.dtype == other.ids.dtype
            assert {k: v.dtype for k, v in split.arrays.items()} == {
                k: v.dtype for k, v in other.arrays.items()
            }
    if name != "label_csv":  # text alone has no spec without an encoder
        assert loader.make_spec(direct) == loader.make_spec(first)
        assert loader.make_spec(direct) == loader.make_spec(again)


@pytest.mark.parametrize("protocol", [2, 5])
def test_converting_takes_a_part_of_the_files_size(
    protocol, samples, tmp_path, monkeypatch
):
    from msajax.data import builder

    monkeypatch.setattr(mapped, "_FILE", 0)
    monkeypatch.setattr(mapped, "_TEXT", 2**16)
    monkeypatch.setattr(mapped, "_STRING", 2**16)
    monkeypatch.setattr(clean, "_PIECE", 2**16)
    monkeypatch.setattr(builder, "_BLOCK", 1)
    data = samples.mmsa_data()
    for entry in data.values():
        for name, steps in (("audio", 40_000), ("vision", 60_000)):  # 19 MB in all
            shape = (len(entry["id"]), steps, entry[name].shape[2])
            entry[name] = np.random.default_rng(0).normal(size=shape)
            entry[f"{name}_lengths"] = [steps // 2] * len(entry["id"])
    source = tmp_path / "large.pkl"
    source.write_bytes(pickle.dumps(data, protocol=protocol))
    expected = read.read(source, dataset="mosi")
    store.prepare(source, dataset="mosi", name="warm")  # what is imported and cached
    tracemalloc.start()
    folder = store.prepare(source, dataset="mosi", name="a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert content(prepared.load(folder)) == content(expected)
    # Some copies of a row, which is 5 % of this file; all in memory it would be 0.7.
    assert peak < 0.4 * source.stat().st_size


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "[" * 9999, '{"../x": "y"}'])
def test_damaged_checksums(source, root, text):
    folder = store.prepare(source, dataset="sims", name="a")
    (folder / "checksums.json").write_text(text)
    with pytest.raises(DataError, match="checksums.json|damaged"):
        store.open_corpus("a", dataset="sims")


def test_a_kept_file_that_unfolds_is_made_again(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(budget, "_FREE", 10**6)
    path, made = tmp_path / "kept.npz", {"x": np.arange(3)}
    np.savez_compressed(path, x=np.zeros(10**7, np.int8))
    with caplog.at_level(logging.WARNING):
        assert store.kept(path, lambda: made) is made
    assert "would unfold to 10 MB of memory" in caplog.text
    found = store.kept(path, dict)
    np.testing.assert_array_equal(found["x"], made["x"])


def test_what_a_killed_conversion_left_elsewhere_is_removed(source, root):
    left = root / "mosei" / ".0123456789abcdef.msajax-part"
    left.mkdir(parents=True)
    (left / "part").write_bytes(b"half a store")
    os.utime(left, (0, 0))  # without a lock, age decides
    store.prepare(source, dataset="mosi", name="mosi/x")
    assert not left.exists()


def test_a_source_that_changes_meanwhile_is_refused(source, root, monkeypatch):
    write = prepared.write

    def slow(corpus, folder):
        os.utime(source, ns=(1, 1))  # another program writes to it
        return write(corpus, folder)

    monkeypatch.setattr(prepared, "write", slow)
    with pytest.raises(DataError, match="changed while it was converted; run again"):
        store.prepare(source, dataset="sims", name="sims/unaligned")
    with pytest.raises(DataError, match="changed while it was converted; run again"):
        os.utime(source)
        store.open_corpus(source, dataset="sims")
    assert not [*root.glob("**/*.json")]
