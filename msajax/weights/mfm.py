"""MFM of thuiar/MMSA."""

from typing import Any

from msajax.data.spec import MODALITIES
from msajax.weights import blocks
from msajax.weights.table import Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}


def table(model: Any) -> Table:
    """MMSA's names; nothing reads the output layers of the MFN inside."""
    del model
    rules = [*blocks.memory_fusion("mfn_encoder.", "fuse")]
    rules += blocks.linear("last_to_zy_fc1", "latent_all")
    rules += blocks.feed_forward("zy_to_fy", "factor_all")
    for letter, m in zip("lav", MODALITIES, strict=True):
        rules += blocks.lstm_cell(f"encoder_{letter}.lstm", f"encode_{m}")
        rules += blocks.linear(f"encoder_{letter}.fc1", f"latent_{m}")
        rules += blocks.feed_forward(f"z{letter}_to_f{letter}", f"factor_{m}")
        rules += blocks.lstm_cell(f"decoder_{letter}.lstm", f"decode_{m}")
        rules += blocks.linear(f"decoder_{letter}.fc1", f"decode_{m}_out")
    rules += blocks.feed_forward("fy_to_y", "out")
    return Table(rules=tuple(rules), ignored=(r"mfn_encoder\.out_fc[12]\..*",))
