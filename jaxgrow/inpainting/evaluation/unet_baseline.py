"""Networks as fill functions, and the U-Net baseline."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, PyTree, UInt8

from jaxgrow.data.batches import PictureBatch
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.errors import UserError
from jaxgrow.inpainting.baselines import FillFn
from jaxgrow.inpainting.batch import Data, gather
from jaxgrow.inpainting.fill import composite
from jaxgrow.nets.growing import (
    Generator,
    NetConfig,
    generator_input,
    variable_shapes,
)
from jaxgrow.nets.unet import UNet, widest_unet
from jaxgrow.pixels import to_signed
from jaxgrow.training.train_state import count_params
from jaxgrow.typing import HoleMask, Image, Params


_STEPS_BETWEEN_CHECKS = 100


def as_fill(
    paint: Callable[[PyTree, Image, HoleMask], Image],
    weights: PyTree,
    batch_size: int = 64,
) -> FillFn:
    """Build a fill function on uint8 pixels from a network that paints on [-1, 1].

    The devices of this machine share every batch.

    Args:
        paint: (weights, images, mask) -> painted pictures, each independent of the
            others.
        weights: Arrays that `paint` needs. Arrays that it closes over instead become
            constants of the compiled program and of its file in the cache.
        batch_size: Pictures of a call.
    """

    def fill_rows(weights, images, holes):
        holes = holes[..., None]
        mask = holes.astype(jnp.float32)
        painted = paint(weights, to_signed(images), mask).astype(jnp.float32)
        pixels = jnp.clip(jnp.rint((painted + 1.0) * 127.5), 0, 255)
        return jnp.where(holes, pixels.astype(jnp.uint8), images)

    compiled = RowsFn(fill_rows)

    def fill(
        images: UInt8[np.ndarray, "n r r 3"], masks: Bool[np.ndarray, "n r r"]
    ) -> UInt8[np.ndarray, "n r r 3"]:
        return compiled.in_batches(batch_size, weights, images, masks)

    return fill


def train_unet(
    images: UInt8[np.ndarray, "n r r 3"],
    mask_bank: UInt8[np.ndarray, "m r r 1"],
    plan: Callable[[int], PictureBatch],
    *,
    num_steps: int,
    learning_rate: optax.ScalarOrSchedule,
    hole_weight: float,
    seed: int,
    max_params: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> FillFn:
    """Train a U-Net of the generator's size with Adam and L1; return its fill function.

    The loss is on the raw output over the whole image, with weight `hole_weight` on
    pixels of the hole, as in the generator's reconstruction loss.

    Args:
        images: Training images, in memory or memory-mapped.
        mask_bank: Training masks of the same side, 1 = hole.
        plan: Step -> rows of both; that of a generator's stage gives the same batches.
        num_steps: Optimisation steps.
        learning_rate: Adam's step size, or a schedule of it.
        hole_weight: Weight of a hole pixel; a known pixel has 1.
        seed: Seed of the first weights.
        max_params: Most parameters that it may have; None: as many as the paper's
            generator at this resolution (the net takes the widest that fits).
        on_progress: Called with (done, all) every 100 steps and at the end.

    Raises:
        UserError: The loss is no longer finite.
    """
    resolution = images.shape[1]
    if max_params is None:
        max_params = count_generator_params(resolution)
    net, tx = widest_unet(resolution, max_params), optax.adam(learning_rate)
    x = jnp.zeros((1, resolution, resolution, 4))
    params = jax.jit(net.init)(jax.random.key(seed), x)
    state = (params, tx.init(params))
    step = jax.jit(_make_step(net, tx, hole_weight), donate_argnums=0)
    data = Data(images=None, masks=jnp.asarray(mask_bank))
    for done in range(1, num_steps + 1):
        batch = plan(done - 1)
        batch = batch._replace(images=images[batch.image_index])
        state, loss = step(state, data, jax.tree.map(jnp.asarray, batch))
        if done % _STEPS_BETWEEN_CHECKS == 0 or done == num_steps:
            if not np.isfinite(float(loss)):
                raise UserError(
                    f"the U-Net's loss is {float(loss)} after {done} steps at "
                    f"{resolution} px: lower its learning rate."
                )
            if on_progress is not None:
                on_progress(done, num_steps)

    def paint(params: Params, images: Image, mask: HoleMask) -> Image:
        output = jnp.asarray(net.apply(params, generator_input(images, mask)))
        return composite(images, jnp.clip(output, -1.0, 1.0), mask)

    return as_fill(paint, state[0])


def count_generator_params(resolution: int) -> int:
    """Return the number of parameters of the paper's generator."""
    net = Generator(NetConfig(), resolution)
    return count_params(variable_shapes(net, 4, fading=False)["params"])


def _make_step(net: UNet, tx: optax.GradientTransformation, hole_weight: float):
    def loss_fn(params, real, mask):
        output = jnp.asarray(net.apply(params, generator_input(real, mask)))
        weight = 1.0 + (hole_weight - 1.0) * mask
        return jnp.mean(weight * jnp.abs(output - real))

    def step(state, data: Data, batch: PictureBatch):
        params, opt_state = state
        real, mask = gather(data, batch)
        loss, grads = jax.value_and_grad(loss_fn)(params, real, mask)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return step
