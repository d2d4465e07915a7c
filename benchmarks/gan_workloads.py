"""System 1's training step as workloads, with and without the perceptual term."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import gan_step, measure
from benchmarks.measure import Sides
from benchmarks.perceptual_step import TorchPerceptual
from benchmarks.sizes import Sizes
from jaxgrow.inpainting.losses import LossConfig
from jaxgrow.inpainting.stages import Stage
from jaxgrow.nets.vgg19 import VGG19Features, make_features_fn


def gan_sides(resolution: int, sizes: Sizes, *, perceptual: bool) -> Sides:
    """The step at one resolution, all stages training, as the preset `paper` has it."""
    losses = LossConfig(adversarial_weight=0.01)
    data, batch = gan_step.make_batch(resolution, sizes.gan_batch)
    params = _vgg_params() if perceptual else None
    features_fn = make_features_fn(params) if params is not None else None
    stage = Stage(0, resolution, 4, 1000, 0)
    state, step = gan_step.build(stage, "none", losses, features_fn)

    def make_twin() -> gan_step.TorchTwin:
        term = TorchPerceptual(params) if params is not None else None
        return gan_step.TorchTwin(resolution, data, 0.01, term)

    twin = make_twin()
    state = gan_step.with_weights(state, twin.start)
    if perceptual:
        state = state.replace(perceptual_weight=jnp.ones(()))
    run, program = measure.stepper(step, state, data, batch, sizes.steps_per_call)
    ours, close = run(), measure.tolerance()
    for name, value in twin.step().items():
        np.testing.assert_allclose(
            measure.first_step(ours, name), value.item(), rtol=close, err_msg=name
        )

    def compiled():
        other = make_twin()
        other.g.compile()
        other.d.compile()
        return other.step

    return Sides(
        ours=run,
        twins={"PyTorch": twin.step},
        items=sizes.gan_batch,
        unit="images",
        checked=f"every loss of the first step, {close:.0e}",
        program=program,
        steps_per_call=sizes.steps_per_call,
        batch_size=sizes.gan_batch,
        make_compiled=compiled,
    )


def _vgg_params() -> Any:
    """Random weights: what they are does not change the time."""
    return jax.jit(VGG19Features().init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))[
        "params"
    ]
