"""Everything that knows about devices: the only file that says pmap or axis.

The step always runs under the mapped axis, over one device as over many, so
that reductions over the global batch exist in one form. Outside of it (a
system applied by hand, the parity tool, initialisation) they are identities.

With several processes (processes.py) `Devices` are those of all of them, in the
same order everywhere, while the arrays around the step are those of the own ones:
pmap takes and returns them so. Typed random keys do not cross its border there;
their data does.
"""

import contextlib
import os
import resource
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_AXIS = "data"
# Devices of a processor that share an evaluation (`to_evaluate`).
_EVALUATORS = 2

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
    """Mean over the rows, or their turns, of the global batch that count.

    Averaging its gradient over devices gives the exact gradient.

    Args:
      x: [B, ...] float32, one value (or array) per row; [B, U, ...] per turn.
      where: [B] bool, False on rows that weigh nothing; [B, U] bool on turns. With
        none left the mean is 0, and so is its gradient.

    Returns:
      [...] float32, the same on every device.
    """
    if where.ndim > 1:
        x, where = x.reshape(-1, *x.shape[where.ndim :]), where.reshape(-1)
    mask = where.reshape(where.shape + (1,) * (x.ndim - 1))
    count = batch_sum(where.astype(x.dtype))
    # The inner where keeps a NaN of a filler row out of the sum and the gradient.
    return batch_sum(jnp.where(mask, x, 0)) / jnp.maximum(count, 1)


def gather(x: jax.Array, *, dim: int = 0) -> jax.Array:
    """Rows of the global batch on every device: [B, ...] -> [devices * B, ...].

    Args:
      x: this device's rows.
      dim: where they lie.
    """
    return jax.lax.all_gather(x, _AXIS, axis=dim, tiled=True) if axis() else x


def draw(sample: Callable[[int], jax.Array], rows: int) -> jax.Array:
    """Random numbers that belong to a method, drawn for the global batch.

    The draw does not depend on the number of devices, if its key does not:
    `make_rng` gives such keys for every stream but 'dropout'.

    Args:
      sample: a number of rows -> [rows, ...], the same on every device.
      rows: of this device's part of the batch.

    Returns:
      [rows, ...], this device's part.
    """
    if axis() is None:
        return sample(rows)
    drawn = sample(rows * jax.lax.axis_size(_AXIS))
    start = jax.lax.axis_index(_AXIS) * rows
    return jax.lax.dynamic_slice_in_dim(drawn, start, rows)


def mean(tree: Any) -> Any:
    """Mean of a tree of arrays (gradients) over the devices; over several in float32."""
    # Even over one device it would copy all of them.
    if axis() is None or jax.lax.psum(1, _AXIS) == 1:
        return tree
    return jax.lax.pmean(jax.tree.map(lambda x: x.astype(jnp.float32), tree), _AXIS)


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


def split_processor(count: int) -> None:
    """Splits the processor into `count` devices, but no more than cores, and at least two.

    XLA computes small products and elementwise loops on one core each: devices
    that share a batch keep several cores busy. The two are for `to_evaluate`.
    GPUs are as many as there are. Nothing happens where jax has looked for its
    devices already, or XLA_FLAGS or jax_num_cpu_devices say how many there are.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if (jax.config.values["jax_num_cpu_devices"] or 0) > 0:
        return
    count = max(_EVALUATORS, min(count, os.cpu_count() or 1))
    with contextlib.suppress(RuntimeError):  # jax knows its devices already
        jax.config.update("jax_num_cpu_devices", count)


def find_devices(limit: int = 0) -> Devices:
    """The devices to train on: the first `limit` of each process.

    0 takes all GPUs, or the processor as one device.

    Raises:
      ValueError: more devices asked for than there are, or not as many in each process.
    """
    processes = range(jax.process_count())
    known = [jax.local_devices(process_index=i) for i in processes]
    take = limit or (1 if on_cpu(known[0]) else None)
    found = [own[:take] for own in known]
    least = min(found, key=len)
    if limit > len(least):
        cpu = on_cpu(least)
        early = cpu and len(least) < (os.cpu_count() or 1)
        started = (
            "; JAX was used in this process before, and is told of several only when it "
            "starts: restart Python (a notebook's kernel), and ask for them first"
        )
        raise ValueError(
            f"config.parallel.devices asks for {limit} devices, but this machine has "
            f"{len(least)} ({least[0].platform}); set it to 0 to take {'one' if cpu else 'all'}"
            f"{started if early else ''}"
        )
    if any(len(own) > len(least) for own in found):
        raise ValueError(
            f"the processes have {[len(own) for own in found]} devices, but need as many "
            f"each; set config.parallel.devices={len(least)}"
        )
    return [device for own in found for device in own]


def to_evaluate(devices: Devices) -> Devices:
    """The devices for a pass without gradients, by those of the training.

    Where a processor trains as one device, two share the batches here: on two cores,
    LSTMs predict 1.3 to 1.5 times as many rows a second. A single core has two devices
    as well, so that results do not depend on the number of cores.
    """
    if len(devices) == 1 and on_cpu(devices):
        return jax.local_devices()[:_EVALUATORS]
    return devices


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


def on_cpu(devices: Devices) -> bool:
    """Whether the devices are the machine's processor."""
    return devices[0].platform == "cpu"


def fit(tree: Any, devices: Devices) -> bool:
    """Whether arrays may stay on each device: they take at most a quarter of its memory."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    return size <= memory(devices) // 4


def memory(devices: Devices) -> int:
    """Bytes of memory that each device has; on a CPU they share the machine's."""
    own = _mesh(devices).local_mesh.devices.ravel()
    stats = own[0].memory_stats() or {}
    return stats.get("bytes_limit", host_memory() // len(own))


def peak_memory(devices: Devices) -> int:
    """Most bytes that any of the own devices has held so far; on a CPU the whole process."""
    own = _mesh(devices).local_mesh.devices.ravel()
    stats = [
        (device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in own
    ]
    if any(stats):
        return max(stats)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def host_memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def replicate(tree: Any, devices: Devices) -> Any:
    """Copies a tree of host arrays to every device."""
    return jax.device_put(tree, _sharding(devices))


def shard_rows(rows: np.ndarray, devices: Devices) -> np.ndarray:
    """Deals the rows of each batch to the devices: [..., B] -> [devices, ..., B / devices].

    Every process knows the rows of all and takes those of its own devices.
    """
    dealt = rows.reshape(*rows.shape[:-1], len(devices), -1)
    own = [device.process_index == jax.process_index() for device in devices]
    return np.ascontiguousarray(np.moveaxis(dealt, -2, 0)[own])


def put_shards(tree: Any, devices: Devices) -> Any:
    """Copies to each device its part of a tree of host arrays, [devices, ...] each."""
    return jax.device_put(tree, _sharding(devices, _AXIS))


def over_seeds(fn: Callable, count: int, *, in_axes: tuple[Any, ...]) -> Callable:
    """`fn` of one seed as a function of several, whose outputs have an axis of seeds in front.

    Args:
      fn: pure, without that axis.
      count: seeds.
      in_axes: for each argument 0 where it has the axis, None where all seeds
        share it.
    """
    if count > 1:
        return jax.vmap(fn, in_axes=in_axes)

    # An axis of one seed costs time in products and convolutions: it is taken off.
    def alone(*args):
        args = [
            x if a is None else jax.tree.map(lambda leaf: jnp.squeeze(leaf, 0), x)
            for x, a in zip(args, in_axes, strict=True)
        ]
        return jax.tree.map(lambda leaf: leaf[None], fn(*args))

    return alone


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
      out_axes: 0 for an output dealt to the devices, None for a replicated one. A
        replicated output that was not averaged is silently the first device's.
      donate: arguments whose buffers the outputs may take.

    Returns:
      The compiled function, over arrays made by `replicate` and `put_shards`.
    """
    return jax.pmap(
        fn,
        axis_name=_AXIS,
        in_axes=in_axes,
        out_axes=out_axes,
        donate_argnums=donate,
        devices=devices,
    )


def _sharding(devices: Devices, *axes: str) -> NamedSharding:
    """Over those of the devices that belong to this process."""
    return NamedSharding(_mesh(devices).local_mesh, PartitionSpec(*axes))


def _mesh(devices: Devices) -> Mesh:
    # The axis is named as in `compile`: another name would compile everything twice.
    return Mesh(np.asarray(devices), (_AXIS,))
