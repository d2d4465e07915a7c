"""Settings of the machine that must stand before JAX first touches a device."""

import importlib.metadata
import os
import platform


_CPU_CONVOLUTION_FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def configure() -> None:
    """Sends single convolutions on CPU to XLA's fast path.

    jaxlib 0.10 and 0.11 route them to a slow library by default; the flag makes a
    training step of the generator 1.7 times faster there and is left out of other
    versions, which abort on a flag they do not know. A value that the user has set
    is kept. Call it before the first JAX operation.
    """
    major, minor = importlib.metadata.version("jaxlib").split(".")[:2]
    flags = os.environ.get("XLA_FLAGS", "")
    if (major, minor) in {("0", "10"), ("0", "11")} and "ynn_fusion_type" not in flags:
        fusion = f"{_CPU_CONVOLUTION_FLAG}=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
        os.environ["XLA_FLAGS"] = f"{flags} {fusion}".strip()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    packages = [
        "jaxgrow",
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax-checkpoint",
        "numpy",
    ]
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
