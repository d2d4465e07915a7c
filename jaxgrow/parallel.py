"""Data parallelism: the only module that knows how many devices there are.

`jax.pmap` is in maintenance mode; it stands in `compile_step` alone. Under
`jax.shard_map` with its default `check_vma=True` the same `lax.pmean(grads)` would
silently give N times the gradient.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxgrow.errors import UserError


AXIS = "batch"


def pmean(tree: PyTree, axis_name: str | None) -> PyTree:
    """Mean over devices; the identity when the step runs on one."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def axis_size(axis_name: str | None) -> int:
    """Devices that share a batch; 1 when the step runs on one."""
    return 1 if axis_name is None else lax.axis_size(axis_name)


def compile_step(step: Callable[..., Any], num_devices: int) -> Any:
    """Compiles `step(state, data, batch) -> (state, metrics)`; donates `state`.

    Over several devices the state and the data go in without a device axis and come
    out so, so checkpoints, evaluation and the single-device path all see the same
    arrays; only the batch carries the leading axis that `shard_batch` adds.
    """
    if num_devices == 1:
        return jax.jit(step, donate_argnums=0)
    return jax.pmap(
        step,
        axis_name=AXIS,
        in_axes=(None, None, 0),
        out_axes=(None, None),
        donate_argnums=0,
        devices=jax.local_devices()[:num_devices],
    )


def replicate(tree: PyTree, num_devices: int) -> PyTree:
    """`tree` on every device, still without a device axis."""
    if num_devices == 1:
        return jax.device_put(tree)
    mesh = Mesh(np.array(jax.local_devices()[:num_devices]), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard_batch(batch: PyTree, num_devices: int, batch_axis: int = 0) -> PyTree:
    """Moves each device's share of `batch_axis` to a new leading axis.

    (b, ...) -> (devices, b / devices, ...), or for steps that are stacked in front
    (batch_axis=1) (k, b, ...) -> (devices, k, b / devices, ...). One device: as it is.
    """
    if num_devices == 1:
        return batch

    def split(x):
        share = (num_devices, x.shape[batch_axis] // num_devices)
        x = x.reshape(*x.shape[:batch_axis], *share, *x.shape[batch_axis + 1 :])
        return np.moveaxis(x, batch_axis, 0)

    return jax.tree.map(split, batch)


def check_devices(num_devices: int | None, batch_size: int) -> int:
    """Number of local devices to use; None means all of them.

    Raises:
        UserError: If there are fewer, or they do not divide the batch.
    """
    available = jax.local_device_count()
    wanted = available if num_devices is None else num_devices
    if not 1 <= wanted <= available:
        raise UserError(
            f"{wanted} devices were asked for and {available} are here: "
            f"pass --devices 1 to {available}"
        )
    if batch_size % wanted:
        raise UserError(
            f"a batch of {batch_size} does not divide over {wanted} devices: change "
            f"--batch-size or --devices"
        )
    return wanted
