"""Fresh weights by PyTorch's default distributions, drawn by NumPy.

Each draw depends on the seed and the parameter's path alone. It is equal on every
device and needs no compilation, which takes seconds for a draw per kernel.
"""

import functools
import math
import zlib
from collections.abc import Collection, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgrow.typing import Params


def uniform_fan_in(
    module: nn.Module,
    *inputs: jax.ShapeDtypeStruct | None,
    seed: int | Sequence[int],
    zero: Collection[str] = (),
) -> Params:
    """Return fresh parameters of `module` as PyTorch's Linear and Conv2d have them.

    Kernels and biases are uniform in +-1/sqrt(fan_in), scales of norms one and their
    biases zero.

    Args:
        module: Its kernels have the outputs on the last axis, and a bias that belongs
            to a kernel stands beside it.
        *inputs: Shapes and types of the arguments of `module`.
        seed: Of all draws.
        zero: Names of the top-level layers whose kernel and bias start at zero.
    """
    flat: dict[tuple[str, ...], jax.ShapeDtypeStruct]
    flat = dict(flatten_dict(shapes_of(module, *inputs)["params"]))  # pyright: ignore
    params = {}
    for path, leaf in flat.items():
        kernel = flat.get((*path[:-1], "kernel"))
        if path[-1] == "scale":
            params[path] = np.ones(leaf.shape, np.float32)
        elif kernel is None or path[0] in zero:
            params[path] = np.zeros(leaf.shape, np.float32)
        else:
            bound = np.float32(1.0 / math.sqrt(math.prod(kernel.shape[:-1])))
            unit = rng_of(path, seed).random(leaf.shape, np.float32)
            params[path] = bound * (2.0 * unit - 1.0)
    # Without its type, `asarray` compiles a program for every shape.
    return unflatten_dict({p: jnp.asarray(a, jnp.float32) for p, a in params.items()})


def shapes_of(
    module: nn.Module, *inputs: jax.ShapeDtypeStruct | None, **options: bool
) -> dict:
    """Return shapes and types of all variables of `module`, without computation."""
    init = functools.partial(module.init, **options)
    return jax.eval_shape(init, jax.random.key(0), *inputs)


def rng_of(path: Sequence[str], seed: int | Sequence[int]) -> np.random.Generator:
    """Return NumPy's generator for the parameter at `path`."""
    seeds = (seed,) if isinstance(seed, int) else seed
    return np.random.default_rng((*seeds, zlib.crc32("/".join(path).encode())))
