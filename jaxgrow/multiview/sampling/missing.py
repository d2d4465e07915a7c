"""Sampling of the missing views of every example given the others."""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxgrow.multiview.sampling.config import SamplerConfig
from jaxgrow.multiview.sampling.schedule import (
    SamplerStep,
    heun_steps,
    log_snr_grid,
    repaint_steps,
    single_steps,
    time_grid,
)
from jaxgrow.multiview.sampling.solvers import SOLVERS
from jaxgrow.multiview.sde import VPSDE, multi_time
from jaxgrow.typing import Keys, Latents, Missing, NoiseFn


Time: TypeAlias = Float[Array, ""]


def sample_missing(
    eps_fn: NoiseFn,
    sde: VPSDE,
    config: SamplerConfig,
    keys: Keys,
    z: Latents,
    missing: Missing,
) -> Latents:
    """Draw the missing views from their distribution given the conditioning ones.

    Eq. 5 of Di Giacomo et al. (2024). Conditioning views enter every evaluation clean,
    at time 0, and come back bit for bit; only `replace` shows them to the network
    noised, at the common time. Values of missing views are never read. With no view
    missing the result is `z`, with all missing a draw from the joint distribution
    (Eq. 3).

    The random numbers of example i come from `keys[i]` alone, so its result does not
    depend on its batch. `eps_fn` is traced once, twice with guidance.

    Args:
        eps_fn: (x, tau) -> the noise in x, by `Denoiser.noise_fn`.
        sde: The noise process of the training.
        config: Sampler, steps and guidance. Guidance (Ho & Salimans 2022) steers away
            from the joint branch, in which all views are at time t, the conditioning
            ones with a noise that stays the same for the whole run.
        keys: One per example.
        z: Clean latents; anything, NaN included, where missing.
        missing: True where a view is to be drawn.

    Returns:
        `z` with the missing views filled in.
    """
    drawn = missing[..., None]
    z = jnp.where(drawn, 0.0, z)
    solver = SOLVERS[config.name]
    initial_key, guide_key = _split(keys, jnp.zeros((), int), 2)
    guide_noise = _normal(guide_key, z)

    def body(carry, step: SamplerStep):
        x, memory = carry
        step_key, jump_key, replace_key = _split(keys, step.index, 3)
        if config.name == "replace":
            noise = jnp.where(step.stop > 0.0, _normal(replace_key, z), 0.0)
            eps_hat = joint_noise(x, step.t, noise)
        else:
            eps_hat = conditional_noise(x, step.t)
            if config.guidance != 1.0:
                joint = joint_noise(x, step.t, guide_noise)
                eps_hat = joint + config.guidance * (eps_hat - joint)
        noise = _normal(step_key, z)
        x, memory = solver.update(sde, config, step, x, eps_hat, noise, memory)
        if step.jump is not None:
            a, s = step.jump
            x = a * x + s * _normal(jump_key, z)
        return (jnp.where(drawn, x, z), memory), None

    conditional_noise, joint_noise = _branches(eps_fn, sde, z, missing)
    x = jnp.where(drawn, _normal(initial_key, z), z)
    (x, _), _ = lax.scan(body, (x, solver.start(x)), _steps_of(sde, config))
    return x


def _steps_of(sde: VPSDE, config: SamplerConfig) -> SamplerStep:
    """Return all evaluations of a run, in order."""
    num_steps = config.num_steps
    if config.name in ("repaint", "replace"):
        return repaint_steps(sde, num_steps, config.jump_length, config.resamples)
    if config.grid == "time":
        times = time_grid(num_steps, config.start_of_last_step)
    else:
        times = log_snr_grid(sde, num_steps, config.start_of_last_step)
    return heun_steps(times) if config.name == "heun" else single_steps(times)


def _branches(
    eps_fn: NoiseFn, sde: VPSDE, z: Latents, missing: Missing
) -> tuple[
    Callable[[Latents, Time], Latents], Callable[[Latents, Time, Latents], Latents]
]:
    """Return the network as a conditional and as a joint model of all views at t."""
    num_examples, num_views = missing.shape

    def conditional(x: Latents, t: Time) -> Latents:
        return eps_fn(x, multi_time(jnp.full(num_examples, t), missing))

    def joint(x: Latents, t: Time, conditioning_noise: Latents) -> Latents:
        alpha, sigma = sde.marginal(t)
        x = jnp.where(missing[..., None], x, alpha * z + sigma * conditioning_noise)
        return eps_fn(x, jnp.full((num_examples, num_views), t))

    return conditional, joint


def _split(keys: Keys, index: Int[Array, ""], num: int) -> list[Keys]:
    """Return `num` keys for every example, those of evaluation `index`."""
    of_each = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, index), num))
    return list(of_each(keys).T)


def _normal(keys: Keys, like: Latents) -> Latents:
    """Draw standard normal numbers, those of example i from `keys[i]`."""
    return jax.vmap(lambda k: jax.random.normal(k, like.shape[1:], like.dtype))(keys)
