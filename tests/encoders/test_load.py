import functools
import json
import time
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import encoders
from tests import toys
from tests.encoders.checkpoints import Checkpoint, empty, flat, write

BERT, DEBERTA, ELECTRA, MPNET, ROBERTA, XLNET = (
    Checkpoint("bert"),
    Checkpoint("deberta-v2"),
    Checkpoint("electra"),
    Checkpoint("mpnet"),
    Checkpoint("roberta", pad_token_id=1, type_vocab_size=1),
    Checkpoint("xlnet"),
)
POOLER = ("pooler/dense/bias", "pooler/dense/kernel")


def load(folder, encoder=None):
    encoder = encoder or encoders.read_config(folder).encoder()
    return encoders.load(folder, encoder, empty(encoder))


def check(folder, checkpoint):
    params, report = load(folder)
    for name, array in flat(checkpoint.params).items():
        np.testing.assert_array_equal(flat(params)[name], array)
    assert jax.tree.structure(params) == jax.tree.structure(checkpoint.params)
    assert report.missing == ()
    assert report.loaded == len(flat(params))
    return report


@pytest.mark.parametrize("checkpoint", [BERT, DEBERTA, ELECTRA, MPNET, ROBERTA, XLNET])
def test_all_formats(checkpoint, tmp_path, torch_save):
    facts, state = checkpoint.facts, checkpoint.state
    check(write(tmp_path / "a", facts, state=state), checkpoint)
    check(write(tmp_path / "b", facts, params=checkpoint.params), checkpoint)
    torch_save(write(tmp_path / "c", facts) / "pytorch_model.bin", state)
    check(tmp_path / "c", checkpoint)


@pytest.mark.parametrize(
    "checkpoint,prefix",
    [(BERT, "bert."), (BERT, "module.bert."), (ROBERTA, "roberta.")]
    + [(XLNET, "transformer."), (DEBERTA, "deberta."), (ELECTRA, "electra.")],
)
def test_a_checkpoint_with_a_head(checkpoint, prefix, tmp_path):
    head = {"cls.decoder.weight": np.zeros((30, 12), np.float32)}
    state = {prefix + name: x for name, x in checkpoint.state.items()} | head
    report = check(write(tmp_path, checkpoint.facts, state=state), checkpoint)
    assert report.unused == ("cls.decoder.weight",)
    assert "not used: cls.decoder.weight" in str(report)


def test_a_flax_checkpoint_with_a_head(tmp_path):
    params = {"bert": BERT.params, "cls": {"bias": np.zeros(3, np.float32)}}
    report = check(write(tmp_path, BERT.facts, params=params), BERT)
    assert report.unused == ("cls/bias",)


def test_old_names_of_layer_norm(tmp_path):
    state = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): x
        for name, x in BERT.state.items()
    }
    assert "embeddings.LayerNorm.gamma" in state
    assert check(write(tmp_path, BERT.facts, state=state), BERT).unused == ()


def test_what_nothing_reads_is_not_reported(tmp_path):
    state = BERT.state | {"embeddings.position_ids": np.arange(10)[None]}
    assert check(write(tmp_path / "a", BERT.facts, state=state), BERT).unused == ()
    state = XLNET.state | {"mask_emb": np.zeros((1, 1, 12), np.float32)}
    assert check(write(tmp_path / "b", XLNET.facts, state=state), XLNET).unused == ()


def test_a_checkpoint_without_a_pooler(tmp_path):
    state = {k: v for k, v in BERT.state.items() if not k.startswith("pooler")}
    folder = write(tmp_path, BERT.facts, state=state)
    initial = empty(BERT.encoder)
    initial["pooler"]["dense"]["kernel"] += 5
    params, report = encoders.load(folder, BERT.encoder, initial)
    assert report.missing == POOLER
    assert "initial: pooler/dense/bias" in str(report)
    np.testing.assert_array_equal(params["pooler"]["dense"]["kernel"], 5)
    encoder = encoders.read_config(folder).encoder(pooler=False)
    assert encoders.load(folder, encoder, empty(encoder))[1].missing == ()


@pytest.mark.parametrize("as_flax", [False, True])
def test_a_pooler_beside_the_encoder(as_flax, tmp_path):
    """As the heads of classification of DeBERTa have it."""
    params, state = DEBERTA.params, DEBERTA.state
    if as_flax:
        tree = {"deberta": {k: v for k, v in params.items() if k != "pooler"}}
        tree["pooler"] = params["pooler"]
        folder = write(tmp_path, DEBERTA.facts, params=tree)
    else:
        names = {k: k if k.startswith("pooler") else f"deberta.{k}" for k in state}
        moved = {names[k]: v for k, v in state.items()}
        folder = write(tmp_path, DEBERTA.facts, state=moved)
    assert check(folder, DEBERTA).unused == ()


def test_positions_that_a_deberta_does_not_read(tmp_path):
    facts = DEBERTA.facts | {"position_biased_input": False}
    report = load(write(tmp_path, facts, state=DEBERTA.state))[1]
    assert (report.missing, report.unused) == ((), ())


def test_an_encoder_without_the_pooler_of_the_checkpoint(tmp_path):
    folder = write(tmp_path, BERT.facts, state=BERT.state)
    encoder = encoders.read_config(folder).encoder(pooler=False)
    _, report = load(folder, encoder)
    assert set(report.unused) == {"pooler.dense.weight", "pooler.dense.bias"}


def test_half_precision_becomes_float32(tmp_path):
    state = {name: x.astype(np.float16) for name, x in BERT.state.items()}
    params, _ = load(write(tmp_path, BERT.facts, state=state))
    for name, x in flat(params).items():
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, flat(BERT.params)[name], rtol=1e-3, atol=1e-6)


def test_missing_layers(tmp_path):
    state = {k: v for k, v in BERT.state.items() if "layer.1." not in k}
    folder = write(tmp_path, BERT.facts, state=state)
    with pytest.raises(ValueError, match=r"lacks encoder/layer/1/.* and 13 more"):
        load(folder)


@pytest.mark.parametrize(
    "change,shapes,cause",
    [
        ({"vocab_size": 40}, r"\(30, 12\) .* \(40, 12\)", "another vocabulary"),
        (
            {"max_position_embeddings": 12},
            r"\(10, 12\) .* \(12, 12\)",
            "longest length",
        ),
        ({"type_vocab_size": 1}, r"\(2, 12\) .* \(1, 12\)", "number of segments"),
        ({"hidden_size": 15}, r"\(30, 12\) .* \(30, 15\)", "another width"),
        ({"intermediate_size": 24}, r"\(12, 20\) .* \(12, 24\)", "feed-forward"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path, change, shapes, cause):
    folder = write(tmp_path, BERT.facts | change, state=BERT.state)
    with pytest.raises(ValueError, match=rf"{shapes} in the encoder: .*{cause}"):
        load(folder)


def test_weights_of_another_architecture(tmp_path):
    folder = write(tmp_path, BERT.facts, state=XLNET.state)
    with pytest.raises(ValueError, match=r"no embeddings.word_embeddings.weight"):
        load(folder)


def test_a_folder_without_config(tmp_path):
    with pytest.raises(ValueError, match=r"has no config.json; copy it"):
        encoders.read_config(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", "3"])
def test_a_damaged_config(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="config.json.*(no JSON|should be)"):
        encoders.read_config(tmp_path)


@pytest.mark.parametrize(
    "facts", [{"model_type": "albert"}, {"architectures": ["AlbertModel"]}]
)
def test_a_config_of_another_architecture(tmp_path, facts):
    message = r'type "albert"; supported are bert, roberta, xlm-roberta, electra, '
    with pytest.raises(ValueError, match=message):
        encoders.read_config(write(tmp_path, facts))


def test_each_type_of_network_has_one_config():
    configs = (*typing.get_args(encoders.Encoder), *typing.get_args(encoders.Voice))
    found = [kind for config in configs for kind in config.kinds]
    assert len(found) == len({*found}) >= 13
    for config in configs:
        assert config().encoder().names().rules


def test_a_config_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="supported are bert"):
        encoders.read_config(write(tmp_path, {}))


def test_a_setting_that_is_not_supported_names_the_file(tmp_path):
    folder = write(tmp_path, BERT.facts | {"hidden_act": "swish"})
    with pytest.raises(ValueError, match=r"config.json: .*hidden_act='swish'"):
        encoders.read_config(folder)


@pytest.mark.parametrize(
    "name", ["BertForMaskedLM", "BertForPreTraining", "BertModel", "BertLMHeadModel"]
)
def test_configs_from_before_model_type(tmp_path, name):
    facts = {k: v for k, v in BERT.facts.items() if k != "model_type"}
    folder = write(tmp_path, facts | {"architectures": [name]})
    assert encoders.read_config(folder) == BERT.encoder.config


def test_a_roberta_by_its_class(tmp_path):
    facts = {k: v for k, v in ROBERTA.facts.items() if k != "model_type"}
    folder = write(tmp_path, facts | {"architectures": ["RobertaForMaskedLM"]})
    assert encoders.read_config(folder).padding_position == 1


def test_ids_of_another_vocabulary():
    config = BERT.encoder.config
    encoders.check_ids(config, np.array([[0, 29]]), np.array([[0, 1]]))
    encoders.check_ids(config, np.zeros((0, 5), int))
    for wrong in (30, -1):
        with pytest.raises(ValueError, match=rf"id {wrong}, .*30 words \(0 to 29\)"):
            encoders.check_ids(config, np.array([[0, wrong]]))
    with pytest.raises(ValueError, match=r"segments hold the id 1, .*1 segments"):
        encoders.check_ids(ROBERTA.encoder.config, np.array([[3]]), np.array([[1]]))
    encoders.check_ids(XLNET.encoder.config, np.array([[3]]), np.array([[3]]))
    encoders.check_ids(MPNET.encoder.config, np.array([[3]]), np.array([[3]]))
    with pytest.raises(ValueError, match=r"segments hold the id 3, .*2 segments"):
        encoders.check_ids(DEBERTA.encoder.config, np.array([[3]]), np.array([[3]]))


def test_real_weights(minilm):
    """Numbers of PyTorch's BertModel in float64 (pooled: float32)."""
    encoder = encoders.read_config(minilm).encoder()
    params, report = encoders.load(minilm, encoder, empty(encoder))
    assert (report.loaded, report.missing, report.unused) == (103, (), ())
    # "A LOT OF SAD PARTS" and "THERE IS SAD PART" of CMU-MOSI.
    ids = np.zeros((2, 9), np.int32)
    ids[0, :7] = [101, 1037, 2843, 1997, 6517, 3033, 102]
    ids[1, :6] = [101, 2045, 2003, 6517, 2112, 102]
    encoded = jax.jit(
        lambda p: encoder.apply({"params": p}, ids, mask=ids > 0, train=False)
    )(jax.tree.map(jnp.asarray, params))
    np.testing.assert_allclose(
        encoded.last[0, 0, :6],
        [0.049076, 0.031507, 0.272109, 0.077137, 0.014142, -0.059197],
        atol=2e-5,
    )
    np.testing.assert_allclose(
        encoded.last[1, 3, :6],
        [0.265374, 0.507393, 0.295461, 0.351733, 0.518342, 0.343549],
        atol=2e-5,
    )
    np.testing.assert_allclose(
        encoded.hidden[3][0, 2, :4],
        [0.002901, 0.291414, 0.658146, -0.39518],
        atol=2e-5,
    )
    np.testing.assert_allclose(
        encoded.pooled[0, :6],
        [-0.045655, 0.03672, 0.006865, 0.007576, -0.067389, -0.036204],
        atol=2e-5,
    )


def test_real_weights_in_another_config(minilm, tmp_path):
    facts = json.loads((minilm / "config.json").read_text())
    write(tmp_path, facts | {"vocab_size": 21128})
    encoder = encoders.read_config(tmp_path).encoder()
    message = r"\(30522, 384\) in the file, but \(21128, 384\) .*another vocabulary"
    with pytest.raises(ValueError, match=message):
        encoders.load(minilm, encoder, empty(encoder))


@pytest.mark.parametrize(
    "key,value",
    [
        *(("model_type", ["bert"]), ("model_type", 3), ("architectures", "Bert")),
        *(("num_hidden_layers", 10**8), ("num_hidden_layers", -1), ("hidden_size", 0)),
        *(("num_attention_heads", 0), ("num_attention_heads", 10**9)),
        *(("hidden_dropout_prob", 2), ("hidden_dropout_prob", -0.5)),
        *(("layer_norm_eps", float("nan")), ("layer_norm_eps", 0.0)),
        *(("vocab_size", 10**12), ("vocab_size", None), ("vocab_size", [1])),
        *(("intermediate_size", 10**30), ("max_position_embeddings", 2.5)),
        *(("hidden_act", ["gelu"]), ("type_vocab_size", {}), ("tokenizer_class", 1)),
        *(("attention_probs_dropout_prob", "0.1"), ("num_attention_heads", 5)),
    ],
)
def test_a_wrong_value_is_named_at_once(tmp_path, key, value):
    made = Checkpoint("bert")
    write(tmp_path, {**made.facts, key: value})
    start = time.monotonic()
    with pytest.raises(ValueError, match=rf"config\.json.*{key}"):
        encoders_config(tmp_path)
    assert time.monotonic() - start < 5


def encoders_config(folder):
    encoders.tokenizer_facts(folder)
    return encoders.read_config(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 400},
        {"max_position_embeddings": 10**6},
        {"type_vocab_size": 10**6},
    ],
)
def test_a_network_larger_than_its_weights(tmp_path, changes):
    made = Checkpoint("bert")
    write(tmp_path, made.facts | changes, state=made.state)
    with pytest.raises(ValueError, match=r"network of \d+ parameters or more, but"):
        encoders.read_config(tmp_path)


@pytest.mark.parametrize(
    "config",
    [toys.BERT, toys.ELECTRA, toys.MPNET, toys.DEBERTA, toys.XLNET, toys.T5],
    ids=lambda config: type(config).__name__,
)
def test_the_least_parameters_are_some_of_all(config):
    ids = np.zeros((1, 4), np.int32)
    init = functools.partial(config.encoder().init, mask=ids == 0, train=False)
    tree = jax.eval_shape(init, jax.random.key(0), ids)
    count = sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert count / 3 < config.least_parameters < count


def test_a_pointer_is_told_from_weights_that_are_too_few(tmp_path):
    write(tmp_path, BERT.facts)
    content = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (tmp_path / "model.safetensors").write_text(content)
    encoder = encoders.read_config(tmp_path).encoder()
    with pytest.raises(ValueError, match="git lfs pull"):
        load(tmp_path, encoder)


@pytest.mark.parametrize("auto_map", [{"AutoModel": "evil.Evil"}, ["evil.Evil"]])
def test_a_network_with_code_of_its_own(tmp_path, auto_map):
    write(tmp_path, BERT.facts | {"auto_map": auto_map}, state=BERT.state)
    for read in (encoders.read_config, encoders.tokenizer_facts):
        with pytest.raises(ValueError, match=r"config.json .*auto_map.* never run"):
            read(tmp_path)


def test_the_type_of_an_old_config_reaches_the_tokenizer(tmp_path):
    facts = {k: v for k, v in XLNET.facts.items() if k != "model_type"}
    write(tmp_path, facts | {"architectures": ["XLNetLMHeadModel"]})
    assert encoders.tokenizer_facts(tmp_path) == {"model_type": "xlnet"}
    write(tmp_path, BERT.facts | {"tokenizer_class": "ElectraTokenizer"})
    found = encoders.tokenizer_facts(tmp_path)
    assert found == {"model_type": "bert", "tokenizer_class": "ElectraTokenizer"}
    write(tmp_path, {"model_type": "albert"})
    with pytest.raises(ValueError, match="supported are bert"):
        encoders.tokenizer_facts(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_no_numbers(tmp_path, value):
    name = "encoder.layer.1.output.dense.bias"
    state = BERT.state | {name: np.full(12, value)}
    folder = write(tmp_path, BERT.facts, state=state)
    message = r"model.safetensors .*NaN.* 1 arrays, such as encoder/layer/1/output"
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_a_report_is_short_whatever_the_file_holds(tmp_path):
    more = {f"head.{i}\x1b[31m": np.zeros(1, np.float32) for i in range(3000)}
    folder = write(tmp_path, BERT.facts, state=BERT.state | more)
    report = load(folder)[1]
    assert len(report.unused) == 3000
    assert str(report).endswith("and 2980 more") and "\x1b" not in str(report)


def test_a_config_that_is_a_folder(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ValueError, match="has no config.json"):
        encoders.read_config(tmp_path)
