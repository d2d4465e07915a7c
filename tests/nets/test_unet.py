"""The baseline U-Net: size, shapes and reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.nets.unet import UNet, count_unet_params, widest_unet


GENERATOR_PARAMS = {4: 66_447, 8: 132_057, 16: 197_667, 32: 263_277, 64: 328_887}


@pytest.mark.parametrize("resolution", GENERATOR_PARAMS)
def test_the_net_is_the_largest_not_above_the_generator(resolution, key):
    budget = GENERATOR_PARAMS[resolution]
    net = widest_unet(resolution, budget)
    x = jnp.zeros((2, resolution, resolution, 4))
    shapes = jax.eval_shape(net.init, key, x)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert num_params == count_unet_params(net.width, resolution)
    assert num_params <= budget < count_unet_params(net.width + 1, resolution)
    assert num_params > 0.92 * budget
    output = jax.eval_shape(net.apply, shapes, x)
    assert output.shape == (2, resolution, resolution, 3)


def test_weights_start_uniform_with_he_s_bound(key):
    net = UNet(width=16)
    variables = jax.jit(net.init)(key, jnp.zeros((1, 4, 4, 4)))
    kernel = np.asarray(variables["params"]["down_1_conv2"]["kernel"])
    bound = np.sqrt(6 / (9 * 32))
    assert 0.99 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.03)


def test_every_output_pixel_sees_every_input_pixel_at_16_px(key):
    # Positive weights keep every ReLU open, so no path can cancel another.
    net = UNet(width=1)
    x = jnp.ones((1, 16, 16, 4))
    shapes = jax.eval_shape(net.init, key, x)
    params = jax.tree.map(lambda p: jnp.full(p.shape, 0.1), shapes)

    def corner(x):
        return jnp.asarray(net.apply(params, x))[0, 0, 0, 0]

    assert np.all(np.asarray(jax.jit(jax.grad(corner))(x)) > 0)
