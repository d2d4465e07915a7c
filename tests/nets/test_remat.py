"""Autoencoders that recompute activations: the same function in less memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.devices.memory import Programs
from jaxgrow.errors import UserError
from jaxgrow.nets.autoencoder import AutoencoderConfig, decode, encode, init_autoencoder
from tests.support.oracles import assert_close, assert_identical


RESNET = AutoencoderConfig(image_size=32, base_channels=8, latent_dim=6)
AUTOKL = AutoencoderConfig(
    arch="autokl",
    image_size=16,
    latent_dim=4,
    base_channels=32,
    autokl_multipliers=(1, 1, 1, 1),
    autokl_blocks=1,
)
BATCH = 16


def gradients(config, params, images):
    """The gradient of the mean square error, and what its program takes."""

    def loss(params, images):
        return (decode(config, params, encode(config, params, images)) - images) ** 2

    programs = Programs()
    program = programs.compile(
        0,
        jax.jit(jax.grad(lambda *given: loss(*given).mean())),
        *(params, images),
        too_large=UserError,
        tell=lambda found: None,
    )
    return program(params, images), programs.memory


@pytest.mark.slow
@pytest.mark.parametrize("config", [RESNET, AUTOKL], ids=["resnet", "autokl"])
def test_recomputing_takes_less_memory_for_the_same_gradients(config):
    again = dataclasses.replace(config, remat=True)
    params = init_autoencoder(config, 0)
    # The names are the same, so that weights load either way.
    assert_identical(init_autoencoder(again, 0), params)
    size = (BATCH, config.image_size, config.image_size, 3)
    images = jnp.asarray(np.random.default_rng(0).random(size, np.float32))
    expected, plain = gradients(config, params, images)
    found, recomputed = gradients(again, params, images)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    # Group norms cancel some biases, whose gradients are nothing but rounding.
    assert_close(found, expected, scale=largest)
    assert recomputed.temp_bytes < 0.7 * plain.temp_bytes
    assert recomputed.argument_bytes == plain.argument_bytes
