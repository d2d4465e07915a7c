"""Files of trained networks: what is wrong with one is said in a sentence."""

from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from jaxgrow.errors import UserError
from jaxgrow.storage import configs, tensor_file


_FORMAT = "jaxgrow {} 1"


def write(path: Path, kind: str, header: dict[str, Any], tree: PyTree) -> None:
    """Write a network of this kind in one move.

    Raises:
        UserError: The disk refuses.
    """
    tensor_file.write(path, _FORMAT.format(kind), header, tree)


def read(path: Path, kind: str) -> tuple[dict[str, Any], PyTree]:
    try:
        return tensor_file.read(path, _FORMAT.format(kind))
    except tensor_file.Unreadable as error:
        raise _wrong_kind(path, kind, error) from error


def config_of(path: Path, kind: type, header: dict[str, Any]) -> Any:
    try:
        return configs.from_plain(kind, header["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong_kind(path, kind.__name__, error) from error


def _wrong_kind(path: Path, kind: str, error: Exception) -> UserError:
    reason = str(error).strip("'\"") or type(error).__name__
    return UserError(
        f"{path} is no {kind} of this version of jaxgrow ({reason}): choose one from "
        "the weights folder of a run of nmr_dimvida."
    )


def check(path: Path, tree: PyTree, shapes: PyTree) -> None:
    difference = tensor_file.difference(tree, shapes)
    if difference is not None:
        raise UserError(
            f"the arrays in {path} are not those of its network: {difference}; write "
            "the file again from its run."
        )
