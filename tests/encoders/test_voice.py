import json

import jax
import numpy as np
import pytest

from msajax import encoders
from msajax.encoders.load import _cause
from msajax.encoders.locate import PREPROCESSOR
from msajax.encoders.wavlm import WavLMConfig
from msajax.weights import wav2vec2, wavlm
from tests.encoders import checkpoints
from tests.encoders.checkpoints import flat

FACTS = {
    **{"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3},
    **{"intermediate_size": 20, "conv_dim": [8, 6], "conv_kernel": [7, 4]},
    **{"conv_stride": [4, 3], "num_conv_pos_embedding_groups": 3},
    **{"num_conv_pos_embeddings": 6, "layer_norm_eps": 1e-5},
    **{"feat_extract_norm": "group", "hidden_act": "gelu"},
}
KINDS = {
    "wav2vec2": {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
    "hubert": {"feat_proj_layer_norm": False},
    "data2vec-audio": {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2},
    "wavlm": {"num_buckets": 8, "max_bucket_distance": 9},
}
WAVES = np.zeros((1, 30), np.float32)


def facts_of(kind):
    return {"model_type": kind, **FACTS, **KINDS[kind]}


def write(folder, *args, **kwargs):
    """As `checkpoints.write`, with waves that are prepared as by default."""
    checkpoints.write(folder, *args, **kwargs)
    (folder / PREPROCESSOR).write_text("{}")
    return folder


def made(kind, folder):
    """A random encoder: its parameters, and the same by the names of PyTorch."""
    encoder = encoders.read_voice(write(folder, facts_of(kind))).encoder()
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), empty(encoder)
    )
    table = (wavlm if kind == "wavlm" else wav2vec2).table(encoder)
    arrays = table.arrays({"params": params})
    return params, {name: np.ascontiguousarray(x) for name, x in arrays.items()}


def empty(encoder):
    return jax.eval_shape(
        lambda key: encoder.init(key, WAVES, mask=WAVES == 0, train=False),
        jax.random.key(0),
    )["params"]


def check(folder, params):
    encoder = encoders.read_voice(folder).encoder()
    found, report = encoders.load(folder, encoder, empty(encoder))
    for name, array in flat(params).items():
        np.testing.assert_array_equal(flat(found)[name], array)
    assert (report.loaded, report.missing) == (len(flat(params)), ())
    return report


@pytest.mark.parametrize("kind", KINDS)
def test_all_formats(kind, tmp_path, torch_save):
    params, state = made(kind, tmp_path)
    facts = facts_of(kind)
    check(write(tmp_path / "a", facts, state=state), params)
    check(write(tmp_path / "b", facts, params=params), params)
    # The names of weight normalisation until 2023, in a model with a head.
    old = {
        f"{kind}.{name}".replace(
            "parametrizations.weight.original0", "weight_g"
        ).replace("parametrizations.weight.original1", "weight_v"): x
        for name, x in state.items()
    }
    old[f"{kind}.masked_spec_embed"] = np.zeros(12, np.float32)
    old["lm_head.weight"] = np.zeros((5, 12), np.float32)
    assert any(name.endswith("weight_g") for name in old) != (kind == "data2vec-audio")
    torch_save(write(tmp_path / "c", facts) / "pytorch_model.bin", old)
    assert check(tmp_path / "c", params).unused == ("lm_head.weight",)


def test_what_a_config_says(tmp_path):
    def read(kind, **changes):
        return encoders.read_voice(write(tmp_path, {**facts_of(kind), **changes}))

    assert read("wav2vec2").conv_dim == (8, 6)
    assert read("wav2vec2", feat_proj_layer_norm=False).feat_proj_layer_norm
    assert not read("hubert").feat_proj_layer_norm
    # data2vec has one form, whatever its config says.
    found = read("data2vec-audio", do_stable_layer_norm=True)
    assert (found.feat_extract_norm, found.do_stable_layer_norm) == ("layer", False)
    assert found.conv_pos_kernel_size == 5
    assert read("wav2vec2", conv_pos_kernel_size=5).conv_pos_kernel_size is None
    assert read("wavlm").num_buckets == 8


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"add_adapter": True}, "add_adapter=True"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim=16"),
        ({"conv_pos_batch_norm": True}, "conv_pos_batch_norm=True"),
        ({"conv_dim": [8, "6"]}, "conv_dim"),
        ({"conv_dim": 8}, r"conv_dim \(8\)"),
        ({"conv_dim": []}, "conv_dim"),
        ({"conv_kernel": [7, 0]}, "conv_kernel"),
        ({"conv_stride": [4]}, "2, 2 and 1 convolutions"),
        ({"do_stable_layer_norm": 1}, r"do_stable_layer_norm \(1\)"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm.*'group' or 'layer'"),
        ({"feat_extract_activation": "swish"}, "feat_extract_activation='swish'"),
        ({"model_type": "bert"}, 'type "bert"; supported are wav2vec2, hubert'),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers"),
    ],
)
def test_settings_that_are_not_supported(changes, message, tmp_path):
    write(tmp_path, {**facts_of("hubert"), **changes})
    with pytest.raises(ValueError, match=rf"config\.json.*{message}"):
        encoders.read_voice(tmp_path)


def test_how_waves_are_prepared(tmp_path):
    _, state = made("wavlm", tmp_path)
    write(tmp_path, state=state)
    file = tmp_path / "preprocessor_config.json"
    assert encoders.read_voice(tmp_path).do_normalize
    before = encoders.fingerprint(tmp_path)
    file.write_text(json.dumps({"do_normalize": False, "feature_size": 1}))
    assert not encoders.read_voice(tmp_path).do_normalize
    assert encoders.fingerprint(tmp_path) != before
    file.write_text(json.dumps({"sampling_rate": 8000}))
    with pytest.raises(ValueError, match="sampling_rate of 8000, .* 16000 samples"):
        encoders.read_voice(tmp_path)
    file.write_text(json.dumps({"do_normalize": "yes"}))
    with pytest.raises(ValueError, match=r'preprocessor_config.json: "do_normalize"'):
        encoders.read_voice(tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=r"no preprocessor_config\.json; copy it"):
        encoders.read_voice(tmp_path)
    # As wavlm-base's file says, whose the other defaults are.
    assert not WavLMConfig().do_normalize


def test_a_voice_for_text(tmp_path):
    write(tmp_path, facts_of("wavlm"))
    with pytest.raises(ValueError, match='type "wavlm"; supported are bert'):
        encoders.read_config(tmp_path)


@pytest.mark.parametrize(
    "kind,changes,message",
    [
        (
            "hubert",
            {"intermediate_size": 24},
            "another width of the feed-forward blocks",
        ),
        ("hubert", {"hidden_size": 15}, r"another width \(hidden_size"),
        ("hubert", {"conv_dim": [8, 7]}, r"other convolutions \(conv_dim"),
        ("hubert", {"conv_kernel": [7, 5]}, r"other convolutions \(conv_dim"),
        ("wavlm", {"num_buckets": 12}, r"another number of distances \(.*num_buckets"),
        ("wavlm", {"num_conv_pos_embeddings": 8}, "other convolutions of positions"),
        (
            "wavlm",
            {"num_conv_pos_embedding_groups": 2},
            "other convolutions of positions",
        ),
    ],
)
def test_weights_of_another_size(kind, changes, message, tmp_path):
    _, state = made(kind, tmp_path)
    write(tmp_path, {**facts_of(kind), **changes}, state=state)
    encoder = encoders.read_voice(tmp_path).encoder()
    with pytest.raises(ValueError, match=message):
        encoders.load(tmp_path, encoder, empty(encoder))


@pytest.mark.parametrize(
    "leaf,sizes,message",
    [
        ("encoder/layers/0/feed_forward/output_dense/bias", (12, 15), "hidden_size"),
        ("encoder/rel_embeddings/embedding", (8, 12), "position_buckets"),
        ("encoder/layer/0/feed_forward/wi_0/kernel", (8, 12), "feed-forward"),
        ("encoder/layer/0/feed_forward/layer_norm/scale", (8, 12), "d_model"),
    ],
)
def test_what_a_size_hangs_on(leaf, sizes, message):
    shapes = [(n, 9) if "embedding" in leaf else (9, n)[-1:] for n in sizes]
    assert message in _cause(leaf, *shapes)
