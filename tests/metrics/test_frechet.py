"""The Frechet distance and its statistics against NumPy, SciPy and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from PIL import Image

from jaxgrow.devices import backend
from jaxgrow.errors import UserError
from jaxgrow.evaluation.classifiers import (
    SavedClassifier,
    classifier_features,
    classify,
)
from jaxgrow.metrics import frechet, inception_distance
from jaxgrow.nets.classifiers import ClassifierConfig, init_classifier


@functools.cache
def features(n=200, d=6):
    """Correlated float32 rows far from zero, in an order that drifts."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 30.0
    return (rows + np.linspace(0, 20, n)[:, None]).astype(np.float32)


def assert_stats_of(stats, rows):
    rows = np.asarray(rows, np.float64)
    mean, cov = frechet.mean_and_covariance(stats)
    assert stats.scatter.dtype == np.float64
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-12)
    expected = np.cov(rows, rowvar=False)
    np.testing.assert_allclose(cov, expected, rtol=1e-10, atol=1e-10)


def gaussian(mean, cov, count=10_000):
    """Statistics that say exactly this."""
    mean, cov = np.asarray(mean, np.float64), np.asarray(cov, np.float64)
    return frechet.FeatureStats(np.float64(count), mean, cov * (count - 1))


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=4))
def test_statistics_do_not_depend_on_how_the_rows_are_split_or_merged(cuts):
    batches = []
    for part in np.split(features(), sorted(cuts)):
        padded = np.full((200, 6), np.nan, np.float32)
        padded[: len(part)] = part
        batches.append((padded, np.arange(200) < len(part)))
    parts = [frechet.stats_of(*batch) for batch in batches]
    assert_stats_of(functools.reduce(frechet.merge, parts), features())
    assert_stats_of(functools.reduce(frechet.merge, reversed(parts)), features())


def test_a_mean_that_dwarfs_the_spread_costs_no_digits():
    rng = np.random.default_rng(1)
    rows = (4096.0 + rng.normal(size=(512, 3))).astype(np.float32)
    parts = map(frechet.stats_of, np.split(rows, 16))
    assert_stats_of(functools.reduce(frechet.merge, parts), rows)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_statistics_of_two_devices_are_those_of_one(monkeypatch, on_cpu):
    monkeypatch.setattr(backend, "on_cpu", lambda: on_cpu)
    mesh = Mesh(np.array(jax.local_devices()), ("batch",))
    spread = NamedSharding(mesh, PartitionSpec("batch"))
    rows = jax.device_put(features(), spread)
    assert_stats_of(frechet.stats_of(rows), features())
    assert jnp.ones(1).dtype == jnp.float32  # float64 stays where it belongs


@pytest.mark.parametrize("on_cpu", [True, False])
def test_rows_that_only_fill_up_may_hold_anything(monkeypatch, on_cpu):
    monkeypatch.setattr(backend, "on_cpu", lambda: on_cpu)
    rows = np.concatenate([features(), np.full((3, 6), np.nan, np.float32)])
    valid = np.arange(len(rows)) < len(rows) - 3
    assert_stats_of(frechet.stats_of(rows, valid), features())


def test_streaming_over_images_pads_the_last_batch():
    images = np.random.default_rng(2).integers(0, 256, (21, 4, 4, 3), np.uint8)
    said = []
    stats = frechet.stats_of_images(
        lambda pixels: pixels[:, 0, :2, 0].astype(np.float32),
        images,
        batch_size=8,
        on_progress=lambda done, total: said.append((done, total)),
    )
    assert_stats_of(stats, images[:, 0, :2, 0])
    assert said == [(8, 21), (16, 21), (21, 21)]


def test_distance_of_normal_distributions_with_diagonal_covariances():
    a = gaussian([0, 0, 1], np.diag([1.0, 4.0, 9.0]))
    b = gaussian([1, 2, 1], np.diag([4.0, 4.0, 1.0]))
    found = frechet.frechet_distance(a, b, name=frechet.CLASSIFIER_DISTANCE)
    np.testing.assert_allclose(found.value, 5.0 + (1.0 + 0.0 + 4.0), rtol=1e-13)
    assert (found.name, found.notes) == ("classifier Frechet distance", ())


def test_distance_of_planes_at_an_angle():
    # Two rank-1 covariances u u^T and v v^T have tr (C_a C_b)^(1/2) = |u . v|.
    u, v = np.array([3.0, 0.0, 0.0]), np.array([1.0, 2.0, 2.0])
    a, b = gaussian(0 * u, np.outer(u, u)), gaussian(0 * v, np.outer(v, v))
    for first, second in [(a, b), (b, a)]:
        found = frechet.frechet_distance(first, second)
        np.testing.assert_allclose(found.value, 9.0 + 9.0 - 2 * 3.0, rtol=1e-12)


def test_distance_agrees_with_a_matrix_square_root_where_that_is_safe():
    rng = np.random.default_rng(3)
    rows = [rng.normal(size=(400, 8)) @ rng.normal(size=(8, 8)) + i for i in range(2)]
    a, b = map(frechet.stats_of, rows)
    cov_a, cov_b = (np.cov(r, rowvar=False) for r in rows)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    shift = rows[0].mean(axis=0) - rows[1].mean(axis=0)
    expected = shift @ shift + np.trace(cov_a + cov_b - 2 * root)
    np.testing.assert_allclose(
        frechet.frechet_distance(a, b).value, expected, rtol=1e-9
    )
    swapped = frechet.frechet_distance(b, a).value
    np.testing.assert_allclose(swapped, expected, rtol=1e-9)


def test_fewer_images_than_features_give_a_finite_distance_and_a_warning():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(12, 40)).astype(np.float32)
    stats = frechet.stats_of(rows)
    same = frechet.frechet_distance(stats, frechet.stats_of(rows[::-1]), name="FID")
    assert 0.0 <= same.value < 1e-9
    assert same.notes == (
        "FID of 12 images is biased upwards: compare it only with figures of as many "
        "images, and take 2,048 or more for the usual one",
        "12 images cannot fill the covariance of 40 features: FID rests on singular "
        "matrices",
    )
    moved = frechet.frechet_distance(stats, frechet.stats_of(rows + 1.0))
    np.testing.assert_allclose(moved.value, 40.0, rtol=1e-6)


def test_many_images_need_no_warning():
    a = gaussian([0.0], [[1.0]], 2048)
    assert not frechet.frechet_distance(a, a).notes
    few = gaussian([0.0], [[1.0]], 2047)
    assert "2,047" in frechet.frechet_distance(a, few).notes[0]


def test_statistics_that_cannot_be_compared_are_refused():
    good, one = gaussian(np.zeros(2), np.eye(2)), gaussian(np.zeros(2), np.eye(2), 1)
    with pytest.raises(UserError, match="2 images or more, and there are 1"):
        frechet.frechet_distance(good, one)
    with pytest.raises(UserError, match="2 features per image and the other 1"):
        frechet.frechet_distance(good, gaussian(np.zeros(1), np.eye(1)))
    broken = features().copy()
    broken[3, 2] = np.inf
    with pytest.raises(UserError, match="NaN or infinite"):
        frechet.mean_and_covariance(frechet.stats_of(broken))


@pytest.mark.slow
def test_a_classifier_s_features_are_what_its_head_takes():
    config = ClassifierConfig(width=2, small_stem=True)
    params, stats = init_classifier(config, 3, 0)
    classifier = SavedClassifier(config, params, stats, ("a", "b", "c"))
    pixels = np.random.default_rng(6).integers(0, 256, (2, 16, 16, 3), np.uint8)
    x = jnp.asarray(pixels)
    found = jax.jit(classifier_features(classifier))(x)
    logits = jax.jit(lambda x: classify(classifier, x / 255.0))(x)
    head = params["head"]
    expected = found @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 48), (400, 351), (299, 299), (299, 64)])
def test_resizing_is_pillow_s_in_float_without_rounding(size):
    pixels = np.random.default_rng(5).integers(0, 256, (2, *size, 3), np.uint8)
    channels = [Image.fromarray(np.float32(pixels[1, ..., c])) for c in range(3)]
    bicubic = Image.Resampling.BICUBIC
    expected = np.stack([c.resize((299, 299), bicubic) for c in channels], axis=-1)
    clipped = expected.clip(0, 255)
    if size != (299, 299):
        assert (expected != clipped).any()
    resized = jax.jit(inception_distance.resize)(pixels)
    np.testing.assert_allclose(resized[1], clipped, atol=1e-3)
    np.testing.assert_array_equal(inception_distance.resize_one(pixels[1]), clipped)


def test_the_network_of_2015_gets_x_minus_128_over_128():
    x = np.linspace(0, 255, 12, dtype=np.float32).reshape(1, 2, 2, 3)
    fed = 2 * inception_distance.network_input(jnp.asarray(x)) - 1
    np.testing.assert_allclose(fed, (x - 128) / 128, atol=1e-6)


def test_only_eight_bit_pixels_go_into_fid():
    images = np.zeros((1, 8, 8, 3), np.float32)
    with pytest.raises(UserError, match="8-bit pixels, not float32"):
        inception_distance.resize_one(images[0])
    with pytest.raises(UserError, match="8-bit pixels, not float32"):
        inception_distance.resize(jnp.asarray(images))
    with pytest.raises(UserError, match="8-bit pixels, not float32"):
        frechet.stats_of_images(lambda x: x[:, 0, 0], images)
