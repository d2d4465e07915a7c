"""Arrays of any library, Pillow pictures and lists, as checked NumPy arrays.

Every function raises a `UserError` that names the shape or type it was given.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from jaxgrow.errors import UserError


def as_array(value: Any, name: str) -> np.ndarray:
    """Return numbers or booleans as an array, without a copy where that is possible."""
    kind = type(value).__name__
    if isinstance(value, Image.Image) and value.mode not in ("1", "L", "RGB"):
        raise UserError(
            f"{name} is a Pillow picture of mode {value.mode}: convert it to RGB or L."
        )
    try:
        array = np.asarray(value)
    except Exception as error:  # each library has its own
        reason = str(error).split("\n")[0].rstrip(".")
        raise UserError(
            f"{name} is a {kind} that NumPy cannot read ({reason}): give an array, "
            "outside of JAX's transformations."
        ) from error
    if array.dtype.kind not in "biuf":
        raise UserError(
            f"{name} is a {kind} without numbers (of type {array.dtype}): give an "
            "array of them."
        )
    return array


def as_items(values: Any, name: str) -> list[Any]:
    """Return the items of a list, of an iterator, or of an array's first axis."""
    if is_list(values):
        return list(values)
    array = as_array(values, name)
    if array.ndim == 0:
        raise UserError(f"{name} is the number {array}: give an array, or a list.")
    return list(array)


def is_list(values: Any) -> bool:
    """Return True for a list, a tuple or an iterator."""
    return isinstance(values, Sequence | Iterator) and not isinstance(values, str)


def as_bytes(value: Any, name: str) -> UInt8[np.ndarray, "..."]:
    """Return pixels of 8 bits."""
    array = as_array(value, name)
    if array.dtype != np.uint8:
        raise UserError(
            f"{name} must hold 8-bit pixels, not {array.dtype}: give uint8 values from "
            "0 to 255."
        )
    return array


def as_picture(value: Any, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture of 8 bits, (h, w, 3), (h, w, 1) or (h, w), as RGB."""
    array = as_bytes(value, name)
    if not is_picture(array) or array.size == 0:
        raise UserError(
            f"{name} has the shape {array.shape}: give (h, w, 3), or (h, w) for grey."
        )
    return np.broadcast_to(array.reshape(*array.shape[:2], -1), (*array.shape[:2], 3))


def is_picture(array: np.ndarray) -> bool:
    """Return True for the shape of one picture, in colour or grey."""
    return array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))


def as_flags(value: Any, name: str) -> Bool[np.ndarray, "..."]:
    """Return booleans, or the numbers 0 and 1, as booleans."""
    array = as_array(value, name)
    if not np.isin(array, (0, 1)).all():
        raise UserError(
            f"{name} has values from {array.min()} to {array.max()}: give booleans."
        )
    return array.astype(bool)


def as_whole(
    value: Any, name: str, low: int = 0, high: int = 2**32 - 1
) -> Int[np.ndarray, "..."]:
    """Return whole numbers from `low` to `high`; the default fits JAX's random keys."""
    array = as_array(value, name)
    if array.dtype.kind not in "iu" and array.size:
        raise UserError(f"{name} must be whole numbers, not of type {array.dtype}.")
    outside = array[(array < low) | (array > high)]
    if outside.size:
        raise UserError(f"{name} must be from {low} to {high}, not {outside[0]}.")
    return array.astype(np.int64)


def as_pixels(value: Any, name: str) -> UInt8[np.ndarray, "b h w 3"]:
    """Return a batch of pictures of 8 bits."""
    array = as_bytes(value, name)
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape[1:]:
        raise UserError(
            f"{name} must have the shape (images, height, width, 3), not {array.shape}."
        )
    return array


def as_features(value: Any, name: str) -> Float[np.ndarray, "n d"]:
    """Return finite features."""
    array = as_array(value, name)
    if array.ndim != 2 or 0 in array.shape:
        raise UserError(
            f"{name} must have the shape (images, features), not {array.shape}."
        )
    if array.dtype.kind != "f":
        raise UserError(f"{name} must be floats, not {array.dtype}.")
    if not np.isfinite(array).all():
        raise UserError(
            f"{name} must be finite, but it holds NaN or infinity: look for a training "
            "that diverged."
        )
    return array
