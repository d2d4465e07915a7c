"""Weight norms: reparametrisations of all kernels of a network at once.

A weight norm is a function of the parameters alone, so it is applied before the network
runs. Kernels of one shape are stacked, and a hundred kernels take a few batched
products. Inside the layers the same arithmetic compiled eight times slower and took
several launches per kernel.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jaxtyping import Array, Float, PyTree

from jaxgrow.nets.initial import rng_of


Norm: TypeAlias = Literal["spectral", "weight", "batch", "instance", "none"]
Path: TypeAlias = tuple[str, ...]

_EPS = 1e-12


def apply_normed(
    module: nn.Module,
    variables: Mapping[str, PyTree],
    *args: Any,
    norm: Norm,
    is_updated: Callable[[Path], bool],
    transform: Callable[[PyTree], PyTree] = lambda variables: variables,
    **kwargs: Any,
) -> tuple[Any, dict[str, PyTree]]:
    """Run `module` with its kernels, the leaves named `kernel`, normed.

    Of `variables` the collection "spectral" holds singular vectors and "batch_stats"
    running statistics. `is_updated` is True for the path of a kernel that takes a power
    iteration. `transform` is applied to the normed variables before the module runs.

    Returns:
        The module's output, and the collections after the call.
    """
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    kernels, spectral = normed(
        variables["params"], collections.get("spectral"), norm, is_updated
    )
    running = {n: tree for n, tree in collections.items() if n != "spectral"}
    normed_variables = transform({"params": kernels, **running})
    out, running = module.apply(
        normed_variables, *args, mutable=list(running), **kwargs
    )
    stats = dict(running) if spectral is None else {**running, "spectral": spectral}
    return out, stats


def normed(
    params: PyTree,
    vectors: PyTree | None,
    norm: Norm,
    is_updated: Callable[[Path], bool],
) -> tuple[PyTree, PyTree | None]:
    """Return `params` with normed kernels, and the singular vectors of the norm.

    `spectral` divides a kernel by the largest singular value sigma = u'Wv of its
    (o, k k i) matrix W (Miyato et al. 2018). `weight` gives each output channel's
    kernel the learnt length `scale` (Salimans and Kingma 2016). Feature norms and
    `none` leave the kernels alone.
    """
    if norm == "spectral":
        if vectors is None:
            raise ValueError("spectral norm needs the collection 'spectral'")
        return _spectral(flatten_dict(params), flatten_dict(vectors), is_updated)
    if norm == "weight":
        return _weight(flatten_dict(params)), vectors
    return params, vectors


def _spectral(params, vectors, is_updated):
    params, vectors = dict(params), dict(vectors)
    groups: dict[tuple, list[Path]] = {}
    for path in (path for path in params if path[-1] == "kernel"):
        groups.setdefault((params[path].shape, is_updated(path)), []).append(path)
    for (_, update), paths in groups.items():
        kernels = jnp.stack([params[path] for path in paths])
        w = kernels.reshape(len(kernels), -1, kernels.shape[-1]).swapaxes(1, 2)
        u, v = (jnp.stack([vectors[*p[:-1], name] for p in paths]) for name in "uv")
        if update:
            u, v = power_iteration(w, v)
        sigma = jnp.einsum("mo,mon,mn->m", u, w, v)
        kernels = kernels / sigma.reshape(-1, *(1,) * (kernels.ndim - 1))
        for i, path in enumerate(paths):
            params[path] = kernels[i]
            vectors[*path[:-1], "u"], vectors[*path[:-1], "v"] = u[i], v[i]
    return unflatten_dict(params), unflatten_dict(vectors)


def power_iteration(
    w: Float[Array, "m o n"], v: Float[Array, "m n"]
) -> tuple[Float[Array, "m o"], Float[Array, "m n"]]:
    """Return singular vectors (u, v) of m matrices after one power iteration.

    u <- Wv/|Wv|, v <- W'u/|W'u| (Miyato et al. 2018, Alg. 1, in PyTorch's order). No
    gradient flows through it.
    """
    w = lax.stop_gradient(w)
    u = _unit(jnp.einsum("mon,mn->mo", w, v))
    return u, _unit(jnp.einsum("mon,mo->mn", w, u))


def _unit(x: Float[Array, "m n"]) -> Float[Array, "m n"]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), _EPS)


def _weight(params):
    normed_params = {}
    for path, leaf in params.items():
        if path[-1] == "kernel":
            length = jnp.sqrt(jnp.sum(leaf**2, axis=tuple(range(leaf.ndim - 1))))
            factor = params[*path[:-1], "scale"] / length
            leaf = leaf * factor.reshape((1,) * (leaf.ndim - 1) + (-1,))
        if path[-1] != "scale":
            normed_params[path] = leaf
    return unflatten_dict(normed_params)


def normed_shapes(
    module_shapes: Mapping[str, PyTree], norm: Norm
) -> dict[str, dict[Path, jax.ShapeDtypeStruct]]:
    """Return the shapes of all variables, with the weight norm's, by path.

    `module_shapes` is the result of `module.init` under `jax.eval_shape`.
    """
    shapes: dict[str, Any] = {n: flatten_dict(t) for n, t in module_shapes.items()}
    vectors = {}
    for path, leaf in list(shapes["params"].items()):
        if path[-1] != "kernel":
            continue
        num_outputs, fan_in = leaf.shape[-1], math.prod(leaf.shape[:-1])
        if norm == "weight":
            shape = jax.ShapeDtypeStruct((num_outputs,), leaf.dtype)
            shapes["params"][*path[:-1], "scale"] = shape
        for name, size in (("u", num_outputs), ("v", fan_in)):
            vectors[*path[:-1], name] = jax.ShapeDtypeStruct((size,), leaf.dtype)
    return {**shapes, "spectral": vectors} if norm == "spectral" else shapes


def init_normed(
    module_shapes: Mapping[str, PyTree], norm: Norm, seed: Sequence[int]
) -> dict[str, PyTree]:
    """Return fresh variables of `normed_shapes`.

    Kernels are orthogonal (Saxe et al. 2014), which keeps the size of the signal at
    every depth. PyTorch's uniform kernels let it vanish in a network without biases.
    NumPy draws them, from `seed` and the kernel's path alone: equal on every device,
    with nothing to compile. Singular vectors start exact, scales at the length of
    their kernel, feature norms at the identity.
    """
    fill = {"scale": np.ones, "var": np.ones, "bias": np.zeros, "mean": np.zeros}
    drawn: dict[str, dict[Path, np.ndarray]] = {"params": {}, "spectral": {}}
    leaf: Any
    for path, leaf in flatten_dict(module_shapes["params"]).items():
        if path[-1] != "kernel":
            continue
        kernel = drawn["params"][path] = _orthogonal(rng_of(path, seed), leaf.shape)
        w = kernel.reshape(-1, kernel.shape[-1]).T
        if norm == "weight":
            drawn["params"][*path[:-1], "scale"] = np.linalg.norm(w, axis=1)
        if norm == "spectral":
            u, _, v = np.linalg.svd(w, full_matrices=False)
            drawn["spectral"][*path[:-1], "u"] = u[:, 0]
            drawn["spectral"][*path[:-1], "v"] = v[0]
    variables = {}
    for collection, shapes in normed_shapes(module_shapes, norm).items():
        arrays = {}
        for path, leaf in shapes.items():
            array = drawn.get(collection, {}).get(path)
            arrays[path] = jnp.asarray(
                fill[path[-1]](leaf.shape, leaf.dtype) if array is None else array,
                leaf.dtype,
            )
        variables[collection] = unflatten_dict(arrays)
    return variables


def _orthogonal(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> Float[np.ndarray, "..."]:
    """Return a kernel whose (k k i, o) matrix has only singular values of 1."""
    num_outputs, fan_in = shape[-1], math.prod(shape[:-1])
    normal = rng.standard_normal((max(fan_in, num_outputs), min(fan_in, num_outputs)))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.diagonal(r))  # uniform over orthogonal matrices
    q = q if fan_in >= num_outputs else q.T
    return q.reshape(shape).astype(np.float32)
