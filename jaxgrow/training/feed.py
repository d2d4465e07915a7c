"""Batches of one training, and the data that stays on the devices."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxgrow.devices.parallel import Placement


def fits(array: Any, max_mb: int) -> bool:
    """Return True if an array takes at most `max_mb` units of 2^20 bytes."""
    return array.nbytes <= max_mb * 2**20


class Feed:
    """Batches as a pure function of the step, shared out over the devices.

    Data that fits stays on the devices, and a batch holds rows of it. Otherwise every
    batch brings its pixels, read from memory or from memory-mapped files; a host reads
    only the rows that its own devices take.

    Args:
        placement: The devices.
        batch_size: Examples of a step, over all devices.
        plan: Step -> batch, a NamedTuple of NumPy arrays; a pure function. Several
            models per step are stacked in front of the examples.
        data: Arrays that every step gets, or a function that computes them; it is
            called once, when training starts.
        on_host: Field of the batch -> array of which a batch brings its rows.
        rows: Field of the batch that holds the rows.
        like: Shapes of `data`, needed to compile ahead of a `data` that is a function.
    """

    def __init__(
        self,
        placement: Placement,
        batch_size: int,
        plan: Callable[[int], Any],
        data: PyTree | Callable[[], PyTree],
        *,
        on_host: Mapping[str, Any] | None = None,
        rows: str = "rows",
        like: PyTree = None,
    ):
        self._placement, self._plan, self._rows = placement, plan, rows
        self._data, self._on_host = data, on_host or {}
        self._like = data if like is None else like
        self._host_rows = placement.host_rows(batch_size)

    def place(self) -> PyTree:
        """Return the data on the devices."""
        data = self._data() if callable(self._data) else self._data
        return self._placement.replicate(data)

    def like(self) -> PyTree:
        """Return shapes and types of what `place` returns."""
        if callable(self._like):
            raise ValueError("a feed whose data is a function needs its shapes, `like`")
        return self._placement.like(self._like)

    def __call__(self, step: int, k: int) -> PyTree:
        """Return the batches of the `k` steps from `step` on, stacked if k > 1."""
        batches = [self.batch(step + i, self._host_rows) for i in range(k)]
        batch_axis = getattr(batches[0], self._rows).ndim - 1
        if k == 1:
            return self._placement.shard_batch(batches[0], batch_axis)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        return self._placement.shard_batch(stacked, batch_axis + 1)

    def batch(self, step: int, read: slice = slice(None)) -> Any:
        """Return the batch of one step, not yet shared out over the devices.

        Where batches bring pixels, those of the examples `read` are read.
        """
        plan = self._plan(step)
        rows = getattr(plan, self._rows)[..., read]
        found = {name: np.asarray(x[rows]) for name, x in self._on_host.items()}
        return plan._replace(**found)
