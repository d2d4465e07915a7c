"""Settings of the machine that must stand before JAX first touches a device."""

import importlib.metadata
import os
import platform
import re
import stat
import tempfile
import warnings
from pathlib import Path
from typing import Any

from jaxgrow.errors import UserError


ONEDNN_SWITCH = "JAXGROW_ONEDNN"
"""Environment variable, true or false, that overrides an entry point's choice."""
ONEDNN_JAXLIBS = ("0.10.2", "0.11.2", "0.12.0.1")
"""Versions of jaxlib whose oneDNN is tested against XLA's convolutions."""

_INDIVIDUAL_DOT = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
_MIN_COMPILE_S = 0.5  # faster compilations are not worth a file


def configure(*, onednn: bool = False) -> None:
    """Set JAX's settings and XLA's flags; choose the library that convolves on CPU.

    An entry point calls it before the first JAX operation. A flag that the user has set
    in XLA_FLAGS is kept. A flag is given only to versions that accept it, because XLA
    aborts on an unknown one.

    CPU: jaxlib 0.10 and 0.11 send XLA's convolutions to a slow library by default. The
    flag restores the fast one, which makes a training step of the generator 1.7 times
    faster if XLA convolves.

    GPU: no flags. Recording convolutions into CUDA graphs would save a launch each, but
    fails in a process that finds its programs compiled, because cuDNN then starts
    during the recording.

    Args:
        onednn: Convolve with oneDNN on x86 CPUs under Linux, with a tested jaxlib. XLA
            convolves elsewhere. oneDNN is faster, but XLA can neither store nor export
            a program that calls it, so XLA convolves too if the user has set
            JAX_COMPILATION_CACHE_DIR. JAXGROW_ONEDNN overrides this argument.
    """
    from jaxgrow.devices import backend, settings  # JAX: not for `cache_folder`

    settings.fix()

    jaxlib = _version_of("jaxlib") or ""
    if (0, 10) <= tuple(map(int, re.findall(r"\d+", jaxlib))) < (0, 12):
        _set_flag("xla_cpu_experimental_ynn_fusion_type", _INDIVIDUAL_DOT)
    default = onednn and "JAX_COMPILATION_CACHE_DIR" not in os.environ
    wanted = os.environ.get(ONEDNN_SWITCH, str(default)).lower() == "true"
    is_tested = (
        platform.system() == "Linux"
        and platform.machine() == "x86_64"
        and jaxlib in ONEDNN_JAXLIBS
    )
    backend.choose_onednn(wanted and is_tested)


def cache_folder() -> Path:
    """Return the folder `jaxgrow` in $XDG_CACHE_HOME, or in ~/.cache.

    Raises:
        UserError: There is no home directory.
    """
    if parent := os.environ.get("XDG_CACHE_HOME"):
        return Path(parent) / "jaxgrow"
    try:
        return Path.home() / ".cache" / "jaxgrow"
    except RuntimeError as error:
        raise UserError(
            "this user has no home directory for the cache: set XDG_CACHE_HOME, or "
            "cache_dir where there is such an option."
        ) from error


def find_devices() -> None:
    """Start JAX on its devices; call it after `hosts.join`.

    Raises:
        UserError: There is none of the kind that JAX_PLATFORMS names, or no file of the
            name in XLA_FLAGS.
    """
    import jax

    flags = os.environ.get("XLA_FLAGS", "").strip()
    if flags and not flags.startswith("-") and not Path(flags).is_file():
        raise UserError(
            f"XLA_FLAGS={flags} is neither a flag, which begins with --, nor a file "
            "that is there: correct it or unset it."
        )
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        reason = str(error).split("\n")[0].split(" (you may need")[0].rstrip(". ")
        reason = reason or "there are none"  # where only a plug-in is missing
        raise UserError(
            f"JAX cannot use the devices that JAX_PLATFORMS={wanted} names ({reason}): "
            "unset it, or set it to cpu."
        ) from error


def keep_compiled(folder: Path | None = None) -> None:
    """Store compiled programs on disk, so that a second run need not compile them.

    A program is identified by its code, the devices, the flags and the versions. The
    stored program is the compiled one, bit for bit. If oneDNN convolves, nothing is
    stored, because XLA cannot serialise its calls. A folder that cannot be written
    causes a warning. JAX's own settings take precedence: JAX_COMPILATION_CACHE_DIR,
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS and JAX_ENABLE_COMPILATION_CACHE.

    Call it after `configure` and `hosts.join`, because it looks for the devices.

    Args:
        folder: Cache folder; None means `compiled` in `cache_folder()`. It is created
            for its owner alone, because a writer of it can run code in this process.
    """
    import jax

    from jaxgrow.devices import backend

    if backend.uses_onednn():
        return
    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    try:
        folder = cache_folder() / "compiled" if folder is None else folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _refuse_if_shared(folder.resolve())
    except (OSError, UserError) as error:
        warnings.warn(
            f"compiled programs are not kept ({error}): set JAX_COMPILATION_CACHE_DIR "
            "to a folder of yours, or JAX_ENABLE_COMPILATION_CACHE=false",
            stacklevel=2,
        )
        return
    config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        name = "jax_persistent_cache_min_compile_time_secs"
        config.update(name, _MIN_COMPILE_S)


def _refuse_if_shared(folder: Path) -> None:
    """Refuse a folder into which others can put programs, itself or by its parents."""
    for place in (folder, *folder.parents):
        about = place.stat()
        # A group with the user's own number has no other member.
        others = 0o002 if about.st_gid == about.st_uid else 0o022
        is_open = about.st_mode & others and not about.st_mode & stat.S_ISVTX
        if is_open or about.st_uid not in (0, os.geteuid()):
            raise UserError(f"other users can write to {place}")


def _set_flag(name: str, value: str) -> None:
    """Add a flag to XLA_FLAGS unless the user has set it, or names a file of flags."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if flags and not flags.startswith("-"):
        return
    if f"--{name}" not in [flag.partition("=")[0] for flag in flags.split()]:
        os.environ["XLA_FLAGS"] = f"{flags} --{name}={value}".strip()


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a run's numbers."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    found = {
        name: _version_of(name) or "not installed" for name in ("jaxgrow", *packages)
    }
    return {"python": platform.python_version(), **found}
