"""Trees of arrays in one .safetensors file, with a header and a digest over both."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util
from jaxtyping import PyTree

from jaxgrow.errors import UserError
from jaxgrow.storage import files


_HEADER = "jaxgrow"


class Unreadable(Exception):
    """The file is intact, but of another format or kind than expected."""


def save_tensors(path: Path, kind: str, header: dict[str, Any], tree: PyTree) -> None:
    """Write `tree`, nested dicts of arrays, atomically.

    Args:
        path: Replaced if it exists.
        kind: Name and version of the format.
        header: Values that `files.plain` accepts.
        tree: The arrays.

    Raises:
        UserError: The disk is full, read-only or forbidden.
    """
    tensors = {
        name: np.ascontiguousarray(jax.device_get(leaf))
        for name, leaf in flatten(tree).items()
    }
    full = files.plain({"format": kind, **header})
    full["digest"] = _digest(full, tensors)
    metadata = {_HEADER: json.dumps(full, allow_nan=False)}
    files.write_bytes(path, safetensors.numpy.save(tensors, metadata))


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Any], PyTree]:
    """Read header and arrays of a file of `save_tensors`, bit for bit.

    Raises:
        Unreadable: The file is of another kind.
        UserError: The file is missing or damaged, or has numbers that are not finite.
    """
    tensors, metadata = _open(path)
    try:
        header = json.loads(metadata[_HEADER])
        if header["format"] != kind:
            raise Unreadable(f"it is of the format {header['format']!r}")
        digest = header.pop("digest")
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise Unreadable(str(error).strip("'\"") or type(error).__name__) from error
    if digest != _digest(header, tensors):
        raise UserError(f"{path} is damaged: its content has changed; copy it again.")
    for name, tensor in tensors.items():
        if jnp.issubdtype(tensor.dtype, jnp.inexact) and not np.isfinite(tensor).all():
            raise UserError(
                f"{path} is of no use: {name} has numbers that are not finite; make "
                "the file again."
            )
    # `jnp.asarray` would compile a program for every shape.
    tree = {name: jax.device_put(tensor) for name, tensor in tensors.items()}
    return header, traverse_util.unflatten_dict(tree, sep="/")


def difference(tree: PyTree, shapes: PyTree) -> str | None:
    """Describe how arrays differ from the wanted shapes; None if they do not."""
    wanted = {n: _describe(leaf) for n, leaf in flatten(shapes).items()}
    found = {n: _describe(leaf) for n, leaf in flatten(tree).items()}
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            there, here = found.get(name, "absent"), wanted.get(name, "unknown")
            return f"{name} is {there} in the file and {here} in the network"
    return None


def hash_tensors(tree: PyTree) -> str:
    """Return the SHA-256 of the name, type, shape and bytes of every array."""
    return _digest({}, {n: np.asarray(leaf) for n, leaf in flatten(tree).items()})


def flatten(tree: PyTree) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def _describe(leaf: Any) -> str:
    return f"{leaf.dtype}{leaf.shape}"


def _open(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
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


def _digest(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    """SHA-256 over the header and the name, type, shape and bytes of every tensor."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype}{tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
