"""Generators with random weights."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrow.inpainting.saved_models import SavedGenerator, save_generator
from jaxgrow.nets.growing import Generator, NetConfig, variable_shapes


SMALL = NetConfig(width=6, kernel_sizes=(1, 3), num_sub_blocks=1, norm="none")


def random_generator(resolution, config=SMALL, seed=0, info=None):
    """A `SavedGenerator` whose kernels keep the scale of what passes through them."""
    rng = np.random.default_rng(seed)
    shapes = variable_shapes(Generator(config, resolution), 4, fading=False)

    def draw(leaf):
        scale = max(int(np.prod(leaf.shape[:-1])), 1) ** -0.5
        return jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32)

    variables = jax.tree.map(draw, shapes)
    params = variables.pop("params")
    return SavedGenerator(params, variables, config, resolution, info or {})


def write_generator(path, resolution, config=SMALL, seed=0, info=None):
    """Saves a random generator at `path` and returns it."""
    saved = random_generator(resolution, config, seed, info)
    save_generator(path, *saved)
    return saved
