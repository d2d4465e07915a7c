"""Pooling against Flax's, whose gradient looks for every maximum again."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxgrow.nets.pooling import max_pool


@pytest.mark.parametrize(("side", "stride"), [(2, 2), (3, 2), (3, 1), (2, 3)])
@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_maxima_and_their_gradient_are_flaxs(size, side, stride):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    flaxs = lambda x: nn.max_pool(x, (side, side), (stride, stride))  # noqa: E731
    expected, pull_back = jax.vjp(flaxs, x)
    found, our_pull_back = jax.vjp(lambda x: max_pool(x, side, stride), x)
    np.testing.assert_array_equal(found, expected)
    g = rng.normal(size=expected.shape).astype(np.float32)
    np.testing.assert_allclose(our_pull_back(g)[0], pull_back(g)[0], atol=1e-6)


def test_equal_maxima_share_the_gradient():
    ones = np.ones((1, 2, 2, 1), np.float32)
    gradient = jax.grad(lambda x: max_pool(x, 2, 2).sum())(ones)
    np.testing.assert_allclose(gradient, ones / 4)
