"""The mean regressor, the baseline that the score network has to beat."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.multiview.conditioning import ConditioningDistribution, draw_missing
from jaxgrow.multiview.gaussian import GaussianPath, conditional_mean
from jaxgrow.multiview.losses import masked_score_loss
from jaxgrow.nets import score
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.typing import Keys, Latents, Missing, Params


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["gaussian"], meta_fields=["config"]
)
@dataclasses.dataclass(frozen=True)
class MeanRegressor:
    """E[z_M | z_C] by the score network's architecture; a pytree without its weights.

    Attributes:
        config: Shape of the network.
        gaussian: Closed form to which the network adds, with `config.gaussian_path`.
    """

    config: ScoreConfig
    gaussian: GaussianPath | None = None

    def predict(self, params: Params, z: Latents, missing: Missing) -> Latents:
        """Return the latents with the missing views estimated.

        The network reads the mask in place of the times. In the missing views it reads
        the mean of standardised latents, 0, or the conditional mean of Gaussian ones,
        to which its output is then added.
        """
        mean = jnp.zeros_like(z)
        if self.gaussian is not None:
            mean = conditional_mean(self.gaussian, z, missing)
        x = jnp.where(missing[..., None], mean, z)
        tau = missing.astype(jnp.float32)
        z_hat = mean + score.apply_score(self.config, params, x, tau, missing)
        return jnp.where(missing[..., None], z_hat, z)

    def losses(
        self,
        params: Params,
        distribution: ConditioningDistribution,
        keys: Keys,
        z: Latents,
        observed: Missing,
    ) -> Float[Array, " b"]:
        """Return Eq. 6 with clean latents, for every example with a set from its key.

        The joint case without conditioning views is left out.
        """
        missing = draw_missing(keys, z.shape[1], 0.0, distribution.probabilities)
        missing = missing | ~observed
        z = jnp.where(observed[..., None], z, 0.0)
        z_hat = self.predict(params, z, missing)
        return masked_score_loss(z_hat, z, missing, observed)
