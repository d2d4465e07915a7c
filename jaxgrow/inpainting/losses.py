"""Losses of the inpainting GAN (Speck et al. 2023, Sec. III-C), one value a batch.

Each is a mean over examples, so the mean over devices of equal shares is the loss of
the whole batch.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.nets.modules import ComputeDtype
from jaxgrow.ranges import Checked, Count, Natural, Weight
from jaxgrow.typing import HoleMask, Image


AdversarialForm: TypeAlias = Literal["bce", "hinge", "least_squares"]
ReconstructionForm: TypeAlias = Literal["mse", "rmse"]
PerceptualForm: TypeAlias = Literal["eq1", "rms", "mse"]
Logits: TypeAlias = Float[Array, " b"]


class AdversarialLoss(NamedTuple):
    """Losses of the two players, from D's logits (positive = real)."""

    discriminator: Callable[[Logits, Logits], Float[Array, ""]]
    """(real, fake) -> loss."""
    generator: Callable[[Logits], Float[Array, ""]]
    """fake -> loss."""


_softplus, _relu = jax.nn.softplus, jax.nn.relu
ADVERSARIAL: Mapping[AdversarialForm, AdversarialLoss] = {
    # With logits -log D(x) - log(1 - D(G(x))); non-saturating -log D(G(x)).
    "bce": AdversarialLoss(
        lambda real, fake: _softplus(-real).mean() + _softplus(fake).mean(),
        lambda fake: _softplus(-fake).mean(),
    ),
    "hinge": AdversarialLoss(
        lambda real, fake: _relu(1.0 - real).mean() + _relu(1.0 + fake).mean(),
        lambda fake: -fake.mean(),
    ),
    # Mao et al. (2017) with targets 1 for real and 0 for fake.
    "least_squares": AdversarialLoss(
        lambda real, fake: 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean(),
        lambda fake: 0.5 * ((fake - 1) ** 2).mean(),
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig(Checked):
    """Losses of the two networks."""

    adversarial: AdversarialForm = "bce"
    """Form of the adversarial loss."""
    adversarial_weight: Weight = 0.01
    """Weight of the adversarial term; 0 leaves the discriminator out."""
    reconstruction_weight: Weight = 1.0
    """Weight of the mean squared error."""
    reconstruction: ReconstructionForm = "mse"
    """mse: the paper's; rmse: the mean over pictures of the root of each one's error,
    so that easy pictures and small holes count for more."""
    hole_weight: Weight = 1.0
    """Weight of a pixel of the hole in the mean squared error; a known pixel has 1."""
    perceptual: PerceptualForm = "eq1"
    """Form of the perceptual loss: as printed in the paper, per-root-size, squared."""
    perceptual_weight: Weight | None = None
    """Weight of the perceptual term; None sets it at the start of a stage so that its
    gradient norm at G's output is half of reconstruction's."""
    perceptual_from: Natural = 4
    """Resolution from which the perceptual term is on."""
    perceptual_dtype: ComputeDtype = "float32"
    """Type of the products' operands in the perceptual network."""
    r1_gamma: Weight = 0.0
    """Weight of the R1 penalty on D; 0 leaves it out."""
    r1_every: Count = 16
    """Steps between two R1 penalties, each scaled up by this number."""
    d_sees_mask: bool = False
    """Give D the mask as a fourth channel."""


def has_r1(config: LossConfig) -> bool:
    """Return True if any step takes the R1 penalty."""
    return config.adversarial_weight > 0 and config.r1_gamma > 0


def reconstruction_loss(
    output: Image,
    real: Image,
    mask: HoleMask,
    hole_weight: float = 1.0,
    form: ReconstructionForm = "mse",
) -> Float[Array, ""]:
    """Return the squared error with weight `hole_weight` on the pixels of the hole.

    `mse` is its mean over pixels and pictures; with weight 1 the paper's plain MSE.
    `rmse` is the mean over pictures of sqrt(weighted mean over their pixels + 1e-6);
    with a large `hole_weight` each picture's error in its hole, whatever its area.
    """
    weight = 1.0 + (hole_weight - 1.0) * mask
    square = weight * (output - real) ** 2
    if form == "mse":
        return jnp.mean(square)
    axes = (1, 2, 3)
    error = jnp.mean(square, axis=axes) / jnp.mean(weight, axis=axes)
    return jnp.mean(jnp.sqrt(error + 1e-6))


def perceptual_loss(
    features: Sequence[Float[Array, "b ..."]],
    features_real: Sequence[Float[Array, "b ..."]],
    form: PerceptualForm,
) -> Float[Array, ""]:
    """Return the distance of features, added over layers, averaged over examples.

    For one example and one layer with n = c h w values and difference d:
    `eq1` is |d| / n, as printed in Eq. 1 of Speck et al. (2023); its weight falls as
    1/sqrt(n) with resolution. `rms` is |d| / sqrt(n), which does not. `mse` is |d|^2/n.
    """
    total = jnp.zeros(())
    for f, f_real in zip(features, features_real, strict=True):
        d = (f - f_real).astype(jnp.float32).reshape(f.shape[0], -1)
        n = d.shape[1]
        square = jnp.sum(d**2, axis=1)
        if form == "mse":
            total += jnp.mean(square / n)
        else:
            # The gradient of |d| is undefined at 0; a tiny floor makes it 0 there.
            norm = jnp.sqrt(jnp.maximum(square, 1e-24))
            total += jnp.mean(norm / (n if form == "eq1" else n**0.5))
    return total


def r1_penalty(
    logits_fn: Callable[[Float[Array, "b h w c"]], Logits],
    real: Float[Array, "b h w c"],
) -> Float[Array, ""]:
    """Return R1 (Mescheder et al. 2018) without its gamma: 1/2 E |grad_x D(x)|^2.

    The expectation is over real pictures.
    """
    grads = jax.grad(lambda x: logits_fn(x).sum())(real)
    return 0.5 * jnp.mean(jnp.sum(grads**2, axis=(1, 2, 3)))
