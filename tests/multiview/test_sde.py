"""The noise process against quadrature, golden numbers and its own inverse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from jaxgrow.errors import UserError
from jaxgrow.multiview.sde import VPSDE, multi_time, sample_times
from tests.support.oracles import quick_jit


# t, alpha, sigma, beta
MARGINALS = np.array(
    [
        (1e-6, 0.99999995, 3.16243e-4, 0.10002),
        (1e-3, 0.999945027, 0.0104854163, 0.1199),
        (0.004, 0.999720439, 0.0236441045, 0.1796),
        (0.1, 0.946721799, 0.322052536, 2.09),
        (0.25, 0.723657185, 0.690159604, 5.075),
        (0.5, 0.281182881, 0.959654202, 10.05),
        (0.75, 0.058663503, 0.998277814, 15.025),
        (1.0, 0.00657158649, 0.999978407, 20.0),
    ]
)
OTHER = VPSDE(beta_min=0.3, beta_max=7.0)
CONSTANT = VPSDE(beta_min=2.0, beta_max=2.0)


@functools.cache
def marginal(sde):
    return quick_jit(sde.marginal)


@functools.cache
def there_and_back(sde):
    """Of t: (alpha, sigma, lambda, the time of lambda)."""

    def fn(t):
        return *sde.marginal(t), sde.log_snr(t), sde.time_of_log_snr(sde.log_snr(t))

    return quick_jit(fn)


@pytest.mark.parametrize(("double", "rtol"), [(True, 2e-6), (False, 3e-6)])
def test_the_marginal_is_the_golden_table(double, rtol):
    t, alpha, sigma, beta = MARGINALS.T
    with jax.enable_x64(double):
        found_alpha, found_sigma = marginal(VPSDE())(jnp.asarray(t))
        found_beta = VPSDE().beta(jnp.asarray(t))
    np.testing.assert_allclose(found_alpha, alpha, rtol=rtol)
    np.testing.assert_allclose(found_sigma, sigma, rtol=rtol)
    np.testing.assert_allclose(found_beta, beta, rtol=rtol)


@pytest.mark.parametrize("sde", [VPSDE(), OTHER, CONSTANT])
@pytest.mark.parametrize("t", [1e-4, 0.03, 0.4, 1.0])
def test_the_marginal_is_what_the_linear_sde_makes_of_one_point(sde, t):
    def beta(s):
        return sde.beta_min + s * (sde.beta_max - sde.beta_min)

    def decay(start):
        return np.exp(-0.5 * integrate.quad(beta, start, t)[0])

    variance, _ = integrate.quad(lambda s: beta(s) * decay(s) ** 2, 0.0, t)
    with jax.enable_x64(True):
        alpha, sigma = marginal(sde)(jnp.asarray(t))
    np.testing.assert_allclose(alpha, decay(0.0), rtol=1e-9)
    np.testing.assert_allclose(sigma, np.sqrt(variance), rtol=1e-9)


def test_variance_is_preserved():
    alpha, sigma = map(np.asarray, marginal(VPSDE())(jnp.linspace(0.0, 1.0, 101)))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-6)


def test_sigma_keeps_its_digits_where_the_difference_from_1_has_none():
    t = np.array([1e-9, 1e-7, 1e-6])
    _, sigma = marginal(VPSDE())(jnp.asarray(t, jnp.float32))
    np.testing.assert_allclose(sigma, np.sqrt(0.1 * t), rtol=1e-4)


def test_a_conditioning_view_is_at_alpha_1_and_sigma_0_exactly():
    missing = np.array([[True, False, True], [False, False, True]])
    tau = quick_jit(multi_time)(jnp.array([0.7, 1.0]), missing)
    np.testing.assert_array_equal(
        tau, np.array([[0.7, 0.0, 0.7], [0.0, 0.0, 1.0]], np.float32)
    )
    alpha, sigma = map(np.asarray, marginal(VPSDE())(tau))
    np.testing.assert_array_equal(alpha[~missing], 1.0)
    np.testing.assert_array_equal(sigma[~missing], 0.0)


@pytest.mark.parametrize("sde", [VPSDE(), OTHER, CONSTANT, VPSDE(0.1, 300.0)])
def test_log_snr_is_log_of_alpha_over_sigma_and_has_an_inverse(sde):
    t = np.geomspace(1e-6, 1.0, 50)
    with jax.enable_x64(True):
        found = there_and_back(sde)(jnp.asarray(t))
    alpha, sigma, log_snr, back = map(np.asarray, found)
    np.testing.assert_allclose(log_snr, np.log(alpha / sigma), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(back, t, rtol=1e-9)


@settings(deadline=None, max_examples=50)
@given(t=st.floats(1e-6, 1.0))
def test_the_inverse_of_log_snr_is_good_in_single_precision(t):
    back = there_and_back(VPSDE())(jnp.asarray(t, jnp.float32))[-1]
    np.testing.assert_allclose(back, t, rtol=2e-5)


def test_time_0_is_at_infinite_log_snr():
    *_, log_snr, back = there_and_back(VPSDE())(jnp.zeros(()))
    assert log_snr == np.inf
    assert back == 0.0


def test_uniform_times_span_the_interval_from_a_millionth():
    u = jnp.array([0.0, 0.25, 0.5, 1.0])
    expected = [1e-6, 0.25 + 0.75e-6, 0.5 + 0.5e-6, 1.0]
    np.testing.assert_allclose(sample_times(u), expected, rtol=1e-6)


@pytest.mark.parametrize("betas", [(0.0, 20.0), (3.0, 1.0), (0.1, np.inf)])
def test_an_impossible_process_is_refused(betas):
    with pytest.raises(
        UserError, match=r"set beta_m.. to a number, above 0|beta_min .* is above"
    ):
        VPSDE(*betas)
