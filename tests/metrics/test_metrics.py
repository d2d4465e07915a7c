"""Metrics against scikit-image and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import metrics as oracle

from jaxgrow.metrics import image, spectrum
from tests.support.oracles import quick_jit


def photo_like(rng, n, resolution):
    """Smooth random images with a clipped, perfectly flat part, in [0, 1]."""
    waves = rng.normal(size=(n, resolution, resolution, 3)).cumsum(1).cumsum(2)
    return np.clip(waves / resolution + 0.7, 0, 1)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = photo_like(rng, 4, 16)
    noise = rng.normal(0, 0.1, x.shape)
    return jnp.float32(x), jnp.float32(np.clip(x + noise, 0, 1))


@pytest.fixture
def mask():
    return jnp.float32(np.random.default_rng(1).random((4, 16, 16, 1)) < 0.3)


@pytest.mark.parametrize("resolution", [11, 32, 64])
def test_ssim_and_psnr_agree_with_scikit_image(resolution):
    rng = np.random.default_rng(resolution)
    x = photo_like(rng, 4, resolution)
    x[0] = 1.0
    x[0, :, : resolution // 2] = 0.0
    noise = np.array([0.002, 0.002, 0.02, 0.2])[:, None, None, None]
    y = np.clip(x + noise * rng.normal(size=x.shape), 0, 1)
    x, y = jnp.float32(x), jnp.float32(y)

    ssim, psnr, similarity = jax.jit(
        lambda x, y: (image.ssim(x, y), image.psnr(x, y), image.ssim_map(x, y))
    )(x, y)

    for i in range(4):
        a, b = np.asarray(x[i], np.float64), np.asarray(y[i], np.float64)
        expected = oracle.structural_similarity(
            a,
            b,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
            full=True,
        )
        np.testing.assert_allclose(ssim[i], expected[0], atol=1e-5)
        np.testing.assert_allclose(similarity[i], expected[1], atol=1e-5)
        expected = oracle.peak_signal_noise_ratio(a, b, data_range=1)
        np.testing.assert_allclose(psnr[i], expected, atol=1e-4)


def test_means_over_the_hole_agree_with_numpy(pair, mask):
    x, y = pair
    metrics = (image.l1, image.mse, image.psnr, image.ssim)
    l1, mse, psnr, ssim = jax.jit(lambda *args: [f(*args) for f in metrics])(x, y, mask)
    similarity = jax.jit(image.ssim_map)(x, y)
    for i in range(4):
        hole = np.asarray(mask[i, ..., 0]) == 1
        error = np.asarray(x[i] - y[i], np.float64)[hole]
        expected = (error**2).mean()
        np.testing.assert_allclose(l1[i], np.abs(error).mean(), rtol=1e-5)
        np.testing.assert_allclose(mse[i], expected, rtol=1e-5)
        np.testing.assert_allclose(psnr[i], -10 * np.log10(expected), rtol=1e-5)
        np.testing.assert_allclose(
            ssim[i], np.asarray(similarity)[i][hole].mean(), rtol=1e-5
        )


def test_a_mask_of_ones_gives_the_mean_over_the_image(pair):
    x, y = pair
    everywhere = np.ones((4, 16, 16, 1), np.float32)
    for metric in map(quick_jit, (image.l1, image.mse, image.psnr)):
        np.testing.assert_allclose(metric(x, y, everywhere), metric(x, y), rtol=1e-5)


def test_psnr_of_equal_images_is_the_cap_of_eight_bits(pair):
    x, _ = pair
    np.testing.assert_allclose(quick_jit(image.psnr)(x, x), 58.92, atol=0.01)


@pytest.mark.parametrize(("resolution", "size"), [(4, 3), (8, 7), (10, 9), (11, 11)])
def test_ssim_uses_the_largest_odd_window_that_fits(resolution, size):
    rng = np.random.default_rng(0)
    x, y = (jnp.float32(photo_like(rng, 2, resolution)) for _ in range(2))
    assert image.window_size(resolution, resolution) == size
    ssim = jax.jit(image.ssim)
    assert np.all(np.isfinite(ssim(x, y)))
    np.testing.assert_allclose(ssim(x, x), 1.0, atol=1e-6)


def test_ssim_of_two_constant_images_is_its_luminance_term():
    x, y = (jnp.full((1, 8, 8, 3), value) for value in (0.2, 0.6))
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    np.testing.assert_allclose(jax.jit(image.ssim)(x, y), expected, rtol=1e-5)


grid_share = jax.jit(spectrum.grid_share, static_argnums=2)
mosaic_index = jax.jit(spectrum.mosaic_index)
high_pass = quick_jit(spectrum.high_pass)
high_frequency_error = quick_jit(spectrum.high_frequency_error)


def cosine(n, j, k):
    """Type-II cosine mode with j and k half periods over the image, as (n, n)."""
    t = (np.arange(n) + 0.5) / n
    return np.cos(np.pi * j * t)[:, None] * np.cos(np.pi * k * t)[None]


def as_image(plane):
    return np.float32(0.5 + np.asarray(plane))[None, :, :, None].repeat(3, axis=3)


def square_hole(n, low, high):
    hole = np.zeros((1, n, n, 1), np.float32)
    hole[:, low:high, low:high] = 1.0
    return hole


# Frequency (j, k) / 32 cycles per pixel; half Nyquist is a radius of 8.
@pytest.mark.parametrize(
    ("j", "k", "passes"), [(8, 0, False), (5, 6, False), (9, 0, True), (6, 6, True)]
)
def test_high_pass_keeps_radial_frequencies_above_half_nyquist(j, k, passes):
    x = as_image(0.3 * cosine(16, j, k))
    expected = x - 0.5 if passes else np.zeros_like(x)
    np.testing.assert_allclose(high_pass(x), expected, atol=1e-6)


def test_high_frequency_error_is_twenty_log_of_the_detail_s_amplitude():
    smooth, detail = cosine(16, 1, 2), cosine(16, 12, 9)
    real = as_image(0.2 * smooth + 0.1 * detail)
    mask = square_hole(16, 4, 12)
    for gain in (0.5, 1.0, 2.0):
        error = high_frequency_error(
            as_image(0.2 * smooth + gain * 0.1 * detail), real, mask
        )
        np.testing.assert_allclose(error, 20 * np.log10(gain), atol=0.01)


def test_high_frequency_error_of_a_flat_fill_is_limited_by_eight_bits():
    real, flat = as_image(0.1 * cosine(16, 12, 9)), as_image(np.zeros((16, 16)))
    mask = np.ones((1, 16, 16, 1), np.float32)
    power = 0.1**2 / 4  # of a product of two cosines
    expected = -10 * np.log10(power / image.EIGHT_BIT_NOISE + 1)
    error = high_frequency_error(flat, real, mask)
    np.testing.assert_allclose(error, expected, atol=0.01)


@pytest.mark.parametrize("period", spectrum.PERIODS)
def test_grid_share_is_one_for_a_repeating_pattern_under_any_ramp(period):
    rng = np.random.default_rng(period)
    tile = rng.uniform(-0.1, 0.1, (period, period))
    y, x = np.mgrid[:16, :16]
    ramp = 0.02 * x - 0.01 * y
    repeated = as_image(np.tile(tile, (16 // period, 16 // period)) + ramp)
    mask = square_hole(16, 3, 14)
    np.testing.assert_allclose(grid_share(repeated, mask, period), 1.0, atol=0.01)
    corner = square_hole(16, 0, 9)  # where no window fits, nothing may count
    np.testing.assert_allclose(
        grid_share(as_image(ramp), corner, period), 0.0, atol=0.01
    )


@pytest.mark.parametrize("period", spectrum.PERIODS)
def test_grid_share_of_noise_is_zero_on_average(period):
    noise = np.random.default_rng(0).normal(0.5, 0.1, (400, 16, 16, 3))
    mask = square_hole(16, 3, 13).repeat(400, axis=0)
    shares = np.asarray(grid_share(jnp.float32(noise), mask, period))
    # The moving mean correlates neighbours a little, hence not exactly 0.
    assert abs(shares.mean()) < 0.03


def test_mosaic_index_sees_a_checkerboard_and_not_blur():
    y, x = np.mgrid[:32, :32]
    smooth = 0.2 * cosine(32, 1, 2)
    detail = np.random.default_rng(3).normal(0, 0.05, (32, 32))
    real, mask = as_image(smooth + detail), square_hole(32, 8, 24)
    blurred = as_image(smooth + 0.1 * detail)
    checkered = as_image(smooth + 0.1 * detail + 0.05 * (-1.0) ** (x + y))

    def index(filling):
        return mosaic_index(np.where(mask > 0, filling, real), real, mask)

    waves = 0.05 * np.sin(np.pi * x / 2) * np.cos(np.pi * y / 2)
    marked = as_image(smooth + 0.1 * detail + waves)  # every 4 px, not every 2

    np.testing.assert_allclose(index(real), 0.0, atol=1e-6)
    assert index(checkered) > 0.8
    assert index(marked) > 0.8
    assert abs(index(blurred)) < 0.1


def test_mosaic_index_is_nan_where_the_hole_is_too_small_to_tell():
    real = as_image(0.1 * cosine(16, 3, 3))
    for width, too_small in ((3, True), (4, False)):  # 2 x 4 = 8 pixels suffice
        mask = np.zeros((1, 16, 16, 1), np.float32)
        mask[:, 4:6, 4 : 4 + width] = 1.0
        assert np.isnan(mosaic_index(real, real, mask))[0] == too_small
