"""LPIPS on features of one's own choice: closed forms, enlargement and refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.errors import UserError
from jaxgrow.metrics.lpips import SMALLEST, Lpips


def colours(x):
    """The image itself and its square as two layers."""
    return [x, jnp.square(x)]


HEADS = [jnp.array([0.5, 1.0, 2.0]), jnp.array([3.0, 0.0, 1.0])]


def images(side, seed=0, low=-1.0):
    rng = np.random.default_rng(seed)
    return rng.uniform(low, 1.0, (3, side, side + 2, 3)).astype(np.float32)


def by_hand(x, y):
    total = 0.0
    for head, fx, fy in zip(HEADS, (x, x**2), (y, y**2), strict=True):
        fx, fy = (
            f / np.linalg.norm(f.astype(np.float64), axis=-1, keepdims=True)
            for f in (fx, fy)
        )
        total = total + ((fx - fy) ** 2 @ np.asarray(head)).mean(axis=(1, 2))
    return total


def test_it_is_the_weighted_distance_of_unit_features():
    x, y = images(SMALLEST), images(SMALLEST, 1)
    result = Lpips(colours, HEADS, "mine")(x, y)
    np.testing.assert_allclose(result.values, by_hand(x, y), rtol=1e-5)
    assert (result.label, result.notes) == ("mine", ())


def test_equal_images_have_distance_zero_and_order_does_not_matter():
    x, y = images(SMALLEST), images(SMALLEST, 1)
    lpips = Lpips(colours, HEADS)
    np.testing.assert_array_equal(lpips(x, x).values, 0.0)
    np.testing.assert_array_equal(lpips(x, y).values, lpips(y, x).values)


def test_small_images_are_enlarged_and_the_result_says_so():
    x, y = images(16), images(16, 1)
    seen = []

    def look(x):
        seen.append(x.shape)
        return colours(x)

    result = Lpips(look, HEADS)(x, y)
    assert {shape[1:] for shape in seen} == {(SMALLEST, 72, 3)}
    assert result.notes == ("images of 16 px were enlarged to 64 px bilinearly",)
    flat = (
        np.broadcast_to(x[:, :1, :1], x.shape),
        np.broadcast_to(y[:, :1, :1], y.shape),
    )
    np.testing.assert_allclose(
        Lpips(colours, HEADS)(*flat).values, by_hand(*flat), rtol=1e-4
    )


def test_images_without_a_dark_pixel_are_remarked_upon():
    x = images(SMALLEST, low=0.0)
    (note,) = Lpips(colours, HEADS)(x, x).notes
    assert note == "no value lies below 0: LPIPS takes [-1, 1], not [0, 1]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: 255.0 * x, r"in \[-1, 1\], but y lies in \[-255"),
        (
            lambda x: (127 * x + 128).astype(np.uint8),
            "floats .*, but y is uint8: divide",
        ),
        (lambda x: np.where(x > 0.99, np.nan, x), "y holds NaN or infinity"),
        (lambda x: x[0], r"of shape \(b, h, w, 3\), but y is \(64, 66, 3\)"),
        (lambda x: x.transpose(0, 3, 1, 2), r"but y is \(3, 3, 64, 66\)"),
        (lambda x: x[:2], r"of one shape, not \(3, 64, 66, 3\) with \(2,"),
    ],
)
def test_other_shapes_types_and_ranges_are_refused(change, message):
    x = images(SMALLEST)
    with pytest.raises(UserError, match=message):
        Lpips(colours, HEADS)(x, change(x))
