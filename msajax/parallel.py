"""Everything that knows about devices: the only file that says pmap, mesh, axis or process.

The step always runs under the mapped axis, over one device as over many, so
that reductions over the global batch exist in one form. Outside of it (a
system applied by hand, the parity tool, initialisation) they are identities.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_AXIS = "data"

Devices = Sequence[jax.Device]


# Inside the step -------------------------------------------------------------


def axis() -> str | None:
    """Name of the device axis where one is bound, else None."""
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


def mean(tree: Any) -> Any:
    """Mean of a tree of arrays (gradients) over the devices."""
    return jax.lax.pmean(tree, _AXIS)


def rngs(key: jax.Array, step: jax.Array) -> dict[str, jax.Array]:
    """Random streams of one step.

    Dropout differs from device to device. Any other stream that a system asks
    for falls back to linen's 'params' stream, which is the same on every
    device, so that randomness of a method does not depend on their number.
    """
    key, dropout = jax.random.split(jax.random.fold_in(key, step))
    dropout = jax.random.fold_in(dropout, jax.lax.axis_index(_AXIS))
    return {"params": key, "dropout": dropout}


# Around the step -------------------------------------------------------------


def local_devices(limit: int = 0) -> Devices:
    """The devices to run on: the first `limit`, or all of them.

    Raises:
      ValueError: more devices asked for than there are.
    """
    found = jax.local_devices()
    if limit > len(found):
        raise ValueError(
            f"config.parallel.devices asks for {limit} devices, but this machine has "
            f"{len(found)} ({found[0].platform}); set it to 0 to take all"
        )
    return found[: limit or None]


def check_batch_size(size: int, devices: Devices) -> None:
    """Refuses a global batch size that does not divide by the number of devices.

    Raises:
      ValueError: names the two nearest sizes that do.
    """
    count = len(devices)
    if size % count:
        low = size - size % count
        near = f"{low} or {low + count}" if low else f"{count}"
        raise ValueError(
            f"a batch of {size} rows does not divide among {count} devices; set "
            f"config.train.batch_size to {near}, or config.parallel.devices"
        )


def replicate(tree: Any, devices: Devices) -> Any:
    """Copies a tree of host arrays to every device."""
    return jax.device_put(tree, NamedSharding(_mesh(devices), PartitionSpec()))


def shard_rows(rows: np.ndarray, devices: Devices) -> jax.Array:
    """Deals the rows of each batch to the devices: [steps, B] -> [devices, steps, B/devices]."""
    steps = rows.shape[0]
    parts = np.moveaxis(rows.reshape(steps, len(devices), -1), 1, 0)
    sharding = NamedSharding(_mesh(devices), PartitionSpec(_AXIS))
    return jax.device_put(np.ascontiguousarray(parts), sharding)


def unshard_rows(values: Any) -> np.ndarray:
    """The inverse for outputs on the host: [devices, steps, B/devices, ...] -> [steps, B, ...]."""
    values = np.moveaxis(np.asarray(values), 0, 1)
    return values.reshape(values.shape[0], -1, *values.shape[3:])


def compile(
    fn: Callable,
    devices: Devices,
    *,
    in_axes: tuple[int | None, ...],
    out_axes: Any = None,
    donate: tuple[int, ...] = (),
) -> Callable:
    """Compiles `fn` over the devices.

    Args:
      fn: the function; it runs with the device axis bound.
      devices: where it runs.
      in_axes: 0 for an argument dealt to the devices, None for a replicated one.
      out_axes: likewise for the outputs. A replicated output that was not
        averaged is silently the first device's.
      donate: arguments whose buffers the outputs may take.

    Returns:
      The compiled function, over arrays made by `replicate` and `shard_rows`.
    """
    return jax.pmap(
        fn,
        axis_name=_AXIS,
        in_axes=in_axes,
        out_axes=out_axes,
        donate_argnums=donate,
        devices=devices,
    )


def _mesh(devices: Devices) -> Mesh:
    # The axis is named as in `compile`: another name would compile everything twice.
    return Mesh(np.asarray(devices), (_AXIS,))
