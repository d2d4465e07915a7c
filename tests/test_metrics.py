"""Metrics against scikit-image and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import metrics as oracle

from jaxgrow.metrics import image


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
        expected, expected_map = oracle.structural_similarity(
            a,
            b,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
            full=True,
        )
        np.testing.assert_allclose(ssim[i], expected, atol=1e-5)
        np.testing.assert_allclose(similarity[i], expected_map, atol=1e-5)
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
    everywhere = jnp.ones((4, 16, 16, 1))
    for metric in (image.l1, image.mse, image.psnr):
        np.testing.assert_allclose(metric(x, y, everywhere), metric(x, y), rtol=1e-5)


def test_psnr_of_equal_images_is_the_cap_of_eight_bits(pair):
    x, _ = pair
    np.testing.assert_allclose(image.psnr(x, x), 58.92, atol=0.01)


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
