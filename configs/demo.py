"""The embedded demo corpus: `configs/demo.py`, or `configs/demo.py:SYSTEM` for another system."""

from configs import _mfon, common

# Sizes that train in seconds to a minute or two on two cores.
_MODELS = {
    "almt": dict(
        dim=32,
        tokens=4,
        head_dim=16,
        embedding_heads=2,
        embedding_mlp_dim=32,
        text_heads=2,
        text_mlp_dim=32,
        ahl_heads=2,
        fusion_heads=2,
        fusion_mlp_dim=32,
    ),
    "av_mc": dict(hidden_dims=(32, 16, 16), pooling="mean", output_range=(-3.0, 3.0)),
    "ef_lstm": dict(hidden_dim=64, layers=1),
    "iml_cmm": dict(
        dim=32,
        tokens=4,
        heads=2,
        head_dim=16,
        mlp_dim=32,
        fusion_layers=2,
        attention_dim=32,
    ),
    "lf_dnn": dict(hidden_dims=(32, 16, 16), text_out=32, post_fusion_dim=32),
    "lmf": dict(hidden_dims=(32, 16, 16)),
    "mfon": dict(
        dim=32,
        heads=4,
        layers=(1, 1),
        teacher_layers=(1, 1),
        pooling="mean",
        mask="none",
        distillation=0.1,
        contrast=0.1,
        own_labels=True,
    ),
    "msg_mba": dict(align=True, pooling="mean", dim=16, fusion_dim=32),
    "mult": dict(dim=16, heads=2, layers=2),
    "tfn": dict(hidden_dims=(32, 16, 16), text_out=16, post_fusion_dim=32),
}


def get_config(system="lf_dnn"):
    config = common.get_config(system, "demo")
    config.model.update(_MODELS.get(system, {}))
    config.train.update(seeds=(1, 2, 3), epochs=30, batch_size=32)
    if system == "mfon":
        names = "text", "audio", "vision", "other"
        parts = {name: {"learning_rate": 1e-3} for name in names}
        _mfon.set_row(config, "mfon", teachers=parts, groups=parts)
    return config
