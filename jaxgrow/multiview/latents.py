"""Standardisation of latents, per view and dimension."""

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxgrow.errors import UserError
from jaxgrow.typing import Latents


_Rows: TypeAlias = Array | np.ndarray

_MIN_STD = 1e-6  # of a latent dimension; below it the dimension is dead


class LatentStats(NamedTuple):
    """Mean and standard deviation of every latent dimension of every view.

    They are taken over the whole training set and saved with the weights of the network
    that was trained on the standardised latents.
    """

    mean: Float[_Rows, "v d"]
    std: Float[_Rows, "v d"]

    def standardise(self, z: Latents) -> Latents:
        return (z - jnp.asarray(self.mean)[None]) / jnp.asarray(self.std)[None]

    def restore(self, z: Latents) -> Latents:
        """Invert `standardise`."""
        return z * jnp.asarray(self.std)[None] + jnp.asarray(self.mean)[None]


def latent_stats(
    z: Float[np.ndarray, "n v d"], observed: Bool[np.ndarray, "n v"]
) -> LatentStats:
    """Compute the statistics of the observed views, with the unbiased deviation.

    Raises:
        UserError: A dimension does not vary, or fewer than two objects have a view.
    """
    counts = observed.sum(axis=0)
    if (counts < 2).any():
        raise UserError(
            f"view {int(counts.argmin())} is there for {int(counts.min())} training "
            "objects, too few to standardise its latents: leave that view out, or "
            "bring more objects that have it."
        )
    weights = observed[..., None].astype(np.float64)
    values = np.where(observed[..., None], z, 0.0).astype(np.float64)
    mean = values.sum(axis=0) / counts[:, None]
    square = (weights * (values - mean) ** 2).sum(axis=0)
    std = np.sqrt(square / (counts[:, None] - 1))
    dead = np.argwhere(~(std > _MIN_STD))
    if len(dead):
        view, dim = dead[0]
        raise UserError(
            f"{len(dead)} latent dimensions do not vary over the training set (the "
            f"first is {dim} of view {view}): train the autoencoder longer, or give "
            "it a smaller latent_dim."
        )
    return LatentStats(mean.astype(np.float32), std.astype(np.float32))
