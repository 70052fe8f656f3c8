"""Our systems' hyperparameters and optimizer groups by the names of the package `mmsa`; needs no PyTorch."""

import re
from collections.abc import Mapping
from typing import Any

from msajax.train.plan import Phase

# mmsa's argument: a field of ours, a path into it ("gate_dims.0"), or a number.
_SUBNETS = {"hidden_dims": "hidden_dims"}
# Audio, vision, text (switched off there, in an LSTM of one layer).
_DROPOUTS = ("audio_dropout", "vision_dropout", 0.0)
_POST = {f"post_{m}_dim": f"post_dims.{i}" for i, m in enumerate(("text", "audio"))}
_TASKS = {
    **_SUBNETS,
    **_POST,
    "post_video_dim": "post_dims.2",
    "dropouts": _DROPOUTS,
}
_POST_DROPOUTS = tuple(f"post_dropouts.{i}" for i in range(3))
_FUSED_TASKS = {
    **_TASKS,
    "text_out": "text_out",
    "post_fusion_dim": "post_fusion_dim",
    "post_dropouts": (*_POST_DROPOUTS, "post_fusion_dropout"),
}


def _layer(dim: str | int, dropout: str | float) -> dict[str, Any]:
    return {"shapes": dim, "drop": dropout}


_GATES = {
    "hidden_dims": "hidden_dims",
    "memsize": "memory",
    "gamma1Config": _layer("gate_dims.1", "gate_dropouts.1"),
    "gamma2Config": _layer("gate_dims.2", "gate_dropouts.2"),
}
_MEMORY = {
    **_GATES,
    "windowsize": 2,
    "NN1Config": _layer("attention_dim", "attention_dropout"),
    "NN2Config": _layer("gate_dims.0", "gate_dropouts.0"),
}
_OUT = {"outConfig": _layer("out_dim", "out_dropout")}
_TABLES: dict[str, dict[str, Any]] = {
    "tfn": {
        **_SUBNETS,
        "text_out": "text_out",
        "post_fusion_dim": "post_fusion_dim",
        "dropouts": (*_DROPOUTS, "post_fusion_dropout"),
    },
    "lmf": {**_SUBNETS, "rank": "rank", "dropouts": (*_DROPOUTS, 0.0)},
    "lf_dnn": {
        **_SUBNETS,
        "text_out": "text_out",
        "post_fusion_dim": "post_fusion_dim",
        "dropouts": (*_DROPOUTS, "post_fusion_dropout"),
    },
    "ef_lstm": {
        "seq_lens": "spec.lengths.0",
        "hidden_dims": "hidden_dim",
        "num_layers": "layers",
        "dropout": "dropout",
    },
    "mult": {
        "dst_feature_dim_nheads": ("dim", "heads"),
        "nlevels": "layers",
        "attn_mask": "causal",
        "attn_dropout": "attention_dropouts.0",
        "attn_dropout_a": "attention_dropouts.1",
        "attn_dropout_v": "attention_dropouts.2",
        "relu_dropout": "relu_dropout",
        "res_dropout": "residual_dropout",
        "embed_dropout": "embed_dropout",
        "text_dropout": "text_dropout",
        "output_dropout": "output_dropout",
        **{f"conv1d_kernel_size_{x}": f"kernel_sizes.{i}" for i, x in enumerate("lav")},
    },
    "mfn": {**_MEMORY, **_OUT},
    "graph_mfn": {
        **_GATES,
        **_OUT,
        "inner_node_dim": "node_dim",
        "NNConfig": _layer("gate_dims.0", "gate_dropouts.0"),
    },
    "mfm": {
        **_MEMORY,
        "outConfig": _layer(1, 0.0),  # of the MFN inside: nothing reads its output
        **{f"z{x}_size": f"latent_dims.{i}" for i, x in enumerate("ylav")},
        **{f"f{x}_size": f"factor_dims.{i}" for i, x in enumerate("ylav")},
        **{
            f"z{x}_to_f{x}_dropout": f"factor_dropouts.{i}"
            for i, x in enumerate("ylav")
        },
        "fy_to_y_dropout": "out_dropout",
        **{f"lda_x{x}": f"reconstruction.{i}" for i, x in enumerate("lav")},
        "lda_mmd": "mmd",
    },
    "mlf_dnn": _FUSED_TASKS,
    "mtfn": _FUSED_TASKS,
    "mlmf": {**_TASKS, "rank": "rank", "post_dropouts": (*_POST_DROPOUTS, 0.0)},
    "mmim": {
        **{f"d_{x}h": f"hidden_dims.{i}" for i, x in enumerate("av")},
        **{f"d_{x}out": f"out_dims.{i}" for i, x in enumerate("av")},
        "bidirectional": "bidirectional",
        "n_layer": 1,
        "d_prjh": "fusion_dim",
        "dropout_prj": "fusion_dropout",
        "add_va": "audio_vision",
        "cpc_layers": "predictor_layers",
        "alpha": "contrast",
        "beta": "bound",
    },
}
SYSTEMS = (*_TABLES,)
# What no field of ours says.
_CONSTANTS: dict[str, dict[str, Any]] = {
    "mmim": {
        "use_bert": True,  # a stub that returns the features
        "use_finetune": True,
        "transformers": "bert",
        "pretrained": "",
        "need_data_aligned": False,  # lengths for audio and vision, not the text's
        "mmilb_mid_activation": "ReLU",
        "mmilb_last_activation": "Tanh",
        "cpc_activation": "Tanh",
    }
}
# Parameters whose training a recipe decides by name: theirs, and ours.
_NAMES = (
    (r"(text|audio)_subnet\.", r"subnets/\1/"),
    (r"video_subnet\.", "subnets/vision/"),
    (r"vertices\.", "graph/vertex_"),
    (r"system\.mi_(\w+)\.mlp_mu\.(\d)\.", r"mi_\1/mean_\2/"),
    (r"system\.mi_(\w+)\.mlp_logvar\.(\d)\.", r"mi_\1/log_variance_\2/"),
)


def arguments(system: str, ours: Any) -> dict[str, Any]:
    """mmsa's arguments of a system of ours.

    Args:
      system: one of `SYSTEMS`.
      ours: our system, or anything with its fields.

    Returns:
      {name: value}; 'feature_dims' are of text, audio and vision.
    """
    fixed = {"train_mode": "regression", "use_bert": False}
    fixed |= {"feature_dims": ours.spec.dims, **_CONSTANTS.get(system, {})}
    return fixed | _read(_TABLES[system], ours)


def _read(of: Any, ours: Any) -> Any:
    """A table, tuple or path with our system's values in it."""
    if isinstance(of, Mapping):
        return {name: _read(value, ours) for name, value in of.items()}
    if isinstance(of, tuple):
        return tuple(_read(value, ours) for value in of)
    if not isinstance(of, str):
        return of
    for part in of.split("."):
        ours = ours[int(part)] if part.isdigit() else getattr(ours, part)
    return ours


def settings(name: str, phase: Phase) -> dict[str, float] | None:
    """What a phase trains a parameter of mmsa's with: learning_rate and weight_decay; None: it is frozen."""
    for theirs, ours in _NAMES:
        name = re.sub(f"^{theirs}", ours, name)
    optimizer = phase.optimizer
    groups = (*optimizer.groups, (r".*", {}))
    own = next(own for regex, own in groups if re.fullmatch(regex, name))
    if own is None or not re.fullmatch(phase.train, name):
        return None
    names = ("learning_rate", "weight_decay")
    return {key: own.get(key, getattr(optimizer, key)) for key in names}
