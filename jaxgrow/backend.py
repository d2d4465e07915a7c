"""Where the networks run, for what they compute another way there."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax


_PARTITIONED = contextvars.ContextVar("partitioned", default=False)


def on_cpu() -> bool:
    """Whether arrays lie on the CPU unless they are told otherwise."""
    return jax.default_backend() == "cpu"


def on_gpu() -> bool:
    """Whether they lie on a GPU."""
    return jax.default_backend() == "gpu"


def partitioned() -> bool:
    """Whether what is being traced will be split over devices by XLA."""
    return _PARTITIONED.get()


@contextlib.contextmanager
def partitioning() -> Iterator[None]:
    """Within it, what is traced will be split over devices by XLA."""
    token = _PARTITIONED.set(True)
    try:
        yield
    finally:
        _PARTITIONED.reset(token)
