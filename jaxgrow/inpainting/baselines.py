"""Inpainting without learning: the methods that a trained net has to beat.

Each is `fill(images, masks) -> images` on uint8 pixels with mask True = hole. It
returns known pixels bit-identical and never reads the values of hole pixels. Every
image needs at least one known pixel.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxgrow.errors import UserError


Photos: TypeAlias = UInt8[np.ndarray, "n h w 3"]
Holes: TypeAlias = Bool[np.ndarray, "n h w"]
FillFn: TypeAlias = Callable[[Photos, Holes], Photos]

_OPENCV_RADIUS = 3.0


class MissingPackageError(UserError):
    """A method's package is not installed, see `needs`."""

    def __init__(self, package: str):
        self.needs = "needs pip install 'jaxgrow[eval]'"
        super().__init__(f"the package {package} is not installed: {self.needs}")


def mean_fill(images: Photos, masks: Holes) -> Photos:
    """Fill with the mean colour of the image's known pixels."""

    def fill(image, hole):
        return np.broadcast_to(image[~hole].mean(axis=0), image.shape)

    return _fill_each(fill, images, masks)


def nearest_pixel(images: Photos, masks: Holes) -> Photos:
    """Fill with the colour of the nearest known pixel (Euclidean distance)."""
    from scipy import ndimage  # a dependency of JAX

    def fill(image, hole):
        nearest = ndimage.distance_transform_edt(
            hole, return_distances=False, return_indices=True
        )
        rows, columns = np.asarray(nearest)
        return image[rows, columns]

    return _fill_each(fill, images, masks)


def telea(images: Photos, masks: Holes) -> Photos:
    """Fill by fast marching (Telea 2004) as in OpenCV, radius 3."""
    return _fill_opencv("INPAINT_TELEA", images, masks)


def navier_stokes(images: Photos, masks: Holes) -> Photos:
    """Fill by fluid dynamics (Bertalmio 2001) as in OpenCV, radius 3."""
    return _fill_opencv("INPAINT_NS", images, masks)


def biharmonic(images: Photos, masks: Holes) -> Photos:
    """Solve the biharmonic equation in the hole (Damelin 2018), with scikit-image."""
    try:
        from skimage import restoration
    except ImportError:
        raise MissingPackageError("scikit-image") from None

    def fill(image, hole):
        filled = restoration.inpaint_biharmonic(image / 255.0, hole, channel_axis=-1)
        return 255.0 * filled

    return _fill_each(fill, images, masks)


def harmonic(images: Photos, masks: Holes) -> Photos:
    """Solve Laplace's equation in the hole: each pixel is its neighbours' mean."""
    from scipy import sparse  # a dependency of JAX
    from scipy.sparse import linalg

    grid = linalg.LaplacianNd(masks.shape[1:], boundary_conditions="neumann")
    laplacian = sparse.csr_array(grid.tosparse(), dtype=np.float64)

    def fill(image, hole):
        inside, pixels = hole.ravel(), image.reshape(-1, 3).astype(float)
        rows = laplacian[inside]
        solve = linalg.factorized(rows[:, inside].tocsc())
        sources = -rows[:, ~inside] @ pixels[~inside]
        pixels[inside] = np.stack([solve(channel) for channel in sources.T], axis=-1)
        return pixels.reshape(image.shape)

    return _fill_each(fill, images, masks)


def _fill_opencv(method: str, images: Photos, masks: Holes) -> Photos:
    try:
        import cv2
    except ImportError:
        raise MissingPackageError("opencv-python-headless") from None
    flag = getattr(cv2, method)

    def fill(image, hole):
        return cv2.inpaint(image, hole.astype(np.uint8), _OPENCV_RADIUS, flag)

    return _fill_each(fill, images, masks)


def _fill_each(
    fill: Callable[[np.ndarray, np.ndarray], Float[np.ndarray, "h w 3"]],
    images: Photos,
    masks: Holes,
) -> Photos:
    """Call `fill(image, hole)` on blackened holes and paste its values there."""
    results = images.copy()
    for image, hole, result in zip(images, masks, results, strict=True):
        if hole.all():
            raise ValueError("an image without a known pixel cannot be inpainted")
        if hole.any():
            blackened = np.where(hole[..., None], np.uint8(0), image)
            filled = np.asarray(fill(blackened, hole), np.float64)
            result[hole] = np.clip(np.rint(filled[hole]), 0, 255).astype(np.uint8)
    return results


BASELINES: dict[str, FillFn] = {
    "mean fill": mean_fill,
    "nearest pixel": nearest_pixel,
    "Telea": telea,
    "Navier-Stokes": navier_stokes,
    "biharmonic": biharmonic,
    "harmonic": harmonic,
}
