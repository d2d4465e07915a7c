"""The deterministic autoencoder of one view, shared by all views.

Di Giacomo et al. (2024), Sec. III, train one encoder and one decoder for all views.
`resnet` is a residual network without norms (variant A of the specification, after
Bounoua et al. 2024), `autokl` the autoencoder of Stable Diffusion made deterministic
(variant B, see autokl.py).
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgrow import ops
from jaxgrow.errors import UserError
from jaxgrow.nets import autokl
from jaxgrow.nets.initial import uniform_fan_in
from jaxgrow.nets.modules import Conv
from jaxgrow.typing import Params, UnitImage


_SMALLEST_SIDE = 16  # the encoder stops pooling there
_ENCODER_CAP, _DECODER_CAP = 1024, 512
_SIZES = (16, 32, 64, 128, 256)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Shape of the autoencoder; the defaults are the paper's."""

    arch: Literal["resnet", "autokl"] = "resnet"
    """resnet: 9.8 million weights at 64 px; autokl: 57 million, 12.5 times the work."""
    image_size: int = 64
    """Side of the views: 16, 32, 64, 128 or 256."""
    latent_dim: int = 64
    """Numbers of a view's latent; autokl has (image_size / 8)^2 of them."""
    base_channels: int = 64
    """Channels at full resolution."""
    linear_path: bool = False
    """resnet: add a term that is linear in the input to the encoder and to the decoder.
    Started from principal components it reconstructs well at once, and the convolutions
    learn the rest."""
    autokl_multipliers: tuple[int, int, int, int] = (2, 2, 4, 8)
    """autokl: channels of its four levels, in units of `base_channels`."""
    autokl_blocks: int = 2
    """autokl: residual blocks of each level of the encoder."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the convolutions' operands; parameters and outputs stay float32."""
    remat: bool = False
    """Recompute the blocks' activations in the backward pass: about half the memory of
    a step, for a sixth more arithmetic."""

    def __post_init__(self) -> None:
        if self.image_size not in _SIZES:
            raise UserError(
                f"image_size must be one of {', '.join(map(str, _SIZES))}, "
                f"not {self.image_size}."
            )
        if self.latent_dim < 1 or self.base_channels < 1:
            raise UserError("latent_dim and base_channels must be 1 or more.")
        if self.arch == "autokl":
            self._check_autokl()

    def _check_autokl(self) -> None:
        if self.linear_path:
            raise UserError("autokl has no linear_path: leave it out, or take resnet.")
        latent_dim = (self.image_size // 8) ** 2
        if self.latent_dim != latent_dim:
            raise UserError(
                f"autokl makes {latent_dim} latents of {self.image_size} px: set "
                f"latent_dim to {latent_dim}, not {self.latent_dim}, or take resnet."
            )
        if self.base_channels % 32:
            raise UserError(
                "autokl has group norms of 32 groups: base_channels must be a "
                f"multiple of 32, not {self.base_channels}."
            )
        if min(*self.autokl_multipliers, self.autokl_blocks) < 1:
            raise UserError("autokl_multipliers and autokl_blocks must be 1 or more.")


class ResidualBlock(nn.Module):
    """shortcut(x) + 0.1 * branch(x); the branch activates before each 3x3 convolution.

    The shortcut is a 1x1 convolution without bias if the channels change. It commutes
    with the up-sampling and runs before it.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h, w, features), (b, 2h, 2w, features) if it upsamples.

    Attributes:
        features: Output channels.
        config: Shape of the autoencoder.
        upsamples: Double the side of x by nearest neighbour.
    """

    features: int
    config: AutoencoderConfig
    upsamples: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b p q o"]:
        dtype = _dtype(self.config)
        hidden = min(x.shape[-1], self.features)
        first = Conv(hidden, dtype=dtype, upsamples=self.upsamples, name="conv0")
        h = first(_activate(x))
        h = Conv(self.features, dtype=dtype, name="conv1")(_activate(h))
        if x.shape[-1] != self.features:
            x = Conv(self.features, 1, use_bias=False, dtype=dtype, name="shortcut")(x)
        x = ops.upsample(x) if self.upsamples else x
        return x + 0.1 * h


class Encoder(nn.Module):
    """Blocks with pooling between them down to 16 px, then one dense layer.

    Shapes:
        x: (b, h, w, 3).
        returns: (b, latent_dim).
    """

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        config, dtype = self.config, _dtype(self.config)
        images = x.reshape(len(x), -1)
        x = Conv(config.base_channels, dtype=dtype, name="conv_in")(x)
        block = nn.remat(ResidualBlock) if config.remat else ResidualBlock
        for i, channels in enumerate(_channels(config, _ENCODER_CAP)):
            x = ops.mean_pool(x) if i > 0 else x
            x = block(channels, config, name=f"block{i}")(x)
        x = _activate(x).reshape(len(x), -1)
        z = nn.Dense(config.latent_dim, dtype=dtype, name="linear")(x)
        if config.linear_path:
            z = z + nn.Dense(config.latent_dim, dtype=dtype, name="linear_path")(images)
        return z


class Decoder(nn.Module):
    """One dense layer to 16 px, then blocks with up-sampling between them.

    Shapes:
        z: (b, latent_dim).
        returns: (b, h, w, 3), unbounded.
    """

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b h w 3"]:
        config, dtype = self.config, _dtype(self.config)
        # The last two blocks both end at the base channels.
        channels = _channels(config, _DECODER_CAP)
        side = _SMALLEST_SIDE
        x = nn.Dense(side * side * channels[-1], dtype=dtype, name="linear")(z)
        x = x.reshape(len(z), side, side, channels[-1])
        block = nn.remat(ResidualBlock) if config.remat else ResidualBlock
        for i, features in enumerate([*channels[-2::-1], channels[0]]):
            x = block(features, config, upsamples=i > 0, name=f"block{i}")(x)
        images = Conv(3, dtype=dtype, name="conv_out")(_activate(x))
        if config.linear_path:
            dense = nn.Dense(images[0].size, dtype=dtype, name="linear_path")
            images = images + dense(z).reshape(images.shape)
        return images


def init_autoencoder(config: AutoencoderConfig, seed: int | Sequence[int]) -> Params:
    """Return fresh {"encoder": ..., "decoder": ...} by PyTorch's default distribution.

    With `linear_path` the last layers of encoder and decoder start at zero, and so does
    the linear path itself; see `start_from_principal_components`.
    """
    side, dim = config.image_size, config.latent_dim
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    z = jax.ShapeDtypeStruct((1, dim), jnp.float32)
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)
    return {
        "encoder": uniform_fan_in(
            _encoder(config),
            image,
            seed=(*seeds, 0),
            zero=("linear", "linear_path") if config.linear_path else (),
        ),
        "decoder": uniform_fan_in(
            _decoder(config),
            z,
            seed=(*seeds, 1),
            zero=("conv_out", "linear_path") if config.linear_path else (),
        ),
    }


def start_from_principal_components(
    params: Params, images: Float[np.ndarray, "n h w 3"]
) -> Params:
    """Return fresh parameters whose linear path is the images' principal components.

    Decoding is then the best linear reconstruction from as many numbers (Eckart & Young
    1936). A random rotation gives every latent a share of coarse and fine components.
    Without it, standardising the latents one by one for the score network would make
    fine components as large as coarse ones.

    Args:
        params: Of a config with `linear_path`.
        images: In [0, 1]; some thousands suffice. With fewer images than latents there
            are fewer components.
    """
    encoder, decoder = params["encoder"], params["decoder"]
    latent_dim = encoder["linear_path"]["kernel"].shape[1]
    x = images.reshape(len(images), -1).astype(np.float64)
    mean = x.mean(axis=0)
    centred = x - mean
    # From the n x n products: there are fewer images than pixels.
    eigenvalues, left = np.linalg.eigh(centred @ centred.T / len(x))
    keep = min(latent_dim, len(x) - 1)
    deviation = np.sqrt(np.maximum(eigenvalues[::-1][:keep], 1e-12))
    components = (centred.T @ left[:, ::-1][:, :keep]) / (deviation * math.sqrt(len(x)))
    normal = np.random.default_rng(0).standard_normal((latent_dim, latent_dim))
    rotation = np.linalg.qr(normal)[0][:keep]
    scale = math.sqrt((deviation**2).sum() / latent_dim)  # of a latent
    project = components @ rotation / scale
    there = {"kernel": jnp.asarray(project), "bias": jnp.asarray(-mean @ project)}
    back = {
        "kernel": jnp.asarray(scale * rotation.T @ components.T),
        "bias": jnp.asarray(mean),
    }
    cast = functools.partial(jax.tree.map, lambda a: a.astype(jnp.float32))
    return {
        "encoder": {**encoder, "linear_path": cast(there)},
        "decoder": {**decoder, "linear_path": cast(back)},
    }


def encode(
    config: AutoencoderConfig, params: Params, images: UnitImage
) -> Float[Array, "b d"]:
    """Return the latents of images in [0, 1], not standardised."""
    _check_side(config, images.shape[1:3])
    z = _encoder(config).apply({"params": params["encoder"]}, images)
    assert isinstance(z, jax.Array)
    return z.astype(images.dtype)


def decode(
    config: AutoencoderConfig, params: Params, z: Float[Array, "b d"]
) -> UnitImage:
    """Return the images of latents; the linear last layer may leave [0, 1]."""
    images = _decoder(config).apply({"params": params["decoder"]}, z)
    assert isinstance(images, jax.Array)
    return images.astype(z.dtype)


def _encoder(config: AutoencoderConfig) -> nn.Module:
    if config.arch == "resnet":
        return Encoder(config)
    return autokl.KLEncoder(_autokl_shape(config))


def _decoder(config: AutoencoderConfig) -> nn.Module:
    if config.arch == "resnet":
        return Decoder(config)
    return autokl.KLDecoder(_autokl_shape(config))


def _autokl_shape(config: AutoencoderConfig) -> autokl.KLShape:
    return autokl.KLShape(
        side=config.image_size,
        base_channels=config.base_channels,
        multipliers=config.autokl_multipliers,
        blocks=config.autokl_blocks,
        dtype=_dtype(config),
        remat=config.remat,
    )


def _channels(config: AutoencoderConfig, cap: int) -> list[int]:
    """Return the channels by number of halvings, from full resolution to 16 px."""
    halvings = (config.image_size // _SMALLEST_SIDE).bit_length() - 1
    return [min(config.base_channels << i, cap) for i in range(halvings + 1)]


def _check_side(config: AutoencoderConfig, side: tuple[int, ...]) -> None:
    if side != (config.image_size, config.image_size):
        raise ValueError(
            f"images of {side} do not fit an autoencoder for {config.image_size} px"
        )


def _activate(x: Array) -> Array:
    return nn.leaky_relu(x, 0.2)


def _dtype(config: AutoencoderConfig):
    """Return the operands' type; None follows the inputs and keeps float64."""
    return jnp.bfloat16 if config.compute_dtype == "bfloat16" else None
