"""Views with jointly Gaussian latents: all distributions and noises in closed form.

At times tau the perturbed views are N(A mu, A C A + S^2) with A, S diagonal, A = 1 and
S = 0 where a view is clean, so that the exact noise predictor is linear.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrow.multiview.sde import VPSDE


V, D = 4, 2
SDE = VPSDE()

_rng = np.random.default_rng(3)
_factor = _rng.normal(size=(V * D, V * D))
_cov = _factor @ _factor.T / (V * D) + 0.3 * np.eye(V * D)
MEAN = _rng.normal(size=V * D)
COV = _cov / np.sqrt(np.outer(np.diag(_cov), np.diag(_cov)))

PATTERNS = np.array(list(itertools.product([False, True], repeat=V)))
"""All masks, row i holding the binary digits of i; True = missing."""
SUBSETS = PATTERNS[1:-1]
"""The 14 masks of `conditioning_sets`."""


def exact_noise(x, tau):
    """E[noise | x] at the times of one sampler: 0 where a view is clean, else common.

    Inverts one matrix per mask instead of one per example.
    """
    alpha, sigma = SDE.marginal(jnp.max(tau) * jnp.asarray(PATTERNS, x.dtype))
    a, s = jnp.repeat(alpha, D, axis=1), jnp.repeat(sigma, D, axis=1)
    covariance = a[:, :, None] * jnp.asarray(COV, x.dtype)[None] * a[:, None, :]
    precision = jnp.linalg.inv(covariance + jax.vmap(jnp.diag)(s**2))
    gain = s[:, :, None] * precision
    weights = 2 ** jnp.arange(V - 1, -1, -1)
    pattern = jnp.sum((tau > 0) * weights[None], axis=1)
    offset = x.reshape(-1, V * D) - a[pattern] * jnp.asarray(MEAN, x.dtype)[None]
    return jnp.einsum("bij,bj->bi", gain[pattern], offset).reshape(x.shape)


def entries(missing):
    """Boolean mask of the V * D entries of the missing views."""
    return np.repeat(np.asarray(missing), D)


def conditional_distribution(z, missing):
    """(mean, covariance) of the missing entries given the clean ones of z (V, D)."""
    m = entries(missing)
    gain = COV[np.ix_(m, ~m)] @ np.linalg.inv(COV[np.ix_(~m, ~m)])
    known = np.asarray(z, np.float64).reshape(-1)[~m]
    mean = MEAN[m] + gain @ (known - MEAN[~m])
    return mean, COV[np.ix_(m, m)] - gain @ COV[np.ix_(~m, m)]


def marginal(t):
    """(alpha, sigma) at a number t, in float64."""
    integral = SDE.beta_min * t + 0.5 * (SDE.beta_max - SDE.beta_min) * t**2
    return np.exp(-0.5 * integral), np.sqrt(-np.expm1(-integral))


def noise_gain(t, missing, *, joint):
    """(G, c): E[noise of the missing entries | x] = G x + c, x all entries."""
    m = entries(missing)
    diffused = np.ones_like(m) if joint else m
    alpha, sigma = marginal(t)
    a, s = np.where(diffused, alpha, 1.0), np.where(diffused, sigma, 0.0)
    gain = s[:, None] * np.linalg.inv(a[:, None] * COV * a[None] + np.diag(s**2))
    return gain[m], -(gain @ (a * MEAN))[m]


def euler_distribution(z, missing, points, num_steps, *, joint):
    """(mean, covariance) of Euler-Maruyama's result, by its own linear recursion.

    Args:
        z: Latents (V, D); read where known.
        missing: (V,).
        points: Steps visited, from `num_steps` to 0; a rise is a forward step.
        num_steps: Steps from time 1 to 0.
        joint: True if known views are noised anew before every downward step, but the
            last, and all are at one time.
    """
    m, dt = entries(missing), 1.0 / num_steps
    known = np.asarray(z, np.float64).reshape(-1)[~m]
    mean, cov = np.zeros(m.sum()), np.eye(m.sum())
    for here, there in itertools.pairwise(points):
        t = here / num_steps
        beta = SDE.beta_min + t * (SDE.beta_max - SDE.beta_min)
        alpha, sigma = marginal(t)
        if there > here:
            keep, drift, extra = (1 - 0.5 * beta * dt) * np.eye(m.sum()), 0.0, 0.0
        else:
            gain, offset = noise_gain(t, missing, joint=joint)
            push = -dt * beta / sigma
            keep = (1 + 0.5 * beta * dt) * np.eye(m.sum()) + push * gain[:, m]
            shown = alpha * known if joint else known
            drift = push * (gain[:, ~m] @ shown + offset)
            noised = sigma if joint and there > 0 else 0.0
            extra = (push * noised) ** 2 * gain[:, ~m] @ gain[:, ~m].T
        fresh = beta * dt if there > 0 else 0.0
        mean = keep @ mean + drift
        cov = keep @ cov @ keep.T + extra + fresh * np.eye(m.sum())
    return mean, cov
