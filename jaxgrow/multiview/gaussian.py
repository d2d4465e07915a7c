"""The denoiser of Gaussian latents, in closed form for every set of missing views.

If the standardised latents of an object's views are jointly N(0, C), the missing ones
are N(K z_C, U Lambda U^T) given the conditioning ones, with K = C_MC C_CC^-1 and the
eigenvectors and eigenvalues of the Schur complement. At x = alpha z + sigma eps the
expected velocity alpha eps - sigma z is then

    v = U G U^T (x - alpha m) - sigma m,
    G = alpha sigma (1 - Lambda) / (alpha^2 Lambda + sigma^2),

with m = K z_C. A network that adds to it learns only the rest: this is the scalar skip
of Karras et al. (2022, Sec. 5) as a matrix, for every conditioning set.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxgrow import ops
from jaxgrow.errors import UserError
from jaxgrow.multiview import conditioning
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.typing import Latents, Missing, MultiTime


MAX_VIEWS = 6
_MIN_VARIANCE = 1e-6  # of a direction of standardised latents


class GaussianPath(NamedTuple):
    """The matrices of the closed form, for all 2^V - 1 sets of missing views.

    Attributes:
        regression: K of every set, in the rows of M and the columns of C; else 0.
        basis: U of every set, in the rows and columns of M; else 0.
        variance: Lambda of every set; 1 for conditioning views.
    """

    regression: Float[Array | np.ndarray, "s n n"]
    basis: Float[Array | np.ndarray, "s n n"]
    variance: Float[Array | np.ndarray, "s n"]


def missing_sets(num_views: int) -> Bool[np.ndarray, "s v"]:
    """Return every set M that is not empty; the set of all views is the last."""
    return np.concatenate(
        [conditioning.missing_rows(num_views), np.ones((1, num_views), bool)]
    )


def shrunk_covariance(z: Float[np.ndarray, "n v d"]) -> Float[np.ndarray, "p p"]:
    """Return the covariance of all V d latents, shrunk to a multiple of the identity.

    The share is that of oracle approximating shrinkage (Chen et al. 2010, Eq. 23)
    without its terms of order 1 / p. Every direction has variance, for any number of
    objects.
    """
    rows = z.reshape(len(z), -1).astype(np.float64)
    n, p = rows.shape
    c = np.cov(rows, rowvar=False, bias=True)
    trace, square = np.trace(c), np.square(c).sum()
    excess = (n + 1) * (square - trace**2 / p)
    wanted = square + trace**2
    share = 1.0 if excess <= wanted else wanted / excess
    return (1 - share) * c + share * trace / p * np.eye(p)


def fit_path(
    covariance: Float[Array | np.ndarray, "n n"], num_views: int
) -> GaussianPath:
    """Compute the closed form for latents of this covariance.

    Raises:
        UserError: More than 6 views, which have too many sets.
    """
    check_views(num_views)
    c = np.asarray(covariance, np.float64)
    sets = missing_sets(num_views)
    regression = np.zeros((len(sets), *c.shape), np.float32)
    basis = np.zeros_like(regression)
    variance = np.ones((len(sets), len(c)), np.float32)
    for i, of_set in enumerate(sets):
        m = np.repeat(of_set, len(c) // num_views)
        within = np.ix_(m, m)
        k = np.linalg.solve(c[np.ix_(~m, ~m)], c[np.ix_(~m, m)]).T
        values, vectors = np.linalg.eigh(c[within] - k @ c[np.ix_(~m, m)])
        regression[i][np.ix_(m, ~m)] = k
        basis[i][within] = vectors
        variance[i, m] = np.maximum(values, _MIN_VARIANCE)
    return GaussianPath(regression, basis, variance)


def covariance_of(path: GaussianPath) -> Float[np.ndarray, "n n"]:
    """Return C, which is U Lambda U^T of the set of all views."""
    basis = np.asarray(path.basis[-1], np.float64)
    return (basis * np.asarray(path.variance[-1]) @ basis.T).astype(np.float32)


def check_views(num_views: int) -> None:
    """Raise a `UserError` if there are more than 6."""
    if num_views > MAX_VIEWS:
        raise UserError(
            f"the Gaussian path keeps two matrices for each of the 2^{num_views} - 1 "
            f"sets of missing views, and takes at most {MAX_VIEWS} views: set "
            "score.gaussian_path to False."
        )


def path_like(num_views: int, dim: int) -> GaussianPath:
    """Return zeros in the shapes of `fit_path`."""
    n, s = num_views * dim, 2**num_views - 1
    matrices = jnp.zeros((s, n, n))
    return GaussianPath(matrices, matrices, jnp.zeros((s, n)))


def conditional_mean(path: GaussianPath, z: Latents, missing: Missing) -> Latents:
    """Return E[z_M | z_C] = K z_C where a view is missing, else 0."""
    flat = jnp.where(missing[..., None], 0.0, z).reshape(len(z), -1)
    found = _of_each_set(path, missing, lambda s: flat @ s.regression.T, flat)
    return found.reshape(z.shape)


def velocity(
    path: GaussianPath, sde: VPSDE, x: Latents, tau: MultiTime, missing: Missing
) -> Latents:
    """Return E[alpha eps - sigma z | x] of missing views, else 0.

    `x` is noisy and `tau` the time of the example where missing; elsewhere clean and 0.
    """
    alpha, sigma = (a[:, None] for a in sde.marginal(tau.max(axis=1)))
    m = conditional_mean(path, x, missing).reshape(len(x), -1)
    noisy = jnp.where(missing[..., None], x, 0.0).reshape(len(x), -1)

    def velocity_of_set(of_set):
        basis, variance = of_set.basis, of_set.variance[None]
        gain = alpha * sigma * (1 - variance) / (alpha**2 * variance + sigma**2)
        return (gain * ((noisy - alpha * m) @ basis)) @ basis.T - sigma * m

    return _of_each_set(path, missing, velocity_of_set, noisy).reshape(x.shape)


def _of_each_set(
    path: GaussianPath,
    missing: Missing,
    fn: Callable[[GaussianPath], Float[Array, "b n"]],
    like: Float[Array, "b n"],
) -> Float[Array, "b n"]:
    """Return the value of `fn` for every example's own set, in a loop over the sets."""
    sets = jnp.asarray(missing_sets(missing.shape[1]))

    def add(found, one):
        here = (missing == one[0][None]).all(axis=1, keepdims=True)
        return ops.where_any(here, lambda: fn(one[1]), found), None

    return jax.lax.scan(add, jnp.zeros_like(like), (sets, path))[0]
