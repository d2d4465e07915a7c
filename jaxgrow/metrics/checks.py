"""Checks of inputs that a metric would silently turn into a wrong figure.

They look at values, so they come before a jitted metric, never inside one.
"""

import numpy as np
from jaxtyping import Array

from jaxgrow.errors import UserError


def check_pixels(images: Array | np.ndarray, name: str) -> None:
    """Raise a `UserError` unless `images` are uint8 of shape (b, h, w, 3)."""
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise UserError(
            f"{name} must have the shape (images, height, width, 3), not "
            f"{images.shape}."
        )
    if images.dtype != np.uint8:
        raise UserError(
            f"{name} must be 8-bit pixels, not {images.dtype}: multiply images in "
            "[0, 1] by 255, round, and convert them to uint8."
        )


def check_features(features: Array | np.ndarray, name: str) -> None:
    """Raise a `UserError` unless `features` are finite floats of shape (n, d)."""
    if features.ndim != 2 or 0 in features.shape:
        raise UserError(
            f"{name} must have the shape (images, features), not {features.shape}."
        )
    if not np.issubdtype(features.dtype, np.floating):
        raise UserError(f"{name} must be floats, not {features.dtype}.")
    # A sum would overflow; NaN and infinity both survive min and max.
    if not np.isfinite([float(features.min()), float(features.max())]).all():
        raise UserError(
            f"{name} must be finite, but it holds NaN or infinity: look for a training "
            "that diverged."
        )
