"""What IML-CMM's recipes share: the rows of the paper's Tables 4 and 5, and the draws of its section 5.3."""

import random
import re
from typing import Any

from configs import common

# What each row changes in config.model; of Table 5 the weights that are left, as letters.
ROWS: dict[str, Any] = {
    "iml_cmm": {},
    "no_kan": dict(kan=False),
    "no_ufa": "M",
    "no_mixup_a": dict(mixed=("vision",)),
    "no_mixup_v": dict(mixed=("audio",)),
    "no_ahl": dict(ahl_layers=0),
    **{terms.lower(): terms for terms in ("M", "MV", "MT", "MA", "MTA", "MAV", "MTV")},
    "mtav": {},
    "semi": {"mix_at": "tokens", "data.unlabelled": "train_mix"},
    # At first on CH-SIMS v2 about 0.09 of L1 and 0.05 of entropy; the task's loss is 0.7.
    "kan_regularized": dict(activation=1e-4, entropy=1e-3),
}
_DRAWN = (0.2, 0.4, 0.6, 0.8, 1.0)


def set_common(config: Any) -> None:
    """Sets what the recipes of all datasets share; "open" is what the paper does not give."""
    config.model.update(
        dim=128,
        tokens=8,  # open: ALMT's, as the Transformers' heads and widths
        heads=8,
        head_dim=64,
        mlp_dim=128,
        ffn="relu",  # equation 7; "gelu": ALMT's
        embedding_layers=1,
        ahl_layers=3,
        fusion_layers=4,  # open: ALMT's on CH-SIMS
        attention_dim=128,  # open
        kan=True,
        grid_size=5,  # open: efficient-kan's, as the order
        order=3,
        grid_range=(-1.0, 1.0),
        weights=(1.0, 0.2, 0.8, 0.4),  # M, T, A, V; open: AV-MC's
        mixed=("audio", "vision"),
        mix_at="features",
        alpha=1.0,  # open: AV-MC's
        mix_labels="blend",  # "mixture": AV-MC's
        mix_terms="own",  # equations 23 and 24; "all": AV-MC's
        mix_weights=(1.0, 1.0),  # open
        activation=0.0,  # open, as the entropy's: lambda_act and lambda_ent
        entropy=0.0,
    )
    # Batch, patience and optimizer: open; 100 epochs and one rate are the paper's.
    config.train.update(batch_size=32, epochs=100, patience=16)
    rate = {"learning_rate": 1e-5}
    groups = (r"encoder/.*", rate), (r".*", {})
    config.optimizer.update(name="adam", **rate, groups=groups)


def set_row(config: Any, row: str) -> None:
    """Sets what a row changes.

    Args:
      config: changed in place; its model is that of the row 'iml_cmm'.
      row: a name in `ROWS`, or 'weights_<n>': weights drawn from 0.2, ..., 1.0 by the
        number n, 0 and up; or several joined by '+'.

    Raises:
      ValueError: an unknown row.
    """
    rows = {name: _changes(config, changes) for name, changes in ROWS.items()}
    changes = common.join_rows(row, rows, numbered=_draw, also=", weights_<n>")
    common.change_config(config, changes)


def _changes(config: Any, changes: Any) -> dict[str, Any]:
    if not isinstance(changes, str):
        return changes
    pairs = zip("MTAV", config.model.weights, strict=True)
    return dict(weights=tuple(w if m in changes else 0.0 for m, w in pairs))


def _draw(row: str) -> dict[str, Any] | None:
    if not (drawn := re.fullmatch(r"weights_(\d+)", row)):
        return None
    generator = random.Random(int(drawn[1]))
    return dict(weights=tuple(generator.choice(_DRAWN) for _ in "MTAV"))
