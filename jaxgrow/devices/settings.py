"""JAX's settings of numbers and random draws, whatever the caller's program sets."""

import contextlib
from collections.abc import Iterator

import jax


_SETTINGS = {
    "enable_x64": False,
    "numpy_dtype_promotion": "standard",
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
    "debug_nans": False,
}


def fix() -> None:
    """Set them for the whole process of an entry point."""
    for name, value in _SETTINGS.items():
        jax.config.update(f"jax_{name}", value)


@contextlib.contextmanager
def fixed() -> Iterator[None]:
    """Set them inside the `with` block or the decorated function.

    What is computed inside has values, also while the caller traces a function, so that
    no tracer stays in an object.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.ensure_compile_time_eval())
        for name, value in _SETTINGS.items():
            stack.enter_context(getattr(jax, name)(value))
        yield
