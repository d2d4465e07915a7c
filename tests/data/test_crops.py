import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.data import crops
from jaxgrow.data.crops import Window


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@st.composite
def masks(draw, max_side=80):
    """Blobs, specks and lines that leave at least one pixel known."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(2, max_side))
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(1, 5))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
        mask[top : top + h, left : left + w] = True
    if draw(st.booleans()):
        mask |= np.random.default_rng(draw(st.integers(0, 9))).random(mask.shape) < 0.2
    mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = False
    return mask


@settings(max_examples=60, deadline=None)
@given(mask=masks(), resolution=st.sampled_from([4, 16, 32]))
def test_every_hole_pixel_has_one_window_that_shows_it_and_something_known(
    mask, resolution
):
    windows, owner = crops.plan(mask, resolution)
    np.testing.assert_array_equal(owner >= 0, mask)
    assert set(np.unique(owner[mask])) == set(range(len(windows)))
    longest = max(mask.shape)
    for i, window in enumerate(windows):
        assert min(resolution, longest) <= window.side <= longest
        box = window.box(*mask.shape)
        assert (owner[box] == i).sum() == (owner == i).sum()
        assert not mask[box].all()
        rows, columns = window.indices(*mask.shape)
        assert rows.min() >= 0
        assert rows.max() < mask.shape[0]
        assert columns.min() >= 0
        assert columns.max() < mask.shape[1]


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_picture_of_the_resolution_is_one_window_without_resizing(data):
    mask = data.draw(masks(16))[:16, :16]
    mask = np.pad(mask, [(0, 16 - n) for n in mask.shape])
    windows, _ = crops.plan(mask, 16)
    assert windows == ([Window(0, 0, 16)] if mask.any() else [])
    image = picture(16, 16)
    values, hole = crops.shrink(image, mask, Window(0, 0, 16), 16)
    np.testing.assert_array_equal(values, np.where(mask[..., None], 0, image))
    np.testing.assert_array_equal(hole, mask)
    assert crops.enlarge(values, image, mask, Window(0, 0, 16)) is values


def test_a_window_is_twice_as_large_as_its_hole_and_stays_inside():
    mask = np.zeros((200, 300), bool)
    mask[100:140, 100:130] = True
    assert crops.plan(mask, 32)[0] == [Window(80, 75, 80)]
    mask = np.zeros((200, 300), bool)
    mask[160:200, 260:300] = True
    assert crops.plan(mask, 32)[0] == [Window(120, 220, 80)]


def test_a_small_hole_is_painted_at_the_scale_of_the_picture():
    mask = np.zeros((200, 300), bool)
    mask[50:53, 60:62] = True
    ((window,), _) = crops.plan(mask, 32)
    assert window.side == 32


def test_a_window_grows_until_half_of_it_is_known():
    mask = np.zeros((200, 200), bool)
    mask[80:120, 80:120] = True
    mask[60:140, 60:140] |= np.indices((80, 80)).sum(0) % 4 > 0  # crowded by specks
    mask[79:121, 79:121] &= np.pad(np.ones((40, 40), bool), 1)
    windows, owner = crops.plan(mask, 16)
    window = windows[owner[100, 100]]
    assert window.side > 80
    assert mask[window.box(*mask.shape)].mean() <= 0.5


def test_where_little_is_known_a_window_goes_to_where_most_of_it_is():
    mask = np.ones((100, 100), bool)
    mask[:3] = False
    windows, _ = crops.plan(mask, 16)
    assert windows == [Window(0, 0, 100)]


def test_a_scratch_is_painted_in_pieces_at_the_scale_of_the_picture():
    mask = np.zeros((256, 256), bool)
    mask[100:103] = True
    windows, owner = crops.plan(mask, 32)
    assert {window.side for window in windows} == {32}
    assert len(windows) >= 8
    np.testing.assert_array_equal(owner >= 0, mask)


def test_neighbours_of_like_size_share_a_window():
    mask = np.zeros((128, 128), bool)
    mask[60:64, 50:78:4] = True
    assert len(crops.plan(mask, 64)[0]) == 2  # for seven holes


def test_a_wide_picture_is_mirrored_beyond_its_edges():
    mask = np.zeros((40, 200), bool)
    mask[10:30, 60:130] = True
    ((window,), _) = crops.plan(mask, 16)
    assert window.side == 140
    rows, _ = window.indices(*mask.shape)
    image = picture(40, 200)
    np.testing.assert_array_equal(
        image[rows], np.pad(image, ((50, 50), (0, 0), (0, 0)), mode="symmetric")
    )


def test_shrinking_is_the_mean_of_the_known_pixels_of_each_cell():
    image, mask = picture(24, 24), np.random.default_rng(1).random((24, 24)) < 0.6
    mask[4:8, 8:12] = True
    values, hole = crops.shrink(image, mask, Window(0, 0, 24), 6)
    for i, j in np.ndindex(6, 6):
        cell = np.s_[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
        known = ~mask[cell]
        assert hole[i, j] == (not known.any())
        if known.any():
            wanted = image[cell][known].mean(0)
            np.testing.assert_allclose(values[i, j], wanted, atol=1e-3)


@pytest.mark.parametrize("side", [9, 16, 37, 64])
def test_what_lies_in_the_hole_is_never_read(side):
    mask = np.zeros((64, 64), bool)
    mask[20:40, 10:50] = True
    image, window = picture(64, 64), Window(15, 0, side)
    other = np.where(mask[..., None], 255 - image, image)
    painted = np.full((16, 16, 3), 77.0, np.float32)
    for a, b in zip(
        crops.shrink(image, mask, window, 16),
        crops.shrink(other, mask, window, 16),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        crops.enlarge(painted, image, mask, window),
        crops.enlarge(painted, other, mask, window),
    )


@pytest.mark.parametrize("side", [7, 16, 41, 300])
def test_a_plain_picture_stays_plain(side):
    mask = np.zeros((300, 300), bool)
    mask[2:200, 3:5] = True
    image = np.full((300, 300, 3), 200, np.uint8)
    window = Window(0, 0, side)
    values, hole = crops.shrink(image, mask, window, 16)
    np.testing.assert_allclose(values[~hole], 200.0, atol=1e-3)
    painted = np.full((16, 16, 3), 200.0, np.float32)
    enlarged = crops.enlarge(painted, image, mask, window)
    assert enlarged.shape == (side, side, 3)
    np.testing.assert_allclose(enlarged, 200.0, atol=1e-3)


def test_a_fill_of_another_level_meets_the_known_pixels_and_keeps_its_own_inside():
    mask = np.zeros((128, 128), bool)
    mask[32:96, 32:96] = True
    image = np.full((128, 128, 3), 150, np.uint8)
    painted = np.full((16, 16, 3), 100.0, np.float32)
    enlarged = crops.enlarge(painted, image, mask, Window(0, 0, 128))
    assert enlarged[64, 64] == pytest.approx(100.0)
    assert (enlarged[64, 32] > 140.0).all()
    assert (np.diff(enlarged[64, 32:64, 0]) <= 1e-3).all()


@settings(max_examples=25, deadline=None)
@given(mask=masks(120), resolution=st.sampled_from([8, 16]))
def test_a_painter_who_knows_the_picture_brings_it_back(mask, resolution):
    rows, columns = np.indices(mask.shape)
    image = np.stack([rows + 60, 2 * columns, 200 - rows], -1).astype(np.uint8)
    windows, owner = crops.plan(mask, resolution)
    filled = np.where(mask[..., None], 0, image).astype(np.uint8)
    for i, window in enumerate(windows):
        all_known = np.zeros_like(mask)
        painted, _ = crops.shrink(image, all_known, window, resolution)
        values = crops.enlarge(painted.astype(np.float32), filled, mask, window)
        crops.paste(filled, values, window, owner, i)
    cell = max((w.side for w in windows), default=0) / resolution
    error = np.abs(filled.astype(float) - image).max(-1)
    assert error.max() <= 1.0 + 2.0 * cell


def test_pasting_rounds_and_touches_only_the_pixels_that_the_window_owns():
    image, owner = picture(10, 10), np.full((10, 10), -1, np.int32)
    owner[0:2, 0:3], owner[2, 2] = 1, 0
    pasted = image.copy()
    values = np.full((8, 8, 3), [-3.0, 99.6, 300.0], np.float32)
    crops.paste(pasted, values, Window(-2, -1, 8), owner, 1)
    assert (pasted[owner == 1] == [0, 100, 255]).all()
    np.testing.assert_array_equal(pasted[owner != 1], image[owner != 1])
