"""Generation of views: conditioning views are kept, missing ones are never read."""

import contextlib
import pickle

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.errors import UserError
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.multiview import generator, saved_models
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.storage import network_file
from tests.support import small_views
from tests.support.oracles import assert_identical


FAST = SamplerConfig(name="dpm++", num_steps=3, grid="log_snr")
NOISY = SamplerConfig(name="euler_maruyama", num_steps=4)
ROWS = st.lists(
    st.lists(st.booleans(), min_size=4, max_size=4).filter(
        lambda row: any(row) and not all(row)
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def view_generator():
    return ViewGenerator(
        small_views.saved_autoencoder(), small_views.latent_model(), batch_size=4
    )


@settings(deadline=None, max_examples=15)
@given(rows=ROWS)
def test_conditioning_views_come_back_and_missing_ones_are_never_read(
    view_generator, rows
):
    missing = np.array(rows)
    images = small_views.objects(len(rows)).images
    junk = np.where(missing[..., None, None, None], images ^ 0xFF, images)
    found = view_generator.generate_views(images, missing, sampler=FAST)[:, 0]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[~missing], images[~missing])
    again = view_generator.generate_views(junk, missing, sampler=FAST)[:, 0]
    np.testing.assert_array_equal(again, found)


@settings(deadline=None, max_examples=10)
@given(rows=ROWS, seed=st.integers(0, 5))
def test_an_object_comes_out_the_same_alone_and_in_any_batch(
    view_generator, rows, seed
):
    missing = np.array(rows)
    images = small_views.objects(len(rows)).images
    ids = 10 + np.arange(len(rows))
    options = {"sampler": NOISY, "seed": seed}
    together = view_generator.generate_views(images, missing, ids=ids, **options)
    for i in range(len(rows)):
        one = slice(i, i + 1)
        alone = view_generator.generate_views(
            images[one], missing[one], ids=ids[one], **options
        )
        np.testing.assert_array_equal(alone, together[one])


def test_samples_differ_from_each_other_and_from_other_seeds_but_not_from_themselves(
    view_generator,
):
    images = small_views.objects(2).images
    missing = np.array([[False, True, True, True]] * 2)

    def samples(seed):
        return view_generator.generate_views(
            images, missing, sampler=NOISY, num_samples=3, seed=seed
        )

    found = samples(0)
    assert found.shape == (2, 3, 4, 16, 16, 3)
    assert len({found[0, k, 1].tobytes() for k in range(3)}) == 3
    np.testing.assert_array_equal(found, samples(0))
    assert (samples(1)[:, :, 1:] != found[:, :, 1:]).any()


def test_progress_is_told_and_nothing_is_an_empty_batch(view_generator):
    told = []
    images = small_views.objects(6).images
    missing = np.array([[False, True, True, True]] * 6)
    view_generator.generate_views(
        images, missing, sampler=FAST, on_progress=lambda *at: told.append(at)
    )
    assert told == [(4, 6), (6, 6)]
    empty = view_generator.generate_views(images[:0], missing[:0], sampler=FAST)
    assert empty.shape == (0, 1, 4, 16, 16, 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([True] * 4, "all of the views of object 1 are missing"),
        ([False] * 4, "none of the views of object 1 are missing"),
    ],
)
def test_all_missing_and_none_missing_are_refused(view_generator, row, message):
    images = small_views.objects(2).images
    with pytest.raises(UserError, match=message):
        view_generator.generate_views(
            images, np.array([[False, True, True, True], row])
        )


def test_other_shapes_than_the_models_are_refused(view_generator):
    images = small_views.objects(2).images
    missing = np.array([[False, True, True, True]] * 2)
    with pytest.raises(UserError, match=r"4 views of 16x16 pixels \(front, back"):
        view_generator.generate_views(images[:, :3], missing[:, :3])


# Files.


def write_weights(folder):
    saved_models.save_autoencoder(
        folder / "autoencoder.safetensors", small_views.saved_autoencoder(), {"a": 1}
    )
    saved_models.save_latent_model(
        folder / "score.safetensors", "score", small_views.latent_model()
    )
    saved_classifiers.save_classifier(
        folder / "coherence_classifier.safetensors",
        small_views.coherence_classifier(),
        {},
    )


def test_networks_come_back_from_their_files_bit_for_bit(view_generator, tmp_path):
    write_weights(tmp_path / "weights")
    images = small_views.objects(3).images
    missing = np.array([[False, True, True, False]] * 3)
    loaded = ViewGenerator.load(tmp_path, batch_size=4)
    assert loaded.view_names == small_views.NAMES
    np.testing.assert_array_equal(
        loaded.generate_views(images, missing, sampler=FAST),
        view_generator.generate_views(images, missing, sampler=FAST),
    )
    path = tmp_path / "weights" / "coherence_classifier.safetensors"
    found, saved = (
        saved_classifiers.load_classifier(path),
        small_views.coherence_classifier(),
    )
    assert found.config == saved.config
    assert found.class_names == saved.class_names
    assert_identical(found.params, saved.params)
    assert_identical(found.stats, saved.stats)


def test_a_score_network_is_taken_with_its_own_autoencoder_alone(tmp_path):
    saved, model = small_views.saved_autoencoder(), small_views.latent_model()
    write_weights(tmp_path / "weights")
    path = tmp_path / "weights" / "score.safetensors"
    saved_models.save_latent_model(
        path, "score", model._replace(autoencoder=saved.digest)
    )
    ViewGenerator.load(tmp_path)
    other = jax.tree.map(lambda x: x + 1, saved.params)
    saved_models.save_autoencoder(
        tmp_path / "weights" / "autoencoder.safetensors",
        saved._replace(params=other),
        {},
    )
    with pytest.raises(UserError, match=f"{path} was trained with another autoencoder"):
        ViewGenerator.load(tmp_path)


@pytest.mark.parametrize("field", ["autoencoder", "sde", "view_names", "info"])
def test_a_file_that_lacks_a_field_is_refused_by_its_name(field, tmp_path):
    write_weights(tmp_path)
    path = tmp_path / "score.safetensors"
    header, tree = network_file.load_network(path, "score")
    del header[field]
    network_file.save_network(path, "score", header, tree)
    with pytest.raises(UserError, match=f"is no score of this version.*{field}"):
        saved_models.load_latent_model(path, "score")


def test_a_file_of_another_network_is_refused(tmp_path):
    write_weights(tmp_path)
    score = tmp_path / "score.safetensors"
    with pytest.raises(UserError, match="is no autoencoder of this version"):
        saved_models.load_autoencoder(score)
    with pytest.raises(UserError, match="is no regressor of this version"):
        saved_models.load_latent_model(score, "regressor")
    with pytest.raises(UserError, match="no weights at"):
        saved_classifiers.load_classifier(tmp_path / "absent")


def test_arrays_of_another_shape_are_refused_by_name(tmp_path):
    saved = small_views.saved_autoencoder()
    wider = AutoencoderConfig(image_size=16, latent_dim=4, base_channels=8)
    path = tmp_path / "autoencoder.safetensors"
    saved_models.save_autoencoder(path, saved._replace(config=wider), {})
    with pytest.raises(UserError, match=r"\w+ is float32\(.*\) in the file and"):
        saved_models.load_autoencoder(path)


def test_networks_of_two_runs_are_not_put_together():
    model = small_views.latent_model()
    other = model._replace(
        stats=model.stats._replace(mean=np.zeros((4, 9), np.float32))
    )
    with pytest.raises(UserError, match=r"makes 4 latents and the score network .* 9"):
        ViewGenerator(small_views.saved_autoencoder(), other)


def test_all_views_are_encoded_in_batches_of_any_size():
    saved, images = small_views.saved_autoencoder(), small_views.objects(7).images
    found = generator.encode_all(saved.config, saved.params, images, 8)
    whole = generator.encode_all(saved.config, saved.params, images, 1000)
    assert found.shape == (7, 4, small_views.DIM)
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)


# Callers.


def some_views(n=2):
    missing = np.array([[False, True, True, True]] * n)
    return small_views.objects(n).images, missing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 4, 16, 16, 3))}, "8-bit pixels, not float64"),
        ({"images": np.zeros((2, 4, 16, 16, 3), int)}, "8-bit pixels, not int64"),
        ({"images": np.zeros((2, 4, 16, 16), "uint8")}, r"\(2, 4, 16, 16\): bring"),
        ({"missing": np.full((2, 4), np.nan)}, "missing has values from nan"),
        ({"missing": [[0, 1, 1, 2]] * 2}, "missing has values from 0 to 2"),
        ({"missing": [0, 1]}, r"missing is of shape \(2,\)"),
        ({"num_samples": 0}, "num_samples must be from 1"),
        ({"seed": -1}, "seed must be from 0 to 4294967295, not -1"),
        ({"seed": 2**32}, "seed must be from 0 to 4294967295, not 4294967296"),
        ({"ids": [0, 2**32]}, "ids must be from 0 to 4294967295"),
        ({"ids": [0]}, r"ids has the shape \(1,\) for 2 objects"),
    ],
)
def test_what_is_no_view_or_number_is_refused(view_generator, change, message):
    images, missing = some_views()
    given = {"images": images, "missing": missing, "sampler": FAST} | change
    images, missing = given.pop("images"), given.pop("missing")
    with pytest.raises(UserError, match=message):
        view_generator.generate_views(images, missing, **given)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"num_devices": 0}])
def test_numbers_below_one_are_refused(wrong):
    nets = small_views.saved_autoencoder(), small_views.latent_model()
    with pytest.raises(UserError, match="must be from 1 to"):
        ViewGenerator(*nets, **wrong)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda one, x, m: jax.jit(lambda x: one.generate_views(x, m, sampler=FAST))(x),
        lambda one, x, m: jax.eval_shape(
            lambda x: x + one.generate_views(np.array(x), m, sampler=FAST), x
        ),
        lambda one, x, m: jax.jit(lambda s: s + one.generate_views(x, m, sampler=FAST))(
            1
        ),
    ],
)
def test_a_generator_works_after_a_call_under_a_transformation(view_generator, misuse):
    one = ViewGenerator(
        small_views.saved_autoencoder(), small_views.latent_model(), batch_size=4
    )
    images, missing = some_views()
    with contextlib.suppress(UserError, jax.errors.TracerArrayConversionError):
        misuse(one, images, missing)
    np.testing.assert_array_equal(
        one.generate_views(images, missing, sampler=FAST),
        view_generator.generate_views(images, missing, sampler=FAST),
    )


@pytest.mark.parametrize(
    "setting",
    [
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("strict"),
        jax.default_prng_impl("rbg"),
        jax.debug_nans(True),
    ],
)
def test_settings_of_the_caller_change_no_view(view_generator, setting):
    images, missing = some_views()
    wanted = view_generator.generate_views(images, missing, sampler=NOISY)
    with setting:
        found = view_generator.generate_views(images, missing, sampler=NOISY)
    np.testing.assert_array_equal(found, wanted)


def test_a_pickled_generator_is_the_same(view_generator):
    images, missing = some_views()
    again = pickle.loads(pickle.dumps(view_generator))
    np.testing.assert_array_equal(
        again.generate_views(images, missing, sampler=FAST),
        view_generator.generate_views(images, missing, sampler=FAST),
    )
