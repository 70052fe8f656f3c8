"""What a run asks of its devices."""

import types

import pytest

from msajax.run import devices, recipe

GPU, CPU = ([types.SimpleNamespace(platform=name)] for name in ("gpu", "cpu"))


@pytest.mark.parametrize(
    "name,changes,on_gpu,on_cpu",
    [
        ("text_only:mosi", {}, "bfloat16", "float32"),
        (
            "mmml:mosi",
            {"text.frozen": True},
            "bfloat16",
            "float32",
        ),  # its voice's encoder
        ("misa:mosi/bert_features", {}, "float32", "float32"),
        ("text_only:demo", {"precision": "auto"}, "float32", "float32"),
        ("mult:mosi", {}, "float32", "float32"),
        ("mult:mosi", {"precision": "tf32"}, "tf32", "tf32"),
        ("mag_bert:mosi", {"precision": "float32"}, "float32", "float32"),
    ],
)
def test_auto_is_bfloat16_where_a_gpu_trains_an_encoder(name, changes, on_gpu, on_cpu):
    options = recipe.change(recipe.load(name), changes)
    found = [devices.precision_of(options, kind) for kind in (GPU, CPU)]
    assert found == [on_gpu, on_cpu]
