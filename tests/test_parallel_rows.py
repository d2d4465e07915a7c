"""What is made of rows on two devices, against one: views, latents, features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow import view_completer
from jaxgrow.metrics import frechet
from jaxgrow.multiview import to_unit
from jaxgrow.nets import autoencoder
from jaxgrow.parallel import RowsFn
from jaxgrow.sampling import SamplerConfig
from jaxgrow.view_completer import ViewCompleter
from tests import small_views


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


def test_two_devices_generate_the_views_of_one():
    """An odd batch and a rest; noise belongs to the object, not to its device."""
    images = small_views.objects(7).images
    missing = np.tile([False, True, True, True], (7, 1))
    nets = small_views.saved_autoencoder(), small_views.latent_model()
    sampler = SamplerConfig(name="euler_maruyama", num_steps=3)
    found = [
        ViewCompleter(*nets, 3, num_devices).complete_views(
            images, missing, sampler=sampler, num_samples=2
        )
        for num_devices in (1, 2)
    ]
    difference = np.abs(found[1].astype(int) - found[0])
    assert difference.max() <= 1  # a pixel that lies between two may round either way
    assert (difference > 0).mean() < 1e-3


def test_latents_are_those_of_one_device():
    saved, images = small_views.saved_autoencoder(), small_views.objects(5).images
    found = view_completer.encode_all(saved.config, saved.params, images, 12)
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
