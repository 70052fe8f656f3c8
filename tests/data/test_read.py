import hashlib
import os
import pickle

import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.read import FORMATS, find_format, read


@pytest.mark.parametrize("name", ["mmsa", "mult", "mag", "label_csv", "meld", "npz"])
def test_the_format_is_found_from_the_content(name, tiny_files, write):
    path = write(tiny_files[name], "file")
    dataset = "meld" if name == "meld" else "mosi"
    found = read(path, dataset=dataset)
    named = read(path, dataset=dataset, format=name)
    assert found.sha256 == named.sha256 == hashlib.sha256(tiny_files[name]).hexdigest()
    assert list(found.splits) == list(named.splits)
    for split in found.splits:
        assert found.splits[split].ids.tolist() == named.splits[split].ids.tolist()
        assert found.splits[split].arrays.keys() == named.splits[split].arrays.keys()
    assert name in FORMATS


def test_protocols_0_and_1(samples, write):
    for protocol in (0, 1):
        path = write(samples.mult_data(), protocol=protocol)
        assert find_format(path) == "pickle"
        assert len(read(path, dataset="mosi").splits["train"]) == 4


def test_labels_and_modalities_that_are_not_wanted(tiny_files, write):
    path = write(tiny_files["mmsa"])
    corpus = read(path, dataset="sims", labels=False, modalities=("audio",))
    assert set(corpus.splits["train"].arrays) == {"audio", "audio_mask"}
    assert not any(corpus.splits["train"].raw_text)


def refused(path, match, **options):
    with pytest.raises(DataError, match=match) as error:
        read(path, **{"dataset": "mosi", **options})
    return str(error.value)


def test_names(tiny_files, write):
    path = write(tiny_files["npz"])
    refused(path, 'unknown dataset "mosy"; did you mean "mosi"\\?', dataset="mosy")
    refused(path, 'unknown format "nps"; did you mean "npz"\\?', format="nps")


def test_files_that_are_none(tmp_path, write):
    message = refused(tmp_path / "nope.pkl", "no such file")
    assert message.startswith(str(tmp_path / "nope.pkl"))
    refused(tmp_path, "is a folder, neither a prepared store nor one with MELD's files")
    refused(write(b""), "is empty")
    refused(
        write(b"a;b\n1;2\n"), "has the columns: a, b; a csv needs the columns video_"
    )
    refused(
        write(b"\x07\x01\x02"), r"of no kind that msajax knows: it begins with b'.x07"
    )
    refused(write(b""), "is empty", format="mmsa")
    refused(write(b"]"), "truncated pickle: it has no end", format="mmsa")
    refused("/dev/zero", "no such file")


def test_a_file_that_may_not_be_read(tiny_files, write, monkeypatch):
    path = write(tiny_files["npz"])

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    refused(path, "Permission denied")


def test_a_truncated_pickle(tiny_files, write):
    content = tiny_files["mmsa"]
    for size in (100, len(content) // 2, len(content) - 1):
        refused(write(content[:size]), "truncated.*copy or download it again")


def test_a_truncated_npz(tiny_files, write):
    content = tiny_files["npz"]
    refused(write(content[:-9]), "truncated or damaged npz")


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("format", ["", "mmsa", "mult", "mag"])
def test_no_file_runs_code(format, samples, write, tmp_path):
    data = samples.mmsa_data()
    data["train"]["config"] = Evil(f"touch {tmp_path / 'pwned'}")
    path = write(data)
    refused(
        path, r"the pickle holds (posix|nt)\.system, which is refused", format=format
    )
    assert not (tmp_path / "pwned").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "pwned").exists()  # it would have, if unpickled


def test_object_arrays(samples, write):
    data = samples.mmsa_data()
    data["train"]["raw_text"] = np.array([["a"], None, 3, {}], object)
    refused(write(data), "an object array with an element of type list, which")


def test_rows_that_cannot_be_used(samples, write):
    data = samples.mmsa_data()
    data["train"]["regression_labels"][2] = -4
    refused(
        write(data), r'label of "train2\$_\$1" is -4, but CMU-MOSI has labels from -3'
    )
    data = samples.mmsa_data()
    data["valid"] = {k: v[:0] for k, v in data["valid"].items()}
    refused(write(data), 'the split "valid" is empty')
    data = samples.mmsa_data()
    data["test"]["vision"][:] = 0
    refused(
        write(data), "test vision is missing in all 3 rows .*config.data.modalities"
    )
    assert read(write(data), dataset="mosi", modalities=("text", "audio"))
    data = samples.mmsa_data()
    data["test"]["id"][0] = "train1$_$1"
    refused(
        write(data), r'the id "train1\$_\$1" of the split "test" is already in "train"'
    )


def test_a_pickle_of_something_else(write):
    refused(write(3), "the pickle is of type int; expected a dict of arrays")
    refused(write({"train": 3}), 'the split "train" is of type int; expected a dict')
    refused(write({"train": 3}), "split is of type int, expected a dict", format="mmsa")
    refused(write({"model": "x"}), 'the key "id" is missing; the file has: model')


def test_more_memory_than_there_is(tiny_files, write, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr("msajax.data.clean._finite", exhausted)
    refused(write(tiny_files["npz"]), "needs more memory than there is")


CHINESE = ["我不想嫁给李茶", "今天天气不错，我们去公园吧", "他是一个很好的人", "一"]


def bytes_of(data, encoding):
    """A pickle's data with the transcripts of train as Chinese, and all text as bytes."""
    if isinstance(data["train"], dict):
        data["train"]["raw_text"] = np.array(CHINESE, object)
        for entry in data.values():
            for key in ("raw_text", "id"):
                entry[key] = [text.encode(encoding) for text in entry[key]]
        return data
    for split, rows in data.items():
        texts = CHINESE if split == "train" else [" ".join(r[0][0]) for r in rows]
        for i, ((words, *features), label, segment) in enumerate(rows):
            words = [*([b"w"] * (len(words) - 1)), texts[i].encode(encoding)]
            rows[i] = ((words, *features), label, segment.encode(encoding))
    return data


@pytest.mark.parametrize("name", ["mmsa", "mag"])
@pytest.mark.parametrize("python", [2, 3])
def test_byte_strings_are_never_mojibake(name, python, samples, write):
    """Python 2's strings, and bytes that Python 3 saved."""

    def saved(encoding):
        data = bytes_of(getattr(samples, f"{name}_data")(), encoding)
        return write(samples.python2_pickle(data) if python == 2 else data)

    def texts(corpus):
        return [text.split()[-1] for text in corpus.splits["train"].raw_text]

    corpus = read(saved("utf-8"), dataset="mosi")
    assert texts(corpus) == CHINESE and corpus.notes == ()
    assert texts(read(saved("utf-8"), dataset="mosi", encoding="gbk")) == CHINESE
    path = saved("gbk")
    refused(
        path, r"(raw_text|words) is no UTF-8 text; .* likely gbk, which reads \"我不想"
    )
    assert texts(read(path, dataset="mosi", encoding="gbk")) == CHINESE
    if name == "mmsa":
        assert corpus.splits["train"].ids[0] == "train0$_$1"


def test_bytes_of_an_npz(samples, write):
    arrays = samples.npz_data()
    texts = [f"{text}{i}" for i, text in enumerate(CHINESE * 3)][: len(arrays["id"])]
    for key in ("id", "split"):
        arrays[key] = arrays[key].astype("S")
    for encoding in ("utf-8", "gbk"):
        arrays["raw_text"] = np.array([text.encode(encoding) for text in texts])
        assert arrays["raw_text"].dtype.kind == "S"
        path = write(samples.npz_bytes(arrays), f"{encoding}.npz")
        splits = read(path, dataset="mosi", encoding="gbk").splits.values()
        assert {text for split in splits for text in split.raw_text} == set(texts)
    refused(path, "raw_text is no UTF-8 text; its encoding is likely gbk")


def test_stray_windows_bytes_of_a_pickle_are_counted(samples, write):
    data = samples.mmsa_data()
    for entry in data.values():
        entry["raw_text"] = [b"it\x92s a text of this row"] * len(entry["raw_text"])
    corpus = read(write(samples.python2_pickle(data)), dataset="mosi")
    assert corpus.splits["test"].raw_text[0] == "it’s a text of this row"
    (note,) = corpus.notes
    assert "Windows-1252" in note and note.endswith(
        "10 bytes in 10 of 10 texts of raw_text"
    )


def test_names_of_encodings(tiny_files, write):
    refused(write(tiny_files["npz"]), 'unknown encoding "gkb"', encoding="gkb")
