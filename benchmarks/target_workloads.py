"""The goals for one GPU, as a user would run them: bfloat16, without a twin.

Other workloads compare the same steps and the same generation with PyTorch. These have
the sizes that the goals state.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import generation_workload, measure, training_steps, view_workloads
from benchmarks.measure import Sides
from benchmarks.sizes import Sizes
from jaxgrow.nets import score
from jaxgrow.nets.score import ScoreConfig


def stage_sides(resolution: int, sizes: Sizes) -> Sides:
    """Build a stage of the preset `paper`: older stages frozen, perceptual term on."""
    step, state, data, batch = training_steps.paper_stage(
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
    """Build the score network's step at a batch that can reach half the peak."""
    batch_size = sizes.target_score_batch
    config = ScoreConfig(width=sizes.score_width)
    flops = 6.0 * _matrix_weights(config) * batch_size
    sizes = dataclasses.replace(sizes, views_batch=batch_size)
    return _alone(view_workloads.score_sides(sizes), flops=flops)


def generation_sides(sizes: Sizes) -> Sides:
    """Build the generation of three views of each of 10,000 objects."""
    sizes = dataclasses.replace(sizes, generated_objects=sizes.target_objects)
    return _alone(generation_workload.generation_sides(sizes))


def _alone(sides: Sides, **changes: Any) -> Sides:
    return dataclasses.replace(sides, twins={}, make_compiled=None, **changes)


def _matrix_weights(config: ScoreConfig) -> int:
    """Weights that multiply every object once forwards and twice backwards."""
    shapes = jax.eval_shape(lambda: score.init_score(config, 4, 64, 0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes) if leaf.ndim == 2)
