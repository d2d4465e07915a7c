"""The score network of DiMViDA: a residual MLP over the latents of all views.

Di Giacomo et al. (2024), Sec. III, after Bounoua et al. (2024). It reads the latents of
an object's views and one diffusion time per view, 0 for a view that is given, and its
raw output is the negative of the prediction, which `multiview.denoiser` accounts for.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.errors import UserError
from jaxgrow.nets.initial import uniform_fan_in
from jaxgrow.typing import Latents, Missing, MultiTime, Params


_NUM_OCTAVES = 8  # of the sines and cosines of the times


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Shape of the score network; the defaults are the paper's."""

    width: int = 1536
    """Features of every residual block."""
    multipliers: tuple[int, ...] = (1, 1)
    """Width behind each stage on the way down, in units of `width`."""
    time_dim: int = 512
    """Features of the time vector."""
    num_groups: int = 32
    """Groups of the group norms; divides `width`."""
    time_features: Literal["raw", "log_snr"] = "raw"
    """Inputs of the times: raw, the paper's; log_snr, besides sines and cosines of the
    log-signal-to-noise ratio, which tells small times apart."""
    mask_input: bool = False
    """Read the mask of missing views; the paper's network only sees times of 0."""
    dropout: float = 0.0
    """Share of each block's hidden features that training drops."""
    prediction: Literal["noise", "velocity"] = "noise"
    """Quantity to predict: the noise, as in the paper; or the velocity
    v = alpha eps - sigma z (Salimans & Ho 2022), whose errors are not magnified at
    large times, so that it samples well after far fewer steps of training."""
    gaussian_path: bool = False
    """Add the network's output to the optimum for Gaussian latents of the same
    covariance, in closed form for every set of missing views (gaussian.py); it then
    reads their estimate of the clean latents in place of the noisy ones. At most 6
    views, all of which every training object must have."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the products' operands; parameters and output stay float32."""

    def __post_init__(self) -> None:
        if min(self.width, self.time_dim, self.num_groups) < 1:
            raise UserError(
                "width, time_dim and num_groups of the score network must be 1 or more."
            )
        if not self.multipliers or min(self.multipliers) < 1:
            raise UserError(
                f"multipliers must be numbers from 1 up, not {self.multipliers}."
            )
        if self.width % self.num_groups:
            raise UserError(
                f"num_groups {self.num_groups} does not divide width {self.width}: "
                "choose another of the two."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise UserError(f"dropout must lie in [0, 1), not {self.dropout}.")


class ScoreNet(nn.Module):
    """Residual MLP in the form of a U: stages down, two blocks, stages up with skips.

    Shapes:
        x: (b, v, d).
        tau: (b, v), in [0, 1]; 0 for a view that is given.
        missing: (b, v), read with `mask_input` only.
        returns: (b, v, d), the negative of the prediction.
    """

    config: ScoreConfig

    @nn.compact
    def __call__(
        self,
        x: Latents,
        tau: MultiTime,
        missing: Missing | None = None,
        *,
        train: bool = False,
    ) -> Latents:
        config, features = self.config, math.prod(x.shape[1:])
        widths = [config.width, *(m * config.width for m in config.multipliers)]
        stages = list(itertools.pairwise(widths))

        def dense(size: int, name: str) -> nn.Dense:
            return nn.Dense(size, dtype=_dtype(config), name=name)

        def block(size: int, h: Array, name: str) -> Array:
            return ScoreBlock(size, config, name=name)(h, time, train=train)

        # In float32 always: bfloat16 cannot tell neighbours of 250 steps apart.
        time = _time_inputs(config, tau, missing)
        time = nn.gelu(nn.Dense(config.time_dim, name="time0")(time), approximate=False)
        time = nn.Dense(config.time_dim, name="time1")(time)
        time = nn.silu(time)
        h = stem = dense(config.width, "in")(x.reshape(-1, features))
        skips = []
        for i, (before, after) in enumerate(stages):
            h = block(before, h, f"down{i}")
            skips.append(h)
            h = dense(after, f"down{i}_out")(h)
        for i in range(2):
            h = block(widths[-1], h, f"mid{i}")
        for i, (before, after) in enumerate(reversed(stages)):
            h = block(after, jnp.concatenate([h, skips.pop()], axis=-1), f"up{i}")
            h = dense(before, f"up{i}_out")(h)
        h = block(config.width, jnp.concatenate([h, stem], axis=-1), "final")
        h = dense(features, "out")(nn.silu(_group_norm(config, h, "out_norm")))
        return h.reshape(x.shape).astype(x.dtype)


class ScoreBlock(nn.Module):
    """Norm, SiLU, Linear, twice, around a shortcut; the time joins between the two.

    Shapes:
        x: (b, i).
        time: (b, t), behind its SiLU.
        returns: (b, width).
    """

    width: int
    config: ScoreConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "b i"], time: Float[Array, "b t"], *, train: bool
    ) -> Float[Array, "b o"]:
        config, dtype = self.config, _dtype(self.config)
        h = nn.silu(_group_norm(config, x, "norm0"))
        h = nn.Dense(self.width, dtype=dtype, name="linear0")(h)
        h = h + nn.Dense(self.width, dtype=dtype, name="time")(time)
        h = _group_norm(config, h, "norm1")
        h = nn.Dropout(config.dropout, deterministic=not train)(nn.silu(h))
        h = nn.Dense(self.width, dtype=dtype, name="linear1")(h)
        if x.shape[-1] != self.width:
            x = nn.Dense(self.width, dtype=dtype, name="shortcut")(x)
        return x + h


def init_score(
    config: ScoreConfig, num_views: int, latent_dim: int, seed: int | Sequence[int]
) -> Params:
    """Return fresh parameters: PyTorch's distribution, zeros in the output layer.

    The untrained network therefore gives 0, and its loss is the noise's own.
    """
    x, tau, missing = _input_shapes(num_views, latent_dim)
    return uniform_fan_in(ScoreNet(config), x, tau, missing, seed=seed, zero=("out",))


def apply_score(
    config: ScoreConfig,
    params: Params,
    x: Latents,
    tau: MultiTime,
    missing: Missing | None = None,
    *,
    dropout_key: Array | None = None,
) -> Latents:
    """Return the raw output of the network, which is minus its prediction.

    Args:
        config: Shape of the network.
        params: From `init_score`, or trained.
        x: Noisy latents of the missing views, clean ones of the others, standardised.
        tau: Diffusion time of each view, 0 for a view that is given.
        missing: True for missing views; None if `config.mask_input` is off.
        dropout_key: A typed JAX key while training with dropout, else None.
    """
    net = ScoreNet(config)
    rngs = {} if dropout_key is None else {"dropout": dropout_key}
    train = dropout_key is not None
    out = net.apply({"params": params}, x, tau, missing, train=train, rngs=rngs)
    assert isinstance(out, jax.Array)
    return out


def _input_shapes(num_views, latent_dim):
    return (
        jax.ShapeDtypeStruct((1, num_views, latent_dim), jnp.float32),
        jax.ShapeDtypeStruct((1, num_views), jnp.float32),
        jax.ShapeDtypeStruct((1, num_views), jnp.bool_),
    )


def _dtype(config: ScoreConfig):
    """Return the operands' type; None follows the inputs and keeps float64."""
    return jnp.bfloat16 if config.compute_dtype == "bfloat16" else None


def _group_norm(config: ScoreConfig, x: Float[Array, "b i"], name: str) -> Array:
    """Normalise contiguous groups of features, with biased variance and PyTorch's eps.

    For bfloat16 the variance is E[x^2] - E[x]^2 of float32, which spares a pass over
    the features. Its error is below the features' own rounding.
    """
    dtype = _dtype(config)
    norm = nn.GroupNorm(
        config.num_groups,
        epsilon=1e-5,
        use_fast_variance=dtype == jnp.bfloat16,
        dtype=dtype,
        name=name,
    )
    return norm(x)


def _time_inputs(
    config: ScoreConfig, tau: MultiTime, missing: Missing | None
) -> Float[Array, "b f"]:
    """Return the times and the options' features of them, side by side."""
    parts = [tau]
    if config.time_features == "log_snr":
        octaves = 2.0 ** jnp.arange(_NUM_OCTAVES, dtype=tau.dtype)
        phase = 0.5 * jnp.pi * _unit_log_snr(tau)
        phase = (phase[..., None] * octaves[None, None]).reshape(len(tau), -1)
        parts += [jnp.sin(phase), jnp.cos(phase)]
    if config.mask_input:
        if missing is None:
            raise ValueError("mask_input needs to know which views are missing")
        parts.append(missing.astype(tau.dtype))
    return jnp.concatenate(parts, axis=-1)


def _unit_log_snr(tau: MultiTime) -> MultiTime:
    """Return the log-signal-to-noise ratio of the paper's SDE, scaled to [0, 1].

    log(alpha^2 / sigma^2) = -log(exp(B) - 1) with B = 0.1 t + 9.95 t^2, from 10.4 at
    time 1e-4 (0 here, and for every smaller time) down to -10.05 at time 1 (1 here).
    """

    def log_odds(t):
        return jnp.log(jnp.expm1(0.1 * t + 9.95 * t**2))

    t = jnp.maximum(tau, 1e-4)
    low, high = math.log(math.expm1(0.1e-4 + 9.95e-8)), math.log(math.expm1(10.05))
    return (log_odds(t) - low) / (high - low)
