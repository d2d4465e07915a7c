"""Every sampler on Gaussian views, whose conditional distributions are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.multiview.sampling import SamplerConfig, sample_missing
from jaxgrow.multiview.sampling.schedule import repaint_points
from tests.support.gaussian_views import (
    PATTERNS,
    SDE,
    SUBSETS,
    D,
    V,
    conditional_distribution,
    entries,
    euler_distribution,
    exact_noise,
    marginal,
    noise_gain,
)


pytestmark = pytest.mark.slow


CONFIGS = {
    "euler_maruyama": SamplerConfig(),
    "euler_maruyama on log-SNR": SamplerConfig(grid="log_snr"),
    "ddim": SamplerConfig(name="ddim", num_steps=250, grid="log_snr"),
    "ddim, ancestral": SamplerConfig(name="ddim", num_steps=500, eta=1.0),
    "heun": SamplerConfig(name="heun", num_steps=40, grid="log_snr"),
    "heun on time": SamplerConfig(name="heun", num_steps=40, t_end=0.004),
    "dpm++": SamplerConfig(name="dpm++", num_steps=40, grid="log_snr"),
    "dpm++ on time": SamplerConfig(name="dpm++", num_steps=60),
    "sde_dpm++": SamplerConfig(name="sde_dpm++", num_steps=60, grid="log_snr"),
    "sde_dpm++ on time": SamplerConfig(name="sde_dpm++", num_steps=100),
    "repaint": SamplerConfig(
        name="repaint", num_steps=100, jump_length=5, num_resamples=2
    ),
}


def known_latents():
    """(V, D), of ordinary size."""
    return np.random.default_rng(5).normal(size=(V, D)).astype(np.float32)


@functools.cache
def draw(config, num_each, seed=1):
    """{mask: (num_each, V, D)}, one batch in which all 16 masks alternate."""
    missing = np.tile(PATTERNS, (num_each, 1))
    z = np.where(missing[..., None], np.nan, known_latents()[None])
    keys = jax.random.split(jax.random.key(seed), len(missing))
    run = jax.jit(functools.partial(sample_missing, exact_noise, SDE, config))
    x = np.asarray(run(keys, jnp.asarray(z), jnp.asarray(missing)), np.float64)
    return {tuple(p): x[i :: len(PATTERNS)] for i, p in enumerate(PATTERNS)}


class Deviations:
    """Deviations of samples from Gaussian distributions, in units of chance.

    Whitened samples have mean 0 and covariance 1. `mean` and `covariance` are the mean
    squares of their errors over those expected of a perfect sampler, so near 1 if it
    is one; `variance` is the average variance.
    """

    def __init__(self):
        self._mean, self._covariance, self._variance = [], [], []

    def add(self, samples, mean, covariance):
        n, k = samples.shape
        white = (samples - mean) @ np.linalg.inv(np.linalg.cholesky(covariance)).T
        error = np.cov(white.T).reshape(k, k) - np.eye(k)
        self._mean += list(n * white.mean(0) ** 2)
        self._covariance += list((n * error**2 / (1 + np.eye(k)))[np.tril_indices(k)])
        self._variance += list(white.var(0))

    @property
    def mean(self):
        return np.mean(self._mean)

    @property
    def covariance(self):
        return np.mean(self._covariance)

    @property
    def variance(self):
        return np.mean(self._variance)


@pytest.mark.parametrize("name", CONFIGS)
def test_missing_views_follow_the_conditional_distribution_for_every_subset(name):
    samples, found = draw(CONFIGS[name], 500), Deviations()
    for missing in [*SUBSETS, PATTERNS[-1]]:
        x = samples[tuple(missing)].reshape(-1, V * D)[:, entries(missing)]
        found.add(x, *conditional_distribution(known_latents(), missing))
    # 64 means, 216 (co)variances of 500 samples each: chance alone gives 1.6 and 1.3
    # once in a thousand.
    assert found.mean < 1.6
    assert found.covariance < 1.35
    # DDIM is of first order: it narrows these distributions by 1 % even in 1000 steps.
    assert abs(found.variance - 1.0) < (0.05 if name.startswith("ddim") else 0.03)


@pytest.mark.parametrize(
    ("name", "num_resamples"), [("replace", 1), ("replace", 3), ("repaint", 3)]
)
def test_resampled_views_follow_the_recursion_of_the_reference(name, num_resamples):
    config = SamplerConfig(
        name=name, num_steps=40, jump_length=4, num_resamples=num_resamples
    )
    points = repaint_points(40, 4, num_resamples)
    samples, found = draw(config, 500), Deviations()
    for missing in [*SUBSETS, PATTERNS[-1]]:
        x = samples[tuple(missing)].reshape(-1, V * D)[:, entries(missing)]
        expected = euler_distribution(
            known_latents(), missing, points, 40, joint=name == "replace"
        )
        found.add(x, *expected)
    assert found.mean < 1.6
    assert found.covariance < 1.35
    assert abs(found.variance - 1.0) < 0.015


@pytest.mark.parametrize("missing", SUBSETS[[0, 5, 12]])
def test_resampling_brings_replacement_near_the_conditional_distribution(missing):
    mean, covariance = conditional_distribution(known_latents(), missing)
    errors = []
    for num_resamples in (1, 10):
        points = repaint_points(250, 10, num_resamples)
        found, spread = euler_distribution(
            known_latents(), missing, points, 250, joint=True
        )
        errors.append((np.abs(found - mean).max(), np.abs(spread - covariance).max()))
    assert errors[1][0] < errors[0][0]
    assert errors[1][1] < errors[0][1]


def test_euler_maruyama_keeps_a_standard_normal_at_variance_1():
    def noise(x, tau):
        return SDE.marginal(tau)[1][..., None] * x

    n, config = 2000, SamplerConfig()
    run = jax.jit(functools.partial(sample_missing, noise, SDE, config))
    keys, missing = jax.random.split(jax.random.key(1), n), jnp.ones((n, 4), bool)
    x = np.asarray(run(keys, jnp.zeros((n, 4, 8)), missing))
    np.testing.assert_allclose(x.var(), 1.0, rtol=0.01)
    np.testing.assert_allclose(x.mean(), 0.0, atol=0.015)


@pytest.mark.parametrize(
    ("name", "grid", "order"),
    [
        ("ddim", "time", 1),
        ("ddim", "log_snr", 1),
        ("heun", "time", 2),
        ("heun", "log_snr", 2),
        ("dpm++", "time", 2),
        ("dpm++", "log_snr", 2),
    ],
)
def test_the_error_of_an_ode_sampler_falls_with_its_order(name, grid, order):
    missing, t_end = np.array([[True, False, True, False]]), 0.1
    z = known_latents().astype(np.float64)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(2), 1)

        def run(eps_fn, num_steps):
            config = SamplerConfig(
                name=name, num_steps=num_steps, grid=grid, t_end=t_end
            )
            fn = functools.partial(sample_missing, eps_fn, SDE, config)
            x = jax.jit(fn)(keys, jnp.asarray(z)[None], jnp.asarray(missing))
            return np.asarray(x).reshape(-1)[entries(missing[0])]

        # Without noise to remove, a single step only divides by alpha(1).
        start = marginal(1.0)[0] * run(lambda x, tau: jnp.zeros_like(x), 1)
        exact = _flow(start, *conditional_distribution(z, missing[0]), t_end)
        steps = [32, 64, 128]
        errors = [np.linalg.norm(run(exact_noise, n) - exact) for n in steps]
    slopes = np.diff(np.log(errors)) / -np.diff(np.log(np.array(steps) - 1))
    assert abs(slopes[-1] - order) < 0.2, slopes


def _flow(start, mean, covariance, t_end):
    """The probability flow of N(mean, covariance) from 1 to t_end, then E[x_0 | x]."""
    variances, axes = np.linalg.eigh(covariance)
    (alpha, sigma), (alpha_s, sigma_s) = marginal(1.0), marginal(t_end)
    before = alpha**2 * variances + sigma**2
    after = alpha_s**2 * variances + sigma_s**2
    offset = axes.T @ (start - alpha * mean)
    offset = np.sqrt(after / before) * offset * alpha_s * variances / after
    return mean + axes @ offset


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_guidance_moves_along_the_difference_of_the_branches(weight):
    """The mean follows its own linear recursion, in which noise has mean 0."""
    num_steps, num_each = 30, 1000
    config = SamplerConfig(name="ddim", num_steps=num_steps, guidance=weight)
    samples = draw(config, num_each)
    errors = []
    for missing in SUBSETS:
        m = entries(missing)
        known, x = known_latents().reshape(-1)[~m], np.zeros(m.sum())
        for k in range(num_steps, 0, -1):
            (alpha, sigma), (alpha_s, sigma_s) = (
                marginal(k / num_steps),
                marginal((k - 1) / num_steps),
            )
            eps = []
            for joint, shown in ((True, alpha * known), (False, known)):
                gain, offset = noise_gain(k / num_steps, missing, joint=joint)
                eps.append(gain[:, m] @ x + gain[:, ~m] @ shown + offset)
            eps_hat = eps[0] + weight * (eps[1] - eps[0])
            x = alpha_s * (x - sigma * eps_hat) / alpha + sigma_s * eps_hat
        drawn = samples[tuple(missing)].reshape(-1, V * D)[:, m]
        errors += list(num_each * (drawn.mean(0) - x) ** 2 / drawn.var(0))
    assert np.mean(errors) < 1.6
