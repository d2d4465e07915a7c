"""What surrounds the GAN step: batches, the fade, validation, painting."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.inpainting import batch as batches
from jaxgrow.inpainting import fill
from jaxgrow.inpainting.fill import composite
from jaxgrow.inpainting.networks import fade_factor
from jaxgrow.nets import growing
from jaxgrow.nets.growing import generator_input
from tests.support import small_gan
from tests.support.oracles import assert_close, assert_identical, quick_jit
from tests.support.small_gan import rows


gather = quick_jit(batches.gather)


@pytest.fixture(scope="module")
def data():
    return small_gan.make_data(4)


@pytest.fixture(scope="module")
def gan():
    return small_gan.enter(small_gan.growth_config(), keep_ema=True)


def test_the_fade_is_linear_to_one():
    steps = np.arange(8)
    found = [fade_factor(jnp.int32(s), 5) for s in steps]
    np.testing.assert_allclose(found, np.minimum((steps + 1) / 5, 1.0), rtol=1e-6)
    assert fade_factor(jnp.int32(3), 0) is None


def test_a_composite_keeps_known_pixels_bit_for_bit(data):
    real, mask = gather(data, rows(0, 1, 2))
    output = jnp.asarray(np.asarray(real) * 0.3 + 7.0)
    found = np.asarray(quick_jit(composite)(real, output, mask))
    hole = np.broadcast_to(np.asarray(mask) == 1, found.shape)
    assert_identical(found[~hole], np.asarray(real)[~hole])
    assert_identical(found[hole], np.asarray(output)[hole])


def test_validation_measures_the_error_of_the_averaged_weights_in_the_holes(gan, data):
    masks, images = data.masks[:3], data.images[:3]
    averaged = gan.state.generator.replace(
        params=jax.tree.map(np.zeros_like, gan.state.generator.params)
    )
    evaluate = fill.make_eval_step(gan.nets, masks)
    output, error = evaluate(averaged, images, jnp.int32(0))
    real, mask = np.float64(images) / 127.5 - 1, np.asarray(masks) == 1
    hole = np.broadcast_to(mask, real.shape)
    expected = np.sqrt(np.mean((np.float64(output) - real)[hole] ** 2))
    np.testing.assert_allclose(error, expected, rtol=1e-5)

    raw, _ = jax.jit(
        lambda x: growing.apply(
            gan.nets.generator.net, averaged.ema_params, averaged.stats, x
        )
    )(generator_input(jnp.float32(real), jnp.float32(mask)))
    assert_close(output, np.clip(raw, -1, 1))


def test_painting_fills_the_hole_within_range_and_keeps_the_rest(gan, data):
    real, mask = gather(data, rows(0, 1))
    params = jax.tree.map(
        lambda p: jnp.asarray(3.0 * np.asarray(p)), gan.state.generator.params
    )
    net = gan.nets.generator.net
    compiled = jax.jit(fill.paint, static_argnums=0)
    paint = functools.partial(compiled, net, (params, {}))
    painted = np.asarray(paint(real, mask))
    hole = np.broadcast_to(np.asarray(mask) == 1, painted.shape)
    assert_identical(painted[~hole], np.asarray(real)[~hole])
    assert np.abs(painted).max() <= 1.0
    assert (painted != np.asarray(real))[hole].any()
