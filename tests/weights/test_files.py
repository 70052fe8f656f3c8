import numpy as np
import pytest
import safetensors.numpy

from msajax.weights import read

STATE = {
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fc.count": np.array(7),
}


def write(path):
    if path.suffix == ".npz":
        np.savez(path, **STATE)
    else:
        safetensors.numpy.save_file(STATE, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_reads_what_was_written(tmp_path, suffix):
    state = read(write(tmp_path / f"model{suffix}"))
    assert set(state) == set(STATE)
    for name, array in STATE.items():
        np.testing.assert_array_equal(state[name], array)
        assert state[name].dtype == array.dtype


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("keep", [1, 100])
def test_truncated_files_are_refused(tmp_path, suffix, keep):
    path = write(tmp_path / f"model{suffix}")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"model{suffix} .*{suffix[1:]}.* file"):
        read(path)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "model.pth").touch()
    with pytest.raises(ValueError, match=r"model\.pth .*empty"):
        read(tmp_path / "model.pth")


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "model.npz", weights=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="no complete .npz file of plain arrays"):
        read(tmp_path / "model.npz")


def test_pytorchs_own_format(torch_save, tmp_path):
    path = torch_save(tmp_path / "model.pth", STATE)
    np.testing.assert_array_equal(read(path)["fc.weight"], STATE["fc.weight"])


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"should end in \.pth, .*\.npz"):
        read(tmp_path / "model.h5")


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*model\.npz"):
        read(tmp_path / "model.npz")
