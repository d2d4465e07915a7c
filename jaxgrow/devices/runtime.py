"""Settings of the machine that must stand before JAX first touches a device."""

import importlib.metadata
import os
import platform
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any


_INDIVIDUAL_DOT = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
_COMPILED_AFTER_S = 0.5  # what compiles faster is not worth a file


def configure() -> None:
    """Picks XLA's fast paths; call it before the first JAX operation.

    A flag that the user has set in XLA_FLAGS is kept, and none is given to a version
    that does not know it, for that one would abort.

    CPU: what XLA keeps of the convolutions (nets/onednn_conv.py) takes its fast path.
    jaxlib 0.10 and 0.11 route them to a slow library by default; without oneDNN a
    training step of the generator is 1.7 times faster.

    GPU: no flags. Convolutions recorded into CUDA graphs would save a start each, but a
    process that finds its programs compiled meets cuDNN first while it records, which
    fails.
    """
    jaxlib = _version_of("jaxlib")
    if jaxlib is not None and (0, 10) <= jaxlib < (0, 12):
        _set_flag("xla_cpu_experimental_ynn_fusion_type", _INDIVIDUAL_DOT)


def cache_folder() -> Path:
    """`jaxgrow` in $XDG_CACHE_HOME, or in ~/.cache.

    Raises:
        RuntimeError: There is no home directory.
    """
    parent = os.environ.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "jaxgrow"


def keep_compiled(folder: Path | None = None) -> None:
    """Keeps compiled programs, so that a second run need not compile them.

    But on CPUs where oneDNN convolves, whose calls XLA cannot store (nets/onednn.py).

    A program is found again by its code, the devices, the flags and the versions, and
    is the one that was stored, bit for bit. What cannot be kept costs a warning. JAX's
    own settings take precedence: JAX_COMPILATION_CACHE_DIR,
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS, and JAX_ENABLE_COMPILATION_CACHE=false
    for none.

    Args:
        folder: Where; None = `compiled` in `cache_folder()`. Who can write there can
            run code in this process, so it is made for its owner alone.
    """
    import jax  # not needed by those who only ask for the folder

    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    try:
        folder = cache_folder() / "compiled" if folder is None else folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"compiled programs are not kept ({error}): set JAX_COMPILATION_CACHE_DIR "
            "to a folder of yours, or JAX_ENABLE_COMPILATION_CACHE=false",
            stacklevel=2,
        )
        return
    config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        name = "jax_persistent_cache_min_compile_time_secs"
        config.update(name, _COMPILED_AFTER_S)


def _set_flag(name: str, value: str) -> None:
    """Adds a flag to XLA_FLAGS unless the user has set it."""
    flags = os.environ.get("XLA_FLAGS", "")
    if f"--{name}" not in [flag.partition("=")[0] for flag in flags.split()]:
        os.environ["XLA_FLAGS"] = f"{flags} --{name}={value}".strip()


def _version_of(package: str) -> tuple[int, ...] | None:
    """(0, 10, 2) for 0.10.2; None if the package is not installed."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


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
