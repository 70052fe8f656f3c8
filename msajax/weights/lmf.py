"""LMF of thuiar/MMSA."""

from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Table, copy

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}


def table(model: Any) -> Table:
    """MMSA's names."""
    del model
    return Table(
        rules=(
            *blocks.subnets(),
            copy("text_factor", "params/text_factor"),
            copy("audio_factor", "params/audio_factor"),
            copy("video_factor", "params/vision_factor"),
            copy("fusion_weights", "params/fusion_weights"),
            copy("fusion_bias", "params/fusion_bias"),
        ),
        ignored=(blocks.BATCHES,),
    )
