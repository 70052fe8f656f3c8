import numpy as np
import pytest

from msajax.encoders.bert import BertConfig
from msajax.encoders.deberta import DebertaConfig
from msajax.encoders.xlnet import XLNetConfig
from tools import torch_parity
from tools.parity.case import read_case

BERT = dict(
    vocab_size=30,
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=10,
    type_vocab_size=2,
    layer_norm_eps=1e-12,
    hidden_act="gelu",
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.1,
    pad_token_id=0,
)
DEBERTA = {k: v for k, v in BERT.items() if k != "pad_token_id"}
XLNET = dict(
    vocab_size=30,
    d_model=12,
    n_layer=2,
    n_head=3,
    d_inner=20,
    ff_activation="gelu",
    layer_norm_eps=1e-12,
    dropout=0.1,
)


def test_a_bert():
    config = BertConfig.read({**BERT, "transformers_version": "4.0"})
    assert (config.hidden_size, config.padding_position) == (12, None)


@pytest.mark.parametrize(
    "config,facts", [(BertConfig.read, BERT), (XLNetConfig.read, XLNET)]
)
def test_messages_are_short(config, facts):
    name = "hidden_act" if config == BertConfig.read else "d_head"
    with pytest.raises(ValueError, match=name) as error:
        config(facts | {name: "x\x1b" * 9999})
    assert len(str(error.value)) < 300 and str(error.value).isprintable()


def test_a_roberta_counts_from_its_padding():
    config = BertConfig.read({**BERT, "model_type": "roberta", "pad_token_id": 0})
    assert (config.padding_position, config.max_length) == (0, 9)
    config = BertConfig.read({**BERT, "model_type": "roberta", "pad_token_id": 1})
    assert (config.padding_position, config.max_length) == (1, 8)
    assert BertConfig.read({**BERT, "model_type": "bert"}).max_length == 10


@pytest.mark.parametrize(
    "config,facts,changes,message",
    [
        (
            BertConfig.read,
            BERT,
            {"hidden_act": "swish"},
            r"hidden_act='swish'.*gelu_new",
        ),
        (
            BertConfig.read,
            BERT,
            {"position_embedding_type": "relative_key"},
            "absolute",
        ),
        (BertConfig.read, BERT, {"is_decoder": True}, "is_decoder=True"),
        (BertConfig.read, BERT, {"hidden_size": "12"}, r"hidden_size \('12'\)"),
        (BertConfig.read, BERT, {"num_attention_heads": 5}, "5 attention heads"),
        (
            BertConfig.read,
            BERT,
            {"model_type": "roberta", "pad_token_id": None},
            r"pad_token_id \(None\)",
        ),
        *(
            (
                BertConfig.read,
                BERT,
                {"model_type": "roberta", "pad_token_id": pad},
                words,
            )
            for pad, words in (
                *((True, r"pad_token_id \(True\)"), (-1, r"pad_token_id \(-1\)")),
                (9, "max_position_embeddings is 10, .*pad_token_id 9"),
            )
        ),
        (DebertaConfig.read, DEBERTA, {"conv_kernel_size": 2}, "is 2, but only an odd"),
        (DebertaConfig.read, DEBERTA, {"conv_act": "selu"}, "conv_act='selu'"),
        (DebertaConfig.read, DEBERTA, {"conv_groups": 2}, "conv_groups=2"),
        (DebertaConfig.read, DEBERTA, {"pos_att_type": "p2p"}, "pos_att_type.*p2p"),
        (DebertaConfig.read, DEBERTA, {"share_att_key": 1}, r"share_att_key \(1\)"),
        (DebertaConfig.read, DEBERTA, {"embedding_size": 8}, "=8, .*hidden_size = 12"),
        (DebertaConfig.read, DEBERTA, {"attention_head_size": 8}, "=8, .* = 4"),
        (
            DebertaConfig.read,
            DEBERTA,
            {
                "position_buckets": 30,
                "relative_attention": True,
                "pos_att_type": ["c2p"],
            },
            "is 30, but from 2 on",
        ),
        (DebertaConfig.read, DEBERTA, {"norm_rel_ebd": "rms"}, "norm_rel_ebd='rms'"),
        (
            BertConfig.read,
            BERT,
            {"model_type": "electra", "embedding_size": "8"},
            "embedding_size",
        ),
        (XLNetConfig.read, XLNET, {"d_model": 9}, "d_model is 9, .*even width"),
        (XLNetConfig.read, XLNET, {"attn_type": "uni"}, "attn_type='uni'"),
        (XLNetConfig.read, XLNET, {"clamp_len": 100}, "clamp_len=100"),
        (XLNetConfig.read, XLNET, {"d_head": 5}, "d_head=5"),
    ],
)
def test_settings_that_are_not_supported(config, facts, changes, message):
    with pytest.raises(ValueError, match=message):
        config(facts | changes)


@pytest.mark.parametrize(
    "config,facts", [(BertConfig.read, BERT), (XLNetConfig.read, XLNET)]
)
def test_a_setting_that_is_missing(config, facts):
    with pytest.raises(ValueError, match=r"vocab_size \('missing'\)"):
        config({k: v for k, v in facts.items() if k != "vocab_size"})


def test_old_files_lack_what_has_a_default():
    names = ("layer_norm_eps", "hidden_act", "attention_probs_dropout_prob")
    made = BertConfig.read({k: v for k, v in BERT.items() if k not in names})
    assert (made.layer_norm_eps, made.hidden_act) == (1e-12, "gelu")
    assert made.vocab_size == BERT["vocab_size"]


def test_a_deberta_by_the_defaults_of_transformers():
    config = DebertaConfig.read(DEBERTA)
    assert not config.has_distances and config.position_biased_input
    assert (config.max_length, config.conv_kernel_size) == (10, 0)
    # As the file of deberta-v3-base says it.
    facts = {
        **{"relative_attention": True, "position_buckets": 4, "share_att_key": True},
        **{"norm_rel_ebd": "layer_norm", "pos_att_type": "p2c|c2p"},
        **{"max_relative_positions": -1, "position_biased_input": False},
    }
    config = DebertaConfig.read(DEBERTA | facts)
    assert config.pos_att_type == ("p2c", "c2p") and config.has_distances
    assert (config.span, config.farthest, config.max_length) == (4, 10, None)


def test_an_electra():
    assert BertConfig.read(BERT | {"embedding_size": 8}).embedding_width == 12
    config = BertConfig.read(BERT | {"model_type": "electra", "embedding_size": 8})
    assert (config.embedding_width, config.hidden_size) == (8, 12)
    assert config.least_parameters < BertConfig.read(BERT).least_parameters


@pytest.mark.slow
def test_a_changed_weight_shows(shared):
    (folder,) = (shared / "golden" / "xlnet").iterdir()
    case = read_case(folder)
    name = "param/layer.1.rel_attn.r_r_bias"
    case.arrays[name] = case.arrays[name] + np.float32(0.01)
    wrong = {row.name for row in torch_parity.compare(case) if not row.ok}
    assert "out/left/last_hidden_state" in wrong
    assert "out/left/hidden_states/1" not in wrong
