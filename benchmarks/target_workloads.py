"""What the goals for one GPU are stated in, as it would be run: bf16, and no twin.

The same steps and the same generation stand beside PyTorch in other workloads; here
each has the sizes of its goal.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import measure, programs, view_workloads, views_step
from benchmarks.measure import Sides
from benchmarks.sizes import Sizes
from jaxgrow.nets import score
from jaxgrow.nets.score import ScoreConfig


def stage_sides(resolution: int, sizes: Sizes) -> Sides:
    """A stage of the preset `paper`: older stages frozen, the perceptual term."""
    step, state, data, batch = programs.paper_stage(
        resolution, sizes.gan_batch, sizes.compute_dtype
    )
    state = state.replace(perceptual_weight=jnp.ones(()))
    run, program = measure.stepper(step, state, data, batch, sizes.steps_per_call)
    losses = jax.device_get(run())
    assert all(math.isfinite(values.sum()) for values in losses.values()), losses
    return Sides(
        ours=run,
        twins={},
        items=sizes.gan_batch,
        unit="images",
        checked="losses are finite; gan-* compares the step with PyTorch's",
        program=program,
        steps_per_call=sizes.steps_per_call,
        batch_size=sizes.gan_batch,
    )


def score_sides(sizes: Sizes) -> Sides:
    """The score network at a batch that can reach half of the device's rate."""
    batch_size = sizes.target_score_batch
    options = view_workloads.options(sizes, batch_size=batch_size)
    config = ScoreConfig(width=sizes.score_width)
    flops = 6.0 * _matrix_weights(config) * batch_size
    return _alone(views_step.score_sides(options), flops=flops)


def generation_sides(sizes: Sizes) -> Sides:
    """Three views of each of 10,000 objects."""
    sizes = dataclasses.replace(sizes, generated_objects=sizes.target_objects)
    return _alone(view_workloads.generation_sides(sizes))


def _alone(sides: Sides, **changes: Any) -> Sides:
    return dataclasses.replace(sides, twins={}, make_compiled=None, **changes)


def _matrix_weights(config: ScoreConfig) -> int:
    """Weights that every object is multiplied with once forward and twice back."""
    shapes = jax.eval_shape(lambda: score.init_score(config, 4, 64, 0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes) if leaf.ndim == 2)
