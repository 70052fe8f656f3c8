"""Pickles read without unpickling: a machine for the opcodes of plain data.

A pickle is a program, and `pickle.Unpickler` runs it: it imports and calls
what the file names, sets attributes, and allocates what the file claims. This
machine imports nothing, and calls only the functions of `_ADMITTED`, which make
data; any other name is refused by that name. Read are protocols 0 to 5, written
by Python 3 and 2 (whose strings stay bytes: the file does not say what they
encode), by numpy 1 and 2.
"""

import contextlib
import functools
import math
import os
import re
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, BinaryIO

import numpy as np

from msajax.data.errors import DataError, decoding
from msajax.data.formats import kinds, mapped, opcodes


def load(path: str | os.PathLike) -> Any:
    """The data of a pickle: numpy arrays, numbers, strings and containers of them.

    Args:
      path: file to read.

    Returns:
      What was pickled. Arrays may share memory or be read-only, those of large files
      are views of the mapped file; an OrderedDict comes back as a dict; strings of Python 2 are bytes, but for keys.

    Raises:
      DataError: a truncated or damaged file, or one that holds more than data.
    """
    with open(path, "rb") as file, decoding("pickle"):
        source = mapped.opened(file)
        # An array of objects takes eight bytes for one of the file, twice; no honest
        # file makes more, but references could make one string or buffer many times.
        return run(source, budget=16 * os.fstat(file.fileno()).st_size + 2**16)


def refuse(what: str) -> DataError:
    """The error for a pickle that holds more than data."""
    what = what[:80].encode("ascii", "backslashreplace").decode()
    return DataError(
        f"the pickle holds {what}, which is refused: only numpy arrays, numbers, "
        "strings, and lists, tuples, dicts and sets of them are read, and nothing in "
        f"the file was run. {kinds.advice(what)}"
    )


# --- What a file may name ---------------------------------------------------------


class _Unbuilt:
    """An array or a dtype between its creation and its BUILD opcode."""

    def __init__(self, build: Callable[[Any], Any]):
        self.build = build
        self.value: Any = self


def _dtype(code: Any, *_: Any) -> _Unbuilt:
    code = _ascii(code)
    if not re.fullmatch(r"[<>|=]?([biufSU]\d+|O\d?|\?)", code):
        raise refuse(f'a numpy array of type "{code[:40]}"')
    return _Unbuilt(functools.partial(_dtype_state, code))


def _dtype_state(code: str, state: tuple) -> np.dtype:
    _, byteorder, *_ = state
    dtype = np.dtype(object if "O" in code else code)
    return dtype.newbyteorder(_ascii(byteorder))


def _array(kind: object, *_: Any) -> _Unbuilt:
    if kind is not _ADMITTED["numpy.ndarray"]:
        raise refuse("a numpy array of an unknown class")
    return _Unbuilt(_array_state)


def _array_state(state: tuple) -> np.ndarray:
    _, shape, dtype, fortran, content = state
    order = "F" if fortran else "C"
    if not dtype.hasobject:
        return _buffer(content, dtype, shape, order)
    for item in content:
        if not isinstance(item, str | bytes | int | float | np.generic):
            raise refuse(f"an object array with an element of type {_kind(item)}")
    array = np.empty(len(content), object)
    array[:] = content
    return array.reshape(shape, order=order)


def _buffer(
    content: Any, dtype: np.dtype, shape: Any, order: str, axes: Any = None
) -> np.ndarray:
    shape = (shape,) if isinstance(shape, int) else shape
    # numpy has 64 axes at most; the product of more could have a million digits.
    if dtype.hasobject or len(content) != math.prod(shape[:64]) * dtype.itemsize:
        raise DataError(
            f"damaged pickle: {len(content)} bytes for an array of shape "
            f"{str(shape)[:80]} and type {dtype}"
        )
    array = np.frombuffer(content, dtype)
    if axes is not None:
        return array.reshape(shape).transpose(axes)
    return array.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: np.dtype, content: Any) -> np.generic:
    return _buffer(content, dtype, (1,), "C")[0]


def _encode(text: Any, encoding: str | bytes) -> Any:
    encoding = _ascii(encoding)
    if encoding not in ("latin1", "latin-1"):
        raise refuse(f'bytes in the encoding "{encoding}"')
    return text.encode("latin-1") if isinstance(text, str) else text.encode()


def _dict(pairs: Any = ()) -> dict:
    return {_key(key): value for key, value in pairs}


def _set(items: Any = ()) -> set:
    return {_key(item) for item in items}


def _key(item: Any) -> Any:
    if isinstance(item, bytes):  # a name that Python 2 wrote, or that was read from it
        with contextlib.suppress(UnicodeDecodeError):
            return item.decode()
    # Nested tuples would overflow the C stack, larger ints can be made to collide.
    if isinstance(item, str | bytes | float):
        return item
    if isinstance(item, int) and abs(item) < 2**61 - 1:
        return item
    raise refuse(f"a dict key or set element of type {_kind(item)}")


def _ascii(item: Any) -> Any:
    """What Python 3 wrote as str, and Python 2 as bytes."""
    return item.decode("ascii") if isinstance(item, bytes) else item


def _size(item: Any) -> int:
    each = {bytes: 1, memoryview: 1, str: 4, mapped.Text: 4}.get(
        type(item), 8
    )  # of a container: a reference
    return each * len(item) if hasattr(item, "__len__") else 0


def _kind(item: Any) -> str:
    return type(item.value if isinstance(item, _Unbuilt) else item).__name__


_ADMITTED: dict[str, Any] = {
    "numpy.ndarray": object(),
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _dict,
}
for _module in ("builtins", "__builtin__"):
    _ADMITTED |= {f"{_module}.set": _set, f"{_module}.frozenset": _set}
    _ADMITTED |= {f"{_module}.bytes": lambda: b""}  # b"" in protocol 2 of Python 3
for _module in ("numpy.core", "numpy._core"):
    _ADMITTED |= {f"{_module}.multiarray._reconstruct": _array}
    _ADMITTED |= {f"{_module}.multiarray.scalar": _scalar}
    _ADMITTED |= {f"{_module}.numeric._frombuffer": _buffer}


# --- The machine ------------------------------------------------------------------


def run(
    file: BinaryIO,
    *,
    budget: int,
    admitted: Mapping[str, Any] = _ADMITTED,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """The data of one pickle, which begins where the file stands.

    Calls may read `budget` bytes. `admitted` is what the pickle may name; of that
    only functions can be called. `persistent` resolves references to other data.
    """
    machine = _Machine(budget, admitted, persistent)
    while (opcode := opcodes.following(file))[0] != "STOP":
        machine.step(*opcode)
    return machine.stack.pop()


# Opcodes whose argument is the value, and those that are a value.
_VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}


class _Machine:
    """The stack and the memo of a pickle, and a method `on_<opcode>` for each opcode."""

    def __init__(self, budget: int, admitted: Mapping[str, Any], persistent: Any):
        self.budget, self.admitted, self.persistent = budget, admitted, persistent
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}

    def step(self, name: str, arg: Any) -> None:
        if name in _VALUES:
            self.push(arg)
        elif name in _CONSTANTS:
            self.push(_CONSTANTS[name])
        elif name in _EMPTY:
            self.push(_EMPTY[name]())
        elif method := getattr(self, f"on_{name.lower()}", None):
            method(arg)
        elif name not in ("PROTO", "FRAME"):
            raise refuse(f"the opcode {name}")

    def push(self, item: Any) -> None:
        self.stack.append(item)

    def pop_call(self) -> tuple[Any, Any]:
        args, item = self.stack.pop(), self.stack.pop()
        # What a call makes is in proportion to what it reads, and many may read the same.
        self.budget -= _size(args) + sum(map(_size, args))
        if self.budget < 0:
            raise DataError("damaged pickle: it unfolds to many times its size")
        return args, item

    def pop_mark(self, _: None = None) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def on_mark(self, _: None) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def on_pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    on_pop_mark = pop_mark

    def on_dup(self, _: None) -> None:
        self.push(self.stack[-1])

    def on_put(self, slot: int) -> None:
        self.memo[slot] = self.stack[-1]

    def on_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_get(self, slot: int) -> None:
        item = self.memo[slot]
        self.push(item.value if isinstance(item, _Unbuilt) else item)

    on_binput = on_long_binput = on_put
    on_binget = on_long_binget = on_get

    def on_list(self, _: None) -> None:
        self.push(self.pop_mark())

    def on_append(self, _: None) -> None:
        self.extend([self.stack.pop()])

    def on_appends(self, _: None) -> None:
        self.extend(self.pop_mark())

    def extend(self, items: list[Any]) -> None:
        list.extend(self.stack[-1], items)

    def on_dict(self, _: None) -> None:
        items = self.pop_mark()
        self.push({})
        self.update(items)

    def on_setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def on_setitems(self, _: None) -> None:
        self.update(self.pop_mark())

    def update(self, items: list[Any]) -> None:
        pairs = zip(items[::2], items[1::2], strict=True)
        dict.update(self.stack[-1], _dict(pairs))

    def on_additems(self, _: None) -> None:
        items = self.pop_mark()
        set.update(self.stack[-1], _set(items))

    def on_frozenset(self, _: None) -> None:
        self.push(_set(self.pop_mark()))

    def on_tuple(self, _: None) -> None:
        self.push(tuple(self.pop_mark()))

    def pack(self, size: int, _: None) -> None:
        self.stack[-size:] = [tuple(self.stack[-size:])]

    on_tuple1 = functools.partialmethod(pack, 1)
    on_tuple2 = functools.partialmethod(pack, 2)
    on_tuple3 = functools.partialmethod(pack, 3)

    def on_global(self, path: str) -> None:
        module, name = path.split(" ", 1)
        if f"{module}.{name}" not in self.admitted:
            raise refuse(f"{module}.{name}")
        self.push(self.admitted[f"{module}.{name}"])

    def on_inst(self, path: str) -> None:
        raise refuse(path.replace(" ", "."))

    def on_stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.on_global(f"{module} {name}")

    def on_binpersid(self, _: None) -> None:
        if not self.persistent:
            raise refuse("a reference to other data")
        self.push(self.persistent(self.stack.pop()))

    def on_reduce(self, _: None) -> None:
        args, function = self.pop_call()
        if not isinstance(function, FunctionType):
            raise refuse(f"a call of {_kind(function)}")
        self.push(function(*args))

    def on_build(self, state: Any) -> None:
        state, item = self.pop_call()
        if not hasattr(item, "build"):
            raise refuse(f"a state for an object of type {_kind(item)}")
        item.value = item.build(state)
        self.push(item.value)
