"""System 1's training step: D, then G against the new D (Speck et al. 2023, Sec. III).

The losses meet at G's output. The step pulls back one cotangent through G, the weighted
sum of each term's gradient there, so the terms' gradient norms cost nothing.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, no_type_check

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float, Int, PyTree, Scalar, UInt8

from jaxgrow.devices import parallel
from jaxgrow.inpainting import freezing, losses
from jaxgrow.inpainting.batch import Data, StepBatch, gather
from jaxgrow.inpainting.losses import LossConfig, due_terms, has_r1
from jaxgrow.nets import growing
from jaxgrow.nets.growing import Discriminator, Generator, generator_input
from jaxgrow.pixels import to_signed
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import FeaturesFn, HoleMask, Image, Metrics, Params


# JAX and Orbax rebuild it with other leaves than arrays: shapes, descriptions.
@no_type_check
class InpaintState(struct.PyTreeNode):
    """Both networks' training, and the weight that the stage's start has set."""

    generator: TrainState
    discriminator: TrainState
    perceptual_weight: Float[Array, ""]

    @property
    def step(self) -> Int[Array, ""]:
        return self.generator.step


class Networks(NamedTuple):
    """The two networks of a stage and what trains them.

    Attributes:
        g_labels: `partition.stage_labels` of G's submodules; `d_labels` of D's.
        g_first: Lowest resolution of G that trains; `d_first` of D.
        fade_steps: Steps over which the new blocks fade in; 0 = no fade.
    """

    generator: Generator
    discriminator: Discriminator
    g_tx: optax.GradientTransformation
    d_tx: optax.GradientTransformation
    g_labels: Mapping[str, freezing.Label]
    d_labels: Mapping[str, freezing.Label]
    g_first: int
    d_first: int
    fade_steps: int


GanStep = Callable[[InpaintState, Data, StepBatch], tuple[InpaintState, Metrics]]


def composite(real: Image, output: Image, mask: HoleMask) -> Image:
    """`output` in the hole, the known pixels of `real` elsewhere, bit for bit."""
    return jnp.where(mask > 0.5, output, real)


def fade_factor(step: Int[Array, ""], fade_steps: int) -> Float[Array, ""] | None:
    """Share of the new block at a step, linear to 1 at `fade_steps`; None = no fade."""
    if fade_steps == 0:
        return None
    return jnp.minimum((step + 1) / fade_steps, 1.0).astype(jnp.float32)


def make_gan_step(
    nets: Networks,
    config: LossConfig,
    *,
    ema_decay: float,
    features_fn: FeaturesFn | None = None,
    axis_name: str | None = None,
) -> Callable[..., tuple[InpaintState, Metrics]]:
    """Builds `step(state, data, batch, *Due()) -> (state, metrics)`.

    The step is pure and names no device: give it to `parallel.compile_step`, with
    `axis_name=parallel.AXIS` for several devices. Gradients exist for the trainable
    submodules only. Each network's norms take one step per training step: D's on real
    and fake together in D's turn, G's in its single forward pass.

    Lazy terms are scaled up by the steps between two of them; steps without one log 0,
    so that a mean over steps is the term's. Karras et al. (2020) also change Adam's
    decays, because their regulariser takes a step of its own; here it shares one.

    Args:
        nets: The stage's networks, optimisers and partition.
        config: The losses.
        ema_decay: Of G's average, if the state keeps one.
        features_fn: Feature layers of a picture in [-1, 1] for the perceptual term;
            None leaves the term out.
        axis_name: The mapped axis, or None on one device.
    """
    use_d = config.adversarial_weight > 0
    adversarial = losses.ADVERSARIAL[config.adversarial]
    weights = {
        "adversarial": config.adversarial_weight,
        "reconstruction": config.reconstruction_weight,
    }

    def d_input(images: Image, mask: HoleMask) -> Float[Array, "b r r c"]:
        return jnp.concatenate([images, mask], -1) if config.d_sees_mask else images

    def d_logits(params, stats, x, fade):
        return growing.apply(nets.discriminator, params, stats, x, fade=fade)[0]

    def d_step(state: TrainState, real, fake, mask, fade, with_r1: bool):
        trainable, frozen = freezing.split(state.params, nets.d_labels)
        x_real, x_fake = d_input(real, mask), d_input(fake, mask)

        def loss_fn(trainable):
            params = {**frozen, **trainable}
            logits, stats = growing.apply(
                nets.discriminator,
                params,
                state.stats,
                jnp.concatenate([x_real, x_fake]),
                train=True,
                update_from=nets.d_first,
                fade=fade,
            )
            on_real, on_fake = jnp.split(logits, 2)
            loss = adversarial.discriminator(on_real, on_fake)
            metrics = {
                "d/loss": loss,
                "d/real": on_real.mean(),
                "d/fake": on_fake.mean(),
                "d/accuracy": 0.5 * ((on_real > 0).mean() + (on_fake < 0).mean()),
            }
            if config.r1_gamma > 0:
                metrics["d/r1"] = jnp.zeros(())  # its mean over steps is the penalty
            if with_r1:
                penalty = losses.r1_penalty(
                    lambda x: d_logits(params, state.stats, x, fade), x_real
                )
                loss = loss + config.r1_gamma * config.r1_every * penalty
                metrics["d/r1"] = config.r1_every * penalty
            return loss, (stats, metrics)

        grads, (stats, metrics) = jax.grad(loss_fn, has_aux=True)(trainable)
        grads, metrics = parallel.pmean((grads, metrics), axis_name)
        metrics["d/grad_norm"] = optax.tree.norm(grads)
        return state.apply_gradients(grads, stats, nets.d_tx, 0.0), metrics

    def output_gradients(
        state: InpaintState, discriminator, output, real, mask, fade, with_perceptual
    ):
        """Per term: its value, and its weighted gradient at G's output."""

        def reconstruction(output):
            return losses.reconstruction_loss(
                output, real, mask, config.hole_weight, config.reconstruction
            )

        terms = {"reconstruction": reconstruction}
        if use_d:

            def adversarial_term(output):
                fake = d_input(composite(real, output, mask), mask)
                params, stats = discriminator.params, discriminator.stats
                return adversarial.generator(d_logits(params, stats, fake, fade))

            terms["adversarial"] = adversarial_term
        if features_fn is not None and with_perceptual:
            real_features = features_fn(real)

            def perceptual(output, features_fn=features_fn):
                features = features_fn(output)
                return config.perceptual_every * losses.perceptual_loss(
                    features, real_features, config.perceptual
                )

            terms["perceptual"] = perceptual
        values, grads = {}, {}
        for name, term in terms.items():
            value, grad = jax.value_and_grad(term)(output)
            weight = weights.get(name, state.perceptual_weight)
            values[name], grads[name] = value, weight * grad
        return values, grads

    def step(
        state: InpaintState,
        data: Data,
        batch: StepBatch,
        with_r1: bool = False,
        with_perceptual: bool = True,
    ):
        real, mask = gather(data, batch)
        fade = fade_factor(state.step, nets.fade_steps)
        g, d = state.generator, state.discriminator
        trainable, frozen = freezing.split(g.params, nets.g_labels)

        def paint(trainable):
            return growing.apply(
                nets.generator,
                {**frozen, **trainable},
                g.stats,
                generator_input(real, mask),
                train=True,
                update_from=nets.g_first,
                fade=fade,
            )

        output, pull_back, g_stats = jax.vjp(paint, trainable, has_aux=True)
        metrics: Metrics = {}
        if use_d:
            fake = composite(real, output, mask)
            d, metrics = d_step(d, real, fake, mask, fade, with_r1)
        else:
            d = d.replace(step=d.step + 1)
        values, cotangents = output_gradients(
            state, d, output, real, mask, fade, with_perceptual
        )
        (grads,) = pull_back(sum(cotangents.values()))
        grads, values = parallel.pmean((grads, values), axis_name)
        for name, value in values.items():
            metrics[f"g/{name}"] = value
            metrics[f"grad_at_output/{name}"] = _batch_norm_of(
                cotangents[name], axis_name
            )
        if features_fn is not None:
            metrics["perceptual_weight"] = state.perceptual_weight
            for name in ("g/perceptual", "grad_at_output/perceptual"):
                metrics.setdefault(name, jnp.zeros(()))
        metrics["g/grad_norm"] = optax.tree.norm(grads)
        if fade is not None:
            metrics["fade"] = fade
        g = g.apply_gradients(grads, g_stats, nets.g_tx, ema_decay)
        return state.replace(generator=g, discriminator=d), metrics

    return step


def _batch_norm_of(cotangent: Image, axis_name: str | None) -> Scalar:
    """Norm of the gradient of the whole batch's mean loss, from the device's share."""
    square = parallel.pmean(jnp.sum(cotangent**2), axis_name)
    return jnp.sqrt(square / parallel.axis_size(axis_name))


def make_multi_step(
    step: Callable[..., tuple[InpaintState, Metrics]],
    config: LossConfig,
    *,
    has_perceptual: bool = True,
) -> GanStep:
    """`step` over batches stacked in front, (k, b, ...), in one call; metrics (k,).

    What is not due is not computed. For GPU and TPU: on CPU, where XLA convolves, a
    weight gradient inside `lax.scan` or `lax.switch` leaves the fast path and takes
    10-80 times as long, an input gradient up to 8 times.
    """
    period = math.lcm(
        config.r1_every if has_r1(config) else 1,
        config.perceptual_every if has_perceptual else 1,
    )
    due = [due_terms(config, i, has_perceptual=has_perceptual) for i in range(period)]
    kinds = list(dict.fromkeys(due))
    kind_of_step = np.array([kinds.index(d) for d in due], np.int32)

    def one(state: InpaintState, data: Data, batch: StepBatch):
        if len(kinds) == 1:
            return step(state, data, batch, *kinds[0])
        return jax.lax.switch(
            jnp.asarray(kind_of_step)[state.step % period],
            [
                lambda state, kind=kind: step(state, data, batch, *kind)
                for kind in kinds
            ],
            state,
        )

    def multi_step(state: InpaintState, data: Data, batches: StepBatch):
        return jax.lax.scan(lambda s, b: one(s, data, b), state, batches)

    return multi_step


def automatic_perceptual_weight(
    nets: Networks,
    config: LossConfig,
    features_fn: FeaturesFn,
    state: InpaintState,
    data: Data,
    batch: StepBatch,
) -> Float[Array, ""]:
    """Weight whose perceptual gradient at G's output is half of reconstruction's.

    Measured once, on the first batch of a stage, whole, as the first step paints it.
    """
    real, mask = gather(data, batch)
    output, _ = growing.apply(
        nets.generator.clone(axis_name=None),
        state.generator.params,
        state.generator.stats,
        generator_input(real, mask),
        train=True,
        update_from=nets.g_first,
        fade=fade_factor(jnp.zeros((), jnp.int32), nets.fade_steps),
    )

    def reconstruction(output):
        return losses.reconstruction_loss(
            output, real, mask, config.hole_weight, config.reconstruction
        )

    def perceptual(output):
        features, real_features = features_fn(output), features_fn(real)
        return losses.perceptual_loss(features, real_features, config.perceptual)

    wanted = 0.5 * config.reconstruction_weight
    reconstruction_norm = jnp.linalg.norm(jax.grad(reconstruction)(output))
    perceptual_norm = jnp.linalg.norm(jax.grad(perceptual)(output))
    return wanted * reconstruction_norm / jnp.maximum(perceptual_norm, 1e-12)


def make_eval_step(
    nets: Networks, masks: UInt8[Array, "n r r 1"]
) -> Callable[[TrainState, UInt8[Array, "n r r 3"], Int[Array, ""]], Any]:
    """Builds `fn(generator, images, step) -> (output, hole_error)` on fixed masks.

    `output` is G's raw picture in [-1, 1], clipped; `hole_error` the root of the mean
    squared error over the pixels of all holes, in units of that range.
    """
    mask = jnp.asarray(masks, jnp.float32)

    def evaluate(generator: TrainState, images, step):
        real = to_signed(images)
        output, _ = growing.apply(
            nets.generator,
            generator.eval_params,
            generator.stats,
            generator_input(real, mask),
            fade=fade_factor(step, nets.fade_steps),
        )
        output = jnp.clip(output, -1.0, 1.0)
        square = jnp.sum(mask * (output - real) ** 2) / (3.0 * jnp.sum(mask))
        return output, jnp.sqrt(square)

    return jax.jit(evaluate)


def paint(
    generator: Generator,
    weights: tuple[Mapping[str, Params], Mapping[str, PyTree]],
    images: Image,
    mask: HoleMask,
) -> Image:
    """The composite in [-1, 1] that a generator of these (params, stats) paints."""
    output, _ = growing.apply(generator, *weights, generator_input(images, mask))
    return composite(images, jnp.clip(output, -1.0, 1.0), mask)


def make_paint_fn(
    generator: Generator, params: Mapping[str, Params], stats: Mapping[str, PyTree]
) -> Callable[[Image, HoleMask], Image]:
    """Builds `paint(images, mask) -> composite`, all in [-1, 1], compiled per shape."""
    compiled = jax.jit(functools.partial(paint, generator))
    # As arguments: weights that are closed over become constants of the program.
    return functools.partial(compiled, jax.device_put((params, stats)))
