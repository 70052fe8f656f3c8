import os
import pickle
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest

from msajax.weights import torch_file
from tests.weights.torch_files import Storage, Tensor, tensor

rng = np.random.default_rng(0)
STATE = {
    "a.weight": rng.normal(size=(3, 4)).astype(np.float32),
    "a.bias": rng.normal(size=3).astype(np.float16),
    "b": np.asarray(rng.normal(size=(2, 2)), jnp.bfloat16),
    "count": np.array(7),
    "none": np.zeros((0, 4), np.float32),
}
formats = pytest.mark.parametrize("legacy", [False, True])


@formats
def test_both_formats(torch_save, tmp_path, legacy):
    found = torch_file.read(torch_save(tmp_path / "x.bin", STATE, legacy=legacy))
    assert list(found) == list(STATE)
    for name, array in STATE.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_file_of_python_2(torch_save, tmp_path):
    path = torch_save(tmp_path / "x.bin", STATE, legacy=True)
    content = path.read_bytes()
    for text in (
        "storage",
        "cpu",
        "little_endian",
        *STATE,
        *map(str, range(len(STATE))),
    ):
        size = len(text).to_bytes(4, "little")
        assert b"X" + size + text.encode() in content
        content = content.replace(
            b"X" + size + text.encode(), b"T" + size + text.encode()
        )
    path.write_bytes(content)
    found = torch_file.read(path)
    assert list(found) == list(STATE)
    np.testing.assert_array_equal(found["a.weight"], STATE["a.weight"])


@formats
def test_views_of_one_storage(torch_save, tmp_path, legacy):
    array = np.arange(12, dtype=np.float32)
    storage = Storage(array)
    state = {
        "transposed": Tensor(storage, (4, 3), (1, 4)),
        "part": Tensor(storage, (2, 2), (4, 1), offset=6),
    }
    found = torch_file.read(torch_save(tmp_path / "x.bin", state, legacy=legacy))
    np.testing.assert_array_equal(found["transposed"], array.reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], [[6, 7], [10, 11]])


@pytest.mark.parametrize(
    "shape,stride,offset",
    [
        ((3, 4), (4, 1), 1),
        ((4, 4), (4, 1), 0),
        ((3,), (-1,), 2),
        ((2,), (1,), -1),
        ((13,), (0,), 0),
        ((2**40,), (0,), 0),
    ],
)
def test_a_tensor_beyond_its_storage(torch_save, tmp_path, shape, stride, offset):
    storage = Storage(np.arange(12, dtype=np.float32))
    path = torch_save(tmp_path / "x", {"a": Tensor(storage, shape, stride, offset)})
    with pytest.raises(ValueError, match="reaches out of a storage of 12"):
        torch_file.read(path)


def test_a_storage_that_claims_more_than_there_is(torch_save, tmp_path):
    storage = Storage(np.zeros(3, np.float32), size=2**50)
    path = torch_save(tmp_path / "x", {"a": Tensor(storage, (2**50,), (1,))})
    with pytest.raises(ValueError, match="12 bytes for a storage of"):
        torch_file.read(path)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@formats
def test_code_is_refused_and_not_run(torch_save, tmp_path, legacy):
    state = {"a": STATE["a.bias"], "b": Evil(tmp_path / "made")}
    path = torch_save(tmp_path / "x.bin", state, legacy=legacy)
    with pytest.raises(ValueError, match=r"posix.mkdir, which is refused"):
        torch_file.read(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [{"a": 1}, {"a": {"b": np.float32(1)}}])
def test_more_than_tensors(torch_save, tmp_path, content):
    with pytest.raises(ValueError, match="state dict|refused"):
        torch_file.read(torch_save(tmp_path / "x", content))


def test_another_pickle(tmp_path):
    (tmp_path / "x").write_bytes(pickle.dumps([1, 2]) * 3)
    with pytest.raises(ValueError, match="no file of torch.save"):
        torch_file.read(tmp_path / "x")


def test_a_compressed_archive(torch_save, tmp_path):
    path = torch_save(tmp_path / "x", {"a": tensor(np.zeros(9, np.float32))})
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(tmp_path / "y", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(ValueError, match="compressed"):
        torch_file.read(tmp_path / "y")


@formats
def test_every_truncation_is_refused(torch_save, tmp_path, legacy):
    path = torch_save(tmp_path / "x", {"a": STATE["a.weight"]}, legacy=legacy)
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="."):
            torch_file.read(path)


@formats
def test_a_damaged_file_is_read_or_refused(torch_save, tmp_path, legacy):
    path = torch_save(tmp_path / "x", STATE, legacy=legacy)
    content = path.read_bytes()
    flips = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for at in flips.integers(0, len(content), 2):
            damaged[at] = flips.integers(256)
        path.write_bytes(damaged)
        try:
            torch_file.read(path)
        except ValueError:
            refused += 1
    assert refused > 100
