"""Files of trained networks, with errors as sentences for the user."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from jaxgrow.errors import UserError
from jaxgrow.storage import configs, tensor_file


_FORMAT = "jaxgrow {} 1"


def save_network(path: Path, kind: str, header: dict[str, Any], tree: PyTree) -> None:
    """Write the arrays and header of a network of this kind atomically.

    Raises:
        UserError: The disk is full, read-only or forbidden.
    """
    tensor_file.save_tensors(path, _FORMAT.format(kind), header, tree)


def load_network(path: Path, kind: str) -> tuple[dict[str, Any], PyTree]:
    """Read header and arrays of a network; raise a `UserError` for another kind."""
    try:
        return tensor_file.load_tensors(path, _FORMAT.format(kind))
    except tensor_file.Unreadable as error:
        raise _wrong_kind(path, kind, error) from error


@contextlib.contextmanager
def interpreting(path: Path, kind: str) -> Iterator[None]:
    """Turn errors over fields that a header lacks or misuses into a `UserError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong_kind(path, kind, error) from error


def config_of(path: Path, kind: type, header: dict[str, Any]) -> Any:
    """Return the config of type `kind` in a header."""
    with interpreting(path, kind.__name__):
        return configs.from_plain(kind, header["config"])


def _wrong_kind(path: Path, kind: str, error: Exception) -> UserError:
    reason = str(error).strip("'\"") or type(error).__name__
    return UserError(
        f"{path} is no {kind} of this version of jaxgrow ({reason}): choose one from "
        "the weights folder of a run."
    )


def check_shapes(path: Path, tree: PyTree, shapes: PyTree) -> None:
    """Raise a `UserError` if the arrays of a file do not have these shapes."""
    difference = tensor_file.difference(tree, shapes)
    if difference is not None:
        raise UserError(
            f"the arrays in {path} are not those of its network: {difference}; write "
            "the file again from its run."
        )
