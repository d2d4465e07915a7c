"""System 1's training step as workloads, with and without the perceptual term."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, training_steps
from benchmarks.gan_twins import GanTwin, PerceptualTwin
from benchmarks.measure import Sides
from benchmarks.sizes import Sizes
from jaxgrow.inpainting.losses import LossConfig
from jaxgrow.inpainting.networks import InpaintState
from jaxgrow.inpainting.stages import Stage
from jaxgrow.nets.vgg19 import make_features_fn


_ADVERSARIAL_WEIGHT = 0.01


def gan_sides(resolution: int, sizes: Sizes, *, perceptual: bool) -> Sides:
    """Build the step at one resolution with additive skips and nothing frozen."""
    data, batch = training_steps.random_pictures(resolution, sizes.gan_batch)
    vgg = training_steps.random_vgg() if perceptual else None
    state, step = training_steps.build_stage(
        Stage(0, resolution, 4, 1000, 0),
        "none",
        LossConfig(adversarial_weight=_ADVERSARIAL_WEIGHT),
        make_features_fn(vgg) if vgg is not None else None,
    )

    def make_twin() -> GanTwin:
        term = PerceptualTwin(vgg) if vgg is not None else None
        return GanTwin(resolution, data, _ADVERSARIAL_WEIGHT, term)

    twin = make_twin()
    state = _with_weights(state, twin)
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


def _with_weights(state: InpaintState, twin: GanTwin) -> InpaintState:
    """Return `state` with the twin's weights and singular vectors."""
    networks = []
    for train_state, variables in zip(
        (state.generator, state.discriminator), twin.start, strict=True
    ):
        arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
        params = arrays.pop("params")
        networks.append(train_state.replace(params=params, stats=arrays))
    return state.replace(generator=networks[0], discriminator=networks[1])
