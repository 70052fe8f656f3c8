"""WavLM of Hugging Face's transformers."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.encoders.relative import buckets
from msajax.encoders.wavlm import WavLMConfig
from msajax.weights.wavlm import table
from tools.parity.case import Case
from tools.parity.wav2vec2 import variants


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    results = variants(case, WavLMConfig.read, table)
    for name in ("out/base/attentions/0", "out/large/attentions/0"):
        # PyTorch's attention returns the mean over heads.
        results[name] = jnp.mean(results[name], axis=1)
    settings = case.setting("variants")["base"]
    sizes = dict(
        count=settings["num_buckets"], farthest=settings["max_bucket_distance"]
    )
    distances = case.arrays["in/bucket_distances"]
    steps = np.arange(results["out/base/frame_mask"].shape[1])
    rows = buckets(steps[None] - steps[:, None], **sizes)
    embedding = case.arrays[
        "param/base.encoder.layers.0.attention.rel_attn_embed.weight"
    ]
    return {
        **results,
        "out/buckets/this": buckets(distances, **sizes),
        "out/buckets/320_800": buckets(distances, count=320, farthest=800),
        "out/position_bias": np.moveaxis(embedding[rows], 2, 0),
    }
