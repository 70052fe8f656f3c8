import re

import flax.serialization
import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from msajax.encoders import resnet
from tools.parity.case import read_case

SMALL = resnet.ResNet(embedding_size=4, hidden_sizes=(8, 12), depths=(2, 1))
PICTURES = np.random.default_rng(0).integers(0, 256, (2, 34, 32, 3), np.uint8)


def variables():
    rng = np.random.default_rng(1)
    shapes = resnet.template(SMALL, resnet.normalize(PICTURES), train=False)
    return jax.tree.map(lambda x: rng.uniform(0.1, 0.5, x.shape).astype("f4"), shapes)


VARIABLES = variables()
STATE = SMALL.names().arrays(VARIABLES)


def torchvision(name):
    name = name.replace("embedder.embedder.convolution", "conv1")
    name = name.replace("embedder.embedder.normalization", "bn1")
    name = re.sub(
        r"encoder.stages.(\d).layers.(\d)",
        lambda m: f"layer{int(m[1]) + 1}.{m[2]}",
        name,
    )
    for i in range(3):
        name = name.replace(f"layer.{i}.convolution", f"conv{i + 1}")
        name = name.replace(f"layer.{i}.normalization", f"bn{i + 1}")
    name = name.replace("shortcut.convolution", "downsample.0")
    return name.replace("shortcut.normalization", "downsample.1")


def flax_tree():
    """As transformers' Flax class saves it."""
    leaves = traverse_util.flatten_dict(VARIABLES, sep="/")
    tree = {}
    for path, array in leaves.items():
        path = path.replace("/embedder/", "/embedder/embedder/")
        path = re.sub(r"stage_(\d)_(\d)", r"encoder/stages/\1/layers/\2", path)
        tree[re.sub(r"layer_(\d)", r"layer/\1", path)] = array
    return traverse_util.unflatten_dict(tree, sep="/")


def write(folder, layout):
    if layout == "flax":
        path = folder / "flax_model.msgpack"
        path.write_bytes(flax.serialization.msgpack_serialize(flax_tree()))
        return path
    path = folder / "model.safetensors"
    state = {name: np.ascontiguousarray(x) for name, x in STATE.items()}
    head = {"fc.weight": np.ones((3, 12), np.float32)}
    if layout == "torchvision":
        state = {torchvision(name): array for name, array in state.items()} | head
        state["bn1.num_batches_tracked"] = np.array(7)
        assert (
            "layer1.1.conv3.weight" in state and "layer2.0.downsample.1.bias" in state
        )
    else:
        state = {f"resnet.{name}": array for name, array in state.items()}
        state["classifier.1.weight"] = head["fc.weight"]
    safetensors.numpy.save_file(state, path)
    return folder if layout == "folder" else path


@pytest.mark.parametrize("layout", ["torchvision", "transformers", "folder", "flax"])
def test_weights_of_the_usual_layouts(tmp_path, layout):
    network, loaded = resnet.load(write(tmp_path, layout))
    assert network == SMALL
    jax.tree.map(np.testing.assert_array_equal, loaded, VARIABLES)


def test_shapes_of_resnet_50():
    network = resnet.ResNet()
    pictures = jax.ShapeDtypeStruct((2, 224, 224, 3), np.float32)
    seen, shapes = jax.eval_shape(
        lambda x: network.init_with_output(jax.random.key(0), x, train=False), pictures
    )
    count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
    assert count == 23_508_032  # torchvision's 25,557,032 without the classifier
    assert [x.shape[1] for x in seen.hidden] == [56, 56, 28, 14, 7]
    assert seen.pooled.shape == (2, 2048)


def test_a_picture_through_the_network_of_transformers(shared):
    """Without gradients and batch statistics: those are in the whole case, which is slow."""
    case = read_case(shared / "golden" / "resnet50" / "case_a")
    state = case.group("param/")
    network = resnet.ResNet(6, (8, 12, 16, 20), (1, 1, 1, 1))
    pictures = np.moveaxis(case.arrays["in/pixel_values"], 1, -1)
    shapes = resnet.template(network, pictures, train=False)
    variables = network.names().variables(state, shapes)
    run = jax.jit(lambda variables, x: network.apply(variables, x, train=False))
    seen = run(variables, pictures)
    np.testing.assert_allclose(seen.pooled, case.arrays["out/eval/pooled"], rtol=1e-4)
    for i, hidden in enumerate(seen.hidden):
        expected = case.arrays[f"out/eval/hidden_states/{i}"]
        np.testing.assert_allclose(np.moveaxis(hidden, -1, 1), expected, atol=1e-5)


def test_pictures_are_normalised():
    values = resnet.normalize(np.array([[[255, 0, 0]]], np.uint8))
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(values[0, 0], expected, rtol=1e-6)


def test_other_weights(tmp_path):
    path = tmp_path / "bert.safetensors"
    safetensors.numpy.save_file({"embeddings.weight": np.ones(3)}, path)
    with pytest.raises(ValueError, match=r"no ResNet with bottlenecks.*embeddings.wei"):
        resnet.load(path)
    path = write(tmp_path, "transformers")
    state = safetensors.numpy.load_file(path)
    del state["resnet.encoder.stages.1.layers.0.layer.0.normalization.running_var"]
    safetensors.numpy.save_file(state, path)
    with pytest.raises(
        ValueError, match=r"model.safetensors: .*\n.*missing: .*running_"
    ):
        resnet.load(path)
    with pytest.raises(ValueError, match="there is no file"):
        resnet.load(tmp_path / "a.msgpack")
