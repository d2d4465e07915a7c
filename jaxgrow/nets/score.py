"""The score network of DiMViDA: a residual MLP over the latents of all views.

Di Giacomo et al. (2024), Sec. III, after Bounoua et al. (2024). It reads the latents of
an object's views and one diffusion time per view, 0 for a view that is given, and its
raw output is the negative of the prediction, which `multiview.denoiser` accounts for.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.errors import UserError
from jaxgrow.nets.initial import uniform_fan_in
from jaxgrow.nets.modules import ComputeDtype, operand_dtype
from jaxgrow.ranges import Checked, Count, Range
from jaxgrow.typing import Latents, Missing, MultiTime, Params


_NUM_OCTAVES = 8  # of the sines and cosines of the times


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfig(Checked):
    """Shape of the score network; the defaults are the paper's."""

    width: Annotated[int, Range(1, 65_536)] = 1536
    """Features of every residual block."""
    time_dim: Annotated[int, Range(1, 65_536)] = 512
    """Features of the time vector."""
    num_groups: Count = 32
    """Groups of the group norms; divides `width`."""
    time_features: Literal["raw", "log_snr"] = "raw"
    """Inputs of the times: raw, the paper's; log_snr, besides sines and cosines of the
    log-signal-to-noise ratio, which tells small times apart."""
    mask_input: bool = False
    """Read the mask of missing views; the paper's network only sees times of 0."""
    prediction: Literal["noise", "velocity"] = "noise"
    """Quantity to predict: the noise, as in the paper; or the velocity
    v = alpha eps - sigma z (Salimans & Ho 2022), whose errors are not magnified at
    large times, so that it samples well after far fewer steps of training."""
    gaussian_path: bool = False
    """Add the network's output to the optimum for Gaussian latents of the same
    covariance, in closed form for every set of missing views (gaussian.py); it then
    reads their estimate of the clean latents in place of the noisy ones. At most 6
    views, all of which every training object must have."""
    compute_dtype: ComputeDtype = "float32"
    """Type of the products' operands; parameters and output stay float32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.num_groups:
            raise UserError(
                f"num_groups {self.num_groups} does not divide width {self.width}: "
                "choose another of the two."
            )


class ScoreNet(nn.Module):
    """Residual MLP in the form of a U: two stages down, two blocks, two stages up.

    Shapes:
        x: (b, v, d).
        tau: (b, v), in [0, 1]; 0 for a view that is given.
        missing: (b, v), read with `mask_input` only.
        returns: (b, v, d), the negative of the prediction.
    """

    config: ScoreConfig

    @nn.compact
    def __call__(
        self, x: Latents, tau: MultiTime, missing: Missing | None = None
    ) -> Latents:
        config, features = self.config, math.prod(x.shape[1:])

        def dense(h: Array, name: str, size: int = config.width) -> Array:
            dtype = operand_dtype(config.compute_dtype)
            return nn.Dense(size, dtype=dtype, name=name)(h)

        def block(name: str, *parts: Array) -> Array:
            return ScoreBlock(config, name=name)(jnp.concatenate(parts, axis=-1), time)

        # In float32 always: bfloat16 cannot tell neighbours of 250 steps apart.
        time = _time_inputs(config, tau, missing)
        time = nn.gelu(nn.Dense(config.time_dim, name="time0")(time), approximate=False)
        time = nn.silu(nn.Dense(config.time_dim, name="time1")(time))
        h = stem = dense(x.reshape(-1, features), "in")
        skips = []
        for i in range(2):
            skips.append(block(f"down{i}", h))
            h = dense(skips[-1], f"down{i}_out")
        for i in range(2):
            h = block(f"mid{i}", h)
        for i in range(2):
            h = dense(block(f"up{i}", h, skips.pop()), f"up{i}_out")
        h = _group_norm(config, block("final", h, stem), "out_norm")
        h = dense(nn.silu(h), "out", features)
        return h.reshape(x.shape).astype(x.dtype)


class ScoreBlock(nn.Module):
    """Norm, SiLU, Linear, twice, around a shortcut; the time joins between the two.

    Shapes:
        x: (b, i).
        time: (b, t), behind its SiLU.
        returns: (b, width).
    """

    config: ScoreConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "b i"], time: Float[Array, "b t"]
    ) -> Float[Array, "b o"]:
        config = self.config
        dense = functools.partial(
            nn.Dense, config.width, dtype=operand_dtype(config.compute_dtype)
        )
        h = nn.silu(_group_norm(config, x, "norm0"))
        h = dense(name="linear0")(h) + dense(name="time")(time)
        h = dense(name="linear1")(nn.silu(_group_norm(config, h, "norm1")))
        return h + (x if x.shape[-1] == config.width else dense(name="shortcut")(x))


def init_score(
    config: ScoreConfig, num_views: int, latent_dim: int, seed: int | Sequence[int]
) -> Params:
    """Return fresh parameters: PyTorch's distribution, zeros in the output layer.

    The untrained network therefore gives 0, and its loss is the noise's own.
    """
    x = jax.ShapeDtypeStruct((1, num_views, latent_dim), jnp.float32)
    tau = jax.ShapeDtypeStruct((1, num_views), jnp.float32)
    missing = jax.ShapeDtypeStruct((1, num_views), jnp.bool_)
    return uniform_fan_in(ScoreNet(config), x, tau, missing, seed=seed, zero=("out",))


def apply_score(
    config: ScoreConfig,
    params: Params,
    x: Latents,
    tau: MultiTime,
    missing: Missing | None = None,
) -> Latents:
    """Return the raw output of the network, which is minus its prediction.

    `x` has noisy latents of the missing views and clean ones of the others,
    standardised; `tau` is 0 for a view that is given. Without `config.mask_input`
    `missing` may be None.
    """
    out = ScoreNet(config).apply({"params": params}, x, tau, missing)
    assert isinstance(out, jax.Array)
    return out


def _group_norm(config: ScoreConfig, x: Float[Array, "b i"], name: str) -> Array:
    """Normalise contiguous groups of features, with biased variance and PyTorch's eps.

    For bfloat16 the variance is E[x^2] - E[x]^2 of float32, which spares a pass over
    the features. Its error is below the features' own rounding.
    """
    dtype = operand_dtype(config.compute_dtype)
    norm = functools.partial(nn.GroupNorm, config.num_groups, epsilon=1e-5, dtype=dtype)
    return norm(use_fast_variance=dtype == jnp.bfloat16, name=name)(x)


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
