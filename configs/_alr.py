"""What ALR's recipes share: the paper's settings, and the rows of its Tables V to IX."""

from typing import Any

from configs import common

# What each row changes in config.model; in Table V, the modalities of the data.
ROWS: dict[str, dict[str, Any]] = {
    "alr": {},
    "no_audio": dict(modalities=("text", "vision")),
    "no_vision": dict(modalities=("text", "audio")),
    "no_audio_vision": dict(modalities=("text",)),
    "no_ur": dict(bottleneck=False),
    "no_ali": dict(layers=0),
    "concatenation": dict(fusion="concatenation"),
    "addition": dict(fusion="addition"),
    "multiplication": dict(fusion="multiplication"),
    "layers_3": dict(layers=3),
    "layers_9": dict(layers=9),
    "dim_128": dict(dim=128),
    "dim_512": dict(dim=512),
    # No rows of the paper's: one scale of the text, and the divergence as in MIB's code.
    "one_scale": dict(scales=False),
    "mib": dict(beta=1e-3, start=-5.0),
}


def get_config(dataset: str, row: str) -> Any:
    """The paper's recipe on a dataset.

    Args:
      dataset: a name in `DATASETS`.
      row: a name in `ROWS`.

    Raises:
      ValueError: an unknown row.
    """
    config = common.get_config("alr", dataset)
    config.text.encoder = "bert-base-uncased"
    config.model.update(
        dim=256,
        layers=6,  # of interaction
        fusion="mmmu_ba",
        dropout=0.5,
        beta=1.0,  # per element and from the prior on, as msajax/models/alr.py says
        tokens=8,  # open, as what follows: ALMT's
        embed_layers=1,
        heads=8,
        hidden=1024,  # MIB's
        bottleneck_weight=1.0,
        share=0.6,  # MutualFormer's
        pairing="received",  # "sent": as equations 10 and 11 literally say
        scales=True,  # open how: ALMT's
    )
    # Patience is open. The rate of the encoder stays where another is set for the rest.
    config.train.update(batch_size=64, epochs=50, patience=8)
    rate = {"learning_rate": 1e-5}
    config.optimizer.update(
        name="adam", **rate, groups=((r"encoder/.*", rate), (r".*", {}))
    )
    set_row(config, row)
    return config


def set_row(config: Any, row: str) -> None:
    """Sets what a row changes of the system and its data.

    Args:
      config: changed in place; its model is that of the row 'alr'.
      row: a name in `ROWS`, or several joined by '+'.

    Raises:
      ValueError: an unknown row.
    """
    common.change_config(config, common.join_rows(row, ROWS))
