import collections
import errno
import io
import mmap
import os
import pickle
import re
import tempfile

import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.formats import mapped, opcodes, pickles

DATA = {
    "float64": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
    "sliced": np.arange(20, dtype=np.int16).reshape(4, 5)[:, 1:3],
    "big_endian": np.arange(3, dtype=">f4"),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "scalar_array": np.array(3.0),
    "str": np.array(["ä", "yy", "你好"]),
    "bytes": np.array([b"ab", b"c"]),
    "object": np.array(["it’s", 1.5, b"x", np.float32(2)], object),
    "float32": np.float32(1.5),
    "np_str": np.str_("hi"),
    "list": [1, 2.5, "three", b"four", b"", None, True, 10**30, -1],
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "set": {1, "a"},
    "frozenset": frozenset("b"),
    "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
}


def same(found, expected):
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        return np.array_equal(found, expected)
    return found == expected


@pytest.fixture
def is_mapped(monkeypatch):
    """Files are mapped to memory, and all arrays and texts left in them, as those of large files are."""
    monkeypatch.setattr(mapped, "_FILE", 0)
    monkeypatch.setattr(mapped, "_STRING", 48)  # of numbers and texts there are no more
    monkeypatch.setattr(mapped, "_TEXT", 48)
    monkeypatch.setattr(mapped, "_PIECE", 3)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_a_mapped_file(protocol, is_mapped, write, samples):
    long = np.arange(600.0).reshape(20, 10, 3)
    data = {
        **DATA,
        "c": long,
        "f": np.asfortranarray(long),
        "t": long.transpose(2, 0, 1),
    }
    found = pickles.load(write(data, protocol=protocol))
    for name, expected in data.items():
        assert same(found[name], expected), name
    for name in ("c", "f", "t"):
        assert views(found[name])
        mapped.release(found[name])
        assert same(found[name], data[name])
    old = pickles.load(write(samples.python2_pickle({"x": np.arange(300.0)}, 2)))
    assert views(old["x"]) and same(old["x"], np.arange(300.0))


def views(array):
    """Whether an array is a view of a mapped file."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, memoryview) and isinstance(array.obj, mmap.mmap)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_truncation_of_a_mapped_file(protocol, is_mapped, write):
    test_every_truncation_is_refused_in_plain_words(protocol, write)


def test_a_long_text_that_is_no_array(is_mapped, write, monkeypatch):
    for text in ("x" * 60, "\u4f60" * 60):
        with pytest.raises(DataError, match="damaged"):
            call = b"\x80\x02c_codecs\nencode\nX%sX\x06\0\0\0latin1\x86R\x85R."
            raw = text.encode()
            pickles.load(write(call % (len(raw).to_bytes(4, "little") + raw)))
    no_space = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: FullFile(no_space))
    with pytest.raises(DataError, match="No space left on device; set TMPDIR"):
        pickles.load(write(pickle.dumps(DATA, protocol=2)))


class FullFile(io.BytesIO):
    def __init__(self, error):
        self.error = error

    def write(self, content):
        raise self.error


@pytest.mark.parametrize("numpy1", [False, True])
@pytest.mark.parametrize("protocol", range(6))
def test_data_comes_back(protocol, numpy1, write, samples):
    content = pickle.dumps(DATA, protocol=protocol)
    content = samples.numpy1(content) if numpy1 else content
    assert (b"numpy._core" in content) != numpy1
    found = pickles.load(write(content))
    assert list(found) == list(DATA)
    for name, expected in DATA.items():
        assert same(found[name], expected), name


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_python_2(protocol, write, samples):
    data = {"x": np.arange(300.0), "id": ["a", "b"], "o": np.array(["c", "d"], object)}
    content = samples.python2_pickle(data, protocol)
    assert b"_codecs" not in content and b"X\x01\x00" not in content  # byte strings
    found = pickles.load(write(content))
    np.testing.assert_array_equal(found["x"], data["x"])
    assert found["id"] == [b"a", b"b"] and found["o"].tolist() == [b"c", b"d"]


def test_python_2_protocol_0(write):
    # Written by hand as Python 2 does: quoted byte strings with escapes.
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x00@'\ntb"
    )
    keys = b"S'caf\\xc3\\xa9'\nS'\\xe9'\nsS'caf\\xe9'\nI01\ns."
    found = pickles.load(write(b"(dS'x'\n" + array + b"s" + keys))
    assert found["x"].tolist() == [1.0, 2.0]
    # Keys of Python 2 are names, so str; strings are what the file has.
    assert found["café"] == b"\xe9" and found[b"caf\xe9"] is True


@pytest.mark.parametrize("protocol", range(6))
def test_keys_of_a_file_that_python_3_read_from_python_2(protocol, write):
    data = {b"train": {b"x": [b"\xce\xd2"]}, b"s": {b"a"}}
    found = pickles.load(write(data, protocol=protocol))
    assert found == {"train": {"x": [b"\xce\xd2"]}, "s": {"a"}}


def test_one_array_twice(write):
    x = np.arange(3.0)
    first, second = pickles.load(write([x, x]))
    assert first is second and first.tolist() == [0, 1, 2]


class Call:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("nested", [False, True])
def test_a_call_is_named_and_not_made(protocol, nested, write, tmp_path):
    evil = Call(os.system, f"touch {tmp_path}/pwned")
    data = {"x": np.zeros(2), "y": [(evil,)]} if nested else evil
    path = write(data, protocol=protocol)
    with pytest.raises(
        DataError, match=rf"holds {os.system.__module__}\.system, which"
    ):
        pickles.load(path)
    assert not (tmp_path / "pwned").exists()
    pickle.loads(path.read_bytes())  # the file was armed
    assert (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "content, named",
    [
        (b"(S'touch pwned'\nios\nsystem\n.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"\x80\x02cos\nsystem\n\x85.", "os.system"),
        (b"\x80\x02c__builtin__\neval\nU\x011\x85R.", "__builtin__.eval"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "the opcode NEWOBJ"),
        (b"\x80\x02\x82\x01.", "the opcode EXT1"),
        (b"Pfile\n.", "the opcode PERSID"),
        (b"\x80\x05\x97.", "the opcode NEXT_BUFFER"),
        (b"\x80\x02}}b.", "a state for an object of type dict"),
        (b"\x80\x02]]R.", "a call of list"),
        (b"\x80\x02})K\x01s.", "a dict key or set element of type tuple"),
    ],
)
def test_other_ways_to_code_are_refused(content, named, write):
    with pytest.raises(DataError, match=named.replace("(", r"\(")):
        pickles.load(write(content))


@pytest.mark.parametrize(
    "value, named",
    [
        (
            np.array([None, "a"], object),
            "object array with an element of type NoneType",
        ),
        (np.array([{"a": 1}], object), "object array with an element of type dict"),
        (np.array([[1], [2, 3]], object), "object array with an element of type list"),
        (np.zeros(2, complex), 'type "c16"'),
        (np.zeros(2, [("a", "f4")]), 'type "V4"'),
        (np.array(["2020-01-01"], "M8[D]"), 'type "M8"'),
        (1j, "complex"),
        (range(3), "range"),
        (np.ma.zeros(3), "numpy.ma.core._mareconstruct.*Save such an object as arrays"),
    ],
)
def test_other_objects_are_refused_by_name(value, named, write):
    with pytest.raises(DataError, match=named):
        pickles.load(write(value, protocol=2))


def array_pickle(shape, content=b"", code=b"f8"):
    """A protocol-5 array that claims a shape."""
    dims = b"".join(b"\x8a\x08" + d.to_bytes(8, "little") for d in shape)
    return (
        b"\x80\x05\x8c\x13numpy._core.numeric\x8c\x0b_frombuffer\x93(C"
        + bytes([len(content)])
        + content
        + b"\x8c\x05numpy\x8c\x05dtype\x93\x8c"
        + bytes([len(code)])
        + code
        + b"\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb("
        + dims
        + b"t\x8c\x01CtR."
    )


def test_array_pickle_is_valid(write):
    content = array_pickle((2,), np.array([1.0, 2.0]).tobytes())
    assert pickles.load(write(content)).tolist() == pickle.loads(content).tolist()


@pytest.mark.parametrize(
    "content",
    [
        array_pickle((2**50,), bytes(8)),
        array_pickle((2**50, 0, 2**50), bytes(8)),
        array_pickle((2**60,), b"", b"U0"),
        b"\x80\x05\x96" + (2**45).to_bytes(8, "little") + b"abc.",
        b"\x80\x05\x8e" + (2**62).to_bytes(8, "little") + b"abc.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02}" + b"\x85" * 100_000 + b"Ns.",
        b"(" * 100_000 + b".",
        b"L" + b"9" * 100_000 + b"L\n.",
    ],
)
def test_claims_of_size_and_depth_are_refused(content, write):
    with pytest.raises(DataError):
        pickles.load(write(content))


def test_references_do_not_multiply_memory(write):
    text = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6 + b"q\x00"
    encode = b"c_codecs\nencode\nq\x01h\x00U\x06latin1\x86R0"
    again = b"h\x01h\x00U\x06latin1\x86R"
    with pytest.raises(DataError, match="unfolds to many times its size"):
        pickles.load(write(b"\x80\x02" + text + encode + again * 10**4 + b"."))


def test_a_large_memo_index_and_deep_nesting_cost_nothing(write):
    assert pickles.load(write(b"\x80\x02]r\xff\xff\xff\xff.")) == []
    deep = pickles.load(write(b"\x80\x02)" + b"\x85" * 100_000 + b"."))
    for _ in range(100_000):
        (deep,) = deep
    assert deep == ()


CUT = re.compile(
    "truncated pickle: it (has no end|ends in the middle of (an array or a text|a value))"
    "; copy or download it again"
)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_every_truncation_is_refused_in_plain_words(protocol, write):
    content = pickle.dumps(DATA, protocol=protocol)
    for size in range(1, len(content), 23):
        with pytest.raises(DataError) as error:
            pickles.load(write(content[:size]))
        assert CUT.fullmatch(str(error.value)), error.value


@pytest.mark.parametrize(
    "content, told",
    [
        (
            pickle.dumps(np.zeros((10, 2, 3)))[:300],
            "ends in the middle of an array or a",
        ),
        (
            b"\x80\x05\x96" + (2**45).to_bytes(8, "little") + b"a.",
            "the middle of an arr",
        ),
        (
            b"\x80\x05\x8e" + (2**63).to_bytes(8, "little") + b"a.",
            "the middle of an arr",
        ),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "the middle of an array or a text"),
        (b"\x80\x02X\x02\0", "ends in the middle of an array or a text"),
        (b"\x80\x02K", "ends in the middle of a value"),
        (b"F9", "ends in the middle of a value"),
        (
            b"\x80\x04\x8c\x02\xff\xff.",
            "damaged pickle: the value before byte 6 cannot be",
        ),
        (b"I9x\n.", "damaged pickle: the value before byte 4 cannot be decoded"),
        (b"S'\\x'\n.", "damaged pickle: the value before byte 6 cannot be decoded"),
        (b"\x80\x02h\x05.", "truncated or damaged pickle; copy or download"),
        (b"\x80\x02R.", "truncated or damaged pickle; copy or download it again"),
    ],
)
def test_damage_is_told_in_plain_words(content, told, write):
    with pytest.raises(DataError, match=told) as error:
        pickles.load(write(content))
    assert not re.search("expected|bytes[148]|Error|codec", str(error.value))
    assert str(error.value).endswith("; copy or download it again")


def test_text_that_fills_the_memory_is_not_called_damage(write, monkeypatch):
    def full(file):
        file.read(4)
        raise MemoryError

    monkeypatch.setitem(opcodes._READERS, "BINUNICODE", full)
    with pytest.raises(
        DataError, match="the pickle asks for more memory than there is"
    ):
        pickles.load(write(b"\x80\x02X\x01\0\0\0a."))
