"""Damaged and hostile files of every format: a clean load or a DataError, nothing else."""

import io
import pickle
import pickletools
import random
import time
import zipfile

import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.read import read

FILES = 600  # mutated files of each format
FORMATS = ("mmsa", "mult", "mag", "label_csv", "meld", "npz")
ODD = [None, "", -1, 1e39, float("nan"), 10**5000, 2**62, b"\xff", "\ud800", [], {}, ()]
ODD += [[[]], {"id": 1}, {3: 4}, np.zeros(0), np.zeros((2, 0)), np.array(1.0)]
ODD += [np.array(["a", 1], object), np.full((4, 5, 3), np.inf), [1] * 9, "x" * 3000]


def flip(rng, content):
    for _ in range(rng.choice((1, 1, 2, 8))):
        content[rng.randrange(len(content))] = rng.randrange(256)


def cut(rng, content):
    del content[rng.randrange(len(content)) :]


def remove(rng, content):
    start = rng.randrange(len(content))
    del content[start : start + rng.randrange(1, 40)]


def insert(rng, content):
    start = rng.randrange(len(content) + 1)
    content[start:start] = rng.choice((rng.randbytes(rng.randrange(1, 9)), b'"', b","))


def duplicate(rng, content):
    start = rng.randrange(len(content))
    chunk = content[start : start + rng.randrange(1, 400)]
    at = rng.randrange(len(content) + 1)
    content[at:at] = chunk


def number(rng, content):
    """Writes an extreme integer over four or eight bytes: a size or a count."""
    value = rng.choice((2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**64 - 1, 0))
    content[(at := rng.randrange(len(content))) : at + 8] = value.to_bytes(8, "little")


BYTES = (flip, cut, remove, insert, duplicate, number)


def opcodes(rng, content, canary):
    """Drops, repeats, swaps or inserts whole opcodes; some call what they name."""
    starts = [at for _, _, at in pickletools.genops(bytes(content))]
    ends = [*starts[1:], len(content)]
    parts = [bytes(content[a:b]) for a, b in zip(starts, ends, strict=True)]
    at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    call = b"cos\nmkdir\n(V" + str(canary).encode() + b"\ntR"
    stack_call = b"\x8c\x02os\x8c\x05mkdir\x93" + call[12:]
    new = rng.choice(
        (call, call, stack_call, b"b", b"R", b"0", b"(", b"r\xff\xff\xff\xff")
    )
    match rng.randrange(4):
        case 0:
            del parts[at]
        case 1:
            parts.insert(at, parts[other])
        case 2:
            parts[at], parts[other] = parts[other], parts[at]
        case _:
            parts.insert(at, new)
    content[:] = b"".join(parts)


def values(rng, content, canary):
    """Puts odd values, in place of arrays or of elements, into the data itself."""
    del canary
    data = pickle.loads(bytes(content))
    node = data
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = rng.choice(keys)
        if rng.random() < 0.4 or not isinstance(node[key], dict | list):
            break
        node = node[key]
    if isinstance(node, list) and isinstance(node[key], tuple):
        features, label, segment = node[key]
        parts = [*features, label, segment]
        parts[rng.randrange(5)] = rng.choice(ODD)
        node[key] = (tuple(parts[:3]), *parts[3:])
    elif isinstance(node, dict | list):
        node[key] = rng.choice(ODD)
    content[:] = pickle.dumps(data, rng.choice((2, 3, 4, 5)))


def members(rng, content, canary):
    """Rewrites an array of the npz, with a valid checksum, after mutating its bytes."""
    del canary
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(target, "w") as new,
    ):
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            data = bytearray(old.read(name))
            if name == chosen and rng.random() < 0.9:
                rng.choice(BYTES)(rng, data)
            elif name == chosen:
                continue
            new.writestr(name, bytes(data))
    content[:] = target.getvalue()


STRUCTURED = {
    **dict.fromkeys(("mmsa", "mult", "mag"), (opcodes, values)),
    "npz": (members,),
}


def mutated(rng, name, original, canary):
    content = bytearray(original)
    structured = STRUCTURED.get(name)
    if structured and rng.random() < 0.5:
        rng.choice(structured)(rng, content, canary)
    else:
        for _ in range(rng.choice((1, 1, 2, 3))):
            if content:
                rng.choice(BYTES)(rng, content)
    return bytes(content)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused(name, tiny_files, tmp_path):
    rng = random.Random(f"seed of {name}")
    path, canary = tmp_path / "file", tmp_path / "canary"
    dataset = "meld" if name == "meld" else "mosi"
    refused = 0
    for _ in range(FILES):
        path.write_bytes(mutated(rng, name, tiny_files[name], canary))
        start = time.monotonic()
        try:
            corpus = read(
                path,
                dataset=dataset,
                format=rng.choice((name, "")),
                labels=rng.random() < 0.8,
            )
        except DataError as error:
            assert len(str(error).encode()) < 1000
            refused += 1
        else:
            check(corpus)
        assert time.monotonic() - start < 5, "reading hangs"
        assert not canary.exists(), "a file ran code"
    assert FILES // 10 < refused < FILES


def check(corpus):
    """What cleaning promises of every corpus."""
    seen = set()
    for split in corpus.splits.values():
        assert len(split) > 0
        assert not seen & set(split.ids.tolist())
        seen |= set(split.ids.tolist())
        for key, array in split.arrays.items():
            assert len(array) == len(split)
            assert array.dtype.kind in "fib" and np.isfinite(array).all()
            if key in ("text", "audio", "vision"):
                mask = split.arrays[f"{key}_mask"]
                assert not array[~mask].any()
                assert (np.diff(mask.astype(int), axis=1) <= 0).all()


def test_the_hostile_pickles_of_the_fuzz_test_are_hostile(tiny_files, tmp_path):
    content = bytearray(tiny_files["mmsa"])
    rng = random.Random(1)
    for i in range(200):
        opcodes(rng, trial := bytearray(content), tmp_path / f"canary{i}")
        try:
            pickle.loads(bytes(trial))
        except Exception:
            continue
    assert any(tmp_path.glob("canary*"))
