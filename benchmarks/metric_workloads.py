"""Metrics as workloads: PSNR and SSIM, and statistics for Frechet distances."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks.measure import Sides
from benchmarks.sizes import Sizes
from benchmarks.view_twins import torch
from jaxgrow.metrics import frechet, image


_SIDE = 64


def psnr_ssim_sides(sizes: Sizes) -> Sides:
    """Build PSNR and SSIM of every picture, beside scikit-image's."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    rng = np.random.default_rng(0)
    shape = (sizes.metric_images, _SIDE, _SIDE, 3)
    x = rng.random(shape, np.float32)
    y = np.clip(x + 0.1 * rng.standard_normal(shape, np.float32), 0, 1)
    structure = functools.partial(
        structural_similarity,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=-1,
    )

    def theirs(count: int = len(x)) -> np.ndarray:
        pairs = list(zip(x[:count], y[:count], strict=True))
        return np.array(
            [
                [peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in pairs],
                [structure(a, b) for a, b in pairs],
            ]
        )

    program = (
        jax.jit(lambda x, y: jnp.stack([image.psnr(x, y), image.ssim(x, y)]))
        .lower(x, y)
        .compile()
    )
    inputs = jax.device_put((x, y))
    few = min(16, len(x))
    np.testing.assert_allclose(program(*inputs)[:, :few], theirs(few), rtol=1e-4)
    return Sides(
        ours=functools.partial(program, *inputs),
        twins={"scikit-image": theirs},
        items=len(x),
        unit="images",
        checked="both figures of the first pictures, 1e-04",
        program=program,
        loop_trips=image.window_size(_SIDE, _SIDE),  # its loops are over the window
    )


def statistics_sides(sizes: Sizes) -> Sides:
    """Build mean and covariance of features in float64, beside NumPy and PyTorch."""
    shape = (sizes.feature_rows, sizes.feature_dim)
    features = np.random.default_rng(0).standard_normal(shape, np.float32)
    on_device, tensor = jnp.asarray(features), torch.tensor(features)
    torch.set_num_threads(measure.num_cpus())

    def ours() -> Any:
        return frechet.stats_of(on_device)

    def by_numpy() -> Any:
        x = features.astype(np.float64)
        return x.mean(axis=0), np.cov(x, rowvar=False)

    def by_torch() -> Any:
        x = tensor.double()
        return x.mean(0), torch.cov(x.T)

    mean, covariance = frechet.mean_and_covariance(ours())
    for their_mean, their_covariance in (
        by_numpy(),
        tuple(t.cpu().numpy() for t in by_torch()),
    ):
        np.testing.assert_allclose(mean, their_mean, atol=1e-10)
        np.testing.assert_allclose(covariance, their_covariance, atol=1e-10)
    return Sides(
        ours=ours,
        twins={"NumPy": by_numpy, "PyTorch": by_torch},
        items=sizes.feature_rows,
        unit="rows",
        checked="mean and covariance, 1e-10",
    )
