"""What is made of rows on two devices, against one: views, latents, measures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.data.views import ViewSet
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation import folders
from jaxgrow.evaluation.classifiers import SavedClassifier
from jaxgrow.inpainting.evaluation import compare, unet_baseline
from jaxgrow.metrics import frechet, image, lpips
from jaxgrow.metrics.inception_distance import resize_one
from jaxgrow.multiview import generator
from jaxgrow.multiview.evaluation import views
from jaxgrow.multiview.evaluation.views import MetricNets
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.nets import autoencoder, classifiers
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.pixels import to_unit
from tests.support import small_views


def test_each_device_takes_its_rows_and_the_shared_arrays():
    rows = RowsFn(lambda shared, x, y: (x + shared, {"y": 2 * y}))
    x, y = np.arange(12.0, dtype=np.float32).reshape(6, 2), np.arange(6)
    found, more = rows(np.float32(10.0), x, y)
    np.testing.assert_array_equal(found, x + 10.0)
    np.testing.assert_array_equal(more["y"], 2 * y)
    for shard, device in zip(
        found.addressable_shards, jax.local_devices(), strict=True
    ):
        assert shard.device == device
        assert shard.data.shape == (3, 2)


@pytest.mark.parametrize(
    ("devices", "rows", "wanted"), [(2, 5, 6), (2, 6, 6), (1, 5, 5)]
)
def test_a_batch_is_rounded_up_to_what_the_devices_can_share(devices, rows, wanted):
    assert RowsFn(lambda _, x: x, devices).whole_shares(rows) == wanted


@pytest.mark.parametrize("n", [0, 1, 4, 7])
def test_any_number_of_rows_runs_in_batches_of_one_size(n):
    sizes = []

    def double(shared, x):
        sizes.append(len(x))  # once a compilation
        return {"y": shared * x, "sum": x.sum(axis=1)}

    rows, x = RowsFn(double), np.arange(2.0 * n, dtype=np.float32).reshape(n, 2)
    found = rows.in_batches(3, np.float32(2.0), x)
    np.testing.assert_array_equal(found["y"], 2.0 * x)
    np.testing.assert_array_equal(found["sum"], x.sum(axis=1))
    assert found["y"].dtype == np.float32
    assert set(sizes) == ({4} if n else {0})


def layers(x):
    """Feature layers of a network that nobody has to compile for long."""
    return [jnp.sin(3.0 * x), x[:, ::2, ::2] ** 2]


def pixels(seed, n=7, side=16):
    shape = (n, side, side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def shares(monkeypatch):
    """Devices and rows of each share of a batch that `RowsFn` has placed."""
    seen, call = [], RowsFn.__call__

    def look(self, shared, *arrays):
        found = call(self, shared, *arrays)
        for leaf in jax.tree.leaves(found):
            seen.append([(s.device.id, len(s.data)) for s in leaf.addressable_shards])
        return found

    monkeypatch.setattr(RowsFn, "__call__", look)
    return seen


def is_shared_by_both(shares):
    return shares and all(
        [device for device, _ in share] == [0, 1] and share[0][1] == share[1][1] > 0
        for share in shares
    )


def test_lpips_on_two_devices_is_that_of_one(shares):
    heads = [jnp.ones(3), jnp.arange(3.0)]
    x, y = (pixels(seed) / np.float32(127.5) - np.float32(1) for seed in (0, 1))
    found = lpips.Lpips(layers, heads)(x, y).values
    assert is_shared_by_both(shares)
    expected = jax.jit(lambda x, y: lpips.distance(layers, heads, x, y))(x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_a_classifiers_logits_and_what_it_scores_on_two_devices_are_those_of_one(
    shares,
):
    config = ClassifierConfig(width=2)
    classifier = SavedClassifier(
        config, *classifiers.init_classifier(config, 3, 0), ("a", "b", "c")
    )
    fake, real = pixels(0, 130), pixels(1, 130)
    logits = saved_classifiers.logits_of(classifier, fake)
    assert is_shared_by_both(shares)
    expected = jax.jit(lambda x: saved_classifiers.classify(classifier, to_unit(x)))(
        fake
    )
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    assert saved_classifiers.logits_of(classifier, fake[:0]).shape == (0, 3)
    shares.clear()
    objects = ViewSet(
        real[:, None],
        np.zeros(130, int),
        classifier.class_names,
        tuple(map(str, range(130))),
        np.ones((130, 1), bool),
        None,
        ("front",),
    )
    all_of_them = np.ones((130, 1), bool)
    metrics = views.make_measure(MetricNets(classifier))(
        fake[:, None], objects, all_of_them
    )
    assert is_shared_by_both(shares)
    x, y = to_unit(jnp.asarray(fake)), to_unit(jnp.asarray(real))
    assert metrics["psnr"] == pytest.approx(float(image.psnr(x, y).mean()), rel=1e-5)
    assert metrics["ssim"] == pytest.approx(float(image.ssim(x, y).mean()), rel=1e-4)
    right = 100.0 * (np.asarray(expected).argmax(axis=1) == 0).mean()
    assert metrics["coherence"] == pytest.approx(right)


@pytest.mark.slow
def test_filled_pictures_on_two_devices_measure_what_they_do_on_one(shares):
    filled, real = pixels(0), pixels(1)
    masks = (np.random.default_rng(2).random((7, 16, 16, 1)) < 0.5).astype(np.uint8)
    fill = unet_baseline.as_fill(lambda _, x, mask: mask * jnp.sin(x), (), batch_size=3)
    painted = fill(real, masks[..., 0] == 1)
    assert is_shared_by_both(shares)
    expected = np.rint((np.sin(real / np.float32(127.5) - 1) + 1) * 127.5)
    difference = np.abs(painted - np.where(masks == 1, expected, real))
    assert difference.max() <= 1
    shares.clear()
    found = compare.measure(filled, real, masks, batch_size=3)
    assert is_shared_by_both(shares)
    x, y = (jnp.asarray(p, jnp.float32) / 255.0 for p in (filled, real))
    for name, metric in (("l1", image.l1), ("psnr", image.psnr), ("ssim", image.ssim)):
        np.testing.assert_allclose(found[name], metric(x, y), rtol=1e-4)
        inside = metric(x, y, jnp.asarray(masks, jnp.float32))
        np.testing.assert_allclose(found[f"{name}_hole"], inside, rtol=1e-4)


def test_features_of_files_on_two_devices_are_those_of_one(shares):
    images = folders.ImageSet(lambda x: x.mean(axis=(1, 2)))
    given = pixels(0, 3)
    for i, one in enumerate(given):
        images.add(str(i), one)
    found = images.features()
    assert is_shared_by_both(shares)
    expected = [resize_one(one).mean(axis=(0, 1)) / 256.0 for one in given]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_two_devices_generate_the_views_of_one():
    """An odd batch and a rest; noise belongs to the object, not to its device."""
    images = small_views.objects(7).images
    missing = np.tile([False, True, True, True], (7, 1))
    nets = small_views.saved_autoencoder(), small_views.latent_model()
    sampler = SamplerConfig(name="euler_maruyama", num_steps=3)
    found = [
        ViewGenerator(*nets, 3, num_devices).generate_views(
            images, missing, sampler=sampler, num_samples=2
        )
        for num_devices in (1, 2)
    ]
    difference = np.abs(found[1].astype(int) - found[0])
    assert difference.max() <= 1  # a pixel that lies between two may round either way
    assert (difference > 0).mean() < 1e-3


def test_latents_are_those_of_one_device():
    saved, images = small_views.saved_autoencoder(), small_views.objects(5).images
    found = generator.encode_all(saved.config, saved.params, images, 12)
    x = to_unit(jnp.asarray(images)).reshape(-1, *images.shape[2:])
    expected = autoencoder.encode(saved.config, saved.params, x)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5)


def test_statistics_of_features_are_those_of_all_images_at_once():
    images = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 3), dtype=np.uint8)

    def features_fn(pixels):
        return jnp.sin(pixels.reshape(len(pixels), -1)[:, :6] / 50.0)

    found = frechet.stats_of_images(features_fn, images, batch_size=3)
    features = np.asarray(features_fn(jnp.asarray(images)), np.float64)
    mean, covariance = frechet.mean_and_covariance(found)
    assert float(found.count) == 11
    np.testing.assert_allclose(mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance, np.cov(features.T), rtol=1e-10, atol=1e-14)
