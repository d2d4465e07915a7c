"""The baselines of missing views, on views made by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.multiview import baselines
from jaxgrow.multiview.generator import decode_views, encode_views
from jaxgrow.multiview.steps import reconstruct
from tests.support import small_views
from tests.support.oracles import quick_jit


FRONT, BACK, RIGHT, LEFT = range(4)


def rows_of(*given, num_views=4):
    missing = np.ones((1, num_views), bool)
    missing[0, list(given)] = False
    return missing


def methods():
    saved, model = small_views.saved_autoencoder(), small_views.latent_model()
    return {
        "copy": baselines.make_copy(small_views.AZIMUTHS),
        "mirror": baselines.make_mirror(small_views.AZIMUTHS),
        "nearest": baselines.make_nearest_neighbour(
            small_views.objects(9, seed=7).images
        ),
        "regression": baselines.make_regression(saved, model, batch_size=2),
    }


@pytest.mark.parametrize("name", list(methods()))
@settings(deadline=None, max_examples=10)
@given(
    row=st.lists(st.booleans(), min_size=4, max_size=4).filter(
        lambda row: any(row) and not all(row)
    )
)
def test_conditioning_views_are_kept_and_missing_ones_never_read(name, row):
    complete = METHODS[name]
    images = small_views.objects(3).images
    missing = np.tile(np.array(row), (3, 1))
    junk = np.where(missing[..., None, None, None], 255 - images, images)
    found = complete(images, missing)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[~missing], images[~missing])
    np.testing.assert_array_equal(complete(junk, missing), found)


METHODS = methods()


@pytest.mark.parametrize(
    ("given", "sources"),
    [
        ((FRONT,), {BACK: FRONT, RIGHT: FRONT, LEFT: FRONT}),
        ((BACK, LEFT), {FRONT: LEFT, RIGHT: BACK}),
        ((FRONT, BACK), {RIGHT: FRONT, LEFT: FRONT}),
    ],
)
def test_a_copy_is_of_the_conditioning_view_nearest_in_azimuth(given, sources):
    """Of two equally near views it is the first."""
    images = small_views.objects(1).images
    found = METHODS["copy"](images, rows_of(*given))
    for missing, source in sources.items():
        np.testing.assert_array_equal(found[0, missing], images[0, source])


@pytest.mark.parametrize(
    ("given", "sources"),
    [
        ((RIGHT,), {LEFT: RIGHT}),
        ((FRONT,), {BACK: FRONT}),
        ((FRONT, RIGHT), {BACK: FRONT, LEFT: RIGHT}),
        ((BACK, LEFT), {FRONT: BACK, RIGHT: LEFT}),
    ],
)
def test_a_mirror_image_stands_for_the_opposite_view(given, sources):
    images = small_views.objects(1).images
    found = METHODS["mirror"](images, rows_of(*given))
    for missing, source in sources.items():
        np.testing.assert_array_equal(found[0, missing], images[0, source, :, ::-1])


@pytest.mark.parametrize(
    ("a", "b", "angle"),
    [(0.0, 0.0, 0.0), (350.0, 10.0, 20.0), (10.0, 350.0, 20.0), (0.0, 180.0, 180.0)],
)
def test_angles_go_the_short_way_round(a, b, angle):
    assert baselines.angle_between(a, b) == angle


def test_the_nearest_neighbour_is_found_as_by_hand():
    library = small_views.objects(9, seed=7).images
    queries = small_views.objects(4).images
    missing = np.concatenate([rows_of(0), rows_of(1, 3), rows_of(2), rows_of(0, 1, 2)])
    found = METHODS["nearest"](queries, missing)
    for query, row, generated in zip(queries, missing, found, strict=True):
        difference = (library[:, ~row] / 255.0 - query[None, ~row] / 255.0) ** 2
        best = difference.sum(axis=(1, 2, 3, 4)).argmin()
        np.testing.assert_array_equal(generated[row], library[best][row])


def test_an_object_of_the_library_finds_itself():
    library = small_views.objects(9, seed=7).images
    missing = np.tile(rows_of(2), (9, 1))
    np.testing.assert_array_equal(METHODS["nearest"](library, missing), library)


def test_a_regression_decodes_the_regressors_latents():
    saved, model = small_views.saved_autoencoder(), small_views.latent_model()
    images, missing = small_views.objects(3).images, np.tile(rows_of(1), (3, 1))

    @jax.jit
    def by_hand(images, missing):
        z = encode_views(saved, model.stats, images, missing)
        z_hat = model.regressor.predict(model.params, z, missing)
        return decode_views(saved, model.stats, z_hat)

    expected = np.asarray(by_hand(images, missing))
    found = METHODS["regression"](images, missing)
    difference = found[missing].astype(int) - expected[missing]
    assert np.abs(difference).max() <= 1


def test_a_reconstruction_is_the_real_view_through_the_autoencoder():
    saved, model = small_views.saved_autoencoder(), small_views.latent_model()
    images, missing = small_views.objects(3).images, np.tile(rows_of(1), (3, 1))
    complete = baselines.make_reconstruction(saved, model, batch_size=2)
    found = complete(images, missing)
    flat = jnp.asarray(images.reshape(-1, *images.shape[2:]) / 255.0, jnp.float32)
    decoded = quick_jit(functools.partial(reconstruct, saved.config))(
        saved.params, flat
    )
    expected = np.rint(np.clip(np.asarray(decoded), 0, 1) * 255).reshape(images.shape)
    assert np.abs(found[missing] - expected[missing]).max() <= 1
