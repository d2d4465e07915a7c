"""Trained generators as single files that hold all it takes to run them."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from jaxgrow.errors import UserError
from jaxgrow.nets.growing import Generator, NetConfig, variable_shapes
from jaxgrow.storage import configs, tensor_file
from jaxgrow.typing import Params


SHIPPED = Path(__file__).parents[1] / "assets" / "weights"

_FORMAT = "jaxgrow generator 1"
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
    variables = {"params": params, **stats}
    if (difference := _difference(variables, config, resolution)) is not None:
        raise ValueError(f"not the arrays of {config} at {resolution} px: {difference}")
    header = {"resolution": resolution, "config": config, "info": info}
    tensor_file.save_tensors(path, _FORMAT, header, variables)


def load_generator(path: Path) -> SavedGenerator:
    """The generator in a file of `save_generator`, bit for bit.

    Raises:
        UserError: The file is missing, damaged, of another kind, or its arrays do not
            fit the network that it names.
    """
    try:
        header, variables = tensor_file.load_tensors(path, _FORMAT)
    except tensor_file.Unreadable as error:
        raise _no_generator(path, error) from error
    try:
        config = configs.from_plain(NetConfig, header["config"])
        resolution, info = int(header["resolution"]), dict(header["info"])
        difference = _difference(variables, config, resolution)
    except (KeyError, TypeError, ValueError) as error:
        raise _no_generator(path, error) from error
    if difference is not None:
        raise UserError(
            f"the arrays in {path} are not those of its network: {difference}; write "
            "the file again from its run."
        )
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


def _no_generator(path: Path, error: Exception) -> UserError:
    reason = str(error).strip("'\"") or type(error).__name__
    return UserError(
        f"{path} is no generator of this version of jaxgrow ({reason}): choose a "
        f"file like {file_name(32)} from a run's weights folder."
    )


def _difference(variables: PyTree, config: NetConfig, resolution: int) -> str | None:
    """What tells arrays from the variables of the network; None if nothing does."""
    shapes = variable_shapes(Generator(config, resolution), 4, fading=False)
    return tensor_file.difference(variables, shapes)
