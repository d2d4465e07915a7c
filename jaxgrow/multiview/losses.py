"""The losses of the autoencoder and of the networks over latents."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgrow.typing import Latents, Missing, UnitImage


LAPLACE_SCALE = 0.75
"""b of the autoencoder's likelihood (Di Giacomo et al. 2024, Sec. III)."""


def laplace_nll(x_hat: UnitImage, x: UnitImage) -> Float[Array, " b"]:
    """Return -log p(x | z), Laplace with scale b = 0.75, summed over each image.

    Each element costs |x - x_hat| / b + log 2b; for 64x64x3 the constants sum to
    4982.35.
    """
    error = jnp.abs(x - x_hat) / LAPLACE_SCALE + np.log(2.0 * LAPLACE_SCALE)
    return error.sum(axis=(1, 2, 3))


def masked_score_loss(
    predicted: Latents,
    target: Latents,
    missing: Missing,
    observed: Missing | None = None,
) -> Float[Array, " b"]:
    """Return the loss of Di Giacomo et al. (2024, Eq. 6) in noise form.

    The weight lambda = 1 + |C|/|M| is V/|M|, so an example counts the same however
    many of its views were diffused. With `observed`, views that the data lack count
    neither in V nor in M.
    """
    observed = jnp.ones_like(missing) if observed is None else observed
    scored = (missing & observed).astype(target.dtype)
    num_scored = jnp.maximum(scored.sum(axis=1), 1.0)
    sq_err = jnp.sum(scored[..., None] * (predicted - target) ** 2, axis=(1, 2))
    return observed.sum(axis=1) / num_scored * sq_err
