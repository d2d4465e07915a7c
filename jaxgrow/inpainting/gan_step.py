"""System 1's training step: D, then G against the new D (Speck et al. 2023, Sec. III).

The losses meet at G's output. The step pulls back one cotangent through G, the weighted
sum of each term's gradient there, so the terms' gradient norms cost nothing.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree, Scalar

from jaxgrow.data.batches import PictureBatch
from jaxgrow.devices import parallel
from jaxgrow.inpainting import losses
from jaxgrow.inpainting.batch import Data, gather
from jaxgrow.inpainting.fill import composite
from jaxgrow.inpainting.losses import LossConfig, has_r1
from jaxgrow.inpainting.networks import ADAM_EPS, InpaintState, Networks, fade_factor
from jaxgrow.nets.growing import generator_input
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import FeaturesFn, HoleMask, Image, Metrics


GanStep = Callable[..., tuple[InpaintState, Metrics]]


@dataclasses.dataclass(frozen=True)
class _Setup:
    """Arguments of `make_gan_step`, the same in all steps of a stage."""

    nets: Networks
    losses: LossConfig
    ema_decay: float
    features_fn: FeaturesFn | None
    axis_name: str | None


class _Examples(NamedTuple):
    """Pictures and holes of one step, and the share of the new blocks."""

    real: Image
    mask: HoleMask
    fade: Float[Array, ""] | None


def make_gan_step(
    nets: Networks,
    config: LossConfig,
    *,
    ema_decay: float,
    features_fn: FeaturesFn | None = None,
    axis_name: str | None = None,
) -> GanStep:
    """Build `step(state, data, batch, with_r1=False) -> (state, metrics)`.

    The step is pure and names no device: give it to `parallel.compile_step`, with
    `axis_name=parallel.AXIS` for several devices. Gradients exist for the trainable
    submodules only. Each network's norms take one step per training step: D's on real
    and fake together in D's turn, G's in its single forward pass.

    R1 is scaled up by the steps between two penalties; steps without it log 0, so that
    a mean over steps is the penalty. Karras et al. (2020) also change Adam's decays,
    because their regulariser takes a step of its own; here it shares one.

    Args:
        nets: The stage's networks and optimisers.
        config: The losses.
        ema_decay: Of G's average, if the state keeps one.
        features_fn: Feature layers of a picture in [-1, 1] for the perceptual term;
            None leaves the term out.
        axis_name: The mapped axis, or None on one device.
    """
    setup = _Setup(nets, config, ema_decay, features_fn, axis_name)
    return functools.partial(_gan_step, setup)


def _gan_step(
    setup: _Setup,
    state: InpaintState,
    data: Data,
    batch: PictureBatch,
    with_r1: bool = False,
) -> tuple[InpaintState, Metrics]:
    """Train D on G's composites, then G against the new D."""
    real, mask = gather(data, batch)
    examples = _Examples(real, mask, fade_factor(state.step, setup.nets.fade_steps))
    g, d = state.generator, state.discriminator
    player = setup.nets.generator
    trainable, frozen = player.split(g.params)

    def generate(trainable):
        params, x = {**frozen, **trainable}, generator_input(real, mask)
        return player.apply(params, g.stats, x, fade=examples.fade, train=True)

    output, pull_back, g_stats = jax.vjp(generate, trainable, has_aux=True)
    metrics: Metrics = {}
    if setup.losses.adversarial_weight > 0:
        d, metrics = _d_step(setup, d, examples, output, with_r1)
    else:
        d = d.replace(step=d.step + 1)
    values, cotangents = _output_gradients(setup, state, d, examples, output)
    (grads,) = pull_back(sum(cotangents.values()))
    grads, values = parallel.pmean((grads, values), setup.axis_name)
    for name, value in values.items():
        norm = _batch_norm_of(cotangents[name], setup.axis_name)
        metrics |= {f"g/{name}": value, f"grad_at_output/{name}": norm}
    metrics["g/grad_norm"] = optax.tree.norm(grads)
    metrics["g/grads_below_eps"] = _share_below_eps(grads)
    output_power = parallel.pmean(jnp.mean(output**2), setup.axis_name)
    metrics["g/output_rms"] = jnp.sqrt(output_power)
    if setup.features_fn is not None:
        metrics["perceptual_weight"] = state.perceptual_weight
    if examples.fade is not None:
        metrics["fade"] = examples.fade
    g = g.apply_gradients(grads, g_stats, player.tx, setup.ema_decay)
    return state.replace(generator=g, discriminator=d), metrics


def _share_below_eps(grads: PyTree) -> Scalar:
    """Return the share of entries that are too small for Adam to normalise."""
    leaves = jax.tree.leaves(grads)
    num_small = jnp.stack([jnp.sum(jnp.abs(leaf) < ADAM_EPS) for leaf in leaves])
    return num_small.sum() / sum(leaf.size for leaf in leaves)


def _d_step(
    setup: _Setup, d: TrainState, examples: _Examples, output: Image, with_r1: bool
) -> tuple[TrainState, Metrics]:
    """Train D on real pictures and on composites of G's output, as one batch."""
    config, player = setup.losses, setup.nets.discriminator
    trainable, frozen = player.split(d.params)
    x_real = _d_input(config, examples.real, examples.mask)
    fake = composite(examples.real, output, examples.mask)
    x_fake = _d_input(config, fake, examples.mask)

    def loss_fn(trainable):
        params, x = {**frozen, **trainable}, jnp.concatenate([x_real, x_fake])
        logits, stats = player.apply(params, d.stats, x, fade=examples.fade, train=True)
        on_real, on_fake = jnp.split(logits, 2)
        loss = losses.ADVERSARIAL[config.adversarial].discriminator(on_real, on_fake)
        metrics = {
            "d/loss": loss,
            "d/real": on_real.mean(),
            "d/fake": on_fake.mean(),
            "d/accuracy": 0.5 * ((on_real > 0).mean() + (on_fake < 0).mean()),
        }
        if config.r1_gamma > 0:
            metrics["d/r1"] = jnp.zeros(())  # its mean over steps is the penalty
        if with_r1:
            logits_fn = functools.partial(
                _d_logits, setup, params, d.stats, fade=examples.fade
            )
            penalty = losses.r1_penalty(logits_fn, x_real)
            loss = loss + config.r1_gamma * config.r1_every * penalty
            metrics["d/r1"] = config.r1_every * penalty
        return loss, (stats, metrics)

    grads, (stats, metrics) = jax.grad(loss_fn, has_aux=True)(trainable)
    grads, metrics = parallel.pmean((grads, metrics), setup.axis_name)
    metrics["d/grad_norm"] = optax.tree.norm(grads)
    return d.apply_gradients(grads, stats, player.tx, 0.0), metrics


def _d_input(
    config: LossConfig, images: Image, mask: HoleMask
) -> Float[Array, "b r r c"]:
    return jnp.concatenate([images, mask], -1) if config.d_sees_mask else images


def _d_logits(setup: _Setup, params, stats, x, *, fade) -> Float[Array, " b"]:
    return setup.nets.discriminator.apply(params, stats, x, fade=fade)[0]


def _output_gradients(
    setup: _Setup,
    state: InpaintState,
    d: TrainState,
    examples: _Examples,
    output: Image,
) -> tuple[dict[str, Scalar], dict[str, Image]]:
    """Return each term's value, and its weighted gradient at G's output."""
    config, features_fn = setup.losses, setup.features_fn
    reconstruction = functools.partial(_reconstruction, config, examples)
    terms: dict[str, tuple[float | Scalar, Callable[[Image], Scalar]]] = {
        "reconstruction": (config.reconstruction_weight, reconstruction)
    }
    if config.adversarial_weight > 0:
        adversarial = functools.partial(_adversarial, setup, d, examples)
        terms["adversarial"] = (config.adversarial_weight, adversarial)
    if features_fn is not None:
        perceptual = functools.partial(
            _perceptual, config, features_fn, features_fn(examples.real)
        )
        terms["perceptual"] = (state.perceptual_weight, perceptual)
    values, cotangents = {}, {}
    for name, (weight, term) in terms.items():
        values[name], gradient = jax.value_and_grad(term)(output)
        cotangents[name] = weight * gradient
    return values, cotangents


def _reconstruction(config: LossConfig, examples: _Examples, output: Image) -> Scalar:
    return losses.reconstruction_loss(
        output, examples.real, examples.mask, config.hole_weight, config.reconstruction
    )


def _adversarial(
    setup: _Setup, d: TrainState, examples: _Examples, output: Image
) -> Scalar:
    config, fake = setup.losses, composite(examples.real, output, examples.mask)
    x = _d_input(config, fake, examples.mask)
    logits = _d_logits(setup, d.params, d.stats, x, fade=examples.fade)
    return losses.ADVERSARIAL[config.adversarial].generator(logits)


def _perceptual(
    config: LossConfig,
    features_fn: FeaturesFn,
    real_features: list[Array],
    output: Image,
) -> Scalar:
    return losses.perceptual_loss(features_fn(output), real_features, config.perceptual)


def _batch_norm_of(cotangent: Image, axis_name: str | None) -> Scalar:
    """Return the gradient norm of the whole batch's mean loss from a device's share."""
    square = parallel.pmean(jnp.sum(cotangent**2), axis_name)
    return jnp.sqrt(square / parallel.axis_size(axis_name))


def make_multi_step(step: GanStep, config: LossConfig) -> GanStep:
    """Build `step` over batches stacked in front, (k, b, ...), with metrics (k,).

    R1 is computed in the steps that take it only. For GPU and TPU: on CPU, where XLA
    convolves, a weight gradient inside `lax.scan` or `lax.cond` leaves the fast path
    and takes 10-80 times as long, an input gradient up to 8 times.
    """

    def one(state: InpaintState, batch: PictureBatch, data: Data):
        if not has_r1(config):
            return step(state, data, batch)
        return jax.lax.cond(
            state.step % config.r1_every == 0,
            functools.partial(step, with_r1=True),
            step,
            *(state, data, batch),
        )

    def multi_step(state: InpaintState, data: Data, batches: PictureBatch):
        return jax.lax.scan(functools.partial(one, data=data), state, batches)

    return multi_step


def automatic_perceptual_weight(
    nets: Networks,
    config: LossConfig,
    features_fn: FeaturesFn,
    state: InpaintState,
    data: Data,
    batch: PictureBatch,
) -> Float[Array, ""]:
    """Return the weight that makes the perceptual gradient half of reconstruction's.

    Both are norms at G's output, measured once, on the whole first batch of a stage.
    """
    real, mask = gather(data, batch)
    fade = fade_factor(jnp.zeros((), jnp.int32), nets.fade_steps)
    player, g = nets.generator, state.generator
    player = dataclasses.replace(player, net=player.net.clone(axis_name=None))
    x = generator_input(real, mask)
    output, _ = player.apply(g.params, g.stats, x, fade=fade, train=True)

    def perceptual(output):
        features, real_features = features_fn(output), features_fn(real)
        return losses.perceptual_loss(features, real_features, config.perceptual)

    reconstruction = functools.partial(
        _reconstruction, config, _Examples(real, mask, fade)
    )
    wanted = 0.5 * config.reconstruction_weight
    reconstruction_norm = jnp.linalg.norm(jax.grad(reconstruction)(output))
    perceptual_norm = jnp.linalg.norm(jax.grad(perceptual)(output))
    return wanted * reconstruction_norm / jnp.maximum(perceptual_norm, 1e-12)
