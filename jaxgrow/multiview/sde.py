"""The noise process of System 2: a variance-preserving SDE and the times drawn from it.

At time 0 the marginal is (alpha, sigma) = (1, 0). Feeding the multi-time vector to
`VPSDE.marginal` therefore leaves conditioning views untouched, and the mask of Eq. 4 of
Di Giacomo et al. (2024) needs no code in training.
"""

import dataclasses
import math
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.errors import UserError
from jaxgrow.typing import Missing, MultiTime


TimeSampling: TypeAlias = Literal["uniform", "importance"]

_UNIFORM_MIN = 1e-6
_IMPORTANCE_MIN = 1e-3


@dataclasses.dataclass(frozen=True)
class VPSDE:
    """dR = -1/2 beta(t) R dt + sqrt(beta(t)) dW on t in [0, 1].

    beta grows linearly from `beta_min` to `beta_max` (Song et al. 2021, App. C).
    Methods act elementwise on `t`, which may be a scalar, one time per example or
    one per view.
    """

    beta_min: float = 0.1
    """beta(0)."""
    beta_max: float = 20.0
    """beta(1)."""

    def __post_init__(self):
        if not 0.0 < self.beta_min <= self.beta_max < math.inf:
            raise UserError(
                f"--sde.beta-min {self.beta_min} and --sde.beta-max {self.beta_max} "
                f"must be positive and finite, the second no smaller than the first"
            )

    def beta(self, t: Float[Array, "*b"]) -> Float[Array, "*b"]:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """B(t), the integral of beta over [0, t]."""
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def marginal(
        self, t: Float[Array, "*b"]
    ) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
        """(alpha, sigma) of R_t | R_0 ~ N(alpha R_0, sigma^2 I); (1, 0) at t = 0."""
        integral = self.integral(t)
        return jnp.exp(-0.5 * integral), jnp.sqrt(-jnp.expm1(-integral))

    def log_snr(self, t: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """Half-logarithm lambda = log(alpha / sigma), infinite at t = 0.

        The convention of DPM-Solver (Lu et al. 2022): half of the logarithm of the
        signal-to-noise ratio alpha^2 / sigma^2.
        """
        integral = self.integral(t)
        return -0.5 * (integral + jnp.log(-jnp.expm1(-integral)))

    def time_of_log_snr(self, log_snr: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """The inverse of `log_snr`, in closed form; 0 at infinity."""
        integral = jax.nn.softplus(-2.0 * log_snr)
        slope = self.beta_max - self.beta_min
        # The root of B(t) = integral, written without a difference of near numbers.
        root = jnp.sqrt(self.beta_min**2 + 2.0 * slope * integral)
        return 2.0 * integral / (self.beta_min + root)


def multi_time(t: Float[Array, " b"], missing: Missing) -> MultiTime:
    """tau(M, t) = t [1(1 in M), ..., 1(V in M)] (Di Giacomo et al. 2024, Sec. II-B).

    Conditioning views sit at time 0, where the SDE has not touched them yet.
    """
    return t[:, None] * missing


def sample_times(
    sde: VPSDE, u: Float[Array, " b"], kind: TimeSampling = "uniform"
) -> Float[Array, " b"]:
    """Training times from uniform numbers, by the inverse of their distribution.

    `uniform` is the uniform law on [1e-6, 1]. `importance` has a density proportional
    to beta / sigma^2, held constant below 1e-3: with the unweighted noise loss it
    estimates the likelihood-weighted score-matching loss (Song, Durkan et al. 2021,
    "Maximum Likelihood Training of Score-Based Diffusion Models", Sec. 5). As beta /
    sigma^2 is the slope of -2 `log_snr`, it is uniform in the log-SNR above 1e-3.

    Args:
        sde: The noise process.
        u: Numbers in [0, 1).
        kind: Which law.

    Returns:
        Times in [0, 1], rising in `u`.
    """
    if kind == "uniform":
        return _UNIFORM_MIN + (1.0 - _UNIFORM_MIN) * u
    density, log_snr_span = _importance_constants(sde)
    head = _IMPORTANCE_MIN * density  # mass below 1e-3, before it is normalised
    total = head + 2.0 * log_snr_span
    # Measured down from t = 1, where lambda is small and float32 keeps its digits.
    log_snr = sde.log_snr(jnp.ones_like(u)) + 0.5 * total * (1.0 - u)
    return jnp.where(
        u * total <= head, u * total / density, sde.time_of_log_snr(log_snr)
    )


def _importance_constants(sde: VPSDE) -> tuple[float, float]:
    """Slope beta / sigma^2 at 1e-3 and lambda(1e-3) - lambda(1), in float64."""
    slope = sde.beta_max - sde.beta_min
    t = _IMPORTANCE_MIN
    start = sde.beta_min * t + 0.5 * slope * t**2
    end = sde.beta_min + 0.5 * slope
    density = (sde.beta_min + slope * t) / -math.expm1(-start)
    log_ratio = math.log(math.expm1(-end) / math.expm1(-start))
    return density, 0.5 * (end - start + log_ratio)
