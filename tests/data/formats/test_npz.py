import io
import zipfile

import numpy as np
import pytest

from msajax.data import dialogues
from msajax.data.errors import DataError
from msajax.data.formats import npz
from msajax.data.read import read


def test_rows_by_split(samples, write):
    arrays = samples.npz_data()
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    assert list(corpus.splits) == ["train", "valid", "test"]
    for name, split in corpus.splits.items():
        rows = arrays["split"] == name
        assert split.ids.tolist() == arrays["id"][rows].tolist()
        assert split.raw_text.tolist() == arrays["raw_text"][rows].tolist()
        x = split.arrays
        np.testing.assert_array_equal(x["label"], arrays["label"][rows].astype("f4"))
        text = arrays["text"][rows].astype("f4")
        np.testing.assert_array_equal(x["text"], text[:, None, :])  # [N, D]: one step
        assert x["text_mask"].shape == (len(split), 1) and x["text_mask"].all()
        np.testing.assert_array_equal(x["vision"], arrays["vision"][rows].astype("f4"))
        np.testing.assert_array_equal(x["vision_mask"], x["vision"].any(axis=-1))


def test_only_what_the_file_has(samples, write):
    arrays = samples.npz_data()
    rows = len(arrays["id"])
    kept = {key: arrays[key] for key in ("id", "label", "audio")}
    kept |= {"audio_length": np.full(rows, 7), "label_audio": np.zeros(rows)}
    kept |= {"other": np.array([{}], object)}  # not read
    split = read(write(samples.npz_bytes(kept)), dataset="mosi").splits["all"]
    names = {"audio", "audio_mask", "label", "label_audio"}
    assert set(split.arrays) == names and split.arrays["audio_mask"].all()


def test_rows_without_labels(samples, write):
    arrays = samples.npz_data()
    train = arrays["split"] == "train"
    first = np.flatnonzero(train)[0]
    arrays["labelled"] = np.arange(len(train)) != first
    arrays["label"] = np.where(arrays["labelled"], arrays["label"], np.nan)
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    found = corpus.splits["train"].arrays
    assert found["labelled"].tolist() == [False] + [True] * (train.sum() - 1)
    assert found["labelled"].dtype == bool and found["label"][0] == 0
    np.testing.assert_allclose(found["label"][1:], arrays["label"][train][1:])
    arrays["labelled"] = ~train
    arrays["split"] = arrays["split"][::-1]
    with pytest.raises(DataError, match="of the split (valid|test) are not labelled"):
        read(write(samples.npz_bytes(arrays)), dataset="mosi")


def test_common_sense_is_of_the_text(samples, write):
    arrays = samples.npz_data()
    arrays["commonsense"] = np.arange(100.0).reshape(10, 10)
    arrays["commonsense"][:, 0] = np.inf
    train = arrays["split"] == "train"
    file = write(samples.npz_bytes(arrays))
    corpus = read(file, dataset="mosi")
    found = corpus.splits["train"].arrays["commonsense"]
    assert found.shape == (4, 1, 10) and not found[:, 0, 0].any()
    np.testing.assert_array_equal(found[:, 0, 1:], arrays["commonsense"][train, 1:])
    assert any("4 in train commonsense" in note for note in corpus.notes)
    other = read(file, dataset="mosi", modalities=("audio",))
    assert "commonsense" not in other.splits["train"].arrays


@pytest.mark.parametrize("shape", [(10, 12), (10, 2, 10)])
def test_common_sense_of_other_widths_is_refused(samples, write, shape):
    arrays = samples.npz_data() | {"commonsense": np.ones(shape)}
    with pytest.raises(DataError, match=r"expected \[N, 5 D\]: vectors .*xEffect, xRe"):
        read(write(samples.npz_bytes(arrays)), dataset="mosi")


def test_other_names_of_splits(samples, write):
    arrays = samples.npz_data()
    arrays["split"] = np.array(["train", "dev", "Val", "test"] * 2 + ["dev", "test"])
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    assert {n: len(s) for n, s in corpus.splits.items()} == dict(
        train=2, valid=5, test=3
    )


@pytest.mark.parametrize("key", ["id", "label"])
def test_a_missing_key_is_named(key, samples, write):
    arrays = samples.npz_data()
    del arrays[key]
    has = ", ".join(sorted(arrays))
    with pytest.raises(DataError, match=f'"{key}" is missing; the file has: {has}'):
        read(write(samples.npz_bytes(arrays)), dataset="mosi")


def test_bad_arrays(samples, write):
    def refused(match, **changes):
        path = write(samples.npz_bytes({**samples.npz_data(), **changes}))
        with pytest.raises(DataError, match=match):
            read(path, dataset="mosi")

    refused("audio has 3 rows, but id has 10", audio=np.ones((3, 2)))
    refused("split has 2 rows, but id has 10", split=np.array(["train", "test"]))
    refused(r"audio is an array \[10\] of float64, expected", audio=np.ones(10))
    refused(r"audio is an array \[10, 2\] of complex", audio=np.ones((10, 2), complex))
    refused(
        r"id of the npz is an array of Python objects, .*np.array.texts, str",
        id=np.array(["a"] * 10, object),
    )
    refused(
        'label of "row3" is 3.5, but CMU-MOSI', label=np.array([0, 0, 0, 3.5] + [0] * 6)
    )


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return file.getvalue()


def header(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def test_bombs(write):
    bomb = zipped({"id.npy": header((2**29,))})
    with pytest.raises(DataError, match="kB would unfold to 2,147 MB of memory"):
        read(write(bomb), dataset="mosi")
    lzma = zipped({"id.npy": header((1,))}, zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match="id of the npz is compressed by method 14"):
        read(write(lzma), dataset="mosi")
    for shape in ((2**50,), (2**62, 2**62), (2**28, 4)):
        claim = zipped({"id.npy": header(shape)}, zipfile.ZIP_STORED)
        with pytest.raises(DataError, match="npz"):
            read(write(claim), dataset="mosi")
    with pytest.raises(DataError, match="id of the npz is no array"):
        read(write(zipped({"id.npy": b"text"})), dataset="mosi")


def test_claims_of_a_header(write):
    def refused(content, match):
        with pytest.raises(DataError, match=match):
            read(write(zipped({"id.npy": content})), dataset="mosi")

    for version in (1, 2, 3):
        magic = b"\x93NUMPY" + bytes([version, 0])
        size = (60_000).to_bytes(2 if version == 1 else 4, "little")
        refused(
            magic + size + b" " * 60_000, "header of 60,000 bytes, expected at most 10"
        )
        refused(
            magic, "id of the npz is truncated or damaged: its header says no shape"
        )
    refused(b"\x93NUMPY\x09\x01", r"of version 9.1, expected 1.0, 2.0 or 3.0")
    refused(
        header((-2, -3)), r"id of the npz is damaged: its header says a shape \(-2, -3"
    )
    refused(header((9,)), r"damaged id of the npz, an array \[9\] of float32; copy")


def test_headers_of_every_version_are_read(write):
    for version, width in ((1, 2), (2, 4), (3, 4)):
        text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"
        text = text.ljust(9_999) + b"\n"  # as long as it may be
        start = b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(width, "little")
        array = np.arange(3, dtype="<f4")
        path = write(zipped({"x.npy": start + text + array.tobytes()}))
        assert npz.load(path)["x"].tolist() == [0, 1, 2]


def test_an_encrypted_npz(write):
    content = bytearray(zipped({"id.npy": header((1,))}))
    for at in (6, content.index(b"PK\x01\x02") + 8):
        content[at] |= 1
    with pytest.raises(DataError, match="id of the npz is encrypted"):
        read(write(bytes(content)), dataset="mosi")


@pytest.mark.parametrize(
    "dtype, steps, filled, ratio", [(np.float32, 620, 3, 150), (np.int8, 800, 10, 60)]
)
def test_frames_that_are_mostly_padding(dtype, steps, filled, ratio, tmp_path):
    rows, width = 2000, 20
    audio = np.zeros((rows, steps, width), dtype)
    values = np.random.default_rng(0).uniform(1, 100, (rows, filled, width))
    audio[:, :filled] = values
    path = tmp_path / "x.npz"
    np.savez_compressed(path, id=np.arange(rows), label=np.zeros(rows), audio=audio)
    assert audio.nbytes > ratio * path.stat().st_size
    found = read(path, dataset="mosi").splits["all"].arrays
    assert found["audio_mask"].sum(axis=1).tolist() == [filled] * rows
    assert found["audio"].shape == audio.shape


def test_mosi_vectors(shared):
    corpus = read(shared / "data/mosi/mosi_poria.npz", dataset="mosi")
    assert {n: len(s) for n, s in corpus.splits.items()} == {
        "train": 1245,
        "valid": 202,
        "test": 752,
    }
    x = corpus.splits["test"].arrays
    shapes = [x[key].shape for key in ("text", "audio", "vision")]
    assert shapes == [(752, 1, 100), (752, 1, 73), (752, 1, 100)]
    assert x["audio_mask"].all() and corpus.notes == ()
    audio = read(shared / "data/mosi/mosi_audio.npz", dataset="mosi")
    assert [len(split) for split in audio.splits.values()] == [1284, 229, 686]
    assert set(audio.splits["train"].arrays) == {"audio", "audio_mask", "label"}


def mmmo(folder):
    """ICT-MMMO's sequences as arrays of our .npz.

    Text is left out: the files have it for two of the three splits. The labels
    1 to 5 become -3 to 3.
    """
    h5py = pytest.importorskip("h5py")
    parts = {"split": [], "label": [], "audio": [], "vision": []}
    for split in ("train", "valid", "test"):

        def load(name, split=split):
            with h5py.File(folder / f"{name}_{split}.h5") as file:
                return file["d1"][:]

        parts["label"].append((load("y") - 3) * 1.5)
        parts["audio"].append(load("audio"))
        parts["vision"].append(load("video"))
        parts["split"].append(np.full(len(parts["label"][-1]), split))
    arrays = {key: np.concatenate(values) for key, values in parts.items()}
    ids = np.array([f"mmmo{i}" for i in range(len(arrays["label"]))])
    return {"id": ids, **arrays}


def test_word_aligned_sequences(shared, samples, write):
    arrays = mmmo(shared / "data" / "mmmo")
    corpus = read(write(samples.npz_bytes(arrays)), dataset="mosi")
    assert [len(split) for split in corpus.splits.values()] == [220, 40, 80]
    x = corpus.splits["train"].arrays
    assert x["audio"].shape == (220, 20, 74) and x["vision"].shape == (220, 20, 36)
    # Padded at the end; zero steps at the start are real (they are few), kept in place.
    assert corpus.notes == ()
    assert x["audio_mask"].sum() == 220 * 20 - trailing_zeros(arrays["audio"][:220])
    np.testing.assert_array_equal(x["audio"], arrays["audio"][:220].astype("f4"))
    assert x["label"].min() == -3 and x["label"].max() == 3


def trailing_zeros(x):
    return sum(20 - (np.flatnonzero(row.any(axis=-1))[-1] + 1) for row in x)


def test_a_length_of_0_says_that_a_row_lacks_the_modality(tmp_path):
    columns = dict(id=list("abcd"), label=[0, 1, 2, 0], text=np.ones((4, 3)))
    columns |= dict(dialogue=[0, 0, 0, 1], turn=[0, 1, 2, 0], speaker=[0, 1, 0, 0])
    audio = np.ones((4, 2))
    audio[3] = 0
    columns |= dict(audio=audio, audio_length=[1, 0, 1, 0])
    np.savez(tmp_path / "talk.npz", **columns)
    corpus = read(tmp_path / "talk.npz", dataset="meld")
    (split,) = corpus.splits.values()
    assert corpus.notes == ("audio_length is 0 in 1 rows, whose audio is left out",)
    assert split.arrays["audio_mask"][:, 0].tolist() == [True, False, True, False]
    grouped = dialogues.group(split)
    wanted = [[True, False, True], [False, False, False]]
    assert grouped.arrays["audio_mask"].tolist() == wanted
    np.testing.assert_array_equal(grouped.arrays["audio"][0, :, 0], [1, 0, 1])
    assert grouped.arrays["text_mask"].sum() == 4


def test_conversations_by_names(tmp_path):
    columns = dict(
        id=["a", "b", "c", "d"],
        dialogue=["y", "x", "y", "y"],
        turn=[2, 0, 0, 1],
        speaker=["Ross", "Joey", "Joey", "Ross"],
        label=[1, 0, 2, 1],
        text=np.ones((4, 3)),
    )
    np.savez(tmp_path / "talk.npz", **columns)
    (split,) = read(tmp_path / "talk.npz", dataset="meld").splits.values()
    assert split.arrays["dialogue"].tolist() == [1, 0, 1, 1]
    # Numbered within their dialogue, in the order of the first turns: Joey, then Ross.
    assert split.arrays["speaker"].tolist() == [1, 0, 0, 1]
    del columns["speaker"]
    np.savez(tmp_path / "talk.npz", **columns)
    with pytest.raises(DataError, match='the key "speaker" is missing'):
        read(tmp_path / "talk.npz", dataset="meld")
    del columns["dialogue"], columns["turn"]
    columns["speaker"] = ["Ross", "Joey", "Joey", "Ross"]  # of a file without dialogues
    np.savez(tmp_path / "talk.npz", **columns)
    (split,) = read(tmp_path / "talk.npz", dataset="meld").splits.values()
    assert "speaker" not in split.arrays and len(split) == 4
