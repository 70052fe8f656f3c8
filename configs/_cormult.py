"""What CorMulT's recipes share: its two phases, and the rows of the paper's Tables 2, 3, 5 and 6 and of its (t, o) grid."""

import re
from collections.abc import Mapping
from typing import Any

from configs import common

_FEATURES = ("none", "mel", "res", "full")

# What each row changes, see `common.change_config`; `phases` are those that it trains.
ROWS: dict[str, dict[str, Any]] = {
    "cormult": {},
    # All that the paper says and the authors' code does otherwise, and its (t, o).
    "paper": {
        "text.vocabulary": True,  # section 3.2.1; strategy C then replaces a word
        "data.split": (0.7, 0.15, 0.15),  # section 4.1.1
        "mce_encoder": "paper",
        "mce_steps": 64,
        "mce_out": 200,
        "weighting": "multiply",
        "residual_head": False,
        "levels": 7,
        "shift": (1, 20, 0),  # a word; a second of audio, whose rate no dataset gives
        "foreign": 0.0,
    },
    **{f"strategy_{s.lower()}": dict(strategy=s) for s in "ABCD"},
    **{
        name: dict(distance=name)
        for name in ("euclidean", "manhattan", "chebyshev", "cosine", "mahalanobis")
    },
    # Table 5: prepared stores of that name (and dataset), whatever their widths.
    **{
        f"features_{name}": {"data.variant": name, "data.dims": (), "data.lengths": ()}
        for name in _FEATURES
    },
    # Table 6, whose "comb" is not explained: taken for no pretrained coefficients.
    "pre_comb": dict(correlated=(), phases=("fuse",)),
    "pre_at": dict(correlated=("text", "audio")),
    "pre_vt": dict(correlated=("text", "vision")),
    "pre_vat": {},
    # One phase alone: the evaluator, and the rest on another run's (config.init_from).
    "mce": dict(phases=("mce",)),
    "fuse": dict(phases=("fuse",), init=r"(statistics/)?mce/.*"),
}

Settings = Mapping[str, Any]


def set_row(config: Any, row: str, *, mce: Settings, fuse: Settings) -> None:
    """Sets the phases of a row, and what it changes of the system and its data.

    Args:
      config: changed in place; its model is that of the row 'cormult'.
      row: a name in `ROWS`, or 't<t>_o<o>', as 't64_o200': the map to the shared space;
        or several joined by '+', as 'paper+strategy_a'.
      mce: what the first phase changes in config.train and config.optimizer.
      fuse: what the second changes.

    Raises:
      ValueError: an unknown row.
    """
    changes = common.join_rows(
        row, ROWS, numbered=_grid, also=", or t<t>_o<o>, as t64_o200"
    )
    wanted = changes.pop("phases", ("mce", "fuse"))
    config.init_parameters = changes.pop("init", config.init_parameters)
    common.change_config(config, changes)
    first = dict(loss="mce_loss", predict="mce_pred", select="loss", train=r"mce/.*")
    phases = {
        "mce": dict(name="mce", **first, **mce),
        "fuse": dict(name="fuse", train=r"mult/.*", **fuse),
    }
    config.phases = tuple(phases[name] for name in wanted)


def _grid(row: str) -> dict[str, int] | None:
    found = re.fullmatch(r"t([1-9]\d*)_o([1-9]\d*)", row)
    return dict(mce_steps=int(found[1]), mce_out=int(found[2])) if found else None


def set_authors(config: Any, row: str) -> None:
    """Sets the hyperparameters of the authors' code, and a row.

    Their second phase also cuts sequences at 100 steps, and perturbs validation data as
    `foreign` does training data; ours does not.
    """
    config.model.update(
        strategy="D",
        shift=(1, 1, 1),
        noise=0.1,
        distance="cosine",
        margin=0.2,
        mce_dim=128,
        mce_heads=4,
        mce_layers=3,
        mce_hidden=256,
        mce_dropout=0.1,
        mce_encoder="post_ln",
        mce_steps=0,
        mce_out=64,
        weighting="residual",
        foreign=0.3,
        levels=0,
        dim=30,
        heads=2,
        layers=2,
        kernel_sizes=(1, 1, 1),
        text_dropout=0.25,
        attention_dropouts=(0.1, 0.1, 0.1),
        relu_dropout=0.1,
        residual_dropout=0.1,
        embed_dropout=0.25,
        output_dropout=0.0,
    )
    config.train.patience = 0
    set_row(
        config,
        row,
        mce=dict(epochs=50, batch_size=24, optimizer=dict(learning_rate=2e-4)),
        fuse=dict(
            epochs=20,
            batch_size=48,
            optimizer=dict(
                learning_rate=3e-4,
                clip_norm=0.8,
                schedule="plateau",
                plateau_patience=10,
            ),
        ),
    )
