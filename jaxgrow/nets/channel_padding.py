"""Zero channels behind a growing network's own, for the tensor cores of a GPU.

They multiply fast with multiples of 8 channels in bfloat16 and of 4 in float32
(`ops.channel_multiple`); the paper's 27 is neither. Kernels with zero channels make
features with zero channels, which activations and norms keep zero. So the padding is a
transformation of the variables before the network runs, and `jax.grad` returns the
gradient of the variables before it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, PyTree

from jaxgrow.nets.weight_norm import Path


def pad(
    variables: PyTree, width: int, multiple: int, branches: tuple[str, ...]
) -> PyTree:
    """Return variables of the same network with a multiple of channels in every block.

    `width` is the number of channels of every block. `branches` are the names of a
    sub-block's convolutions in the order of their features; the last one's zeros are
    the last features.
    """
    extra = -width % multiple
    if extra == 0:
        return variables
    flat: dict[Path, Any] = dict(flatten_dict(variables))
    inner = branches[:-1]
    return unflatten_dict(
        {path: _pad_leaf(path, x, width, extra, inner) for path, x in flat.items()}
    )


def cut(variables: PyTree, like: PyTree) -> PyTree:
    """Return the leading part of every array, in the shapes of `like`."""

    def cut_leaf(x: Array, own: Array) -> Array:
        return x if x.shape == own.shape else x[tuple(slice(n) for n in own.shape)]

    return jax.tree.map(cut_leaf, variables, like)


def _pad_leaf(
    path: Path, x: Float[Array, "..."], width: int, extra: int, inner: tuple[str, ...]
) -> Float[Array, "..."]:
    """Pad one variable; its path is (collection, r<resolution>_<role>, ..., name)."""
    _, module, *_, layer, _ = path
    if layer == "logit":
        return x
    if layer == "hidden":  # rows are pixels x channels
        rows = x.reshape(-1, width, x.shape[-1])
        rows = jnp.pad(rows, ((0, 0), (0, extra), (0, 0)))
        return rows.reshape(-1, x.shape[-1])
    if x.ndim == 1:  # scale, bias, mean or variance of a batch norm
        return jnp.pad(x, (0, extra))
    inputs = 0 if module.endswith("_from_rgb") else extra
    outputs = 0 if module.endswith("_to_rgb") or layer in inner else extra
    return jnp.pad(x, ((0, 0), (0, 0), (0, inputs), (0, outputs)))
