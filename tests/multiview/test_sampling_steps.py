"""Schedules and single steps of the samplers: golden numbers and papers' formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.multiview.denoiser import Denoiser
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.multiview.sampling.schedule import (
    SamplerStep,
    heun_steps,
    log_snr_grid,
    repaint_points,
    repaint_steps,
    single_steps,
    time_grid,
)
from jaxgrow.multiview.sampling.solvers import SOLVERS
from jaxgrow.multiview.sde import VPSDE, multi_time
from tests.nets.test_score_net import (
    TINY,
    canonical_order,
    golden_inputs,
    variable_shapes,
)
from tests.support.golden_fill import filled
from tests.support.oracles import quick_jit


SDE = VPSDE()


def test_repaint_visits_the_points_of_the_reference():
    points = repaint_points(250, 10, 10)
    moves = np.diff(points)
    assert len(points) == 4571
    assert np.sum(moves == -1) == 2410
    assert np.sum(moves == 1) == 2160
    assert (points[0], points[-1]) == (250, 0)
    turns = [b for a, b, c in zip(points, points[1:], points[2:], strict=False)
             if b < a and c > b]  # fmt: skip
    assert sorted(set(turns)) == list(range(1, 232, 10))
    assert points[19:40] == [231, *range(232, 242), *range(240, 230, -1)]
    assert all(turns.count(anchor) == 9 for anchor in set(turns))


def test_a_jump_of_repaint_is_its_single_forward_steps():
    steps = quick_jit(lambda: repaint_steps(SDE, 20, 5, 3))()
    a, s = map(np.asarray, steps.jump)
    assert np.sum(s > 0.0) == 6
    points = repaint_points(20, 5, 3)
    down = [i for i in range(len(points) - 1) if points[i + 1] < points[i]]
    for i, keep, spread in zip(down, a, s, strict=True):
        scale, variance, at = 1.0, 0.0, i + 1
        while at + 1 < len(points) and points[at + 1] > points[at]:
            beta_dt = (0.1 + 19.9 * points[at] / 20) / 20
            scale *= 1 - beta_dt / 2
            variance = variance * (1 - beta_dt / 2) ** 2 + beta_dt
            at += 1
        np.testing.assert_allclose([keep, spread], [scale, variance**0.5], rtol=1e-5)


def test_the_default_grid_is_the_papers():
    config = SamplerConfig()
    times = time_grid(config.num_steps, config.start_of_last_step)
    np.testing.assert_allclose(times, np.arange(250, -1, -1) / 250, atol=1e-7)
    assert times[-1] == 0.0


def test_the_log_snr_grid_is_even_in_log_snr():
    times, log_snr = quick_jit(
        lambda: (times := log_snr_grid(SDE, 12, 1e-3), SDE.log_snr(times[:-1]))
    )()
    assert (times[0], times[-1]) == (1.0, 0.0)
    np.testing.assert_allclose(times[-2], 1e-3, rtol=1e-4)
    gaps = np.diff(log_snr)
    np.testing.assert_allclose(gaps, gaps.mean(), rtol=1e-4)


def test_heun_looks_at_both_ends_of_every_step_but_the_last():
    steps = quick_jit(heun_steps)(jnp.array([1.0, 0.5, 0.25, 0.0]))
    np.testing.assert_array_equal(steps.t, [1.0, 0.5, 0.5, 0.25, 0.25])
    np.testing.assert_array_equal(steps.start, [1.0, 1.0, 0.5, 0.5, 0.25])
    np.testing.assert_array_equal(steps.stop, [0.5, 0.5, 0.25, 0.25, 0.0])
    np.testing.assert_array_equal(steps.index, [1, 2, 3, 4, 5])


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_step_of_a_dpm_solver_is_the_papers_update(stochastic):
    """Lu et al. (2022), DPM-Solver++, with their s = step's start, t = its end."""
    rng = np.random.default_rng(4)
    x, eps, noise, past = rng.normal(size=(4, 2, 4, 3))
    times = np.array([0.8, 0.55, 0.4])
    integral = 0.1 * times + 9.95 * times**2
    alpha, sigma = np.exp(-integral / 2), np.sqrt(1 - np.exp(-integral))
    lam = np.log(alpha / sigma)
    h, h_before = lam[2] - lam[1], lam[1] - lam[0]
    data = (x - sigma[1] * eps) / alpha[1]
    slope = (data - past) / (h_before / h)
    if stochastic:
        fall = alpha[2] * (1 - np.exp(-2 * h))
        expected = sigma[2] / sigma[1] * np.exp(-h) * x + fall * (data + slope / 2)
        expected = expected + sigma[2] * np.sqrt(1 - np.exp(-2 * h)) * noise
    else:
        fall = alpha[2] * (np.exp(-h) - 1)
        expected = sigma[2] / sigma[1] * x - fall * data - 0.5 * fall * slope
    name = "sde_dpm++" if stochastic else "dpm++"
    with jax.enable_x64(True):
        step = jax.tree.map(lambda a: a[1], single_steps(jnp.asarray([*times, 0.0])))
        memory = (jnp.asarray(past), jnp.asarray(h_before))
        arrays = map(jnp.asarray, (x, eps, noise))
        update = functools.partial(SOLVERS[name].update, SDE, SamplerConfig(name=name))
        found, (data_now, h_now) = quick_jit(update)(step, *arrays, memory)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(data_now, data, rtol=1e-10)
    np.testing.assert_allclose(h_now, h, rtol=1e-10)


@functools.cache
def golden_step():
    """(params, x, t, stop, fresh noise) to x, views 0 and 2 missing."""
    missing = np.array([[True, False, True]] * 2)

    def update(params, x, t, stop, noise):
        tau = multi_time(jnp.full(2, t), jnp.asarray(missing))
        eps_hat = Denoiser(TINY, SDE).predict_noise(params, x, tau)
        step, solver = (
            SamplerStep(jnp.ones((), int), t, t, stop),
            SOLVERS["euler_maruyama"],
        )
        return solver.update(SDE, SamplerConfig(), step, x, eps_hat, noise, ())[0]

    return quick_jit(update)


@pytest.mark.parametrize(
    ("k", "noise", "golden"),
    [
        (1, 1e3, """1.0011079 0.96662 0.82423204 0.60890996
            -0.74296653 -0.8929009 -0.97847915 -0.99406606"""),
        (125, 0.0, """1.0212348 0.9898172 0.83993816 0.61607873
            -0.75962263 -0.9062154 -0.99339634 -1.0160677"""),
    ],
    ids=["the last step, whose noise is left out", "a step amid, without noise"],
)  # fmt: skip
def test_an_euler_maruyama_step_gives_the_golden_numbers(k, noise, golden):
    params = filled(variable_shapes(TINY, 3, 4), canonical_order())
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    x, t, stop, fresh = (
        jnp.asarray(a, jnp.float32)
        for a in (golden_inputs()[0], k / 250, (k - 1) / 250, np.full((2, 3, 4), noise))
    )
    found = np.asarray(golden_step()(params, x, t, stop, fresh))[0, [0, 2]]
    expected = np.array(golden.split(), np.float64).reshape(2, 4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
