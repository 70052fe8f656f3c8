"""Everything that knows about devices: the only file that says pmap, axis or process.

The step always runs under the mapped axis, over one device as over many, so
that reductions over the global batch exist in one form. Outside of it (a
system applied by hand, the parity tool, initialisation) they are identities.
"""

import jax
import jax.numpy as jnp

_AXIS = "data"


def axis() -> str | None:
    """Name of the device axis where one is bound (BatchNorm's axis_name), else None."""
    try:
        jax.lax.axis_index(_AXIS)
    except NameError:
        return None
    return _AXIS


def batch_sum(x: jax.Array) -> jax.Array:
    """Sum over the leading axis of the global batch: [B, ...] -> [...]."""
    total = jnp.sum(x, axis=0)
    return jax.lax.psum(total, _AXIS) if axis() else total


def batch_mean(x: jax.Array, *, where: jax.Array) -> jax.Array:
    """Mean over the rows of the global batch that count.

    Averaging its gradient over devices gives the exact gradient.

    Args:
      x: [B, ...] float32, one value (or array) per row.
      where: [B] bool, False on rows that weigh nothing. With no row left the
        mean is 0, and so is its gradient.

    Returns:
      [...] float32, the same on every device.
    """
    mask = where.reshape(where.shape + (1,) * (x.ndim - 1))
    count = batch_sum(where.astype(x.dtype))
    # The inner where keeps a NaN of a filler row out of the sum and the gradient.
    return batch_sum(jnp.where(mask, x, 0)) / jnp.maximum(count, 1)


def gather(x: jax.Array) -> jax.Array:
    """Rows of the global batch on every device: [B, ...] -> [devices * B, ...]."""
    return jax.lax.all_gather(x, _AXIS, tiled=True) if axis() else x
