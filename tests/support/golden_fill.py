"""Weights by the rule under which the specification's golden numbers were made."""

import math
from collections.abc import Iterable

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree


def filled(
    shapes: PyTree,
    order: Iterable[str],
    flattened: dict[str, tuple[int, int, int]] | None = None,
) -> PyTree:
    """Float64 parameters: element k of the p-th tensor is 0.1 sin(0.37 k + 1.3 p).

    Norm gains have 1 added. k counts in PyTorch's layout: a kernel has its outputs
    first and its inputs second, and flattened features are counted channels first.

    Args:
        shapes: The tree to fill.
        order: The layers' paths in PyTorch's order of parameters.
        flattened: (c, h, w) of the features that a dense layer reads or makes, by path.
    """
    flat = flatten_dict(shapes, sep="/")
    tensors = []
    for layer in order:
        names = [n for n in ("kernel", "scale", "bias") if f"{layer}/{n}" in flat]
        assert names, layer
        tensors += [f"{layer}/{name}" for name in names]
    assert sorted(tensors) == sorted(flat)
    arrays = {}
    for p, path in enumerate(tensors):
        layer, name = path.rsplit("/", 1)
        shape = tuple(flat[path].shape)
        k = np.arange(math.prod(shape), dtype=np.float64)
        values = 0.1 * np.sin(0.37 * k + 1.3 * p) + (name == "scale")
        chw = (flattened or {}).get(layer)
        arrays[path] = _to_flax(values, shape, chw)
    return unflatten_dict({tuple(path.split("/")): a for path, a in arrays.items()})


def _to_flax(values, shape, chw):
    if len(shape) == 4:
        h, w, i, o = shape
        return values.reshape(o, i, h, w).transpose(2, 3, 1, 0)
    num_features = math.prod(chw) if chw is not None else None
    if (
        chw is not None and len(shape) == 2 and shape[0] == num_features
    ):  # they are read
        return values.reshape(-1, *chw).transpose(2, 3, 1, 0).reshape(shape)
    if chw is not None and shape[-1] == num_features:  # they are made
        values = values.reshape(*chw, -1).transpose(1, 2, 0, 3).reshape(-1, *shape[:-1])
    return values.reshape(shape[::-1]).T
