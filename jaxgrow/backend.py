"""Where the networks run, for what they compute another way there."""

import jax


def on_cpu() -> bool:
    """Whether arrays lie on the CPU unless they are told otherwise."""
    return jax.default_backend() == "cpu"


def on_gpu() -> bool:
    """Whether they lie on a GPU."""
    return jax.default_backend() == "gpu"
