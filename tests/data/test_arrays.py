"""Arrays of other libraries, and what is said of those that are none."""

import numpy as np
import pytest
from PIL import Image

from jaxgrow.data import arrays
from jaxgrow.errors import UserError


PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
GREY = PIXELS[..., 0]


@pytest.mark.parametrize(
    "picture",
    [
        PIXELS,
        PIXELS[::-1][::-1],
        np.asfortranarray(PIXELS),
        Image.fromarray(PIXELS),
        np.repeat(PIXELS, 2, axis=0)[::2],
    ],
)
def test_pictures_are_taken_however_they_lie_in_memory(picture):
    np.testing.assert_array_equal(arrays.as_picture(picture, "x"), PIXELS)


@pytest.mark.parametrize("grey", [GREY, GREY[..., None], Image.fromarray(GREY)])
def test_grey_is_repeated(grey):
    found = arrays.as_picture(grey, "x")
    np.testing.assert_array_equal(found, np.stack([GREY] * 3, axis=-1))


@pytest.mark.parametrize(
    ("function", "value", "message"),
    [
        (arrays.as_array, None, "x is a NoneType without numbers"),
        (arrays.as_array, "a.png", "x is a str without numbers"),
        (arrays.as_array, {}, "x is a dict without numbers"),
        (arrays.as_array, [[1, 2], [3]], "x is a list that NumPy cannot read"),
        (arrays.as_array, Image.new("RGBA", (2, 2)), "picture of mode RGBA: convert"),
        (arrays.as_array, Image.new("P", (2, 2)), "picture of mode P"),
        (arrays.as_array, np.ones(2, complex), "ndarray without numbers"),
        (arrays.as_items, 3, "x is the number 3"),
        (arrays.as_picture, PIXELS / 255, "8-bit pixels, not float64"),
        (arrays.as_picture, PIXELS.astype(np.int8), "8-bit pixels, not int8"),
        (arrays.as_picture, PIXELS[..., :2], r"x has the shape \(5, 4, 2\)"),
        (arrays.as_picture, PIXELS[:0], r"x has the shape \(0, 4, 3\)"),
        (arrays.as_pixels, PIXELS, r"not \(5, 4, 3\)"),
        (arrays.as_flags, [0, 255], "x has values from 0 to 255: give booleans"),
        (arrays.as_flags, [0, np.nan], "x has values from nan to nan"),
        (arrays.as_whole, 2**32, "x must be from 0 to 4294967295, not 4294967296"),
        (arrays.as_whole, -1, "not -1"),
        (arrays.as_whole, 10**30, "x is a int without numbers"),
        (arrays.as_whole, 1.5, "whole numbers, not of type float64"),
        (arrays.as_whole, True, "whole numbers, not of type bool"),
        (arrays.as_whole, [0, np.nan], "whole numbers"),
        (arrays.as_features, np.ones(3), r"\(images, features\), not \(3,\)"),
        (arrays.as_features, np.ones((3, 2), int), "floats, not int64"),
        (arrays.as_features, np.full((3, 2), np.inf), "NaN or infinity"),
    ],
)
def test_what_is_no_such_array_is_said_by_its_own_shape_and_type(
    function, value, message
):
    with pytest.raises(UserError, match=message):
        function(value, "x")
