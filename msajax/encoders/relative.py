"""Buckets of relative positions, of which each attention head learns a bias.

Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
Text-to-Text Transformer", JMLR 2020, section 2.1: T5's, which others took over.
"""

import numpy as np


def buckets(
    distance: np.ndarray, *, count: int = 32, farthest: int = 128, causal: bool = False
) -> np.ndarray:
    """Rows of a table of relative positions.

    The first half of the rows of a direction are a distance each, the others grow with
    its logarithm up to the farthest; beyond it all share the last row. In numpy and
    float32, by the reference's steps: another logarithm can fall one bucket lower.

    Args:
      distance: integers, key - query.
      count: of rows: a half for keys behind the query, unless causal.
      farthest: distance from which on there is one row; above half of a direction's rows.
      causal: keys behind the query have row 0, all other rows are for those before it.

    Returns:
      int32, 0 to count - 1, like distance.
    """
    rows = count if causal else count // 2
    near = rows // 2
    away = np.maximum(-distance, 0) if causal else np.abs(distance)
    ratio = np.log(np.maximum(away, 1).astype(np.float32) / np.float32(near))
    ratio = ratio / np.float32(np.log(farthest / near)) * np.float32(rows - near)
    far = near + ratio.astype(np.int32)
    row = np.where(away < near, away, np.minimum(far, rows - 1))
    behind = 0 if causal else rows * (distance > 0)
    return (row + behind).astype(np.int32)
