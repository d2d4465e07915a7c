"""A GAN of a few hundred weights, with data and batches, for tests that train it."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrow.data.batches import PictureBatch, plan_batch
from jaxgrow.inpainting import networks, stages
from jaxgrow.inpainting.batch import Data
from jaxgrow.inpainting.stages import GrowthConfig, OptimizerConfig
from jaxgrow.nets.growing import NetConfig


NUM_IMAGES, NUM_MASKS, BATCH_SIZE = 7, 5, 4


def net_config(**fields):
    return NetConfig(width=6, kernel_sizes=(1, 3), num_sub_blocks=1, **fields)


def growth_config(resolutions=(4,), **fields):
    return GrowthConfig(
        resolutions=resolutions, steps=(10,) * len(resolutions), **fields
    )


class Recorded(NamedTuple):
    """State of `recording_sgd`."""

    rate: jax.Array
    grads: optax.Params


def recording_sgd(rate):
    """SGD whose state holds the last gradients, and its rate, which tests change."""

    def init(params):
        return Recorded(jnp.float32(rate), jax.tree.map(jnp.zeros_like, params))

    def update(grads, state, params=None):
        del params
        step = jax.tree.map(lambda g: -state.rate * g, grads)
        return step, Recorded(state.rate, grads)

    return optax.GradientTransformation(init, update)


class SmallGan(NamedTuple):
    """A stage, its networks, and its state at the start."""

    stage: stages.Stage
    nets: networks.Networks
    state: networks.InpaintState


def enter(
    config,
    index=0,
    before=None,
    *,
    net=None,
    optimizer=None,
    sgd_rates=None,
    d_sees_mask=False,
    keep_ema=False,
    axis_name=None,
    seed=0,
):
    """Enters stage `index` of `config`; `sgd_rates` (G, D) put SGD in Adam's place."""
    stage = stages.plan_stages(config)[index]
    nets = networks.make_networks(
        stage,
        net or net_config(norm="none"),
        config,
        optimizer or OptimizerConfig(),
        d_sees_mask=d_sees_mask,
        axis_name=axis_name,
    )
    if sgd_rates is not None:
        g_tx, d_tx = map(recording_sgd, sgd_rates)
        nets = dataclasses.replace(
            nets,
            generator=dataclasses.replace(nets.generator, tx=g_tx),
            discriminator=dataclasses.replace(nets.discriminator, tx=d_tx),
        )
    state = networks.enter_stage(nets, stage, seed, keep_ema=keep_ema, before=before)
    return SmallGan(stage, nets, state)


def make_data(resolution, seed=0):
    """Random pictures, and masks with a hole and a known pixel each."""
    rng = np.random.default_rng(seed)
    shape = (NUM_IMAGES, resolution, resolution, 3)
    masks = rng.random((NUM_MASKS, resolution, resolution, 1)) < 0.4
    masks[:, 0, 0], masks[:, -1, -1] = True, False
    images = rng.integers(0, 256, shape).astype(np.uint8)
    return Data(jnp.asarray(images), jnp.asarray(masks.astype(np.uint8)))


def make_batch(step, batch_size=BATCH_SIZE):
    return plan_batch(0, step, batch_size, NUM_IMAGES, NUM_MASKS)


def stack(batches):
    return jax.tree.map(lambda *b: np.stack(b), *batches)


def changed(before, after):
    """Names of the submodules of which any value differs."""
    assert set(before) == set(after)
    return {
        name
        for name in before
        if any(
            (np.asarray(b) != np.asarray(a)).any()
            for b, a in zip(
                jax.tree.leaves(before[name]), jax.tree.leaves(after[name]), strict=True
            )
        )
    }


def rows(*indices, flip=False, symmetry=0, augmentation=None, images=None):
    """A batch of rows of pictures and masks."""
    n = len(indices)
    return PictureBatch(
        image_index=np.array(indices, np.int32),
        flip=np.full(n, flip),
        mask_index=np.array(indices, np.int32),
        mask_symmetry=np.broadcast_to(np.int32(symmetry), (n,)),
        augmentation=augmentation,
        images=images,
    )
