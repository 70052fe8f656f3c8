"""Small random checkpoints, and folders of them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import serialization, traverse_util

from msajax.encoders.bert import BertConfig
from msajax.encoders.deberta import DebertaConfig
from msajax.encoders.mpnet import MPNetConfig
from msajax.encoders.t5 import T5Config
from msajax.encoders.xlnet import XLNetConfig
from msajax.weights import bert, deberta, mpnet, t5, xlnet

_BERT = {
    **{"vocab_size": 30, "hidden_size": 12, "num_hidden_layers": 2},
    **{"num_attention_heads": 3, "intermediate_size": 20, "hidden_act": "gelu"},
    **{"max_position_embeddings": 10, "type_vocab_size": 2, "layer_norm_eps": 1e-12},
    **{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    **{"pad_token_id": 0},
}
_T5 = {
    **{"vocab_size": 30, "d_model": 12, "d_kv": 5, "d_ff": 20, "num_layers": 2},
    **{"num_heads": 3, "feed_forward_proj": "relu", "dropout_rate": 0.1},
}
_XLNET = {
    **{"vocab_size": 30, "d_model": 12, "n_layer": 2, "n_head": 3, "d_inner": 20},
    **{"ff_activation": "gelu", "layer_norm_eps": 1e-12, "dropout": 0.1},
}
# With all that a checkpoint may have: of version 2, and of its heads.
_DEBERTA = _BERT | {
    **{"relative_attention": True, "max_relative_positions": -1, "conv_kernel_size": 3},
    **{"position_buckets": 6, "norm_rel_ebd": "layer_norm", "share_att_key": False},
    **{"pos_att_type": "p2c|c2p", "position_biased_input": True, "conv_act": "gelu"},
}


class Checkpoint:
    """A random one.

    Attributes:
      facts: config.json's contents.
      encoder: ours.
      params: its parameters.
      state: the same by the names of PyTorch.
    """

    def __init__(self, kind, **changes):
        read, table, facts = {
            "deberta-v2": (DebertaConfig.read, deberta.table, _DEBERTA),
            "electra": (BertConfig.read, bert.table, _BERT | {"embedding_size": 8}),
            "mpnet": (MPNetConfig.read, mpnet.table, _BERT | {"pad_token_id": 1}),
            "t5": (T5Config.read, t5.table, _T5),
            "xlnet": (XLNetConfig.read, xlnet.table, _XLNET),
        }.get(kind, (BertConfig.read, bert.table, _BERT))
        self.facts = {"model_type": kind, **facts, **changes}
        self.encoder = read(self.facts).encoder()
        rng = np.random.default_rng(0)
        self.params = jax.tree.map(
            lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
            empty(self.encoder),
        )
        arrays = table(self.encoder).arrays({"params": self.params})
        self.state = {name: np.ascontiguousarray(x) for name, x in arrays.items()}


SIZES = {
    **{"vocab_size": 30, "hidden_size": 12, "num_hidden_layers": 2},
    **{"num_attention_heads": 3, "intermediate_size": 20},
    **{"max_position_embeddings": 12},
}


def larger(encoder, ids, mask):
    """Variables that are larger than the initial values, so that every term shows."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32),
        encoder.init(jax.random.key(0), ids, mask=mask, train=False),
    )


def check_dropout(apply):
    """Draws of `apply(train=True, rngs=...)` repeat by their key alone."""
    rngs = [{"dropout": jax.random.key(i)} for i in (0, 0, 1)]
    a, b, c = (apply(train=True, rngs=r).last for r in rngs)
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.1


def empty(encoder):
    """Shapes of an encoder's parameters, as zeros."""
    ids = jnp.zeros((1, 2), int)
    tree = jax.eval_shape(
        lambda key: encoder.init(key, ids, mask=ids == 0, train=False),
        jax.random.key(0),
    )
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree["params"])


def write(folder, facts=None, *, state=None, params=None):
    """Writes a folder: config.json, model.safetensors, flax_model.msgpack as given."""
    folder.mkdir(exist_ok=True, parents=True)
    if facts is not None:
        (folder / "config.json").write_text(json.dumps(facts))
    if state is not None:
        safetensors.numpy.save_file(state, folder / "model.safetensors")
    if params is not None:
        path = folder / "flax_model.msgpack"
        path.write_bytes(serialization.msgpack_serialize(params))
    return folder


def flat(tree):
    return traverse_util.flatten_dict(tree, sep="/")
