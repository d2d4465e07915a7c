"""The score network as an estimator of noise.

This file alone depends on the quantity that the network predicts, on the sign of its
output and on the closed form that it adds to. A conditioning view has time 0, at which
the SDE leaves it as it is; a missing view has a time above 0.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.multiview import gaussian as gaussian_path
from jaxgrow.multiview.conditioning import ConditioningDistribution, draw_missing
from jaxgrow.multiview.gaussian import GaussianPath
from jaxgrow.multiview.losses import masked_score_loss
from jaxgrow.multiview.sde import VPSDE, multi_time, sample_times
from jaxgrow.nets import score
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.typing import Keys, Latents, Missing, MultiTime, NoiseFn, Params


class NoisyLatents(NamedTuple):
    """Training examples of the score network.

    Attributes:
        x: alpha z + sigma eps at the times `tau`.
        eps: The noise.
        tau: Times; 0 for conditioning views.
        missing: True where a view was diffused.
    """

    x: Latents
    eps: Latents
    tau: MultiTime
    missing: Missing


def diffuse(
    sde: VPSDE,
    distribution: ConditioningDistribution,
    keys: Keys,
    z: Latents,
    observed: Missing,
) -> NoisyLatents:
    """Draw conditioning sets, times and noise (Di Giacomo et al. 2024, Sec. II).

    A view that the data lack is pure noise at time 1: that state does not depend on
    its clean value.
    """
    subset_keys, time_keys, noise_keys = jax.vmap(
        lambda key: jax.random.split(key, 3), out_axes=1
    )(keys)
    num_views, dim = z.shape[1:]
    missing = draw_missing(subset_keys, num_views, *distribution)
    # Without an observed view to score, all views are missing instead.
    idle = ~(missing & observed).any(axis=1, keepdims=True)
    missing = missing | idle | ~observed
    t = sample_times(jax.vmap(jax.random.uniform)(time_keys))
    eps = jax.vmap(lambda key: jax.random.normal(key, (num_views, dim)))(noise_keys)
    tau = jnp.where(observed, multi_time(t, missing), 1.0)
    alpha, sigma = sde.marginal(tau)
    x = alpha[..., None] * jnp.where(observed[..., None], z, 0.0)
    return NoisyLatents(x + sigma[..., None] * eps, eps, tau, missing)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["gaussian"],
    meta_fields=["config", "sde"],
)
@dataclasses.dataclass(frozen=True)
class Denoiser:
    """A score network that was trained against an SDE; a pytree without its weights.

    Attributes:
        config: Shape of the network, and the quantity it predicts.
        sde: The noise process.
        gaussian: Closed form to which the network adds, with `config.gaussian_path`.
    """

    config: ScoreConfig
    sde: VPSDE
    gaussian: GaussianPath | None = None

    def predict_noise(self, params: Params, x: Latents, tau: MultiTime) -> Latents:
        """Estimate the noise in `x`.

        A velocity v = alpha eps - sigma z at x = alpha z + sigma eps says
        eps = sigma x + alpha v (Salimans & Ho 2022, App. D).
        """
        predicted = self._predict(params, x, tau)
        if self.config.prediction == "noise":
            return predicted
        alpha, sigma = self.sde.marginal(tau)
        return sigma[..., None] * x + alpha[..., None] * predicted

    def noise_fn(self, params: Params) -> NoiseFn:
        """Return `predict_noise` with these weights, as samplers take it."""
        return functools.partial(self.predict_noise, params)

    def losses(
        self,
        params: Params,
        distribution: ConditioningDistribution,
        keys: Keys,
        z: Latents,
        observed: Missing,
    ) -> Float[Array, " b"]:
        """Return Eq. 6 for every example, with a time, set and noise from its key.

        The squared error is that of the predicted quantity; a velocity's is that of
        the noise times 1 / alpha^2.
        """
        noisy = diffuse(self.sde, distribution, keys, z, observed)
        target = noisy.eps
        if self.config.prediction == "velocity":
            alpha, sigma = self.sde.marginal(noisy.tau)
            clean = jnp.where(observed[..., None], z, 0.0)
            target = alpha[..., None] * noisy.eps - sigma[..., None] * clean
        predicted = self._predict(params, noisy.x, noisy.tau)
        return masked_score_loss(predicted, target, noisy.missing, observed)

    def _predict(self, params: Params, x: Latents, tau: MultiTime) -> Latents:
        """Return the noise or the velocity, as `config.prediction` says.

        The network's output is the negative of it, as in the code of Bounoua et al.
        (2024). With a Gaussian path the network reads the estimate
        z = alpha x - sigma v of the clean latents, and adds to the path's quantity.
        """
        missing, path, read = tau > 0, None, x
        if self.gaussian is not None:
            alpha, sigma = (a[..., None] for a in self.sde.marginal(tau))
            v = gaussian_path.velocity(self.gaussian, self.sde, x, tau, missing)
            velocity = self.config.prediction == "velocity"
            path = v if velocity else sigma * x + alpha * v
            read = alpha * x - sigma * v
        output = score.apply_score(self.config, params, read, tau, missing)
        return -output if path is None else path - output
