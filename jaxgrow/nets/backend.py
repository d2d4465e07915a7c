"""Where the networks run, for what they compute another way on CPU."""

import jax


def on_cpu() -> bool:
    """Whether arrays lie on the CPU unless they are told otherwise."""
    return jax.default_backend() == "cpu"
