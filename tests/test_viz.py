import errno
import os

import numpy as np
import pytest
from PIL import Image

from jaxgrow import viz
from jaxgrow.errors import UserError


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(("side", "factor"), [(4, 24), (32, 3), (64, 2), (200, 1)])
def test_every_pixel_becomes_a_square_of_its_colour_where_it_belongs(side, factor):
    images = random_images(2, 3, side, side, 3)
    grid = np.asarray(viz.image_grid(images, pad=5))
    step = factor * side + 5
    assert grid.shape == (2 * step + 5, 3 * step + 5, 3)
    seen = np.zeros(grid.shape[:2], bool)
    for row in range(2):
        for column in range(3):
            y, x = 5 + row * step, 5 + column * step
            tile = grid[y : y + factor * side, x : x + factor * side]
            expected = images[row, column].repeat(factor, 0).repeat(factor, 1)
            np.testing.assert_array_equal(tile, expected)
            seen[y : y + factor * side, x : x + factor * side] = True
    assert (grid[~seen] == 255).all()


def test_titles_stand_above_their_columns_and_touch_no_tile():
    images = random_images(1, 2, 32, 32, 3)
    plain = np.asarray(viz.image_grid(images))
    titled = np.asarray(viz.image_grid(images, column_titles=["left", "right"]))
    head = titled.shape[0] - plain.shape[0]
    np.testing.assert_array_equal(titled[head + 4 :], plain[4:])
    ink = (titled[: head + 4] < 128).all(axis=-1)
    assert ink[:, :104].any()
    assert ink[:, 104:].any()
    with pytest.raises(ValueError, match="1 titles for 2 columns"):
        viz.image_grid(images, column_titles=["left"])


def test_a_panel_has_a_row_per_example_in_the_order_of_its_titles():
    originals = random_images(3, 8, 8, 3)
    holes = np.zeros((3, 8, 8), bool)
    holes[:, 2:5, 3:6] = True
    masked = viz.paint_holes(originals, holes)
    assert (masked[holes] == viz.HOLE_COLOUR).all()
    np.testing.assert_array_equal(masked[~holes], originals[~holes])
    output = np.full_like(originals, 7)
    composite = np.where(holes[..., None], output, originals)
    columns = np.stack([masked, output, composite, originals], axis=1)
    panel = np.asarray(viz.image_grid(columns, column_titles="abcd"))
    tiles = panel[-3 * 100 - 4 :][4:, 4:]
    for row in range(3):
        shown = [masked[row], output[row], composite[row], originals[row]]
        for column, image in enumerate(shown):
            tile = tiles[row * 100 : row * 100 + 96, column * 100 : column * 100 + 96]
            np.testing.assert_array_equal(tile[::12, ::12], image)


def test_a_png_comes_back_and_is_replaced_in_one_move(tmp_path, monkeypatch):
    path = tmp_path / "samples" / "4_10.png"
    first, second = (Image.fromarray(random_images(9, 7, 3) + i) for i in range(2))
    viz.save_png(path, first)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(first))

    def refuse(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=r"cannot write .*4_10\.png: no space left"):
        viz.save_png(path, second)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(first))
    assert [p.name for p in path.parent.iterdir()] == ["4_10.png"]
