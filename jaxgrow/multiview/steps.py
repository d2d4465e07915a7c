"""The training steps of DiMViDA (Di Giacomo et al. 2024).

One deterministic autoencoder encodes each view on its own. The score network learns the
joint distribution of the V latents; the mean regressor is its baseline.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from jaxgrow.devices import parallel
from jaxgrow.multiview.augment import trivial_augment_wide
from jaxgrow.multiview.batch import ImageData, LatentData, ViewBatch, gather_images
from jaxgrow.multiview.conditioning import ConditioningDistribution
from jaxgrow.multiview.denoiser import Denoiser
from jaxgrow.multiview.losses import laplace_nll
from jaxgrow.multiview.regressor import MeanRegressor
from jaxgrow.nets import autoencoder
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import Metrics, Params, UnitImage


Step: TypeAlias = Callable[[TrainState, Any, ViewBatch], tuple[TrainState, Metrics]]


def make_autoencoder_step(
    config: AutoencoderConfig,
    tx: optax.GradientTransformation,
    *,
    augment: bool,
    fill: float,
    ema_decay: float = 0.0,
    axis_name: str | None = None,
) -> Step:
    """Build the step of the autoencoder on `ImageData` (Di Giacomo et al. 2024, Eq. 1).

    `state.params` has "encoder" and "decoder". An augmented image (TrivialAugmentWide)
    is input and target; `fill` is the colour in [0, 1] from outside of it. `ema_decay`
    is that of the average, if the state keeps one.
    """

    def step(state: TrainState, data: ImageData, batch: ViewBatch):
        x = gather_images(data, batch)
        if augment:
            x = trivial_augment_wide(x, batch.keys(), fill)

        def loss_fn(params):
            x_hat = reconstruct(config, params, x)
            mae = jnp.abs(x_hat - x).mean()
            return laplace_nll(x_hat, x).mean(), ({"mae": mae}, state.stats)

        return descend(loss_fn, state, tx, ema_decay, axis_name)

    return step


def reconstruct(
    config: AutoencoderConfig, params: Params, images: UnitImage
) -> UnitImage:
    """Encode and decode images; the result is not clipped."""
    z = autoencoder.encode(config, params, images)
    return autoencoder.decode(config, params, z)


def make_latent_step(
    model: Denoiser | MeanRegressor,
    distribution: ConditioningDistribution,
    tx: optax.GradientTransformation,
    *,
    ema_decay: float,
    axis_name: str | None = None,
) -> Step:
    """Build the step of the score network or the mean regressor, by `model.losses`.

    It takes `LatentData`, which has the closed form that the network adds to.
    """

    def step(state: TrainState, data: LatentData, batch: ViewBatch):
        net = dataclasses.replace(model, gaussian=data.gaussian)
        z, observed = (jnp.asarray(a)[batch.rows] for a in (data.z, data.observed))
        keys = batch.keys()

        def loss_fn(params):
            losses = net.losses(params, distribution, keys, z, observed)
            return losses.mean(), ({}, state.stats)

        return descend(loss_fn, state, tx, ema_decay, axis_name)

    return step


def descend(
    loss_fn: Callable[[Params], tuple[Array, tuple[Metrics, Params]]],
    state: TrainState,
    tx: optax.GradientTransformation,
    ema_decay: float,
    axis_name: str | None,
) -> tuple[TrainState, Metrics]:
    """Update the state by the gradient of the mean loss over all devices.

    `loss_fn` is params -> (loss, (further metrics, new statistics)). The metrics are
    "loss", the further ones and "grad_norm".
    """
    found = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    (loss, (metrics, stats)), grads = parallel.pmean(found, axis_name)
    state = state.apply_gradients(grads, stats, tx, ema_decay)
    norm = optax.tree.norm(grads)
    return state, {"loss": loss, **metrics, "grad_norm": norm}


def several_steps(step: Step) -> Step:
    """Run `step` over batches stacked in front; the metrics come out stacked too."""

    def steps(state: TrainState, data: Any, batches: ViewBatch):
        return jax.lax.scan(lambda s, batch: step(s, data, batch), state, batches)

    return steps
