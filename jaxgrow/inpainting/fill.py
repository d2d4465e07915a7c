"""Holes filled by a generator, as pictures and as a validation error."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree, UInt8

from jaxgrow.inpainting.networks import Networks, fade_factor
from jaxgrow.nets import growing
from jaxgrow.nets.growing import Generator, generator_input
from jaxgrow.pixels import to_signed
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import HoleMask, Image, Params


EvalStep = Callable[
    [TrainState, UInt8[Array, "n r r 3"], Int[Array, ""]],
    tuple[Image, Float[Array, ""]],
]


def composite(real: Image, output: Image, mask: HoleMask) -> Image:
    """Return `output` in the hole and the known pixels of `real`, bit for bit."""
    return jnp.where(mask > 0.5, output, real)


def paint(
    generator: Generator,
    weights: tuple[Mapping[str, Params], Mapping[str, PyTree]],
    images: Image,
    mask: HoleMask,
) -> Image:
    """Return the composite in [-1, 1] of a generator with these (params, stats)."""
    output, _ = growing.apply(generator, *weights, generator_input(images, mask))
    return composite(images, jnp.clip(output, -1.0, 1.0), mask)


def make_eval_step(nets: Networks, masks: UInt8[Array, "n r r 1"]) -> EvalStep:
    """Build `fn(generator, images, step) -> (output, hole_error)` on fixed masks.

    `output` is the clipped output of G in [-1, 1]. `hole_error` is the root of the mean
    squared error over the pixels of all holes, in units of that range.
    """
    mask = jnp.asarray(masks, jnp.float32)

    def evaluate(generator: TrainState, images, step):
        real = to_signed(images)
        output, _ = nets.generator.apply(
            generator.eval_params,
            generator.stats,
            generator_input(real, mask),
            fade=fade_factor(step, nets.fade_steps),
        )
        output = jnp.clip(output, -1.0, 1.0)
        square = jnp.sum(mask * (output - real) ** 2) / (3.0 * jnp.sum(mask))
        return output, jnp.sqrt(square)

    return jax.jit(evaluate)
