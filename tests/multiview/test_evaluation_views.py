"""Table I: its means against means by hand, and the views left out of them."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg
from skimage.metrics import peak_signal_noise_ratio

from experiments.report import views as report
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.metrics.lpips import Lpips
from jaxgrow.multiview import conditioning
from jaxgrow.multiview.evaluation import views as table
from jaxgrow.multiview.evaluation.views import MetricNets
from jaxgrow.storage import files
from tests.support import small_views


def noisy(images, missing):
    """A method whose error depends on the view: view k is off by 4 (k + 1)."""
    shift = 4 * (1 + np.arange(images.shape[1], dtype=np.uint8))
    shifted = np.where(images > 127, images - shift[:, None, None, None], images + 4)
    return np.where(missing[..., None, None, None], shifted, images).astype(np.uint8)


def perfect(images, missing):
    return images


@pytest.fixture(autouse=True, scope="module")
def _small_batches():
    """The largest set has 15 images: two batches, the second padded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_BATCH", 8)
        yield


@pytest.fixture(scope="module")
def rows():
    views = small_views.objects(5)
    methods = {"noisy": noisy, "perfect": perfect}
    return table.table_one(
        methods,
        views,
        MetricNets(small_views.coherence_classifier()),
        small_views.NAMES,
    )


def find(rows, method, conditioning="", num_conditioning=None):
    (row,) = [
        row
        for row in rows
        if row.method == method
        and row.conditioning == conditioning
        and num_conditioning in (None, row.num_conditioning)
    ]
    return row


def test_there_is_a_row_per_set_and_a_mean_per_number_of_views(rows):
    assert len(rows) == 2 * (14 + 3)
    names = {row.conditioning for row in rows}
    assert {"front", "front+left", "back+right+left", ""} <= names
    counts = [find(rows, "noisy", num_conditioning=k).num_images for k in (1, 2, 3)]
    assert counts == [5 * 4 * 3, 5 * 6 * 2, 5 * 4 * 1]


def test_psnr_of_a_set_is_the_mean_over_its_missing_views(rows):
    views = small_views.objects(5)
    missing = np.tile([False, True, True, False], (5, 1))
    fake = noisy(views.images, missing)
    expected = np.mean(
        [
            peak_signal_noise_ratio(views.images[i, k], fake[i, k], data_range=255)
            for i in range(5)
            for k in (1, 2)
        ]
    )
    found = find(rows, "noisy", "front+left")
    np.testing.assert_allclose(found.metrics["psnr"], expected, rtol=1e-5)


def test_a_mean_gives_every_set_the_same_weight(rows):
    of_two = [
        r.metrics for r in rows if r.method == "noisy" and r.num_conditioning == 2
    ]
    *single, mean = of_two
    assert len(single) == 6
    for name in ("psnr", "ssim", "coherence"):
        np.testing.assert_allclose(mean[name], np.mean([m[name] for m in single]))


def test_perfect_views_have_ssim_one_and_the_coherence_of_real_views(rows):
    views, classifier = small_views.objects(5), small_views.coherence_classifier()
    found = find(rows, "perfect", "front")
    np.testing.assert_allclose(found.metrics["ssim"], 1.0, atol=1e-6)
    real = views.images[:, 1:].reshape(-1, 16, 16, 3)
    ceiling = saved_classifiers.accuracy(classifier, real, np.repeat(views.labels, 3))
    np.testing.assert_allclose(found.metrics["coherence"], ceiling)


def test_without_a_classifier_there_is_no_coherence():
    views = small_views.objects(2)
    rows = table.table_one({"perfect": perfect}, views, MetricNets(), small_views.NAMES)
    assert set(rows[0].metrics) == {"psnr", "ssim"}


@pytest.mark.slow
def test_lpips_and_fid_are_measured_where_their_networks_are_given():
    """The features are the pixels themselves and two means of them."""
    views = small_views.objects(5)
    lpips = Lpips(lambda x: [x], [jnp.ones(3)])

    def features(pixels):
        x = pixels.astype(np.float32).reshape(len(pixels), -1)
        return x.reshape(len(x), 2, -1).mean(axis=2)

    metric_nets = MetricNets(lpips=lpips, inception=features)
    methods = {"noisy": noisy, "perfect": perfect}
    rows = table.table_one(methods, views, metric_nets, small_views.NAMES)
    assert find(rows, "perfect", "front").metrics["lpips"] == pytest.approx(0, abs=1e-5)
    assert find(rows, "noisy", "front").metrics["lpips"] > 1e-4
    assert find(rows, "perfect", num_conditioning=1).metrics["fid"] == pytest.approx(
        0, abs=1e-4
    )
    fake, real = [], []
    for row, size in zip(
        conditioning.missing_rows(4),
        map(len, conditioning.conditioning_sets(4)),
        strict=True,
    ):
        if size == 1:
            missing = np.tile(row, (5, 1))
            fake.append(noisy(views.images, missing)[missing])
            real.append(views.images[missing])
    a, b = (np.asarray(features(np.concatenate(x)), float) for x in (fake, real))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    found = find(rows, "noisy", num_conditioning=1).metrics["fid"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert "fid" not in find(rows, "noisy", "front").metrics


def test_views_that_an_object_lacks_are_neither_read_nor_scored():
    views = small_views.objects(4)
    observed = views.observed.copy()
    observed[0, 1] = False
    views = dataclasses.replace(views, observed=observed)
    rows = table.table_one({"perfect": perfect}, views, MetricNets(), small_views.NAMES)
    assert find(rows, "perfect", "front").num_images == 4 * 3 - 1
    assert find(rows, "perfect", "back").num_images == 3 * 3


@pytest.mark.parametrize("lacking", [(0, 1), (2, 3)])
def test_a_mean_is_of_the_sets_that_some_object_has(lacking):
    """No object has both views of `lacking`, so that sets of both are not measured."""
    views = small_views.objects(4)
    observed = views.observed.copy()
    observed[::2, lacking[0]] = observed[1::2, lacking[1]] = False
    views = dataclasses.replace(views, observed=observed)
    rows = table.table_one({"noisy": noisy}, views, MetricNets(), small_views.NAMES)
    of_two = [row for row in rows if row.num_conditioning == 2]
    *sets, mean = of_two
    assert [len(row.metrics) for row in sets].count(0) == 1
    measured = [row.metrics["psnr"] for row in sets if row.metrics]
    assert mean.metrics["psnr"] == pytest.approx(np.mean(measured))
    tables = report.table_one(
        files.plain(
            {"rows": rows, "coherence_classifier_accuracy": 0.0, "data": "folder"}
            | {"size": 16}
        )
    )
    assert tables


def test_a_size_that_no_object_has_is_an_empty_mean():
    views = small_views.objects(3, num_views=3)
    observed = np.eye(3, dtype=bool)
    views = dataclasses.replace(views, observed=observed)
    rows = table.table_one({"perfect": perfect}, views, MetricNets(), small_views.NAMES)
    assert not any(row.metrics or row.num_images for row in rows)
