"""The fast harmonic fill against a converged solution of Laplace's equation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.inpainting import baselines
from jaxgrow.ops import harmonic_fill


@jax.jit
def fill(images, mask):
    return harmonic_fill(jnp.asarray(images), jnp.asarray(mask))


def smooth_pictures(side):
    """Return pictures with structure at every scale, in [0, 255]."""
    rng = np.random.default_rng(0)
    x = np.zeros((6, side, side, 3))
    for coarse in (1, 2, 4):
        cells = rng.uniform(0, 85, (6, coarse, coarse, 3))
        x += cells.repeat(side // coarse, 1).repeat(side // coarse, 2)
    return np.rint(x).astype(np.uint8)


def boxes_and_strokes(side):
    holes = np.zeros((6, side, side), bool)
    holes[0, side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = True
    holes[1, :, : side // 2] = True
    holes[2, side // 8 : side // 2, side // 2 :] = True
    holes[3] = np.random.default_rng(1).random((side, side)) < 0.5
    holes[4, side // 2] = True
    holes[5] = np.eye(side, dtype=bool)
    return holes


@pytest.mark.parametrize("side", [4, 16, 64])
def test_it_is_near_the_solution_of_laplaces_equation(side):
    pictures, holes = smooth_pictures(side), boxes_and_strokes(side)
    found = (
        np.asarray(fill(pictures / np.float32(255), np.float32(holes[..., None])))
        * 255.0
    )
    exact = baselines.harmonic(pictures, holes).astype(float)
    np.testing.assert_allclose(found[~holes], pictures[~holes], rtol=1e-6)
    for i in range(6):
        error = (found[i] - exact[i])[holes[i]]
        assert np.sqrt(np.mean(error**2)) < 2.0, i


def test_holes_are_not_read_and_a_picture_of_nothing_else_is_zero():
    pictures = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    mask = np.zeros((2, 8, 8, 1), np.float32)
    mask[0, 2:6, 2:6], mask[1] = 1.0, 1.0
    other = np.where(mask > 0, 7.0, pictures)
    np.testing.assert_array_equal(fill(pictures, mask), fill(other, mask))
    np.testing.assert_array_equal(fill(pictures, mask)[1], 0.0)
