"""The closed form for Gaussian latents against exact distributions, and its users."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgrow.errors import UserError
from jaxgrow.multiview import (
    gaussian,
    generator,
    saved_models,
)
from jaxgrow.multiview.conditioning import ConditioningDistribution
from jaxgrow.multiview.denoiser import Denoiser, diffuse
from jaxgrow.multiview.latents import LatentStats
from jaxgrow.multiview.regressor import MeanRegressor
from jaxgrow.multiview.saved_models import SavedLatentModel
from jaxgrow.nets.score import ScoreConfig, init_score
from tests.support import dimvida, small_views
from tests.support.gaussian_views import (
    COV,
    MEAN,
    PATTERNS,
    SDE,
    D,
    V,
    conditional_distribution,
    entries,
    exact_noise,
)


SCORE = ScoreConfig(width=16, time_dim=8, num_groups=4, gaussian_path=True)
PATH = gaussian.fit_path(COV, V)


def latents(n, seed=0):
    """Standard normal numbers in the shape of latents."""
    rng = np.random.default_rng(seed)
    return jnp.float32(rng.standard_normal((n, V, D)))


def fresh_model(prediction="velocity"):
    """A model whose network gives 0, so that its output is the path's."""
    config = dataclasses.replace(SCORE, prediction=prediction)
    stats = LatentStats(np.zeros((V, D), np.float32), np.ones((V, D), np.float32))
    params = init_score(config, V, D, 0)
    return SavedLatentModel(config, params, stats, tuple("abcd"), SDE, {}, PATH)


@functools.cache
def fresh_noise_fn(prediction):
    model = fresh_model(prediction)
    return jax.jit(model.denoiser.noise_fn(model.params))


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(t=st.floats(1e-3, 1.0), prediction=st.sampled_from(["velocity", "noise"]))
def test_a_fresh_network_sees_the_noise_of_gaussian_latents_for_every_set(
    t, prediction
):
    x = latents(len(PATTERNS))
    missing = jnp.asarray(PATTERNS)
    tau = jnp.where(missing, t, 0.0)
    alpha = SDE.marginal(tau)[0][..., None]
    mean = jnp.float32(MEAN).reshape(1, V, D)
    found = fresh_noise_fn(prediction)(x, tau)
    expected = jax.jit(exact_noise)(x + alpha * mean, tau)
    drawn = np.asarray(PATTERNS)
    np.testing.assert_allclose(
        np.asarray(found)[drawn], np.asarray(expected)[drawn], atol=2e-4
    )


def test_conditioning_views_have_no_velocity_and_those_of_others_are_not_read():
    missing = jnp.asarray(PATTERNS[1:])
    x = latents(len(missing))
    v = gaussian.velocity(PATH, SDE, x, jnp.where(missing, 0.4, 0.0), missing)
    assert (np.asarray(v)[~PATTERNS[1:]] == 0.0).all()
    blank = jnp.where(missing[..., None], jnp.nan, x)
    mean = np.asarray(gaussian.conditional_mean(PATH, blank, missing))
    assert (mean[~PATTERNS[1:]] == 0.0).all()
    for z, m, found in zip(np.asarray(x), PATTERNS[1:-1], mean, strict=False):
        centred = z + MEAN.reshape(V, D)
        expected = conditional_distribution(centred, m)[0] - MEAN[entries(m)]
        np.testing.assert_allclose(found.reshape(-1)[entries(m)], expected, atol=1e-5)


@pytest.mark.slow
def test_the_fresh_regressor_is_linear_regression():
    missing = jnp.tile(jnp.asarray(PATTERNS[5])[None], (3, 1))
    z, params = latents(3), init_score(SCORE, V, D, 0)
    z_hat = MeanRegressor(SCORE, PATH).predict(params, z, missing)
    expected = jnp.where(
        missing[..., None], gaussian.conditional_mean(PATH, z, missing), z
    )
    np.testing.assert_array_equal(z_hat, expected)


@pytest.mark.slow
def test_the_loss_of_a_fresh_network_on_gaussian_latents_is_the_best_there_is():
    """E|v - v_hat|^2 = sum of Lambda / (alpha^2 Lambda + sigma^2), times V / |M|."""
    config = dataclasses.replace(SCORE, prediction="velocity")
    rng, n = np.random.default_rng(0), 20_000
    rows = rng.multivariate_normal(np.zeros(V * D), COV, n)
    z, observed = jnp.float32(rows).reshape(n, V, D), jnp.ones((n, V), bool)
    keys = jax.random.split(jax.random.key(0), n)
    distribution, params = ConditioningDistribution(), init_score(config, V, D, 0)
    losses = Denoiser(config, SDE, PATH).losses(params, distribution, keys, z, observed)
    _, _, tau, missing = diffuse(SDE, distribution, keys, z, observed)
    alpha, sigma = (np.asarray(a)[:, None] for a in SDE.marginal(tau.max(axis=1)))
    sets = gaussian.missing_sets(V).tolist()
    of_set = [sets.index(row) for row in np.asarray(missing).tolist()]
    variance = np.asarray(PATH.variance)[of_set]
    best = variance / (alpha**2 * variance + sigma**2)
    best = np.where(np.repeat(missing, D, axis=1), best, 0.0).sum(axis=1)
    best = best * V / np.asarray(missing).sum(axis=1)
    # Means of 20,000 losses of about 8 with a spread of about 5.
    np.testing.assert_allclose(losses.mean(), best.mean(), rtol=0.02)


def test_the_covariance_is_found_again_in_the_set_of_all_views():
    np.testing.assert_allclose(gaussian.covariance_of(PATH), COV, atol=1e-6)


def test_the_covariance_is_shrunk_as_in_scikit_learn():
    covariance = pytest.importorskip("sklearn.covariance")
    for n in (3, 40, 4000):
        z = np.random.default_rng(n).multivariate_normal(np.zeros(V * D), COV, n)
        found = gaussian.shrunk_covariance(z.reshape(n, V, D))
        np.testing.assert_allclose(found, covariance.oas(z)[0], atol=1e-10)
        assert np.linalg.eigvalsh(found).min() > 0


def test_shapes_are_foretold():
    expected = jax.tree.map(np.shape, gaussian.path_like(V, D))
    assert jax.tree.map(np.shape, PATH) == expected


def test_more_than_six_views_are_refused():
    with pytest.raises(UserError, match=r"at most 6 views: set score\.gaussian_path"):
        gaussian.fit_path(np.eye(14), 7)


def test_the_path_comes_back_from_its_file(tmp_path):
    saved, file = fresh_model(), tmp_path / "score.safetensors"
    saved_models.save_latent_model(file, "score", saved)
    again = saved_models.load_latent_model(file, "score")
    assert again.config == saved.config
    assert again.gaussian is not None
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        again.gaussian._replace(basis=0),
        PATH._replace(basis=0),
    )


def test_the_path_alone_is_what_a_network_of_zeros_adds_to():
    dim = small_views.DIM
    config = dataclasses.replace(small_views.SCORE, gaussian_path=True)
    z = np.random.default_rng(0).standard_normal((40, 4, dim))
    path = gaussian.fit_path(gaussian.shrunk_covariance(z), 4)
    trained = small_views.latent_model()._replace(config=config, gaussian=path)
    fresh = trained._replace(params=init_score(config, 4, dim, 1))
    views, coder = small_views.objects(3), small_views.saved_autoencoder()
    missing = np.array([[False, True, True, False]] * 3)

    def complete(view_generator):
        return view_generator.generate_views(views.images, missing)

    learnt = generator.ViewGenerator(coder, trained, 4)
    expected = complete(generator.ViewGenerator(coder, fresh, 4))
    np.testing.assert_array_equal(complete(learnt.gaussian_alone()), expected)
    assert (complete(learnt) != expected).any()
    without = generator.ViewGenerator(coder, small_views.latent_model(), 4)
    with pytest.raises(ValueError, match="no Gaussian path"):
        without.gaussian_alone()


def test_objects_that_lack_views_are_refused_before_anything_is_trained(
    tmp_path, capsys
):
    for i in range(40):
        picture = Image.new("RGB", (16, 16), (5 * i, 0, 0))
        folder = tmp_path / "objects" / "ab"[i % 2] / f"{i}"
        folder.mkdir(parents=True)
        picture.save(folder / "front.png")
        if i % 4:
            picture.save(folder / "left.png")
    data = ["--data.source", "folder", "--data.path", tmp_path / "objects"]
    line = [*data, "--data.allow-missing", "--run-dir", tmp_path / "run"]
    error = dimvida.run(capsys, "smoke", *line).error
    assert "of the objects to train on lack views" in error
    assert error.endswith("pass --score.no-gaussian-path.")
