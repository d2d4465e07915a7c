"""Missing views without the diffusion model: its baselines and its ceiling.

Each method is `complete(images, missing) -> images` on uint8 views. Conditioning views
come back bit-identical, and the values of missing views are never read.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, PyTree, UInt8

from jaxgrow.devices.parallel import RowsFn
from jaxgrow.multiview.generator import decode_views, encode_views
from jaxgrow.multiview.saved_models import SavedAutoencoder, SavedLatentModel
from jaxgrow.pixels import to_unit


ViewPixels: TypeAlias = UInt8[np.ndarray, "n v h w 3"]
ViewMask: TypeAlias = Bool[np.ndarray, "n v"]
CompleteFn: TypeAlias = Callable[[ViewPixels, ViewMask], ViewPixels]

RECONSTRUCTION = "reconstruction (ceiling)"
"""The name of `make_reconstruction` in tables."""


def angle_between(a: float, b: float) -> float:
    """Return the degrees between two azimuths, 0 to 180."""
    return abs((a - b + 180.0) % 360.0 - 180.0)


def make_copy(azimuths: Sequence[float]) -> CompleteFn:
    """Build the method that copies the conditioning view nearest in azimuth."""
    return _copy_least_turned(azimuths, angle_between, lambda images: images)


def make_mirror(azimuths: Sequence[float]) -> CompleteFn:
    """Build the method that mirrors a conditioning view.

    If an object is symmetric about the plane through its front and back, the mirror
    image of the view at azimuth a is the view at -a; if it is symmetric about the plane
    through its sides, at 180 - a. The conditioning view for which one of the two comes
    nearest is taken.
    """

    def turn(source: float, wanted: float) -> float:
        return min(angle_between(r, wanted) for r in (-source, 180.0 - source))

    return _copy_least_turned(azimuths, turn, lambda images: images[..., ::-1, :])


def _copy_least_turned(
    azimuths: Sequence[float],
    turn: Callable[[float, float], float],
    changed: Callable[[ViewPixels], ViewPixels],
) -> CompleteFn:
    """Build a method that fills in the changed view of least `turn(source, wanted)`."""
    turns = np.array([[turn(a, wanted) for a in azimuths] for wanted in azimuths])

    def complete(images: ViewPixels, missing: ViewMask) -> ViewPixels:
        source = np.where(missing[:, None, :], np.inf, turns[None]).argmin(axis=2)
        at = source[..., None, None, None]
        taken = np.take_along_axis(changed(images), at, axis=1)
        return np.where(missing[..., None, None, None], taken, images)

    return complete


def make_nearest_neighbour(library: ViewPixels, batch_size: int = 64) -> CompleteFn:
    """Build the method that copies the views of the nearest object in `library`.

    Nearest is least in squared pixel difference, summed over the conditioning views.
    """

    @jax.jit
    def squared_distances(queries, entries):
        x, y = (to_unit(a).reshape(len(a), -1) for a in (queries, entries))
        cross = x @ y.T
        return (x**2).sum(1)[:, None] - 2.0 * cross + (y**2).sum(1)[None, :]

    def nearest(images: ViewPixels, missing: ViewMask) -> Int[np.ndarray, " n"]:
        total = np.zeros((len(images), len(library)), np.float32)
        for view in range(images.shape[1]):
            rows = np.flatnonzero(~missing[:, view])
            for start in range(0, len(library), 1024):
                part = library[start : start + 1024, view]
                if len(rows):
                    found = squared_distances(images[rows, view], part)
                    total[rows, start : start + 1024] += np.asarray(found)
        return total.argmin(axis=1)

    def complete(images: ViewPixels, missing: ViewMask) -> ViewPixels:
        found = [
            nearest(images[i : i + batch_size], missing[i : i + batch_size])
            for i in range(0, len(images), batch_size)
        ]
        retrieved = library[np.concatenate(found)]
        return np.where(missing[..., None, None, None], retrieved, images)

    return complete


def make_regression(
    saved: SavedAutoencoder, model: SavedLatentModel, batch_size: int = 64
) -> CompleteFn:
    """Build the method that decodes the latents of the mean regressor."""

    def run(weights, images, missing):
        autoencoder_params, params, stats, regressor = weights
        coder = SavedAutoencoder(saved.config, autoencoder_params)
        z = encode_views(coder, stats, images, missing)
        return decode_views(coder, stats, regressor.predict(params, z, missing))

    weights = (saved.params, model.params, model.stats, model.regressor)
    return _in_batches(run, weights, batch_size)


def make_reconstruction(
    saved: SavedAutoencoder, model: SavedLatentModel, batch_size: int = 64
) -> CompleteFn:
    """Build the ceiling of models: the real missing views through the autoencoder.

    Only this method reads missing views.
    """

    def run(weights, images, missing):
        params, stats = weights
        coder = SavedAutoencoder(saved.config, params)
        z = encode_views(coder, stats, images, jnp.zeros_like(missing))
        return decode_views(coder, stats, z)

    return _in_batches(run, (saved.params, model.stats), batch_size)


def _in_batches(run: Callable, weights: PyTree, batch_size: int) -> CompleteFn:
    """Compile `run` for the devices of this machine; restore conditioning views."""
    compiled = RowsFn(run)
    weights = compiled.share(weights)

    def complete(images: ViewPixels, missing: ViewMask) -> ViewPixels:
        done = compiled.in_batches(batch_size, weights, images, missing)
        return np.where(missing[..., None, None, None], done, images)

    return complete
