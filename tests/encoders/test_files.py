import json

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from msajax.encoders import files
from tests.encoders.checkpoints import write

STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
STATE["a.bias"] = np.arange(2, dtype=np.float16)


def check(folder, flax=False):
    found = files.read(folder)
    assert set(found.arrays) == set(STATE)
    for name, array in STATE.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert not found.flax
    return found.file.name


def index(folder, parts, name="model.safetensors.index.json"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"weight_map": parts}))
    return folder


def test_safetensors(tmp_path):
    assert check(write(tmp_path, state=STATE)) == "model.safetensors"


def test_bfloat16(tmp_path):
    data = np.asarray([1.5, -2], jnp.bfloat16)
    header = b'{"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}'
    content = len(header).to_bytes(8, "little") + header + data.tobytes()
    (tmp_path / "model.safetensors").write_bytes(content)
    found = files.read(tmp_path).arrays["x"]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, data)


def test_split_safetensors(tmp_path):
    for name, part in zip(STATE, ("one.safetensors", "two.safetensors"), strict=True):
        safetensors.numpy.save_file({name: STATE[name]}, tmp_path / part)
    index(tmp_path, {"a.weight": "one.safetensors", "a.bias": "two.safetensors"})
    assert check(tmp_path) == "model.safetensors.index.json"
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lists two.safetensors, which is not there"):
        files.read(tmp_path)


def test_torch(tmp_path, torch_save):
    torch_save(tmp_path / "pytorch_model.bin", STATE)
    assert check(tmp_path) == "pytorch_model.bin"


def test_split_torch(tmp_path, torch_save):
    for name, part in zip(STATE, ("one.bin", "two.bin"), strict=True):
        torch_save(tmp_path / part, {name: STATE[name]})
    parts = {"a.weight": "one.bin", "a.bias": "two.bin"}
    index(tmp_path, parts, "pytorch_model.bin.index.json")
    assert check(tmp_path) == "pytorch_model.bin.index.json"


def test_flax(tmp_path):
    tree = {"a": {"kernel": STATE["a.weight"], "bias": STATE["a.bias"]}}
    found = files.read(write(tmp_path, params=tree))
    assert found.flax
    np.testing.assert_array_equal(found.arrays["a/kernel"], STATE["a.weight"])


@pytest.mark.parametrize("part", ["../other/x.safetensors", "/x.safetensors"])
def test_an_index_does_not_lead_elsewhere(tmp_path, part):
    with pytest.raises(ValueError, match="not in its folder"):
        files.read(index(tmp_path, {"a.weight": part}))


@pytest.mark.parametrize("part", ["config.json", "model.safetensors.index.json", ""])
def test_an_index_lists_weights(tmp_path, part):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="no file of weights like .*safetensors"):
        files.read(index(tmp_path, {"a.weight": part}))
    with pytest.raises(ValueError, match="index.json lists no file"):
        files.read(index(tmp_path, {}))


def test_numbers_that_are_not_read(tmp_path):
    header = b'{"x": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}'
    content = len(header).to_bytes(8, "little") + header + b"\0\0"
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(
        ValueError, match="'x' has numbers of type F8_E4M3; read are F64"
    ):
        files.read(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"weight_map": 3}', "{}"])
def test_a_damaged_index(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match="index.json.*copy it again"):
        files.read(tmp_path)


def test_no_weights(tmp_path):
    (tmp_path / "tf_model.h5").touch()
    with pytest.raises(ValueError, match=r"no weights; .*model.safetensors.*msgpack"):
        files.read(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "flax_model.msgpack"])
def test_truncated_files(tmp_path, name):
    write(tmp_path, state=STATE, params=STATE)
    path = tmp_path / name
    content = path.read_bytes()
    if name.startswith("flax"):
        (tmp_path / "model.safetensors").unlink()
    for size in (5, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=rf"{name} \({size} bytes\): truncated"):
            files.read(tmp_path)


@pytest.mark.parametrize(
    "content,message",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>Too many requests</html>", "is a web page, not the file"),
        (b"", "is empty .0 bytes.; copy or download it again"),
    ],
)  # fmt: skip
def test_something_else_in_place_of_the_weights(tmp_path, content, message):
    for name in ("pytorch_model.bin", "flax_model.msgpack", "model.safetensors"):
        (tmp_path / name).write_bytes(content)  # each is preferred to those before
        with pytest.raises(ValueError, match=rf"{name} .*{message}"):
            files.read(tmp_path)
