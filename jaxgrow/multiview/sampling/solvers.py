"""The step of every sampler, in the notation of its paper.

A solver turns x and the network's estimate `eps_hat` of its noise at time `step.t` into
x at time `step.stop`. It acts on every entry; the caller restores conditioning views.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxgrow.multiview.sampling.config import SamplerConfig, SamplerName
from jaxgrow.multiview.sampling.schedule import SamplerStep
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.typing import Latents


Memory: TypeAlias = PyTree[Float[Array, "..."]]


class Solver(NamedTuple):
    """A sampler's update and its memory from one step to the next."""

    start: Callable[[Latents], Memory]
    """x -> memory before the first step."""
    update: Callable[
        [VPSDE, SamplerConfig, SamplerStep, Latents, Latents, Latents, Memory],
        tuple[Latents, Memory],
    ]
    """(sde, config, step, x, eps_hat, fresh noise, memory) -> (x, memory)."""


def _euler_maruyama(sde, config, step, x, eps_hat, noise, memory):
    """Reverse SDE, dR = -[beta R / 2 + beta score] dt + sqrt(beta) dW backwards in t.

    Song et al. (2021), Eq. 6 and App. D. beta and sigma are those of the step's start;
    the last step adds no noise, and no denoising follows it.
    """
    dt, beta = step.start - step.stop, sde.beta(step.start)
    score = -eps_hat / sde.marginal(step.start)[1]
    diffusion = jnp.where(step.stop > 0.0, jnp.sqrt(beta * dt), 0.0)
    return x + dt * (0.5 * beta * x + beta * score) + diffusion * noise, memory


def _ddim(sde, config, step, x, eps_hat, noise, memory):
    """Song, Meng & Ermon (2021), Eqs. 12 and 16; `eta` 0 is the ODE, 1 ancestral."""
    alpha_s, sigma_s = sde.marginal(step.stop)
    sigma = sde.marginal(step.start)[1]
    x_0 = _data_prediction(sde, step, x, eps_hat)
    # Of the reverse transition: (sigma_s / sigma)^2 (1 - alpha^2 / alpha_s^2).
    shrink = jnp.expm1(sde.integral(step.stop) - sde.integral(step.start))
    fresh = config.eta * (sigma_s / sigma) * jnp.sqrt(-shrink)
    kept = jnp.sqrt(jnp.maximum(sigma_s**2 - fresh**2, 0.0))
    return alpha_s * x_0 + kept * eps_hat + fresh * noise, memory


def _heun(sde, config, step, x, eps_hat, noise, memory):
    """Heun's method on d(x / alpha) / d(sigma / alpha) = eps, the ODE rescaled.

    Karras et al. (2022), Alg. 1 in their variables. The evaluation at a step's start
    gives an Euler step; the one at its end repeats it with the mean slope. The last
    step, to noise level 0, is Euler's.
    """
    alpha, sigma = sde.marginal(step.start)
    alpha_s, sigma_s = sde.marginal(step.stop)
    x_bar, first_slope = memory
    corrects = step.t < step.start
    x_bar = jnp.where(corrects, x_bar, x / alpha)
    slope = jnp.where(corrects, 0.5 * (first_slope + eps_hat), eps_hat)
    x = alpha_s * (x_bar + (sigma_s / alpha_s - sigma / alpha) * slope)
    return x, (x_bar, eps_hat)


def _start_dpm(x: Latents) -> Memory:
    """An infinitely old prediction makes the first step first-order."""
    return jnp.zeros_like(x), jnp.full((), jnp.inf, x.dtype)


def _dpm(sde, config, step, x, eps_hat, noise, memory):
    """DPM-Solver++(2M) for the ODE (Lu et al. 2022, DPM-Solver++, Alg. 2)."""
    (sigma, (alpha_s, sigma_s)) = sde.marginal(step.start)[1], sde.marginal(step.stop)
    d, h, memory = _second_order_prediction(sde, step, x, eps_hat, memory)
    return (sigma_s / sigma) * x - alpha_s * jnp.expm1(-h) * d, memory


def _sde_dpm(sde, config, step, x, eps_hat, noise, memory):
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, DPM-Solver++, Sec. 5 and App. B)."""
    (sigma, (alpha_s, sigma_s)) = sde.marginal(step.start)[1], sde.marginal(step.stop)
    d, h, memory = _second_order_prediction(sde, step, x, eps_hat, memory)
    x = (sigma_s / sigma) * jnp.exp(-h) * x - alpha_s * jnp.expm1(-2.0 * h) * d
    return x + sigma_s * jnp.sqrt(-jnp.expm1(-2.0 * h)) * noise, memory


def _second_order_prediction(sde, step, x, eps_hat, memory):
    """Return (D_i, h_i, memory): the data prediction, extrapolated from the last one.

    D_i = (1 + 1 / 2r) x_0 - (1 / 2r) x_0', r = h_{i-1} / h_i; h is the step in
    lambda. In the last step h is infinite and D_i = x_0: x becomes the data prediction.
    """
    x_0_before, h_before = memory
    h = sde.log_snr(step.stop) - sde.log_snr(step.start)
    x_0 = _data_prediction(sde, step, x, eps_hat)
    weight = jnp.where(step.stop > 0.0, 0.5 * h / h_before, 0.0)
    return x_0 + weight * (x_0 - x_0_before), h, (x_0, h)


def _data_prediction(sde, step, x, eps_hat):
    """Return the clean latents that x and its noise imply."""
    alpha, sigma = sde.marginal(step.start)
    return (x - sigma * eps_hat) / alpha


_EULER_MARUYAMA = Solver(lambda x: (), _euler_maruyama)
SOLVERS: Mapping[SamplerName, Solver] = {
    "euler_maruyama": _EULER_MARUYAMA,
    "repaint": _EULER_MARUYAMA,
    "replace": _EULER_MARUYAMA,
    "ddim": Solver(lambda x: (), _ddim),
    "heun": Solver(lambda x: (x, x), _heun),
    "dpm++": Solver(_start_dpm, _dpm),
    "sde_dpm++": Solver(_start_dpm, _sde_dpm),
}
