"""Hugging Face's config.json to the configs of our encoders."""

import dataclasses
from collections.abc import Container, Mapping
from typing import Any, TypeVar

from msajax.data import json_file
from msajax.data.errors import DataError
from msajax.encoders.bert import BertConfig
from msajax.encoders.deberta import DebertaConfig
from msajax.encoders.layers import ACTIVATIONS
from msajax.encoders.mpnet import PADDING, MPNetConfig
from msajax.encoders.t5 import FEED_FORWARD, T5Config
from msajax.encoders.wav2vec2 import Wav2Vec2Config
from msajax.encoders.wavlm import WavLMConfig
from msajax.encoders.xlnet import XLNetConfig

# Absent from old files; transformers takes the same defaults.
_OPTIONAL = {
    *("layer_norm_eps", "type_vocab_size", "hidden_act", "ff_activation", "dropout"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob"),
    *("conv_bias", "feat_extract_activation", "feat_proj_layer_norm", "layerdrop"),
    *("do_stable_layer_norm", "hidden_dropout", "activation_dropout"),
    *("attention_dropout", "feat_proj_dropout"),
    *("relative_attention_num_buckets", "relative_attention_max_distance"),
    *("layer_norm_epsilon", "dropout_rate"),
    *("pad_token_id", "eos_token_id", "decoder_start_token_id"),
}

# What transformers takes where a config.json of DeBERTa does not say.
# Source: DebertaV2Config and modeling_deberta_v2.py.
_DEBERTA = {
    **{"relative_attention": False, "max_relative_positions": -1},
    **{"position_buckets": -1, "norm_rel_ebd": "none", "share_att_key": False},
    **{"position_biased_input": True, "pos_att_type": None},
    **{"conv_kernel_size": 0, "conv_act": "tanh", "pooler_hidden_act": "gelu"},
}

Config = TypeVar(
    "Config",
    BertConfig,
    DebertaConfig,
    MPNetConfig,
    T5Config,
    Wav2Vec2Config,
    WavLMConfig,
    XLNetConfig,
)


def bert(facts: Mapping[str, Any]) -> BertConfig:
    """Our config from config.json's.

    Raises:
      ValueError: a setting is missing or is not supported.
    """
    kind, padding, width = facts.get("model_type", "bert"), None, None
    if "roberta" in kind:
        padding = _whole(facts, "pad_token_id", 1)
    if kind == "electra":
        width = _whole(facts, "embedding_size", 128)
    return _read(
        BertConfig,
        facts,
        supported={
            "hidden_act": tuple(ACTIVATIONS),
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
        },
        padding_position=padding,
        embedding_size=width,
    )


def deberta(facts: Mapping[str, Any]) -> DebertaConfig:
    """Our config from config.json's.

    Raises:
      ValueError: a setting is missing or is not supported.
    """
    facts = _DEBERTA | dict(facts)
    terms = facts["pos_att_type"] or ()
    if isinstance(terms, str):  # as Microsoft's files have it
        terms = [term.strip() for term in terms.lower().split("|")]
    found = _read(
        DebertaConfig,
        facts,
        supported={
            "hidden_act": tuple(ACTIVATIONS),
            "conv_act": tuple(ACTIVATIONS),
            "pooler_hidden_act": tuple(ACTIVATIONS),
            "norm_rel_ebd": ("none", "layer_norm"),
            "conv_groups": (1,),
        },
        pos_att_type=terms,
        padding_position=None,
    )
    width = found.hidden_size
    _check_width(facts, "embedding_size", width, "hidden_size")
    _check_width(facts, "pooler_hidden_size", width, "hidden_size")
    heads = found.num_attention_heads
    names = "hidden_size / num_attention_heads"
    _check_width(facts, "attention_head_size", width // heads, names)
    return found


def mpnet(facts: Mapping[str, Any]) -> MPNetConfig:
    """Our config from config.json's.

    Raises:
      ValueError: a setting is missing or is not supported.
    """
    supported = {
        "hidden_act": tuple(ACTIVATIONS),
        "relative_attention_num_buckets": (32,),
    }
    given = dict(type_vocab_size=0, padding_position=PADDING)
    return _read(MPNetConfig, facts, supported=supported, **given)


def t5(facts: Mapping[str, Any]) -> T5Config:
    """Our config from config.json's, of T5 and mT5.

    Raises:
      ValueError: a setting is missing or is not supported.
    """
    multilingual = facts.get("model_type") == "mt5"
    # From version 5 on, transformers says that all are tied, and in another setting
    # what the released file said; to mT5, whose head is never tied, in none.
    tied = not multilingual and facts.get(
        "scale_decoder_outputs", facts.get("tie_word_embeddings", True)
    )
    if not isinstance(tied, bool):
        raise ValueError(
            f"the config has no usable value of tie_word_embeddings ({_shown(tied)})"
        )
    found = {"feed_forward_proj": "gated-gelu" if multilingual else "relu", **facts}
    if found.get("num_decoder_layers") is None:
        found["num_decoder_layers"] = found.get("num_layers")
    supported = {"feed_forward_proj": tuple(FEED_FORWARD), "is_decoder": (False,)}
    return _read(T5Config, found, supported=supported, tie_word_embeddings=tied)


def wav2vec2(facts: Mapping[str, Any], *, do_normalize: bool) -> Wav2Vec2Config:
    """Our config of wav2vec 2.0, HuBERT or data2vec-audio from config.json's.

    Args:
      facts: the settings.
      do_normalize: of preprocessor_config.json.

    Raises:
      ValueError: a setting is missing or is not supported.
    """
    kind, given = facts.get("model_type"), {}
    if kind != "hubert":
        given["feat_proj_layer_norm"] = True
    if kind == "data2vec-audio":  # whatever its config says
        given |= dict(feat_extract_norm="layer", do_stable_layer_norm=False)
    else:
        given["conv_pos_kernel_size"] = None
    return _voice(Wav2Vec2Config, facts, do_normalize=do_normalize, **given)


def wavlm(facts: Mapping[str, Any], *, do_normalize: bool) -> WavLMConfig:
    """As `wav2vec2`, of WavLM."""
    given = dict(feat_proj_layer_norm=True, conv_pos_kernel_size=None)
    return _voice(WavLMConfig, facts, do_normalize=do_normalize, **given)


def _voice(cls: type[Config], facts: Mapping[str, Any], **given: Any) -> Config:
    supported = {
        **{
            key: tuple(ACTIVATIONS) for key in ("hidden_act", "feat_extract_activation")
        },
        # Further networks, some on top and some inside of the layers.
        "add_adapter": (False,),
        "adapter_attn_dim": (None,),
        "conv_pos_batch_norm": (False,),
    }
    facts = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
    return _read(cls, facts, supported=supported, **given)


def xlnet(facts: Mapping[str, Any]) -> XLNetConfig:
    """Our config from config.json's.

    Raises:
      ValueError: a setting is missing or is not supported.
    """
    found = _read(
        XLNetConfig,
        facts,
        supported={
            "ff_activation": tuple(ACTIVATIONS),
            "attn_type": ("bi",),
            "bi_data": (False,),
            "clamp_len": (-1, 0),
        },
    )
    _check_width(facts, "d_head", found.d_model // found.n_head, "d_model / n_head")
    return found


def _check_width(facts: Mapping[str, Any], name: str, width: int, same: str) -> None:
    """Refuses a width of its own where our encoder has that of something else."""
    if facts.get(name, width) != width:
        raise ValueError(
            f"the config says {name}={_shown(facts[name])}, but our encoder has only "
            f"{same} = {width}"
        )


def _read(
    cls: type[Config],
    facts: Mapping[str, Any],
    supported: Mapping[str, Container[Any]],
    **given: Any,
) -> Config:
    """Our config from the settings of the same names.

    Args:
      cls: our config.
      facts: settings as in config.json; those that cls does not have are not read.
      supported: setting to the values that our encoder has; one that is absent is
        the default of transformers, which it has.
      given: fields that are not read from facts.

    Returns:
      A cls.

    Raises:
      ValueError: a setting is missing, or has a value that our encoder does not.
    """
    defaults = dataclasses.asdict(cls())
    absent = _OPTIONAL - facts.keys()
    names = [name for name in defaults if name not in given and name not in absent]
    wrong = [name for name in names if not _like(facts.get(name), defaults[name])]
    if wrong:
        raise ValueError(
            "the config has no usable value of "
            + ", ".join(
                f"{name} ({_shown(facts.get(name, 'missing'))})" for name in wrong
            )
        )
    for name, values in supported.items():
        if name in facts and facts[name] not in values:
            raise ValueError(
                f"the config says {name}={_shown(facts[name])}, but our encoder has only "
                f"{values}"
            )
    chosen = {name: facts[name] for name in names} | given
    try:
        return json_file.check(chosen, cls)
    except DataError as error:
        raise ValueError(f"the config cannot be used: {error}") from error


def _whole(facts: Mapping[str, Any], name: str, default: int) -> int:
    """A setting of one kind of network alone, with transformers' default."""
    value = facts.get(name, default)
    if not _like(value, default) or value < 0:
        raise ValueError(f"the config has no usable value of {name} ({_shown(value)})")
    return value


def _shown(value: Any) -> str:
    """The start of a value of a file, harmless to a terminal."""
    return ascii(value)[:60]


def _like(value: Any, default: Any) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_like(x, default[0]) for x in value)
    # None stands for a number that only some networks have.
    kinds = (int, float) if isinstance(default, float) else type(default or 0)
    return isinstance(value, kinds) and not isinstance(value, bool)
