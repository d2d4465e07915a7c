"""The kind of device that programs are traced for, and the library that convolves."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax


_SPLIT = contextvars.ContextVar("split", default=False)
_ONEDNN = False


def on_cpu() -> bool:
    """True if JAX's default device is a CPU."""
    return jax.default_backend() == "cpu"


def on_gpu() -> bool:
    """True if JAX's default device is a GPU."""
    return jax.default_backend() == "gpu"


@contextlib.contextmanager
def splitting() -> Iterator[None]:
    """Mark what is traced within as split over devices by XLA.

    `jax.jit` keeps one trace of a function, so a function must always be called within
    this context or never.
    """
    token = _SPLIT.set(True)
    try:
        yield
    finally:
        _SPLIT.reset(token)


def choose_onednn(chosen: bool) -> None:
    """Choose oneDNN or XLA for convolutions on CPU; see `runtime.configure`."""
    global _ONEDNN
    _ONEDNN = chosen


def uses_onednn() -> bool:
    """True if float32 convolutions that are traced now run on oneDNN."""
    return _ONEDNN and on_cpu() and not _SPLIT.get()
