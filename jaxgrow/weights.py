"""Trained generators as single files that hold all it takes to run them."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util
from jaxtyping import PyTree

from jaxgrow import files
from jaxgrow.errors import UserError
from jaxgrow.nets.growing import Generator, NetConfig, variable_shapes
from jaxgrow.typing import Params


SHIPPED = Path(__file__).parent / "assets" / "weights"

_FORMAT = "jaxgrow generator 1"
_HEADER = "jaxgrow"
_FILE_NAME = re.compile(r"generator_r(\d+)\.safetensors")


class SavedGenerator(NamedTuple):
    """A generator as it came from its file.

    Attributes:
        params: Parameters, by submodule.
        stats: Other collections by name; apply with {"params": params, **stats}.
        config: Shape of the network.
        resolution: Side of its images in pixels.
        info: Whatever its maker noted: data, command, figures.
    """

    params: Params
    stats: dict[str, PyTree]
    config: NetConfig
    resolution: int
    info: dict[str, Any]


def file_name(resolution: int) -> str:
    """Name of the weights of the stage at `resolution` in a run's `weights` folder."""
    return f"generator_r{resolution}.safetensors"


def save_generator(
    path: Path,
    params: Params,
    stats: dict[str, PyTree],
    config: NetConfig,
    resolution: int,
    info: dict[str, Any],
) -> None:
    """Writes a generator to one .safetensors file, in one move.

    Args:
        path: Replaced if it exists.
        params: Parameters, by submodule.
        stats: The other collections, say {"spectral": ...}.
        config: Shape of the network.
        resolution: Side of its images in pixels.
        info: Notes for the reader, as JSON.

    Raises:
        ValueError: The arrays are not those of this network.
        UserError: The disk is full, read-only or forbidden.
    """
    tensors = {
        name: np.ascontiguousarray(jax.device_get(leaf))
        for name, leaf in _flatten({"params": params, **stats}).items()
    }
    if (difference := _difference(tensors, config, resolution)) is not None:
        raise ValueError(f"not the arrays of {config} at {resolution} px: {difference}")
    header = files.plain(
        {
            "format": _FORMAT,
            "resolution": resolution,
            "config": config,
            "info": info,
        }
    )
    header["digest"] = _digest(header, tensors)
    metadata = {_HEADER: json.dumps(header, allow_nan=False)}
    files.write_bytes(path, safetensors.numpy.save(tensors, metadata))


def load_generator(path: Path) -> SavedGenerator:
    """The generator in a file of `save_generator`, bit for bit.

    Raises:
        UserError: The file is missing, damaged, of another kind, or its arrays do not
            fit the network that it names.
    """
    tensors, metadata = _read(path)
    try:
        header = json.loads(metadata[_HEADER])
        if header["format"] != _FORMAT:
            raise ValueError(f"it is of the format {header['format']!r}")
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in header["config"].items()
        }
        config, resolution = NetConfig(**fields), int(header["resolution"])
        difference = _difference(tensors, config, resolution)
        info, digest = dict(header["info"]), header.pop("digest")
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error).strip("'\"") or type(error).__name__
        raise UserError(
            f"{path} is no generator of this version of jaxgrow ({reason}): choose a "
            f"file like {file_name(32)} from a run's weights folder."
        ) from error
    if difference is not None:
        raise UserError(
            f"the arrays in {path} are not those of its network: {difference}; write "
            "the file again from its run."
        )
    if digest != _digest(header, tensors):
        raise UserError(f"{path} is damaged: its content has changed; copy it again.")
    variables = _unflatten({n: jnp.asarray(t) for n, t in tensors.items()})
    params = variables.pop("params")
    return SavedGenerator(params, variables, config, resolution, info)


def find_generator(
    source: Path | str | None = None, resolution: int | None = None
) -> Path:
    """The weights file that `source` means.

    Args:
        source: A .safetensors file, a run directory, a folder of weights, or None for
            the weights that come with the package.
        resolution: Which one of a folder, in pixels; None for the largest.

    Raises:
        UserError: There is none.
    """
    if source is None:
        folder, what = SHIPPED, "jaxgrow itself"
    else:
        folder, what = Path(source), str(source)
        if folder.is_file():
            return folder
        if not folder.exists():
            raise UserError(f"no weights at {source}: no such file or directory.")
        folder = folder / "weights" if (folder / "weights").is_dir() else folder
    found = {}
    for file in folder.iterdir() if folder.is_dir() else []:
        if (match := _FILE_NAME.fullmatch(file.name)) is not None:
            found[int(match[1])] = file
    if not found:
        raise UserError(
            f"no file like weights/{file_name(32)} in {what}: name a run directory "
            "whose first stage is complete, or a .safetensors file."
        )
    if resolution is not None and resolution not in found:
        there = ", ".join(str(r) for r in sorted(found))
        raise UserError(f"{what} has no weights for {resolution} px, but for {there}.")
    return found[resolution or max(found)]


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except FileNotFoundError:
        raise UserError(f"no weights at {path}: no such file.") from None
    except OSError as error:
        raise UserError(
            f"cannot read {path} ({error}): name a .safetensors file that you may read."
        ) from error
    except safetensors.SafetensorError as error:
        raise UserError(
            f"{path} is damaged or no .safetensors file ({error}): copy it again."
        ) from error


def _difference(
    tensors: dict[str, np.ndarray], config: NetConfig, resolution: int
) -> str | None:
    """What tells `tensors` from the variables of the network; None if nothing does."""
    shapes = variable_shapes(Generator(config, resolution), 4, fading=False)
    wanted = {n: f"{leaf.dtype}{leaf.shape}" for n, leaf in _flatten(shapes).items()}
    found = {n: f"{tensor.dtype}{tensor.shape}" for n, tensor in tensors.items()}
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            there, here = found.get(name, "absent"), wanted.get(name, "unknown")
            return f"{name} is {there} in the file and {here} in the network"
    return None


def _digest(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """sha256 over the header and the name, type, shape and bytes of every tensor."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype}{tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _flatten(tree: PyTree) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def _unflatten(flat: dict[str, Any]) -> dict[str, Any]:
    return traverse_util.unflatten_dict(flat, sep="/")
