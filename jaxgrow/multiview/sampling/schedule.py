"""The times at which a sampler evaluates the network, in order."""

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxgrow.multiview.sde import VPSDE


class SamplerStep(NamedTuple):
    """One evaluation of the network in the step from `start` to `stop`.

    The schedule of a run stacks them: every field has one entry per evaluation.

    Attributes:
        index: Counts the evaluations from 1; selects their random numbers.
        t: Time of the evaluation: `start`, or `stop` where Heun corrects itself.
        start: First time of the step.
        stop: Last time of the step, 0 in the last.
        jump: (a, s) of the resampling jump x -> a x + s n after the step; None in a run
            without resampling.
    """

    index: Int[Array, "*n"]
    t: Float[Array, "*n"]
    start: Float[Array, "*n"]
    stop: Float[Array, "*n"]
    jump: tuple[Float[Array, "*n"], Float[Array, "*n"]] | None = None


Times: TypeAlias = Float[Array, " n"]  # from 1 down to 0


def time_grid(num_steps: int, t_end: float) -> Times:
    """Return 1, ..., t_end, 0, even in time but for the last step."""
    return jnp.append(jnp.linspace(1.0, t_end, num_steps), 0.0)


def log_snr_grid(sde: VPSDE, num_steps: int, t_end: float) -> Times:
    """Return 1, ..., t_end, 0, even in log(alpha / sigma) but for the last step."""
    first, last = sde.log_snr(jnp.array([1.0, t_end]))
    times = sde.time_of_log_snr(jnp.linspace(first, last, num_steps))
    return jnp.append(times.at[0].set(1.0), 0.0)


def single_steps(times: Times) -> SamplerStep:
    """Return one evaluation per step, at its start."""
    start, stop = times[:-1], times[1:]
    return SamplerStep(jnp.arange(1, start.size + 1), start, start, stop)


def heun_steps(times: Times) -> SamplerStep:
    """Return two evaluations per step, at its start and end; one in the last."""
    start, stop = jnp.repeat(times[:-1], 2)[:-1], jnp.repeat(times[1:], 2)[:-1]
    index = jnp.arange(1, start.size + 1)
    return SamplerStep(index, jnp.where(index % 2 == 1, start, stop), start, stop)


def repaint_points(num_steps: int, jump_length: int, num_resamples: int) -> list[int]:
    """Return RePaint's points k, of time k / num_steps, from num_steps to 0.

    On first arrival at an anchor it goes `jump_length` points up and down again,
    `num_resamples` - 1 times (Lugmayr et al. 2022, Sec. 4.2 and App. B). The anchors
    are 1, 1 + jump_length, and so on. (250, 10, 10) gives 4,571 points by 2,410 moves
    down and 2,160 up.
    """
    anchors = set(range(1, num_steps - jump_length + 1, jump_length))
    points = [num_steps]
    for k in range(num_steps - 1, -1, -1):
        points.append(k)
        if k in anchors:
            up = list(range(k + 1, k + jump_length + 1))
            points += (up + up[-2::-1] + [k]) * (num_resamples - 1)
    return points


def repaint_steps(
    sde: VPSDE, num_steps: int, jump_length: int, num_resamples: int
) -> SamplerStep:
    """Return the downward steps of `repaint_points`, each with the jump up after it.

    The reference jumps in single Euler-Maruyama steps of the forward SDE. Each is
    linear in x with Gaussian noise, and so is their composition, drawn here at once.
    """
    points = np.array(repaint_points(num_steps, jump_length, num_resamples))
    (down,) = np.nonzero(points[1:] < points[:-1])
    arrived = points[down + 1]
    jumps = np.append(points, -1)[down + 2] > arrived
    a, s = _forward_jump(sde, arrived, num_steps, jump_length)
    start = jnp.asarray(points[down]) / num_steps
    return SamplerStep(
        index=jnp.arange(1, down.size + 1),
        t=start,
        start=start,
        stop=jnp.asarray(arrived) / num_steps,
        jump=(jnp.where(jumps, a, 1.0), jnp.where(jumps, s, 0.0)),
    )


def _forward_jump(
    sde: VPSDE, k: np.ndarray, num_steps: int, jump_length: int
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Compose `jump_length` steps x -> x - beta x dt / 2 + sqrt(beta dt) n from k."""
    steps = k[:, None] + np.arange(jump_length)[None]
    beta_dt = sde.beta(jnp.asarray(steps) / num_steps) / num_steps
    keep = 1.0 - 0.5 * beta_dt
    kept_later = jnp.flip(jnp.cumprod(jnp.flip(keep[:, 1:], 1), 1), 1)
    kept_later = jnp.pad(kept_later, ((0, 0), (0, 1)), constant_values=1.0)
    variance = jnp.sum(beta_dt * kept_later**2, 1)
    return jnp.prod(keep, 1), jnp.sqrt(variance)
