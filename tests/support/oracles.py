"""NumPy oracles: slow, plain and in float64. The PyTorch twins are in torch_twins.py.

Agreement "to 1e-5" means: the largest difference in an array is at most 1e-5 of the
largest magnitude in the expected one.
"""

import functools
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import PyTree

from jaxgrow.devices import backend


# Compiles twice as fast; the program is slower, which small tests do not feel.
quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def pretend_to_be_on_a_gpu(monkeypatch: Any) -> None:
    """Traces what a GPU would get, to run it here."""
    monkeypatch.setattr(backend, "on_gpu", lambda: True)
    monkeypatch.setattr(backend, "on_cpu", lambda: False)


def by_path(tree: PyTree) -> dict[tuple[str, ...], Any]:
    """The leaves of nested dictionaries by their path."""
    leaves: Any = flatten_dict(tree)
    return leaves


def assert_close(
    actual: PyTree,
    expected: PyTree,
    tolerance: float = 1e-5,
    *,
    scale: float | None = None,
) -> None:
    """Every array of two like trees agrees to `tolerance` of `scale`, or of its own."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, a), e in zip(
        jax.tree.leaves_with_path(actual), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        assert a.shape == e.shape, name
        error, own = np.max(np.abs(a - e)), np.max(np.abs(e))
        limit = tolerance * (own if scale is None else scale)
        assert error <= limit, f"{name} is off by {error:.2e} at scale {own:.2e}"


def assert_identical(actual: PyTree, expected: PyTree) -> None:
    """Two trees are the same bit for bit."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def norm_of(tree: PyTree) -> float:
    """Of all values of a tree together."""
    return float(
        np.sqrt(
            sum(
                np.sum(np.square(a, dtype=np.float64))
                for a in jax.tree.leaves(jax.device_get(tree))
            )
        )
    )


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int = 1) -> np.ndarray:
    """(b, h, w, i) with a (k, k, i, o) kernel and symmetric padding (k - 1) / 2."""
    k = kernel.shape[0]
    _, height, width, _ = x.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (k // 2,) * 2, (k // 2,) * 2, (0, 0)))
    taps = [
        x[:, i : i + height : stride, j : j + width : stride] @ kernel[i, j]
        for i in range(k)
        for j in range(k)
    ]
    return np.sum(taps, axis=0)


def convolve_transposed(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Doubles (b, h, w, i): every input pixel adds its flipped kernel to the output."""
    k, out_channels = kernel.shape[0], kernel.shape[-1]
    b, h, w, _ = x.shape
    y = np.zeros((b, 2 * h + k, 2 * w + k, out_channels))
    for i in range(k):
        for j in range(k):
            tap = kernel[k - 1 - i, k - 1 - j]
            y[:, i : i + 2 * h : 2, j : j + 2 * w : 2] += x.astype(np.float64) @ tap
    return y[:, k // 2 : k // 2 + 2 * h, k // 2 : k // 2 + 2 * w]


def largest_singular_value(kernel: np.ndarray) -> float:
    """Of the (o, everything else) matrix, by a float64 SVD."""
    matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
    return float(np.linalg.svd(matrix, compute_uv=False)[0])
