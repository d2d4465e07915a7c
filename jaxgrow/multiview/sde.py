"""The noise process of System 2, a variance-preserving SDE, and its training times.

At time 0 the marginal is (alpha, sigma) = (1, 0). Feeding the multi-time vector to
`VPSDE.marginal` therefore leaves conditioning views untouched, and the mask of Eq. 4 of
Di Giacomo et al. (2024) needs no code in training.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.errors import UserError
from jaxgrow.ranges import Checked, Positive
from jaxgrow.typing import Missing, MultiTime


_MIN_TIME = 1e-6  # of training


@dataclasses.dataclass(frozen=True)
class VPSDE(Checked):
    """dR = -1/2 beta(t) R dt + sqrt(beta(t)) dW on t in [0, 1].

    beta grows linearly from `beta_min` to `beta_max` (Song et al. 2021, App. C).
    Methods act elementwise on `t`, which may be a scalar, one time per example or
    one per view.
    """

    beta_min: Positive = 0.1
    """beta(0)."""
    beta_max: Positive = 20.0
    """beta(1)."""

    def __post_init__(self):
        super().__post_init__()
        if self.beta_min > self.beta_max:
            raise UserError(
                f"beta_min {self.beta_min} of the SDE is above beta_max "
                f"{self.beta_max}: lower it."
            )

    def beta(self, t: Float[Array, "*b"]) -> Float[Array, "*b"]:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """Return B(t), the integral of beta over [0, t]."""
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t**2

    def marginal(
        self, t: Float[Array, "*b"]
    ) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
        """Return (alpha, sigma) of R_t | R_0 ~ N(alpha R_0, sigma^2 I); (1, 0) at 0."""
        integral = self.integral(t)
        return jnp.exp(-0.5 * integral), jnp.sqrt(-jnp.expm1(-integral))

    def log_snr(self, t: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """Return lambda = log(alpha / sigma), infinite at t = 0.

        The convention of DPM-Solver (Lu et al. 2022): half of the logarithm of the
        signal-to-noise ratio alpha^2 / sigma^2.
        """
        integral = self.integral(t)
        return -0.5 * (integral + jnp.log(-jnp.expm1(-integral)))

    def time_of_log_snr(self, log_snr: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """Invert `log_snr` in closed form; 0 at infinity."""
        integral = jax.nn.softplus(-2.0 * log_snr)
        slope = self.beta_max - self.beta_min
        # The root of B(t) = integral, written without a difference of near numbers.
        root = jnp.sqrt(self.beta_min**2 + 2.0 * slope * integral)
        return 2.0 * integral / (self.beta_min + root)


def multi_time(t: Float[Array, " b"], missing: Missing) -> MultiTime:
    """Return t [1(1 in M), ..., 1(V in M)] (Di Giacomo et al. 2024, Sec. II-B)."""
    return t[:, None] * missing


def sample_times(u: Float[Array, " b"]) -> Float[Array, " b"]:
    """Return training times, uniform on [1e-6, 1], from numbers in [0, 1)."""
    return _MIN_TIME + (1.0 - _MIN_TIME) * u
