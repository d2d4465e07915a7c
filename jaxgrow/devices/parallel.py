"""Data parallelism: the only module that knows how many devices there are.

One device runs a step by `jax.jit`. Several run it by `jax.pmap`, where the step sees a
device's share of the batch and averages over `Placement.axis_name` itself; or by
`jax.jit` over a mesh, where it sees the whole batch, so that its means and batch
statistics are those of all devices by themselves, on one host or on many.

`jax.pmap` is in maintenance mode; it stands in `Placement.compile_step` alone. Under
`jax.shard_map` with its default `check_vma=True` the same `lax.pmean(grads)` would
silently give N times the gradient.
"""

import dataclasses
import functools
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
    """Mean over devices; the identity when the step sees the whole batch."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def axis_size(axis_name: str | None) -> int:
    """Devices that share a batch; 1 when the step sees all of it."""
    return 1 if axis_name is None else lax.axis_size(axis_name)


@dataclasses.dataclass(frozen=True)
class Placement:
    """The devices of a run, and by what they are driven.

    State and data go into a step without a device axis and come out so, whatever the
    placement: checkpoints, evaluation and the single-device path all see the same
    arrays.

    Attributes:
        num_devices: That share a batch, over all hosts; the same number on each.
        kind: By what, if they are several.
    """

    num_devices: int = 1
    kind: Kind = "pmap"

    @property
    def axis_name(self) -> str | None:
        """What the step has to average over; None if it sees the whole batch."""
        return AXIS if self.num_devices > 1 and self.kind == "pmap" else None

    def compile_step(self, step: Callable[..., Any]) -> Any:
        """Compiles `step(state, data, batch) -> (state, metrics)`; donates `state`.

        The step must have been built with this placement's `axis_name`.
        """
        if self.num_devices == 1:
            return jax.jit(step, donate_argnums=0)
        if self.kind == "mesh":
            return jax.jit(
                _to_be_split(step),
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
        """`tree` on every device, still without a device axis.

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
        """Shapes and types of `tree` as `replicate` would place it."""
        sharding = (
            jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            if self.num_devices == 1
            else self._sharding(PartitionSpec())
        )
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    def host_rows(self, batch_size: int) -> slice:
        """Rows of a batch that the devices of this host take."""
        share = batch_size // jax.process_count()
        return slice(share * jax.process_index(), share * (jax.process_index() + 1))

    def shard_batch(self, batch: PyTree, batch_axis: int = 0) -> PyTree:
        """Each device's share of a batch, as the compiled step takes it.

        Under pmap (b, ...) becomes (devices, b / devices, ...), or for steps that are
        stacked in front (batch_axis=1) (k, b, ...) becomes (devices, k, b / devices,
        ...). Under a mesh the shape stays. One device: as it is.

        Args:
            batch: Arrays of the whole batch; with several hosts the same on each,
                except that an array may hold this host's `host_rows` alone.
            batch_axis: Where the examples are.
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
        """In the order of the hosts, the first few of each."""
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
    """A replicated tree as the first device of this host has it, without a copy."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def _to_be_split(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, traced without what XLA cannot split over devices."""

    @functools.wraps(fn)
    def traced(*args: Any, **kwargs: Any) -> Any:
        with backend.splitting():
            return fn(*args, **kwargs)

    return traced


class RowsFn:
    """`fn(shared, *arrays)`, compiled for the devices of this host.

    Every device takes its share of the rows of every array and of what comes out;
    `shared` goes to all. What `fn` makes of a row must not depend on the others: then
    it makes the same of it on one device and on many, up to rounding.

    Args:
        fn: From `shared` and arrays with the same number of rows to such arrays.
        num_devices: The first so many of this host; None = all.
    """

    def __init__(self, fn: Callable[..., Any], num_devices: int | None = None):
        self._devices = jax.local_devices()[:num_devices]
        mesh = Mesh(np.array(self._devices), (AXIS,))
        every, rows = (NamedSharding(mesh, PartitionSpec(*a)) for a in ((), (AXIS,)))
        self._every, self._rows = every, rows
        fn = _to_be_split(fn) if len(self._devices) > 1 else fn
        self._fn = jax.jit(fn, out_shardings=rows)

    def whole_shares(self, num_rows: int) -> int:
        """The least number from `num_rows` on that the devices can share."""
        return -(-num_rows // len(self._devices)) * len(self._devices)

    def share(self, tree: PyTree) -> PyTree:
        """`tree` on every device; as it is where it lies there already."""
        return jax.device_put(tree, self._every)

    def __call__(self, shared: PyTree, *arrays: Any) -> Any:
        """What `fn` returns, on the devices.

        Args:
            shared: Arrays that every device needs, best from `share`.
            arrays: Of a number of rows that is one of `whole_shares`.
        """
        # JAX does not place a memory-mapped array, but what it holds.
        placed = jax.device_put([np.asarray(x) for x in arrays], self._rows)
        return self._fn(self.share(shared), *placed)

    def in_batches(self, batch_size: int, shared: PyTree, *arrays: Any) -> Any:
        """What `fn` returns for any number of rows, on the host.

        All calls are of one size, so that it is compiled once; the last one is filled
        up with rows that have been before.

        Args:
            batch_size: Rows of a call, before they are rounded up to `whole_shares`.
            shared: Arrays that every device needs.
            arrays: In memory or memory-mapped.
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
    """On this many local devices of every host; None means all of them.

    Raises:
        UserError: If there are fewer, they do not divide one of the batches, or pmap
            is wanted on several hosts.
    """
    available, hosts = jax.local_device_count(), jax.process_count()
    wanted = available if num_devices is None else num_devices
    if not 1 <= wanted <= available:
        raise UserError(
            f"{wanted} devices were asked for and {available} are here: "
            f"pass --devices 1 to {available}"
        )
    if hosts > 1 and kind == "pmap":
        raise UserError(
            f"pmap does not reach over {hosts} processes: pass --parallel mesh."
        )
    for batch_size in batch_sizes:
        if batch_size % (wanted * hosts):
            raise UserError(
                f"a batch of {batch_size} does not divide over {wanted * hosts} "
                "devices: change --batch-size or --devices"
            )
    return Placement(wanted * hosts, kind)
