"""Maxima against Flax's, means against a convolution, with their gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgrow.ops import max_pool, mean_pool
from tests.support.oracles import assert_close, quick_jit


@pytest.mark.parametrize(("side", "stride"), [(2, 2), (3, 2), (3, 1), (2, 3)])
@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_maxima_and_their_gradient_are_flaxs(size, side, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    flaxs = lambda x: nn.max_pool(x, (side, side), (stride, stride))  # noqa: E731
    g = rng.normal(size=jax.eval_shape(flaxs, x).shape).astype(np.float32)

    def with_gradient(pool):
        def both(x, g):
            y, pull_back = jax.vjp(pool, x)
            return y, *pull_back(g)

        return quick_jit(both)(x, g)

    expected, gradient = with_gradient(flaxs)
    found, our_gradient = with_gradient(lambda x: max_pool(x, side, stride))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(our_gradient, gradient, atol=1e-6)


def test_equal_maxima_share_the_gradient():
    ones = np.ones((1, 2, 2, 1), np.float32)
    gradient = quick_jit(jax.grad(lambda x: max_pool(x, 2, 2).sum()))(ones)
    np.testing.assert_allclose(gradient, ones / 4)


@pytest.mark.usefixtures("either_library")
@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (1, 2, 4, 1), (3, 4, 2, 5)])
def test_means_divide_by_nine_at_the_border_too(shape):
    rng = np.random.default_rng(0)
    x, g = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(2))
    g = g[:, ::2, ::2]

    def windowed(x):
        return lax.conv_general_dilated(
            x,
            jnp.full((3, 3, 1, shape[-1]), 1 / 9),
            (2, 2),
            ((1, 0), (1, 0)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=shape[-1],
        )

    def with_gradients(pool):
        def squares(x, g):
            """The gradient of this is of the second order."""
            return jnp.sum(jax.vjp(pool, x)[1](g)[0] ** 2)

        def all_of_them(x, g):
            y, pull_back = jax.vjp(pool, x)
            return y, *pull_back(g), *jax.grad(squares, argnums=(0, 1))(x, g)

        return quick_jit(all_of_them)(x, g)

    expected = with_gradients(windowed)
    for found, theirs in zip(with_gradients(mean_pool), expected, strict=True):
        assert_close(found, theirs)


@pytest.mark.usefixtures("onednn")
def test_means_are_computed_once_by_onednn():
    x = jnp.ones((2, 4, 4, 3))
    assert "onednn" in jax.jit(mean_pool).lower(x).as_text()


def test_no_pictures_have_no_means():
    assert mean_pool(jnp.ones((0, 4, 6, 3))).shape == (0, 2, 3, 3)
