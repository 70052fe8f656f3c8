"""Tiny files in the formats of the field, as their authors' programs write them."""

import collections
import csv
import io
import pickle
import types
from typing import Any

import numpy as np
import pytest

ROWS = {"train": 4, "valid": 3, "test": 3}
STEPS = {"text": 5, "audio": 7, "vision": 6}
DIMS = {"text": 8, "audio": 3, "vision": 2}


def _rows(split):
    return [f"{split}{i}" for i in range(ROWS[split])]


def _sequences(rng, rows, steps, dim, dtype):
    """End-padded features [N, L, D] and lengths [N]; one row has all steps."""
    lengths = rng.integers(2, steps + 1, rows)
    lengths[0] = steps
    x = rng.normal(size=(rows, steps, dim)) + 3.0
    x[np.arange(steps) >= lengths[:, None]] = 0
    return x.astype(dtype), lengths


def mmsa_data(*, aligned=False, sims=False, seed=0):
    """The MMSA pickle: float64 audio and vision, lists of labels, object arrays of str."""
    rng = np.random.default_rng(seed)
    data = {}
    for split, rows in ROWS.items():
        entry = {
            "raw_text": np.array([f"it’s row {i}" for i in range(rows)], object),
            "id": np.array([f"{name}$_$1" for name in _rows(split)], object),
            "regression_labels": np.round(rng.uniform(-1, 1, rows), 1),
            "classification_labels": np.zeros(rows),
            "annotations": ["Neutral"] * rows,
        }
        for name in STEPS:
            dtype = np.float32 if name == "text" else np.float64
            steps = STEPS["text"] if aligned else STEPS[name]
            x, lengths = _sequences(rng, rows, steps, DIMS[name], dtype)
            entry[name] = x
            if name == "text":
                mask = np.arange(steps) < lengths[:, None]
                ids = rng.integers(1, 99, (rows, steps)) * mask
                entry["text_bert"] = np.stack([ids, mask, 0 * ids], 1).astype("float32")
            elif not aligned:
                entry[f"{name}_lengths"] = lengths.tolist()
        if sims:
            for key in "TAV":
                entry[f"regression_labels_{key}"] = rng.uniform(-1, 1, rows)
        data[split] = entry
    return data


def mult_data(*, seed=0):
    """The MulT pickle: labels [N, 1, 1], ids of three byte strings."""
    rng = np.random.default_rng(seed)
    data = {}
    for split, rows in ROWS.items():
        parts = [[name, "1.5", "2.5"] for name in _rows(split)]
        entry = {
            name: _sequences(rng, rows, STEPS[name], DIMS[name], np.float32)[0]
            for name in STEPS
        }
        entry["labels"] = rng.uniform(-3, 3, (rows, 1, 1)).astype("float32")
        data[split] = {**entry, "id": np.array(parts, "S")}
    return data


def mag_data(*, seed=0):
    """The MAG pickle: lists of ((words, visual, acoustic), label, segment)."""
    rng = np.random.default_rng(seed)
    data = {}
    for split in ROWS:
        key = "dev" if split == "valid" else split
        data[key] = []
        for i, name in enumerate(_rows(split)):
            words = [f"w{j}" for j in range(2 + i)]
            visual = rng.normal(size=(len(words), DIMS["vision"])) + 3.0
            acoustic = rng.normal(size=(len(words), DIMS["audio"])) + 3.0
            label = np.array([[rng.uniform(-3, 3)]], np.float32)
            data[key].append(((words, visual, acoustic), label, f"{name}[{i}]"))
    return data


def npz_data(*, seed=0):
    """The arrays of our own .npz, rows of the splits in any order."""
    rng = np.random.default_rng(seed)
    split = np.array([name for name, rows in ROWS.items() for _ in range(rows)])
    rng.shuffle(split)
    rows = len(split)
    audio, _ = _sequences(rng, rows, STEPS["audio"], DIMS["audio"], np.float32)
    return {
        "id": np.array([f"row{i}" for i in range(rows)]),
        "raw_text": np.array([f"text {i}" for i in range(rows)]),
        "label": rng.uniform(-3, 3, rows),
        "split": split,
        "text": rng.normal(size=(rows, DIMS["text"])),
        "audio": audio,
        "vision": _sequences(rng, rows, STEPS["vision"], DIMS["vision"], np.float64)[0],
    }


def label_csv():
    """MMSA's label.csv with quotes, commas and a line break in the text."""
    rows: list[list[Any]] = [
        ["video_id", "clip_id", "text", "label", "annotation", "mode"]
    ]
    for split in ROWS:
        for i, name in enumerate(_rows(split)):
            rows.append(
                [name, i, f'"Oh, no"\n{i}', round(i / 5 - 1, 1), "Neutral", split]
            )
    return _csv(rows).encode()


def meld_csv(*, dialogues=3):
    """One of MELD's files, with an apostrophe of Windows."""
    rows: list[list[Any]] = [
        ["Sr No.", "Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"]
    ]
    for dialogue in range(dialogues):
        for turn in (0, 1, 3):  # an utterance is left out, as in the real files
            speaker, emotion = (
                ("Joey", "Phoebe")[turn % 2],
                ("neutral", "joy")[turn % 2],
            )
            rows.append([1, "It’s, well", speaker, emotion, dialogue, turn])
    return _csv(rows).encode("cp1252")


def _csv(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


_Pickler: Any = pickle._Pickler  # pyright: ignore


class Python2Pickler(_Pickler):
    """Writes str and bytes as Python 2 wrote its byte strings."""

    dispatch = dict(_Pickler.dispatch)

    def save_string(self, item):
        content = item if isinstance(item, bytes) else item.encode("latin-1", "replace")
        short = len(content) < 256
        opcode = pickle.SHORT_BINSTRING if short else pickle.BINSTRING
        self.write(
            opcode + len(content).to_bytes(1 if short else 4, "little") + content
        )
        self.memoize(item)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(data, protocol=2):
    file = io.BytesIO()
    Python2Pickler(file, protocol, fix_imports=True).dump(data)
    return numpy1(file.getvalue())


def numpy1(content):
    """The bytes of a pickle with the module paths of numpy 1."""
    for length in (b"\x16", b"\x13"):  # of 'numpy._core.multiarray' and '...numeric'
        short = bytes([length[0] - 1])
        content = content.replace(
            b"\x8c" + length + b"numpy._core.", b"\x8c" + short + b"numpy.core."
        )
    return content.replace(b"cnumpy._core.", b"cnumpy.core.")


def npz_bytes(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture(scope="session")
def samples():
    """The functions above, by name."""
    functions = (mmsa_data, mult_data, mag_data, npz_data, label_csv, meld_csv)
    helpers = (python2_pickle, numpy1, npz_bytes)
    names = {function.__name__: function for function in (*functions, *helpers)}
    return types.SimpleNamespace(**names, ROWS=ROWS, STEPS=STEPS, DIMS=DIMS)


@pytest.fixture(scope="session")
def tiny_files(samples):
    """{format: bytes of a tiny file} of every format."""
    ordered = collections.OrderedDict(mmsa_data(sims=True))
    return {
        "mmsa": pickle.dumps(ordered, protocol=4),
        "mult": numpy1(pickle.dumps(mult_data(), protocol=2)),
        "mag": pickle.dumps(mag_data(), protocol=5),
        "label_csv": label_csv(),
        "meld": meld_csv(),
        "npz": npz_bytes(npz_data()),
    }


@pytest.fixture
def write(tmp_path):
    """write(bytes or data to pickle, name) -> path."""

    def write_file(content, name="file.pkl", protocol=4):
        if not isinstance(content, bytes):
            content = pickle.dumps(content, protocol=protocol)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write_file
