"""The training steps of DiMViDA (Di Giacomo et al. 2024) and what they learn from.

One deterministic autoencoder encodes every view on its own; the score network learns
the joint law of the V latents, diffusing the missing ones while the given ones stay
clean; the mean regressor is what the score network has to beat.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32

from jaxgrow.devices import parallel
from jaxgrow.multiview import conditioning
from jaxgrow.multiview.augment import trivial_augment_wide
from jaxgrow.multiview.gaussian import GaussianPath, conditional_mean, velocity
from jaxgrow.multiview.sde import (
    VPSDE,
    TimeSampling,
    multi_time,
    sample_times,
)
from jaxgrow.nets import autoencoder, score
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.pixels import to_unit
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import (
    Keys,
    Latents,
    Metrics,
    Missing,
    MultiTime,
    Params,
    UnitImage,
)


_Rows: TypeAlias = Array | np.ndarray  # on the device, or on its way there

LAPLACE_SCALE = 0.75
"""b of the autoencoder's likelihood (Di Giacomo et al. 2024, Sec. III)."""


class ImageData(NamedTuple):
    """Images of an autoencoder or classifier; None where batches bring their own."""

    images: UInt8[_Rows, "n h w 3"] | None
    labels: Int[_Rows, " n"] | None = None


class LatentData(NamedTuple):
    """Standardised latents of objects, which of their views there are, their law."""

    z: Float[_Rows, "n v d"]
    observed: Bool[_Rows, "n v"]
    gaussian: GaussianPath | None = None


class Batch(NamedTuple):
    """One batch: rows of the data, a key for each, or the examples themselves.

    Everything random about an example comes from its own key, so that a batch means
    the same on one device and on many.
    """

    rows: Int[_Rows, " b"]
    key_data: UInt32[_Rows, "b 2"]
    images: UInt8[_Rows, "b h w 3"] | None = None
    labels: Int[_Rows, " b"] | None = None

    def keys(self) -> Keys:
        return jax.random.wrap_key_data(jnp.asarray(self.key_data))


Step: TypeAlias = Callable[[TrainState, Any, Batch], tuple[TrainState, Metrics]]


def gather_images(data: ImageData, batch: Batch) -> UnitImage:
    """The batch's images in [0, 1]."""
    if batch.images is not None:
        return to_unit(jnp.asarray(batch.images))
    if data.images is None:
        raise ValueError("neither the data nor the batch has images")
    return to_unit(jnp.asarray(data.images)[batch.rows])


def laplace_nll(x_hat: UnitImage, x: UnitImage) -> Float[Array, " b"]:
    """-log p(x | z), Laplace with scale b = 0.75, summed over pixels and channels.

    Each element costs |x - x_hat| / b + log 2b; for 64x64x3 the constants sum to
    4982.35.
    """
    error = jnp.abs(x - x_hat) / LAPLACE_SCALE + np.log(2.0 * LAPLACE_SCALE)
    return error.sum(axis=(1, 2, 3))


def masked_score_loss(
    eps_hat: Latents,
    eps: Latents,
    missing: Missing,
    observed: Missing | None = None,
) -> Float[Array, " b"]:
    """Eq. 6 of Di Giacomo et al. (2024), in noise form.

    The weight lambda = 1 + |C|/|M| is V/|M|, so an example counts the same however
    many of its views were diffused. With `observed`, views that the data lack count
    neither in V nor in M.
    """
    observed = jnp.ones_like(missing) if observed is None else observed
    scored = (missing & observed).astype(eps.dtype)
    num_scored = jnp.maximum(scored.sum(axis=1), 1.0)
    sq_err = jnp.sum(scored[..., None] * (eps_hat - eps) ** 2, axis=(1, 2))
    return observed.sum(axis=1) / num_scored * sq_err


def make_autoencoder_step(
    config: AutoencoderConfig,
    tx: optax.GradientTransformation,
    *,
    augment: bool,
    fill: float,
    ema_decay: float = 0.0,
    axis_name: str | None = None,
) -> Step:
    """One step of the autoencoder on `ImageData` (Di Giacomo et al. 2024, Eq. 1).

    Args:
        config: Of the network; `state.params` has "encoder" and "decoder".
        tx: Its optimiser.
        augment: TrivialAugmentWide; the augmented image is input and target.
        fill: Colour in [0, 1] of what augmentation brings into the picture.
        ema_decay: Of the average, if the state keeps one.
        axis_name: Of the devices.
    """

    def step(state: TrainState, data: ImageData, batch: Batch):
        x = gather_images(data, batch)
        if augment:
            x = trivial_augment_wide(x, batch.keys(), fill)

        def loss_fn(params):
            x_hat = reconstruct(config, params, x)
            return laplace_nll(x_hat, x).mean(), jnp.abs(x_hat - x).mean()

        found = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        (loss, mae), grads = parallel.pmean(found, axis_name)
        state = state.apply_gradients(grads, state.stats, tx, ema_decay)
        return state, {"loss": loss, "mae": mae, "grad_norm": optax.tree.norm(grads)}

    return step


def reconstruct(
    config: AutoencoderConfig, params: Params, images: UnitImage
) -> UnitImage:
    """The decoded code of every image, not clipped."""
    z = autoencoder.encode(config, params, images)
    return autoencoder.decode(config, params, z)


class Diffusion(NamedTuple):
    """How the score network is trained.

    Attributes:
        sde: The noise.
        times: How t is drawn.
        p_joint: Probability that no view is given.
        probabilities: Of the conditioning sets, `subsets.subset_probabilities`.
    """

    sde: VPSDE
    times: TimeSampling
    p_joint: float
    probabilities: Float[np.ndarray, " s"] | None = None


def diffuse(
    diffusion: Diffusion, keys: Keys, z: Latents, observed: Missing
) -> tuple[Latents, Latents, MultiTime, Missing]:
    """(x, eps, tau, missing) of a training batch (Sec. II-B, II-C).

    The multi-time tau is t for missing views and 0 for given ones, where the SDE has
    not touched them yet. A view that the data lack is pure noise at time 1: that state
    does not depend on it, so nothing has to be known about it.
    """
    subset_keys, time_keys, noise_keys = jax.vmap(
        lambda key: jax.random.split(key, 3), out_axes=1
    )(keys)
    num_views, dim = z.shape[1:]
    missing = conditioning.draw_missing(
        subset_keys, num_views, diffusion.p_joint, diffusion.probabilities
    )
    # Nothing observed would be scored: let all of the views be missing instead.
    idle = ~(missing & observed).any(axis=1, keepdims=True)
    missing = missing | idle | ~observed
    u = jax.vmap(jax.random.uniform)(time_keys)
    t = sample_times(diffusion.sde, u, diffusion.times)
    eps = jax.vmap(lambda key: jax.random.normal(key, (num_views, dim)))(noise_keys)
    tau = jnp.where(observed, multi_time(t, missing), 1.0)
    alpha, sigma = diffusion.sde.marginal(tau)
    x = alpha[..., None] * jnp.where(observed[..., None], z, 0.0)
    return x + sigma[..., None] * eps, eps, tau, missing


def network_output(
    config: ScoreConfig,
    sde: VPSDE,
    params: Params,
    gaussian: GaussianPath | None,
    x: Latents,
    tau: MultiTime,
    missing: Missing,
    dropout_key: Array | None = None,
) -> Latents:
    """Minus the noise in x, or minus the velocity, whichever the network predicts.

    With a Gaussian path the network reads the estimate z = alpha x - sigma v of the
    clean latents, and its output is added to the path's.
    """
    if gaussian is None:
        return score.apply_score(
            config, params, x, tau, missing, dropout_key=dropout_key
        )
    alpha, sigma = (a[..., None] for a in sde.marginal(tau))
    v = velocity(gaussian, sde, x, tau, missing)
    path = v if config.prediction == "velocity" else sigma * x + alpha * v
    z_hat = alpha * x - sigma * v
    learnt = score.apply_score(
        config, params, z_hat, tau, missing, dropout_key=dropout_key
    )
    return learnt - path


def noise_of(
    config: ScoreConfig, sde: VPSDE, output: Latents, x: Latents, tau: MultiTime
) -> Latents:
    """The noise in x according to the network's raw output.

    A velocity v = alpha eps - sigma z at x = alpha z + sigma eps says
    eps = sigma x + alpha v (Salimans & Ho 2022, App. D).
    """
    if config.prediction == "noise":
        return -output
    alpha, sigma = sde.marginal(tau)
    return sigma[..., None] * x - alpha[..., None] * output


def score_losses(
    config: ScoreConfig,
    diffusion: Diffusion,
    params: Params,
    keys: Keys,
    z: Latents,
    observed: Missing,
    gaussian: GaussianPath | None = None,
    dropout_key: Array | None = None,
) -> Float[Array, " b"]:
    """Eq. 6 for every example, with its own time, subset and noise.

    For velocities the squared error is theirs, which weighs that of the noise by
    1 / alpha^2.
    """
    x, eps, tau, missing = diffuse(diffusion, keys, z, observed)
    output = network_output(
        config, diffusion.sde, params, gaussian, x, tau, missing, dropout_key
    )
    target = eps
    if config.prediction == "velocity":
        alpha, sigma = diffusion.sde.marginal(tau)
        clean = jnp.where(observed[..., None], z, 0.0)
        target = alpha[..., None] * eps - sigma[..., None] * clean
    return masked_score_loss(-output, target, missing, observed)


def make_score_step(
    config: ScoreConfig,
    diffusion: Diffusion,
    tx: optax.GradientTransformation,
    *,
    ema_decay: float,
    axis_name: str | None = None,
) -> Step:
    """One step of the score network on `LatentData`, by `score_losses`."""

    def step(state: TrainState, data: LatentData, batch: Batch):
        z = jnp.asarray(data.z)[batch.rows]
        observed = jnp.asarray(data.observed)[batch.rows]
        dropout_key = batch.keys()[0] if config.dropout else None

        def loss_fn(params):
            keys = batch.keys()
            losses = score_losses(
                config,
                diffusion,
                params,
                keys,
                z,
                observed,
                data.gaussian,
                dropout_key,
            )
            return losses.mean()

        found = jax.value_and_grad(loss_fn)(state.params)
        loss, grads = parallel.pmean(found, axis_name)
        state = state.apply_gradients(grads, state.stats, tx, ema_decay)
        return state, {"loss": loss, "grad_norm": optax.tree.norm(grads)}

    return step


def regress(
    config: ScoreConfig,
    params: Params,
    z: Latents,
    missing: Missing,
    gaussian: GaussianPath | None = None,
) -> Latents:
    """The mean regressor: E[z_M | z_C] by the score network's architecture.

    Its input has the mask in place of the multi-time, and in the missing views zeros,
    which are the mean of standardised latents, or the conditional mean of Gaussian
    ones, to which the output is then added. Given views come out as they are.
    """
    mean = jnp.zeros_like(z)
    if gaussian is not None:
        mean = conditional_mean(gaussian, z, missing)
    x = jnp.where(missing[..., None], mean, z)
    tau = missing.astype(jnp.float32)
    z_hat = mean + score.apply_score(config, params, x, tau, missing)
    return jnp.where(missing[..., None], z_hat, z)


def make_regressor_step(
    config: ScoreConfig,
    diffusion: Diffusion,
    tx: optax.GradientTransformation,
    *,
    ema_decay: float,
    axis_name: str | None = None,
) -> Step:
    """One step of the mean regressor, on the subsets that the score network sees."""

    def step(state: TrainState, data: LatentData, batch: Batch):
        z = jnp.asarray(data.z)[batch.rows]
        observed = jnp.asarray(data.observed)[batch.rows]
        missing = conditioning.draw_missing(
            batch.keys(), z.shape[1], 0.0, diffusion.probabilities
        )
        missing = missing | ~observed
        z = jnp.where(observed[..., None], z, 0.0)

        def loss_fn(params):
            z_hat = regress(config, params, z, missing, data.gaussian)
            return masked_score_loss(z_hat, z, missing, observed).mean()

        found = jax.value_and_grad(loss_fn)(state.params)
        loss, grads = parallel.pmean(found, axis_name)
        state = state.apply_gradients(grads, state.stats, tx, ema_decay)
        return state, {"loss": loss, "grad_norm": optax.tree.norm(grads)}

    return step


def several_steps(step: Step) -> Step:
    """`step` over batches that are stacked in front; metrics come out stacked too."""

    def steps(state: TrainState, data: Any, batches: Batch):
        return jax.lax.scan(lambda s, batch: step(s, data, batch), state, batches)

    return steps
