"""Files of torch.save, both formats, read without PyTorch and without running them.

Since PyTorch 1.6 a file is a zip archive of a pickle and one entry for each
storage; before, it was five pickles and then the storages. The pickles run on
the machine of `msajax.data.formats.pickles`, which admits tensors here and nothing else.
"""

import io
import math
import os
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import jax.numpy as jnp
import numpy as np

from msajax.data.errors import DataError, decoding
from msajax.data.formats import pickles

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

_DTYPES = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": jnp.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a saved state dict.

    Args:
      path: of the file.

    Returns:
      Name to array; arrays may share memory or be read-only.

    Raises:
      DataError: a truncated or damaged file, one that holds more than tensors
        by name, or none of torch.save.
    """
    with open(path, "rb") as file, decoding("PyTorch checkpoint"):
        read_format = _read_zip if zipfile.is_zipfile(file) else _read_legacy
        file.seek(0)
        state, contents = read_format(file)
        if not isinstance(state, dict) or not all(
            isinstance(tensor, _Tensor) for tensor in state.values()
        ):
            raise DataError(
                "the file holds no state dict (tensors by name); save "
                "model.state_dict() alone"
            )
        return {str(name): _array(tensor, contents) for name, tensor in state.items()}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: Any
) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickles.refuse("a tensor without a storage")
    return _Tensor(storage, offset, shape, stride)


def _rebuild_parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


class _StateDict(dict):
    def build(self, _metadata: Any) -> "_StateDict":
        return self


def _state_dict() -> _StateDict:
    return _StateDict()


_ADMITTED = {
    "collections.OrderedDict": _state_dict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    **{f"torch.{name}Storage": np.dtype(dtype) for name, dtype in _DTYPES.items()},
}


def _run(file: BinaryIO, *, budget: int) -> tuple[Any, dict[str, _Storage]]:
    """What a pickle holds, and the storages that it refers to, by key."""
    storages: dict[str, _Storage] = {}

    def refer(reference: tuple) -> _Storage:
        kind, dtype, key, _device, size, *view = reference
        if (
            kind not in ("storage", b"storage")
            or not isinstance(dtype, np.dtype)
            or any(view)
        ):
            raise pickles.refuse("a storage of an unknown kind")
        return storages.setdefault(key, _Storage(key, dtype, size))

    state = pickles.run(file, budget=budget, admitted=_ADMITTED, persistent=refer)
    return state, storages


Contents = Mapping[str, bytes]


def _read_zip(file: BinaryIO) -> tuple[Any, Contents]:
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise DataError("a compressed archive, as torch.save writes none")
    (root,) = (
        entry.filename.removesuffix("data.pkl")
        for entry in entries
        if entry.filename.endswith("/data.pkl")
    )
    program = archive.read(f"{root}data.pkl")
    state, storages = _run(io.BytesIO(program), budget=8 * len(program) + 2**16)
    return state, {key: archive.read(f"{root}data/{key}") for key in storages}


def _read_legacy(file: BinaryIO) -> tuple[Any, Contents]:
    magic, protocol, machine = (_run(file, budget=0)[0] for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise DataError("no file of torch.save, or one of a version before PyTorch 0.2")
    if not machine["little_endian"]:
        raise DataError("the file was written on a big-endian machine")
    state, storages = _run(file, budget=8 * os.fstat(file.fileno()).st_size + 2**16)
    keys, _ = _run(file, budget=2**16)
    contents = {}
    for key in keys:
        size = int.from_bytes(file.read(8), "little")
        if size != storages[key].size:
            raise DataError(
                f"a storage of {size} elements instead of {storages[key].size}"
            )
        contents[key] = file.read(size * storages[key].dtype.itemsize)
    return state, contents


def _array(tensor: _Tensor, contents: Contents) -> np.ndarray:
    (key, dtype, size), offset, shape, stride = tensor
    if len(contents[key]) != size * dtype.itemsize:
        raise DataError(f"{len(contents[key])} bytes for a storage of {size} x {dtype}")
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    count = math.prod(shape)
    if min((offset, *shape, *stride)) < 0 or count > size or (count and last >= size):
        raise DataError(f"a tensor {shape} that reaches out of a storage of {size}")
    if not count:
        return np.empty(shape, dtype)
    return np.lib.stride_tricks.as_strided(
        np.frombuffer(contents[key], dtype)[offset:],
        shape,
        [s * dtype.itemsize for s in stride],
        writeable=False,
    )
