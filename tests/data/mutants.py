"""Damaged and hostile variants of a file: of its bytes, and of its structure by format."""

import contextlib
import csv
import hashlib
import io
import json
import pickle
import pickletools
import re
import zipfile

import numpy as np

ODD = [None, "", -1, 1e39, float("nan"), 10**5000, 2**62, b"\xff", "\ud800", [], {}, ()]
ODD += [[[]], {"id": 1}, {3: 4}, np.zeros(0), np.zeros((2, 0)), np.array(1.0)]
ODD += [np.array(["a", 1], object), np.full((4, 5, 3), np.inf), [1] * 9, "x" * 3000]
ODD += [["x" * 90_000] * 900, ["x"] * 90_000, np.ones((90_000, 1), np.int8)]
CELLS = [
    "",
    "a",
    "-1",
    "1e999",
    "nan",
    '"',
    ",",
    "\r",
    "\0",
    "test",
    "joy",
    "x" * 99_000,
]
SIZES = (0, 1, 3, 10, 10**4, 10**6, 2**31, 2**62, -1)
TYPES = (
    "<f4",
    "|i1",
    "<U0",
    "<U1",
    "<U90000",
    "|S1",
    "|S0",
    "|b1",
    "|O",
    "<c8",
    "<M8[D]",
)


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
    content[at:at] = chunk * rng.choice((1, 1, 1, 200))


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
    match rng.randrange(5):
        case 0:
            del parts[at]
        case 1:
            parts.insert(at, parts[other])
        case 2:
            parts[at], parts[other] = parts[other], parts[at]
        case 3:  # one, or some that follow each other, many times
            parts[at:at] = parts[other : other + rng.choice((1, 1, 4))] * 2000
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
        zipfile.ZipFile(target, "w", rng.choice((0, 8, 8, 8, 14))) as new,
    ):
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            data = bytearray(old.read(name))
            if name == chosen and rng.random() < 0.9:
                rng.choice((*BYTES, header, header))(rng, data)
            elif name == chosen:
                continue
            new.writestr(name, bytes(data))
    content[:] = target.getvalue()


def header(rng, content):
    """An array of another shape and type, with as many bytes as it claims, or fewer."""
    shape = [rng.choice(SIZES) for _ in range(rng.choice((0, 1, 1, 2, 3, 3)))]
    if rng.random() < 0.5:  # as many rows as the other arrays have
        shape[:1] = [10]
    file = io.BytesIO()
    claim = {"descr": rng.choice(TYPES), "fortran_order": rng.random() < 0.2}
    np.lib.format.write_array_header_1_0(file, {**claim, "shape": tuple(shape)})
    content[:] = file.getvalue() + rng.choice((b"\0", b"a\0\0\0")) * rng.choice(
        SIZES[:6]
    )


def cells(rng, content, canary):
    """Drops, repeats or replaces cells, columns and rows of a table."""
    del canary
    table = list(csv.reader(io.StringIO(content.decode("cp1252"), newline="")))
    row = rng.choice(table)
    at = rng.randrange(len(row)) if row else 0
    match rng.randrange(6):
        case 0:
            del row[at : at + 1]
        case 1:
            cell = rng.choice(CELLS)
            row[at : at + 1] = [cell] * rng.choice(
                (1, 1, 2, 9 if len(cell) > 9 else 3000)
            )
        case 2:
            table.extend([list(row) for _ in range(rng.choice((1, 5, 3000)))])
        case 3:  # rows of ids of their own
            table.extend([str(i), str(i), *row[2:]] for i in range(3000))
        case 4:
            for other in table:
                other[at:at] = other[at : at + 1] * rng.choice((0, 1, 500))
        case _:
            rng.shuffle(row)
    text = io.StringIO()
    csv.writer(text, rng.choice(("excel", "unix"))).writerows(table)
    content[:] = text.getvalue().encode("cp1252", "replace")


def digits(rng, content, canary):
    """Replaces a number in a file of JSON by another, or a byte in any other file."""
    del canary
    found = list(re.finditer(rb"\d+", content)) if content[:1] == b"{" else ()
    if not found:
        return flip(rng, content)
    number = rng.choice(found)
    content[number.start() : number.end()] = str(rng.choice(SIZES)).encode()


STRUCTURED = {
    **dict.fromkeys(("mmsa", "mult", "mag"), (opcodes, values)),
    **dict.fromkeys(("label_csv", "meld"), (cells,)),
    "npz": (members,),
    "store": (digits,),
}


@contextlib.contextmanager
def mutated(rng, name, original, canary):
    """The path of a variant of a file, of less than 1 MB; some make the folder `canary` if run.

    Of a store, which is a folder, one file is another as long as the block runs.
    """
    folder = original.is_dir()
    source = rng.choice(sorted(original.iterdir())) if folder else original
    content = source.read_bytes()
    while len(new := _mutated(rng, name, content, canary)) >= 10**6:
        pass
    target = source if folder else original.with_name("mutant")
    target.write_bytes(new)
    if not folder:
        yield target
        return
    sums = original / "checksums.json"
    before = json.loads(content if source == sums else sums.read_text())
    if target != sums and rng.random() < 0.9:
        sha256 = {target.name: hashlib.sha256(new).hexdigest()}
        sums.write_text(json.dumps(before | sha256))
    yield original
    target.write_bytes(content)
    sums.write_text(json.dumps(before))


def _mutated(rng, name, original, canary):
    content = bytearray(original)
    if STRUCTURED[name] and rng.random() < 0.5:
        rng.choice(STRUCTURED[name])(rng, content, canary)
    else:
        for _ in range(rng.choice((1, 1, 2, 3))):
            if content:
                rng.choice(BYTES)(rng, content)
    return bytes(content)
