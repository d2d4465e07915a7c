"""Functions in float64, whatever JAX's own precision."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrow.devices import backend


P = ParamSpec("P")
Stats = TypeVar("Stats")


def in_float64(fn: Callable[Concatenate[Any, P], Stats]) -> Callable[P, Stats]:
    """Compute `fn(xp, ...)` in float64, where the arguments are.

    `xp` is NumPy on CPU. Elsewhere it is `jax.numpy`, compiled for the device.
    """
    compiled = jax.jit(functools.partial(fn, jnp))

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> Stats:
        if backend.on_cpu():
            with np.errstate(invalid="ignore"):  # callers refuse NaN
                return fn(np, *jax.tree.map(np.asarray, args), **kwargs)
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            return compiled(*args, **kwargs)

    return call
