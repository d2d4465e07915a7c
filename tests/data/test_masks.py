"""Masks: limits that hold for every seed, and shapes known in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from jaxgrow.data import mask_files, mask_reading, masks
from jaxgrow.errors import UserError


RESOLUTIONS = st.sampled_from([2, 4, 8, 16, 32, 64])
SEEDS = st.integers(0, 2**31)
RECTANGLES = masks.MaskConfig()
STROKES = masks.MaskConfig(rectangle=0.0, stroke=1.0)
MIXED = masks.MaskConfig(rectangle=1.0, stroke=1.0)
SCRATCHES = masks.MaskConfig(rectangle=0.0, scratch=1.0)
SHAPES = pytest.mark.parametrize(
    "config",
    [RECTANGLES, STROKES, SCRATCHES, MIXED],
    ids=["box", "stroke", "scratch", "mix"],
)


def save(file, mask):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, np.uint8) * 255).save(file)


@SHAPES
@given(resolution=RESOLUTIONS, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_every_mask_is_binary_with_a_hole_and_a_known_pixel(config, resolution, seed):
    bank = masks.mask_bank(config, resolution, 3, seed)
    assert bank.shape == (3, resolution, resolution, 1)
    assert set(np.unique(bank)) == {0, 1}
    holes = bank.sum(axis=(1, 2, 3))
    assert (holes >= 1).all()
    assert (holes < resolution**2).all()


@pytest.mark.parametrize("draw", [masks.rectangle_mask, masks.stroke_mask])
@given(
    resolution=RESOLUTIONS, seed=SEEDS, low=st.floats(0, 0.9), span=st.floats(0.05, 0.5)
)
@settings(max_examples=100, deadline=None)
def test_areas_keep_to_their_limits(draw, resolution, seed, low, span):
    area = (low, min(low + span, 0.95))
    hole = draw(np.random.default_rng(seed), resolution, area).mean()
    # A rectangle of a large area may miss it by less than one row at 4 pixels.
    slack = 1 / resolution if draw is masks.rectangle_mask else 1 / resolution**2
    assert area[0] - slack <= hole <= area[1] + slack
    if resolution >= 32:
        assert area[0] <= hole <= area[1]


@given(resolution=st.sampled_from([4, 8, 16, 32, 64]), seed=SEEDS)
@settings(max_examples=50, deadline=None)
def test_paper_rectangles_are_rectangles_of_5_to_40_percent(resolution, seed):
    mask = masks.mask_bank(RECTANGLES, resolution, 1, seed)[0, ..., 0].astype(bool)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask[np.ix_(rows, columns)].all()
    assert np.ptp(rows) + 1 == len(rows)
    assert np.ptp(columns) + 1 == len(columns)
    assert 0.05 <= mask.mean() <= 0.40


@SHAPES
def test_one_seed_gives_one_bank_and_a_longer_bank_begins_with_it(config):
    bank = masks.mask_bank(config, 16, 20, seed=3)
    np.testing.assert_array_equal(bank, masks.mask_bank(config, 16, 20, seed=3))
    np.testing.assert_array_equal(bank[:7], masks.mask_bank(config, 16, 7, seed=3))
    assert (bank != masks.mask_bank(config, 16, 20, seed=4)).any()


@SHAPES
def test_mean_area_is_the_same_at_every_resolution(config):
    means = {r: masks.mask_bank(config, r, 250, 0).mean() for r in (8, 16, 32)}
    for resolution, mean in means.items():
        assert abs(mean - means[32]) < 0.025, resolution


def test_a_mask_is_the_same_shape_at_32_and_64_pixels():
    for config in (RECTANGLES, STROKES):
        small = masks.mask_bank(config, 32, 100, 0)[..., 0].astype(bool)
        large = masks.mask_bank(config, 64, 100, 0)[..., 0].astype(bool)
        enlarged = small.repeat(2, axis=1).repeat(2, axis=2)
        overlap = (enlarged & large).sum((1, 2)) / (enlarged | large).sum((1, 2))
        assert np.median(overlap) > 0.85


def test_rectangles_cover_areas_and_places_evenly():
    bank = masks.mask_bank(RECTANGLES, 64, 1200, 0)[..., 0]
    areas = bank.mean(axis=(1, 2))
    deciles = np.quantile(areas, np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(deciles, 0.05 + 0.35 * np.arange(1, 10) / 10, atol=0.02)
    cover = bank.mean(axis=0)
    np.testing.assert_allclose(cover, cover[::-1, ::-1], atol=0.06)


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_thinnest_strokes_hit_pixels_at_4_pixels(seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "_MAX_STROKES", 1)
        patch.setattr(masks, "_MAX_PIECES", 1)
        start, end, width = next(
            masks._stroke_pieces(np.random.default_rng(seed), 1e-6)
        )
        mask = masks.stroke_mask(np.random.default_rng(seed), 4, (0.0, 1.0), 1e-6)
    assert width < 1e-6
    points = 4 * (start + np.linspace(0, 1, 401)[:, None] * (end - start))
    centres = np.stack(np.mgrid[:4, :4] + 0.5, axis=-1)
    distance = np.linalg.norm(centres[:, :, None] - points, axis=-1).min(axis=-1)
    # Half a pixel's diagonal: every pixel that the line enters, and no far one.
    assert mask[distance < 0.70].all()
    assert not mask[distance > 0.72].any()


def test_a_rectangle_never_hides_the_whole_picture():
    for resolution in (2, 4, 8):
        mask = masks.rectangle_mask(np.random.default_rng(0), resolution, (0.99, 1.0))
        assert mask.sum() == resolution * (resolution - 1)


def test_distance_to_a_piece_is_that_of_elementary_geometry():
    found = masks._distance_to_piece(8, np.array([2.5, 1.5]), np.array([2.5, 4.5]))
    y, x = np.mgrid[:8, :8] + 0.5
    expected = np.hypot(y - 2.5, np.maximum(np.maximum(1.5 - x, x - 4.5), 0))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    point = np.array([3.0, 5.0])
    dot = masks._distance_to_piece(8, point, point)
    np.testing.assert_allclose(dot, np.hypot(y - 3, x - 5), atol=1e-12)


def test_a_diagonal_piece_is_as_far_as_a_brute_force_search_says():
    start, end = np.array([1.0, 2.0]), np.array([13.0, 9.0])
    found = masks._distance_to_piece(16, start, end)
    points = start + np.linspace(0, 1, 4001)[:, None] * (end - start)
    centres = np.stack(np.mgrid[:16, :16] + 0.5, axis=-1)
    brute = np.linalg.norm(centres[:, :, None] - points, axis=-1).min(axis=-1)
    np.testing.assert_allclose(found, brute, atol=2e-3)


@SHAPES
@given(resolution=st.sampled_from([4, 8, 16, 32, 64]), seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_evaluation_masks_lie_in_their_bins(config, resolution, seed):
    bins = masks.evaluation_masks(config, resolution, 3, seed)
    assert list(bins) == ["0-10", "10-20", "20-30", "30-40", "40-50"]
    for name, bank in bins.items():
        low, high = (int(end) / 100 for end in name.split("-"))
        areas = bank.mean(axis=(1, 2, 3))
        assert bank.shape == (3, resolution, resolution, 1)
        assert (areas > low).all()
        assert (areas <= high).all()


def test_evaluation_masks_are_fixed_by_the_seed_and_differ_from_training_masks():
    bins = masks.evaluation_masks(MIXED, 16, 30, 0)
    again = masks.evaluation_masks(MIXED, 16, 30, 0)
    assert all((bins[name] == again[name]).all() for name in bins)
    bank = masks.mask_bank(MIXED, 16, 30, 0)
    assert all(
        (bank != fixed).any(axis=(1, 2, 3)).mean() > 0.8 for fixed in bins.values()
    )


@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_scratches_are_thin_and_cover_1_to_5_percent(resolution):
    bank = masks.mask_bank(SCRATCHES, resolution, 200, 0)[..., 0]
    area = bank.mean(axis=(1, 2))
    assert area.min() >= 0.01
    assert area.max() <= 0.05
    # Side of the largest square inside the hole; wide strokes at 64 px have 17.
    depth = [ndimage.distance_transform_cdt(np.pad(mask, 1)).max() for mask in bank]
    assert np.mean(2 * np.array(depth) - 1) < 2.5


def test_mixture_weights_are_frequencies():
    config = masks.MaskConfig(rectangle=3.0, stroke=1.0)
    bank = masks.mask_bank(config, 32, 2000, 0)[..., 0]
    height, width = (bank.any(axis=axis).sum(axis=1) for axis in (2, 1))
    fills_its_box = bank.sum(axis=(1, 2)) == height * width
    assert abs(fills_its_box.mean() - 0.75) < 0.03


@given(
    resolution=st.sampled_from([4, 8, 16]),
    size=st.tuples(st.integers(2, 60), st.integers(2, 60)),
    fill=st.floats(0.02, 0.98),
    seed=SEEDS,
)
@settings(max_examples=60, deadline=None)
def test_squeezing_a_mask_keeps_its_area(resolution, size, fill, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(size) < fill
    mask[0, 0], mask[-1, -1] = True, False
    small = mask_files.shrink_mask(mask, resolution)
    assert 0 < small.sum() < resolution**2
    pixels = resolution**2
    wanted = min(max(mask.mean() * pixels, 1), pixels - 1)
    assert abs(small.sum() - wanted) <= 0.5


def test_a_crop_without_hole_gets_the_pixel_nearest_to_the_hole():
    mask = np.zeros((40, 40), bool)
    mask[18:22, 36:] = True
    small = mask_files.shrink_mask(mask, 4, (0, 12, 16, 28))
    np.testing.assert_array_equal(np.argwhere(small), [[1, 3]])
    known = mask_files.shrink_mask(~mask, 4, (0, 0, 16, 16))
    assert (~known).sum() == 1


def test_block_masks_shrink_exactly():
    mask = np.zeros((32, 32), bool)
    mask[8:16, 4:28] = True
    np.testing.assert_array_equal(mask_files.shrink_mask(mask, 8), mask[::4, ::4])


def test_folder_masks_are_drawn_whole_and_unusable_ones_left_out(tmp_path):
    corner = np.zeros((16, 16), bool)
    corner[:8, :8] = True
    save(tmp_path / "corner.png", corner)
    save(tmp_path / "deep" / "side.png", np.arange(16) < 4 * np.ones((16, 1)))
    save(tmp_path / "nothing.png", np.zeros((16, 16)))
    save(tmp_path / "all.png", np.ones((16, 16)))
    grey = np.full((16, 16), 100, np.uint8)
    grey[:2] = 200
    Image.fromarray(grey).save(tmp_path / "grey.png")

    folder = mask_files.MaskFolder(tmp_path, 8)
    np.testing.assert_array_equal(folder.areas, [0.25, 0.25, 0.125])

    config = masks.MaskConfig(rectangle=0.0, folder=1.0, folder_path=tmp_path)
    bank = masks.mask_bank(config, 8, 40, 0)[..., 0]
    drawn = {mask.tobytes() for mask in bank.astype(bool)}
    assert drawn == {mask.tobytes() for mask in folder.masks}
    bins = masks.evaluation_masks(config, 8, 5, 0)
    assert (bins["10-20"][..., 0] == folder.masks[2]).all()
    assert (bins["40-50"].mean(axis=(1, 2, 3)) > 0.4).all()


def test_a_mask_file_of_zeros_and_ones_is_binary(tmp_path):
    values = np.eye(8, dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "01.png")
    mask, binary = mask_reading.load_mask(tmp_path / "01.png")
    np.testing.assert_array_equal(mask, values == 1)
    assert binary


def test_mask_pixels_from_128_on_are_holes(tmp_path):
    values = np.array([0, 0, 0, 0, 127, 128, 255, 255, 255, 255], np.uint8)
    Image.fromarray(values.repeat(2).reshape(10, 2)).save(tmp_path / "m.png")
    mask, binary = mask_reading.load_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(mask[:, 0], values >= 128)
    assert not binary


def test_a_folder_of_useless_masks_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        mask_files.MaskFolder(tmp_path, 8)
    save(tmp_path / "all.png", np.ones((8, 8)))
    with pytest.raises(UserError, match="has both a hole and known pixels"):
        mask_files.MaskFolder(tmp_path, 8)
    with pytest.raises(UserError, match="does not exist"):
        mask_files.MaskFolder(tmp_path / "absent", 8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rectangle": 0.0}, "weights of all masks are 0"),
        ({"stroke": -1.0}, "set stroke to a number, 0 or more"),
        ({"min_area": 0.5}, "0.5 to 0.4"),
        ({"max_area": 1.0}, "set max_area to a number"),
        ({"folder": 1.0}, "set folder_path"),
        ({"pairing": "by-name"}, "set folder_path"),
    ],
)
def test_impossible_mask_settings_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        masks.MaskConfig(**fields)
