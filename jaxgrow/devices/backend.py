"""Where the networks run, for what they compute another way there."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax


_SPLIT = contextvars.ContextVar("split", default=False)


def on_cpu() -> bool:
    """Whether arrays lie on the CPU unless they are told otherwise."""
    return jax.default_backend() == "cpu"


def on_gpu() -> bool:
    """Whether they lie on a GPU."""
    return jax.default_backend() == "gpu"


def is_split() -> bool:
    """Whether XLA will split over devices what is being traced."""
    return _SPLIT.get()


@contextlib.contextmanager
def splitting() -> Iterator[None]:
    """Within it, what is traced will be split over devices by XLA.

    `jax.jit` does not trace again for it: a function is for the one or for the other.
    """
    token = _SPLIT.set(True)
    try:
        yield
    finally:
        _SPLIT.reset(token)
