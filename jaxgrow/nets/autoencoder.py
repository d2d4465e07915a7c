"""The deterministic autoencoder of one view, shared by all views.

Di Giacomo et al. (2024), Sec. III, train one encoder and one decoder for all views.
`resnet` is a residual network without norms (variant A of the specification, after
Bounoua et al. 2024), `autokl` the autoencoder of Stable Diffusion made deterministic
(variant B, see autokl.py).
"""

import functools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgrow import ops
from jaxgrow.nets import autokl
from jaxgrow.nets.autoencoder_config import AutoencoderConfig
from jaxgrow.nets.initial import uniform_fan_in
from jaxgrow.nets.modules import Conv, operand_dtype
from jaxgrow.typing import Params, UnitImage


_SMALLEST_SIDE = 16  # the encoder stops pooling there
_ENCODER_CAP, _DECODER_CAP = 1024, 512


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
        dtype = operand_dtype(self.config.compute_dtype)
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
        config, dtype = self.config, operand_dtype(self.config.compute_dtype)
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
        config, dtype = self.config, operand_dtype(self.config.compute_dtype)
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
    seeds = (seed,) if isinstance(seed, int) else tuple(seed)

    def fresh(index: int, net: nn.Module, last: str, *shape: int) -> Params:
        zero = (last, "linear_path") if config.linear_path else ()
        x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        return uniform_fan_in(net, x, seed=(*seeds, index), zero=zero)

    side = config.image_size
    return {
        "encoder": fresh(0, _encoder(config), "linear", side, side, 3),
        "decoder": fresh(1, _decoder(config), "conv_out", config.latent_dim),
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
    there = {"kernel": project, "bias": -mean @ project}
    back = {"kernel": scale * rotation.T @ components.T, "bias": mean}
    cast = functools.partial(jax.tree.map, lambda a: jnp.asarray(a, jnp.float32))
    return {
        "encoder": {**encoder, "linear_path": cast(there)},
        "decoder": {**decoder, "linear_path": cast(back)},
    }


def encode(
    config: AutoencoderConfig, params: Params, images: UnitImage
) -> Float[Array, "b d"]:
    """Return the latents of images in [0, 1], not standardised."""
    side = config.image_size
    if images.shape[1:3] != (side, side):
        raise ValueError(
            f"images of {images.shape[1:3]} do not fit an autoencoder for {side} px"
        )
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
    return (Encoder if config.arch == "resnet" else autokl.KLEncoder)(config)


def _decoder(config: AutoencoderConfig) -> nn.Module:
    return (Decoder if config.arch == "resnet" else autokl.KLDecoder)(config)


def _channels(config: AutoencoderConfig, cap: int) -> list[int]:
    """Return the channels by number of halvings, from full resolution to 16 px."""
    halvings = (config.image_size // _SMALLEST_SIDE).bit_length() - 1
    return [min(config.base_channels << i, cap) for i in range(halvings + 1)]


def _activate(x: Array) -> Array:
    return nn.leaky_relu(x, 0.2)
