"""Small files that unfold to much memory or keep a reader busy, by format."""

import io
import pickle
import struct
import zipfile
import zlib

import numpy as np

_CALLS = {
    "dtype": b"cnumpy\ndtype\nq\xf0",
    "array": b"cnumpy.core.multiarray\n_reconstruct\nq\xf1cnumpy\nndarray\nq\xf2",
    "set": b"c__builtin__\nset\nq\xf3",
    "ordered": b"ccollections\nOrderedDict\nq\xf4",
    "scalar": b"cnumpy.core.multiarray\nscalar\nq\xf5",
    "frombuffer": b"cnumpy.core.numeric\n_frombuffer\nq\xf6",
}
_STATE = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"  # of a dtype


def _text(text):
    return b"X" + len(text).to_bytes(4, "little") + text


def _entry(rows, **changes):
    entry = {"id": [f"r{i}" for i in range(rows)], "regression_labels": [0] * rows}
    entry["audio"] = np.ones((rows, 1), np.int8)
    return {**entry, **changes}


def mmsa():
    """Pickles of the MMSA structure, and of the opcodes alone."""
    long = "x" * 300_000
    yield "one long text", pickle.dumps(_entry(1500, raw_text=["a"] * 1499 + [long]))
    yield "a text by reference", pickle.dumps(_entry(1000, raw_text=[long] * 1000))
    entries = {}
    for split in ("train", "valid", "test"):
        entries[split] = _entry(0, id=[long] * 1500, raw_text=["a"] * 1499 + [long])
    content = "\xe9 ".encode() * 90_000 + b"\xff"
    yield "bytes by reference", pickle.dumps(_entry(350, raw_text=[content] * 350))
    yield "in every split", pickle.dumps(entries)
    column = [0] * 100_000
    keys = [f"{m}_lengths" for m in ("text", "audio", "vision")]
    keys += [f"regression_labels{k}" for k in ("", "_T", "_A", "_V")]
    entries = {"id": column, **dict.fromkeys(keys, column)}
    yield (
        "a list in every column",
        pickle.dumps(dict.fromkeys(("train", "dev"), entries)),
    )
    yield "wide ids", pickle.dumps(_entry(9, id=np.array(["a" * 100_000, "b"])))
    yield "many rows", pickle.dumps(_entry(0, id=[1] * 50_000))
    nested = []
    for _ in range(60):
        nested = [nested, nested]
    yield "nested lists", pickle.dumps(_entry(1, id=nested, raw_text=nested))
    nested = [0.0] * 10
    for _ in range(9):
        nested = [nested] * 10
    yield (
        "labels in lists of lists",
        pickle.dumps(_entry(1, regression_labels=[nested])),
    )
    nested = []
    for _ in range(60):
        nested = (nested, nested)
    yield "labels of no number", pickle.dumps(_entry(2, regression_labels=nested))
    start, end = pickle.dumps(_entry(1, regression_labels=["here"]), 0).split(
        b"Vhere\n"
    )
    deep = b"]" * 3000 + b"a" * 2999
    yield "labels in deep lists", start + deep + end.split(b"\n", 1)[1]
    for name, row in (("lists", [0] * 100), ("arrays", np.zeros(100))):
        entry = _entry(0, id=["a"] * 190_000, regression_labels=[row] * 190_000)
        yield f"labels that are {name} by reference", pickle.dumps(entry)
    nested = {}
    for _ in range(60):
        nested = {"train": nested, "test": nested}
    yield "nested splits", pickle.dumps(nested)
    yield "deep tuples", b"\x80\x02)" + b"\x85" * 90_000 + b"."
    yield "marks", b"\x80\x02" + b"(" * 90_000 + b"."
    yield "sets", b"\x80\x04" + b"\x8f" * 90_000 + b"."
    yield "memoised dicts", b"\x80\x04" + b"}\x94" * 90_000 + b"."
    yield (
        "a long number",
        b"\x80\x02\x8b" + struct.pack("<i", 900_000) + bytes(899_999) + b"\x01.",
    )
    number = (
        b"\x80\x02]q\x00(\x8b"
        + struct.pack("<i", 400_000)
        + b"\x01" * 400_000
        + b"q\x01"
    )
    yield "a long number often", number + b"h\x01" * 50_000 + b"e."
    yield "a long float", b"F" + b"9" * 90_000 + b"\n."
    keys = b"".join(b"X\x05\x00\x00\x00" + b"%05d" % i + b"N" for i in range(20_000))
    yield "many keys", b"\x80\x02}(" + keys + b"u."
    yield from _calls()


def _calls():
    ints = b"(" + b"K\x01" * 60_000
    calls, end = 20_000, b"."
    many = b"\x80\x02" + ints + b"tq\x00"
    states = b"\x80\x02(K\x03U\x01<" + b"K\x01" * 60_000 + b"tq\x00"
    listed = b"\x80\x02]q\x00" + ints + b"e"
    state = _CALLS["dtype"] + b"U\x02i1K\x00K\x01\x87q\x01"
    yield (
        "a dtype's long arguments",
        many + _CALLS["dtype"] + b"h\xf0h\x00R0" * calls + end,
    )
    yield "a dtype's long state", states + state + b"h\xf0h\x01Rh\x00b0" * 10_000 + end
    yield "a dtype's long name", (
        b"\x80\x02" + _text(b"U" + b"0" * 300_000 + b"8") + b"\x85q\x00"
        + _CALLS["dtype"] + b"h\xf0h\x00R0" * calls + end
    )  # fmt: skip
    yield (
        "an array's long arguments",
        many + _CALLS["array"] + b"h\xf1h\x00R0" * calls + end,
    )
    yield "an array of many axes", (
        many.replace(b"K\x01", b"K\xff") + _CALLS["dtype"] + b"U\x02i1K\x00K\x01\x87R"
        + _STATE + b"bq\x01" + _CALLS["frombuffer"]
        + b"(U\x01ah\x01h\x00U\x01CtR" + end
    )  # fmt: skip
    yield (
        "sets of one list",
        listed + b"h\x00\x85q\x01" + _CALLS["set"] + b"h\xf3h\x01R0" * calls + end,
    )
    pairs = b"\x80\x02K\x01N\x86q\x01]q\x00(" + b"h\x01" * 60_000 + b"e\x85q\x02"
    yield "dicts of one list", pairs + _CALLS["ordered"] + b"h\xf4h\x02R0" * calls + end
    distinct = b"".join(b"J" + struct.pack("<i", i) for i in range(40_000))
    wide = b"\x80\x02]q\x00(" + distinct + b"e\x85q\x01"
    yield "sets that stay", wide + _CALLS["set"] + b"h\xf3h\x01R" * 60_000 + end
    scalar = (
        b"\x80\x02"
        + _CALLS["dtype"]
        + b"U\x06U90000K\x00K\x01\x87R"
        + _STATE
        + b"bq\x00"
    )
    scalar += (
        b"T"
        + struct.pack("<i", 360_000)
        + b"a\x00\x00\x00" * 90_000
        + b"q\x01"
        + _CALLS["scalar"]
    )
    yield (
        "scalars of one text",
        scalar + b"h\x00h\x01\x86q\x020" + b"h\xf5h\x02R" * calls + end,
    )


def mult():
    """MulT pickles."""
    array = np.ones((350_000, 1), np.int8)
    labels = np.zeros(350_000, np.int8)
    entry = {"text": array, "audio": array, "vision": array, "labels": labels[:60_000]}
    data = {name: dict(entry) for name in ("train", "valid", "test")}
    yield "rows without ids", pickle.dumps(data)
    part = "x" * 60_000
    ids = [part] * 3000
    entry = {"audio": np.ones((3, 1)), "labels": np.zeros(3), "id": ids}
    yield "ids of long parts", pickle.dumps({"train": entry})


def mag():
    """MAG pickles: rows of ((words, visual, acoustic), label, segment)."""

    def rows(words, count, dtype=np.int8):
        n = len(words)
        arrays = (np.ones((n, 1), dtype) for _ in range(2 * count))
        return [
            ((words, next(arrays), next(arrays)), 0.0, f"{i}") for i in range(count)
        ]

    yield (
        "words by reference",
        pickle.dumps({"train": rows(["y" * 100_000] * 200, 400)}),
    )
    yield (
        "one long word",
        pickle.dumps({"train": rows(["y" * 100_000] + ["a"] * 300, 300)}),
    )
    yield (
        "bytes by reference",
        pickle.dumps({"train": rows([b"\xff" * 100_000] * 200, 400)}),
    )
    yield (
        "letters by reference",
        pickle.dumps({"train": rows(["\xe9".encode() * 50_000, b"\xff"], 900)}),
    )
    yield "rows of no words", pickle.dumps({"train": rows([], 500)})
    long = rows(["a"] * 100_000, 1)[0]
    yield "one long row", pickle.dumps({"train": [long, *rows(["a"], 2000)]})


def _npy(descr, shape, content=b"", fortran=False):
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": fortran, "shape": shape}
    np.lib.format.write_array_header_2_0(file, header)
    return file.getvalue() + content


def _zip(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method, compresslevel=9) as target:
        for name, content in members.items():
            target.writestr(name if "/" in name else f"{name}.npy", content)
    return file.getvalue()


def npz():
    """Compressed npz, whose claims are true or not."""
    rows = 500_000
    label = _npy("|i1", (rows,), bytes(rows))
    yield "ids of no width", _zip({"id": _npy("<U0", (10**9,)), "label": label})
    yield (
        "many short ids",
        _zip({"id": _npy("|S1", (3 * 10**7,), bytes(3 * 10**7)), "label": label}),
    )
    wide = 2000
    one = np.full(4000, "a", f"<U{wide}")
    one[0] = "b" * wide
    yield (
        "wide ids of few letters",
        _zip({"id": _npy(one.dtype.str, one.shape, one.tobytes())}),
    )
    ids = _npy("<i4", (60_000,), np.arange(60_000, dtype="<i4").tobytes())
    split = np.full(60_000, "train")
    yield "rows by the thousand", _zip({
        "id": ids, "label": _npy("|i1", (60_000,), bytes(60_000)),
        "split": _npy(split.dtype.str, split.shape, split.tobytes()),
        **{m: _npy("|i1", (60_000, 1), b"\x01" * 60_000) for m in ("text", "audio", "vision")},
    })  # fmt: skip
    steps = 4 * 10**7
    x = b"\x01" + bytes(steps - 1)
    yield (
        "a modality of zeros",
        _zip(
            {
                "id": _npy("<U1", (1,), b"a\0\0\0"),
                "label": _npy("|i1", (1,), b"\0"),
                "audio": _npy("|i1", (1, steps, 1), x),
            }
        ),
    )
    frames = _npy("|i1", (1000, 8000, 1), (b"\0\x01" + bytes(7998)) * 1000)
    thousand = np.arange(1000).astype("<U3")
    thousand = _npy(thousand.dtype.str, thousand.shape, thousand.tobytes())
    zeros = _npy("|i1", (1000,), bytes(1000))
    members = {
        "id": thousand,
        "label": zeros,
        "audio": frames,
        "vision": frames,
        "text": frames,
    }
    yield "frames", _zip(members)
    yield "features up to the limit", _most_features()
    name = np.array(["x" * 5_000_000])
    name = _npy(name.dtype.str, name.shape, name.tobytes())
    yield "a long name of a split", _zip({"id": name, "split": name, "label": zeros})
    yield "a long header", _long_header()
    yield "a header of no value", _zip({"id": _npy_of_header(b"-" * 9000 + b"1")})
    yield "a claim", _zip({"id": _npy("<f4", (2**28,), bytes(40))})
    yield "a record", _zip({"id": _npy([("a", "<f4", (10**8,))], (1,), bytes(40))})
    yield "a wrapped size", _zip({"id": _npy("<f4", (2**62, 2**62), bytes(40))})
    yield "lzma", _lzma()
    yield "many members", _zip({f"a/{i}": b"" for i in range(2000)})
    lying = bytearray(
        _zip({"id": _npy("|S1", (3 * 10**7,), bytes(3 * 10**7)), "label": label})
    )
    at = lying.index(b"PK\x01\x02") + 24
    lying[at : at + 4] = (100).to_bytes(4, "little")
    yield "a lying size", bytes(lying)


def _most_features():
    """Features padded at the front, almost as many as a file of less than 1 MB may hold."""
    steps, width, rows = 3250, 20, 1000
    row = bytes(steps * width - width) + b"\x01" * width
    ids = np.arange(rows).astype("<U3")
    return _zip(
        {
            "id": _npy(ids.dtype.str, ids.shape, ids.tobytes()),
            "label": _npy("|i1", (rows,), bytes(rows)),
            "audio": _npy("|i1", (rows, steps, width), row * rows),
            "not read": np.random.default_rng(0).bytes(850_000),
        }
    )


def _npy_of_header(header):
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def _long_header():
    """An array whose header takes 900 MB."""
    # Blocks of deflate that stand alone, so that one is compressed and then repeated.
    flate = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = flate.compress(b"\x93NUMPY\x02\x00" + (9 * 10**8).to_bytes(4, "little"))
    start += flate.flush(zlib.Z_FULL_FLUSH)
    block = flate.compress(b" " * 10**6) + flate.flush(zlib.Z_FULL_FLUSH)
    member = start + block * 900 + flate.flush()
    content = bytearray(_zip({"id": member}, zipfile.ZIP_STORED))
    for at in (0, content.index(b"PK\x01\x02") + 2):
        content[at + 8] = zipfile.ZIP_DEFLATED
        content[at + 22 : at + 26] = (12 + 9 * 10**8).to_bytes(4, "little")
    return bytes(content)


def _lzma():
    """An lzma member that asks for a dictionary of almost 4 GB."""
    content = bytearray(
        _zip({"id": _npy("|S1", (10**6,), bytes(10**6))}, zipfile.ZIP_LZMA)
    )
    at = content.index(b"\x5d\x00\x00\x80\x00")
    content[at + 1 : at + 5] = (0xF000_0000).to_bytes(4, "little")
    return bytes(content)


def label_csv():
    """MMSA's label.csv."""
    head = b"video_id,clip_id,text,label\n"
    rows = b"".join(b"a,%d,b,0\n" % i for i in range(10_000))
    yield "one long text", head + rows + b"a,x," + b"y" * 130_000 + b",0\n"
    yield "one long id", head + rows + b"y" * 130_000 + b",x,a,0\n"
    wide = b"video_id,clip_id,text,label," + b"a," * 50_000 + b"b\n"
    yield "many columns", wide + b"," * 50_004 + b"\n" + b"," * 50_004 + b"\n"
    yield "no rows but lines", head + b"\n" * 90_000
    yield "carriage returns", head + b"\r" * 90_000
    yield "one quote", head + b'"' + b"a\n" * 90_000
    yield "quotes", head + b'"' + b'""' * 90_000
    short = b"".join(b"%x,,,0\n" % i for i in range(10_000))
    yield "short rows", head + short
    yield "wide letters", head + "".join(f"𝄞{i},,𝄞,0\n" for i in range(10_000)).encode()
    yield (
        "letters of no encoding",
        head + "a,b,\xe9 é,0\n".encode() * 15_000 + b"\xff\xfe\xfd\xfc",
    )
    yield "an unknown column", b"video_id,clip_id,txt,label," + b"a" * 900_000 + b"\n"
    yield "a long split", b"video_id,clip_id,text,label,mode\na,1,b,0," + b"x" * 130_000


def meld():
    """MELD's csv."""
    head = b"Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\n"
    yield (
        "dialogues of one line",
        head + b"".join(b"a,b,joy,%d,1\n" % i for i in range(20_000)),
    )
    yield (
        "speakers",
        head + b"".join(b"a,%d,joy,1,%d\n" % (i, i) for i in range(10_000)),
    )
    yield "an emotion", head + b"a,b," + b"x" * 130_000 + b",1,1\n"


FORMATS = {f.__name__: f for f in (mmsa, mult, mag, npz, label_csv, meld)}
