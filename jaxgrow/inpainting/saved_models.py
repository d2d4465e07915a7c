"""Trained generators as single files, each with its network's config."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from jaxgrow.devices import settings
from jaxgrow.errors import UserError
from jaxgrow.nets.growing import Generator, NetConfig, variable_shapes
from jaxgrow.storage import network_file, tensor_file
from jaxgrow.typing import Params


SHIPPED = Path(__file__).parents[1] / "assets" / "weights"
# px; in whole photographs better than the shipped weights for 32 px, see their card.
_SHIPPED_RESOLUTION = 16

_FILE_NAME = re.compile(r"generator_r(\d+)\.safetensors")


class SavedGenerator(NamedTuple):
    """A generator read from a file.

    Attributes:
        params: Parameters, by submodule.
        stats: Other collections by name; apply with {"params": params, **stats}.
        config: Shape of the network.
        resolution: Side of its images in pixels.
        info: Notes of its maker: data, command, figures.
    """

    params: Params
    stats: dict[str, PyTree]
    config: NetConfig
    resolution: int
    info: dict[str, Any]


def file_name(resolution: int) -> str:
    """Return the name of a stage's file in a run's `weights` folder."""
    return f"generator_r{resolution}.safetensors"


def save_generator(
    path: Path,
    params: Params,
    stats: dict[str, PyTree],
    config: NetConfig,
    resolution: int,
    info: dict[str, Any],
) -> None:
    """Write a generator to one .safetensors file, in one move.

    The arguments are the fields of `SavedGenerator`; `info` is JSON.

    Raises:
        ValueError: The arrays are not those of this network.
        UserError: The disk is full, read-only or forbidden.
    """
    variables = {"params": params, **stats}
    difference = tensor_file.difference(variables, _shapes(config, resolution))
    if difference is not None:
        raise ValueError(f"not the arrays of {config} at {resolution} px: {difference}")
    header = {"resolution": resolution, "config": config, "info": info}
    network_file.save_network(path, "generator", header, variables)


@settings.fixed()
def load_generator(path: Path) -> SavedGenerator:
    """Return the generator in a file of `save_generator`, bit for bit.

    Raises:
        UserError: The file is missing, damaged, of another kind, or its arrays do not
            fit the network that it names.
    """
    header, variables = network_file.load_network(path, "generator")
    config = network_file.config_of(path, NetConfig, header)
    with network_file.interpreting(path, "generator"):
        resolution, info = header["resolution"], header["info"]
    network_file.check_shapes(path, variables, _shapes(config, resolution))
    params = variables.pop("params")
    return SavedGenerator(params, variables, config, resolution, info)


def find_generator(
    source: Path | str | None = None, resolution: int | None = None
) -> Path:
    """Return the weights file that `source` means.

    Args:
        source: A .safetensors file, a run directory, a folder of weights, or None for
            the weights that come with the package.
        resolution: Of the file to take from a folder, in pixels; None = the largest,
            but 16 px of those that come with the package.

    Raises:
        UserError: There is no such file.
    """
    if source is None:
        folder, what = SHIPPED, "jaxgrow itself"
        resolution = resolution or _SHIPPED_RESOLUTION
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


def _shapes(config: NetConfig, resolution: int) -> PyTree:
    return variable_shapes(Generator(config, resolution), 4, fading=False)
