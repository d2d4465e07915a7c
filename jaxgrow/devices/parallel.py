"""Data parallelism over one or several devices.

One device runs a step by `jax.jit`. Several devices run it in one of two ways. Under
`jax.pmap` the step sees a device's share of the batch and averages over
`Placement.axis_name` itself. Under `jax.jit` over a mesh it sees the whole batch, and
its means and batch statistics are those of all devices, on one host or on many.

`jax.pmap` is in maintenance mode; only `Placement.compile_step` uses it. Under
`jax.shard_map` with its default `check_vma=True` the same `lax.pmean(grads)` would
silently give N times the gradient.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxgrow.devices import backend
from jaxgrow.errors import UserError


AXIS = "batch"

Kind: TypeAlias = Literal["pmap", "mesh"]


def pmean(tree: PyTree, axis_name: str | None) -> PyTree:
    """Return the mean over devices; the identity if the step sees the whole batch."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def axis_size(axis_name: str | None) -> int:
    """Return the number of devices that share a batch; 1 if the step sees all of it."""
    return 1 if axis_name is None else lax.axis_size(axis_name)


@dataclasses.dataclass(frozen=True)
class Placement:
    """The devices of a run and the transformation that drives them.

    State and data have no device axis before and after a step, whatever the placement:
    checkpoints, evaluation and a single device all see the same arrays.

    Attributes:
        num_devices: Devices that share a batch, over all hosts; equally many on each.
        kind: Transformation for several devices.
    """

    num_devices: int = 1
    kind: Kind = "pmap"

    @property
    def axis_name(self) -> str | None:
        """The axis that the step averages over; None if it sees the whole batch."""
        return AXIS if self.num_devices > 1 and self.kind == "pmap" else None

    def compile_step(self, step: Callable[..., Any]) -> Any:
        """Compile `step(state, data, batch) -> (state, metrics)`; donate `state`.

        The step must have been built with this placement's `axis_name`.
        """
        if self.num_devices == 1:
            return jax.jit(step, donate_argnums=0)
        if self.kind == "mesh":
            return jax.jit(
                backend.splitting()(step),
                donate_argnums=0,
                out_shardings=self._sharding(PartitionSpec()),
            )
        return jax.pmap(
            step,
            axis_name=AXIS,
            in_axes=(None, None, 0),
            out_axes=(None, None),
            donate_argnums=0,
            devices=self._devices(),
        )

    def replicate(self, tree: PyTree) -> PyTree:
        """Return `tree` on every device, without a device axis.

        With several hosts each must have the same arrays.
        """
        if self.num_devices == 1:
            return jax.device_put(tree)
        sharding = self._sharding(PartitionSpec())
        if jax.process_count() == 1:
            return jax.device_put(tree, sharding)

        def spread(x):
            x = np.asarray(x)
            return jax.make_array_from_callback(x.shape, sharding, lambda at: x[at])

        return jax.tree.map(spread, tree)

    def like(self, tree: PyTree) -> PyTree:
        """Return shapes and types of `tree` as `replicate` would place it."""
        sharding = (
            jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            if self.num_devices == 1
            else self._sharding(PartitionSpec())
        )
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    def host_rows(self, batch_size: int) -> slice:
        """Return the rows of a batch that the devices of this host take."""
        share = batch_size // jax.process_count()
        return slice(share * jax.process_index(), share * (jax.process_index() + 1))

    def shard_batch(self, batch: PyTree, batch_axis: int = 0) -> PyTree:
        """Return the devices' shares of a batch, as the compiled step takes them.

        Under pmap (b, ...) becomes (devices, b / devices, ...). With k steps stacked in
        front (batch_axis=1), (k, b, ...) becomes (devices, k, b / devices, ...). Under
        a mesh and for one device the shape stays.

        Args:
            batch: Arrays of the whole batch; with several hosts the same on each,
                except that an array may hold this host's `host_rows` alone.
            batch_axis: Axis of the examples.
        """
        if self.num_devices == 1:
            return batch
        if self.kind == "mesh":
            return self._onto_mesh(batch, batch_axis)

        def split(x):
            share = (self.num_devices, x.shape[batch_axis] // self.num_devices)
            x = x.reshape(*x.shape[:batch_axis], *share, *x.shape[batch_axis + 1 :])
            return np.moveaxis(x, batch_axis, 0)

        return jax.tree.map(split, batch)

    def _onto_mesh(self, batch: PyTree, batch_axis: int) -> PyTree:
        sharding = self._sharding(PartitionSpec(*[None] * batch_axis, AXIS))
        size = max(x.shape[batch_axis] for x in jax.tree.leaves(batch))

        def put(x):
            shape = (*x.shape[:batch_axis], size, *x.shape[batch_axis + 1 :])
            return jax.make_array_from_process_local_data(sharding, x, shape)

        return jax.tree.map(put, batch)

    def _devices(self) -> list[Any]:
        """The first devices of each host, in the order of the hosts."""
        share = self.num_devices // jax.process_count()
        ordered = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
        hosts = range(jax.process_count())
        return [
            device
            for host in hosts
            for device in [d for d in ordered if d.process_index == host][:share]
        ]

    def _sharding(self, spec: PartitionSpec) -> NamedSharding:
        return NamedSharding(Mesh(np.array(self._devices()), (AXIS,)), spec)


def first_copy(tree: PyTree) -> PyTree:
    """Return a replicated tree as on the first device of this host, without a copy."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


class RowsFn:
    """`fn(shared, *arrays)`, compiled for the devices of this host.

    Every device takes its share of the rows of every array and of every result;
    `shared` goes to all. The result of a row must not depend on the other rows. Then it
    is the same on one device and on many, up to rounding.

    Args:
        fn: Function of `shared` and of arrays with the same number of rows.
        num_devices: Number of this host's devices; None means all.
    """

    def __init__(self, fn: Callable[..., Any], num_devices: int | None = None):
        self._devices = jax.local_devices()[:num_devices]
        mesh = Mesh(np.array(self._devices), (AXIS,))
        every, rows = (NamedSharding(mesh, PartitionSpec(*a)) for a in ((), (AXIS,)))
        self._every, self._rows = every, rows
        fn = backend.splitting()(fn) if len(self._devices) > 1 else fn
        self._fn = jax.jit(fn, out_shardings=rows)

    def whole_shares(self, num_rows: int) -> int:
        """Return the least number from `num_rows` on that the devices can share."""
        return -(-num_rows // len(self._devices)) * len(self._devices)

    def share(self, tree: PyTree) -> PyTree:
        """Return `tree` on every device; it is not copied if it lies there already."""
        return jax.device_put(tree, self._every)

    def __call__(self, shared: PyTree, *arrays: Any) -> Any:
        """Return the result of `fn` on the devices, `shared` best from `share`.

        The number of rows must be one that `whole_shares` returns.
        """
        # JAX does not place memory-mapped arrays.
        placed = jax.device_put([np.asarray(x) for x in arrays], self._rows)
        return self._fn(self.share(shared), *placed)

    def in_batches(self, batch_size: int, shared: PyTree, *arrays: Any) -> Any:
        """Return the result of `fn` for any number of rows, on the host.

        All calls have one size, `batch_size` rounded up to `whole_shares`, and are
        compiled once. Earlier rows fill up the last call. Arrays may be memory-mapped.
        """
        size, n = self.whole_shares(batch_size), len(arrays[0])
        if n == 0:
            nothing = jax.eval_shape(self._fn, shared, *arrays)
            return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), nothing)
        shared, parts = self.share(shared), []
        for start in range(0, n, size):
            rows = np.arange(start, start + size) % n
            found = jax.device_get(self(shared, *(x[rows] for x in arrays)))
            parts.append(jax.tree.map(lambda x, end=n - start: x[:end], found))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def place(kind: Kind, num_devices: int | None, *batch_sizes: int) -> Placement:
    """Return a placement on this many local devices of every host; None means all.

    Raises:
        UserError: There are fewer devices, they do not divide one of the batches, or
            pmap is wanted on several hosts.
    """
    available, hosts = jax.local_device_count(), jax.process_count()
    wanted = available if num_devices is None else num_devices
    if not 1 <= wanted <= available:
        raise UserError(
            f"{wanted} devices were asked for and {available} are here: "
            f"pass devices 1 to {available}"
        )
    if hosts > 1 and kind == "pmap":
        raise UserError(
            f"pmap does not reach over {hosts} processes: set parallel to mesh."
        )
    for batch_size in batch_sizes:
        if batch_size % (wanted * hosts):
            raise UserError(
                f"a batch of {batch_size} does not divide over {wanted * hosts} "
                "devices: change devices or batch_size"
            )
    return Placement(wanted * hosts, kind)
