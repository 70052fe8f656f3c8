"""What torch.save writes, without PyTorch."""

import collections
import io
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

_STORAGES = {"float32": "Float", "float16": "Half", "bfloat16": "BFloat16"}
_STORAGES |= {"int64": "Long", "bool": "Bool"}


class Tensor:
    """What a torch tensor is to pickle: a view of a storage."""

    def __init__(self, storage, shape, stride, offset=0):
        self.storage, self.shape = storage, shape
        self.stride, self.offset = stride, offset

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        view = (self.storage, self.offset, self.shape, self.stride, False)
        return rebuild, (*view, collections.OrderedDict())


class Storage:
    def __init__(self, array, size=None):
        self.array, self.size = array, array.size if size is None else size


class StateDict(collections.OrderedDict):
    """An OrderedDict with an attribute, as nn.Module.state_dict() returns."""

    def __reduce__(self):
        attributes = {"_metadata": collections.OrderedDict({"": {"version": 1}})}
        items = iter(self.items())
        return collections.OrderedDict, (), attributes, None, items


def tensor(array):
    array = np.ascontiguousarray(array)
    strides = tuple(s // array.itemsize for s in array.strides)
    return Tensor(Storage(array.ravel()), array.shape, strides)


@pytest.fixture
def torch_modules(monkeypatch):
    """Names that pickles of PyTorch refer to, importable while they are written."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def define(module, name, value):
        value.__module__, value.__qualname__ = module.__name__, name
        setattr(module, name, value)

    for name in _STORAGES.values():
        define(torch, f"{name}Storage", type(f"{name}Storage", (), {}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        define(utils, name, lambda *args: args)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


@pytest.fixture
def torch_save(torch_modules):
    """Writes a state dict (arrays, or Tensors) as torch.save does, in either format."""

    def pickled(state, storages, legacy):
        class Pickler(pickle.Pickler):
            def persistent_id(self, obj):
                if not isinstance(obj, Storage):
                    return None
                key = str(storages.setdefault(id(obj), (len(storages), obj))[0])
                kind = getattr(
                    torch_modules, f"{_STORAGES[obj.array.dtype.name]}Storage"
                )
                return ("storage", kind, key, "cpu", obj.size, *([None] * legacy))

        stream = io.BytesIO()
        Pickler(stream, protocol=2).dump(state)
        return stream.getvalue()

    def save(path, state, *, legacy=False):
        state = StateDict(
            (name, tensor(x) if isinstance(x, np.ndarray) else x)
            for name, x in state.items()
        )
        storages = {}
        program = pickled(state, storages, legacy)
        contents = [(str(key), s) for key, s in storages.values()]
        if legacy:
            head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
            path.write_bytes(
                b"".join(pickle.dumps(x, protocol=2) for x in head)
                + program
                + pickle.dumps([key for key, _ in contents], protocol=2)
                + b"".join(
                    s.size.to_bytes(8, "little") + s.array.tobytes()
                    for _, s in contents
                )
            )
            return path
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", program)
            archive.writestr("model/byteorder", "little")
            for key, s in contents:
                archive.writestr(f"model/data/{key}", s.array.tobytes())
            archive.writestr("model/version", "3\n")
        return path

    return save
