"""Losses and steps of System 2: golden numbers, closed forms, steps by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrow.errors import UserError
from jaxgrow.multiview import denoiser, losses, steps
from jaxgrow.multiview.batch import ImageData, LatentData, ViewBatch
from jaxgrow.multiview.conditioning import ConditioningDistribution
from jaxgrow.multiview.denoiser import Denoiser
from jaxgrow.multiview.latents import latent_stats
from jaxgrow.multiview.regressor import MeanRegressor
from jaxgrow.multiview.sde import VPSDE, multi_time
from jaxgrow.nets import autoencoder, score
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.training.train_state import TrainState
from tests.nets.test_score_net import (
    TINY,
    canonical_order,
    golden_inputs,
    variable_shapes,
)
from tests.support.golden_fill import filled
from tests.support.oracles import assert_close, quick_jit


SDE, DISTRIBUTION = VPSDE(), ConditioningDistribution()
diffuse = jax.jit(functools.partial(denoiser.diffuse, SDE, DISTRIBUTION))
masked_loss = quick_jit(losses.masked_score_loss)
SMALL = ScoreConfig(width=32, time_dim=16, num_groups=8)


def keys_of(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def batch_of(rows, seed=0):
    rows = np.asarray(rows, np.int32)
    return ViewBatch(rows, np.asarray(jax.random.key_data(keys_of(len(rows), seed))))


def latents(n=6, v=4, d=8, seed=0):
    z = np.random.default_rng(seed).standard_normal((n, v, d)).astype(np.float32)
    return LatentData(z, np.ones((n, v), bool))


# Losses.


def test_the_laplace_likelihood_is_its_formula():
    x, x_hat = np.random.default_rng(0).random((2, 3, 8, 8, 3)).astype(np.float32)
    expected = np.abs(x - x_hat).sum((1, 2, 3)) / 0.75 + 192 * np.log(1.5)
    found = quick_jit(losses.laplace_nll)(x_hat, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_perfect_reconstruction_of_64_px_costs_the_constant():
    x = np.full((1, 64, 64, 3), 0.3, np.float32)
    found = quick_jit(losses.laplace_nll)(x, x)
    np.testing.assert_allclose(found, 4982.35, rtol=2e-5)


@quick_jit
def loss_of_tiny(params, z, eps, missing):
    tau = multi_time(jnp.array([0.3, 0.8]), missing)
    alpha, sigma = SDE.marginal(tau)
    x = alpha[..., None] * z + sigma[..., None] * eps
    eps_hat = Denoiser(TINY, SDE).predict_noise(params, x, tau)
    return losses.masked_score_loss(eps_hat, eps, missing)


@pytest.mark.parametrize(
    ("missing", "sums", "mean"),
    [
        ((True, False, True), (4.6597799827, 7.6384965731), 9.2237074168),
        ((True, True, True), (6.6684234675, 10.6179552211), 8.6431893443),
    ],
    ids=["conditional", "joint"],
)
def test_the_masked_loss_has_the_golden_numbers(missing, sums, mean):
    """Section 8.2 of the specification, with the same network as 8.1."""
    with jax.enable_x64(True):
        params = filled(variable_shapes(TINY, 3, 4), canonical_order())
        b, i = np.mgrid[:2, :12]
        eps = np.sin(1.1 * b + 0.7 * i).reshape(2, 3, 4)
        missing = np.tile(missing, (2, 1))
        found = np.asarray(loss_of_tiny(params, golden_inputs()[0], eps, missing))
        weight = 3 / missing[0].sum()
        np.testing.assert_allclose(found / weight, sums, rtol=1e-9)
        np.testing.assert_allclose(found.mean(), mean, rtol=1e-9)


def test_the_weight_is_one_plus_conditioning_over_missing():
    eps = np.ones((3, 4, 2), np.float32)
    missing = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]], bool)
    found = masked_loss(np.zeros_like(eps), eps, missing)
    known, lost = np.array([3, 2, 0]), np.array([1, 2, 4])
    np.testing.assert_allclose(found, (1 + known / lost) * lost * 2, rtol=1e-6)


def test_views_that_the_data_lack_are_neither_scored_nor_counted():
    eps = np.arange(8, dtype=np.float32).reshape(1, 4, 2)
    missing = np.array([[True, True, False, True]])
    observed = np.array([[True, False, True, True]])
    found = masked_loss(np.zeros_like(eps), eps, missing, observed)
    np.testing.assert_allclose(found, [3 / 2 * (0 + 1 + 36 + 49)], rtol=1e-6)


# Diffusion.


def test_conditioning_views_stay_clean_at_time_zero():
    data = latents(64)
    x, _, tau, missing = diffuse(
        keys_of(64), jnp.asarray(data.z), jnp.asarray(data.observed)
    )
    clean = ~np.asarray(missing)
    assert clean.any()
    assert (np.asarray(x)[clean] == data.z[clean]).all()
    assert (np.asarray(tau)[clean] == 0).all()
    assert (np.asarray(tau)[~clean] > 0).all()
    by_example = np.where(clean, np.nan, np.asarray(tau))
    np.testing.assert_array_equal(
        np.nanmin(by_example, axis=1), np.nanmax(by_example, axis=1)
    )


def test_missing_views_follow_the_marginal():
    z = np.full((4_000, 2, 4), 2.0, np.float32)
    x, eps, tau, missing = diffuse(keys_of(4_000), z, np.ones((4_000, 2), bool))
    alpha, sigma = (np.asarray(a)[..., None] for a in SDE.marginal(tau))
    missing = np.asarray(missing)
    standard = (np.asarray(x) - alpha * 2.0)[missing] / sigma[missing]
    np.testing.assert_allclose(standard, np.asarray(eps)[missing], atol=2e-3)
    np.testing.assert_allclose(standard.mean(), 0.0, atol=0.03)
    np.testing.assert_allclose(standard.std(), 1.0, atol=0.02)


def test_what_the_data_lack_is_pure_noise_that_nothing_leaks_into():
    data = latents(200)
    observed = np.random.default_rng(1).random((200, 4)) < 0.5
    observed[:, 0] |= ~observed.any(axis=1)
    keys = keys_of(200)
    found = []
    for junk in (np.nan, 1e3):
        z = np.where(observed[..., None], data.z, junk)
        found.append(diffuse(keys, jnp.asarray(z), jnp.asarray(observed)))
    x, eps, tau, missing = (np.asarray(a) for a in found[0])
    np.testing.assert_array_equal(x, np.asarray(found[1][0]))
    assert (tau[~observed] == 1).all()
    assert missing[~observed].all()
    # sigma(1) = 0.99998.
    np.testing.assert_allclose(x[~observed], eps[~observed], atol=1e-3)
    assert (missing & observed).any(axis=1).all()


def test_a_velocity_says_what_the_noise_is(monkeypatch):
    """A network whose velocity is exact gives back eps, and has no loss."""
    config = ScoreConfig(width=32, time_dim=16, num_groups=8, prediction="velocity")
    z, observed = jnp.asarray(latents(16).z), jnp.ones((16, 4), bool)
    x, eps, tau, missing = diffuse(keys_of(16), z, observed)
    alpha, sigma = (np.asarray(a)[..., None] for a in SDE.marginal(tau))
    velocity = alpha * np.asarray(eps) - sigma * np.asarray(z)

    def exact(*_, **__):
        return -jnp.asarray(velocity)

    monkeypatch.setattr(score, "apply_score", exact)
    net = Denoiser(config, SDE)
    found = jax.jit(net.predict_noise)({}, x, tau)
    drawn = np.asarray(missing)
    np.testing.assert_allclose(
        np.asarray(found)[drawn], np.asarray(eps)[drawn], atol=1e-5
    )
    lost = jax.jit(lambda *batch: net.losses({}, DISTRIBUTION, *batch))(
        keys_of(16), z, observed
    )
    np.testing.assert_allclose(lost, 0.0, atol=1e-8)


def test_the_loss_of_an_untrained_velocity_network_is_that_of_the_velocity():
    """Its output is 0, and E|v|^2 = alpha^2 d + sigma^2 d = d for standard latents."""
    velocity = ScoreConfig(width=32, time_dim=16, num_groups=8, prediction="velocity")
    data, params = latents(512), score.init_score(velocity, 4, 8, 0)
    net = Denoiser(velocity, SDE)
    # As constants of the program, zero weights make XLA read memory that nothing wrote.
    found = jax.jit(lambda params, *batch: net.losses(params, DISTRIBUTION, *batch))(
        params, keys_of(512), jnp.asarray(data.z), jnp.asarray(data.observed)
    )
    np.testing.assert_allclose(found.mean(), 32.0, rtol=0.05)


# Steps.


@pytest.mark.slow
def test_a_fresh_score_network_has_the_loss_of_the_noise():
    """The untrained network gives 0, so the joint loss is E|eps|^2 = V d."""
    data, config = latents(256, d=8), SMALL
    params = score.init_score(config, 4, 8, 0)
    tx = optax.sgd(0.0)
    state = TrainState.create(params, {}, tx, keep_ema=False)
    step = steps.make_latent_step(
        Denoiser(config, SDE), DISTRIBUTION, tx, ema_decay=0.0
    )
    _, metrics = jax.jit(step)(state, data, batch_of(range(256)))
    np.testing.assert_allclose(metrics["loss"], 32.0, rtol=0.05)


@pytest.mark.slow
def test_the_score_network_learns_which_view_follows_from_which():
    """Of two equal views, the clean one shows the noise of the other."""
    z = np.random.default_rng(0).standard_normal((512, 1, 4)).astype(np.float32)
    data = LatentData(np.repeat(z, 2, axis=1), np.ones((512, 2), bool))
    config = ScoreConfig(width=64, time_dim=32, num_groups=8)
    params, tx = score.init_score(config, 2, 4, 0), optax.adam(3e-3)
    state = TrainState.create(params, {}, tx, keep_ema=True)
    step = steps.make_latent_step(
        Denoiser(config, SDE), DISTRIBUTION, tx, ema_decay=0.9
    )
    run = jax.jit(steps.several_steps(step))
    rng, by_call = np.random.default_rng(1), []
    for _ in range(3):
        batches = [batch_of(rng.integers(0, 512, 128), s) for s in range(60)]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        state, metrics = run(state, data, stacked)
        by_call.append(float(metrics["loss"].mean()))
    assert by_call[-1] < 0.5 * by_call[0]


@pytest.mark.slow
def test_the_regressor_finds_the_conditional_mean():
    """View 1 is view 0 plus unit noise: its best estimate is view 0, of error d."""
    rng = np.random.default_rng(0)
    a, noise = rng.standard_normal((2, 2048, 1, 2)).astype(np.float32)
    data = LatentData(np.concatenate([a, a + noise], axis=1), np.ones((2048, 2), bool))
    config = ScoreConfig(width=32, time_dim=16, num_groups=4)
    params, tx = score.init_score(config, 2, 2, 0), optax.adam(3e-3)
    state = TrainState.create(params, {}, tx, keep_ema=True)
    step = jax.jit(
        steps.several_steps(
            steps.make_latent_step(
                MeanRegressor(config), DISTRIBUTION, tx, ema_decay=0.95
            )
        )
    )
    for _ in range(3):
        batches = [batch_of(rng.integers(0, 2048, 256), s) for s in range(60)]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        state, _ = step(state, data, stacked)
    z = jnp.asarray(data.z)
    missing = jnp.tile(jnp.array([False, True]), (2048, 1))
    z_hat = np.asarray(MeanRegressor(config).predict(state.eval_params, z, missing))
    assert (z_hat[:, 0] == data.z[:, 0]).all()
    error = ((z_hat[:, 1] - data.z[:, 0]) ** 2).sum(axis=1).mean()
    assert error < 0.2


@pytest.mark.slow
def test_an_autoencoder_step_is_one_step_of_sgd_by_hand():
    config = AutoencoderConfig(image_size=16, latent_dim=4, base_channels=4)
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    params, tx = autoencoder.init_autoencoder(config, 0), optax.sgd(1e-4)
    state = TrainState.create(params, {}, tx, keep_ema=False)
    step = steps.make_autoencoder_step(config, tx, augment=False, fill=1.0)
    rows = [3, 1]
    after, metrics = jax.jit(step)(state, ImageData(images), batch_of(rows))

    def loss_fn(params):
        x = jnp.asarray(images[rows] / 255.0, jnp.float32)
        x_hat = autoencoder.decode(
            config, params, autoencoder.encode(config, params, x)
        )
        return jnp.sum(jnp.abs(x - x_hat) / 0.75 + np.log(1.5)) / 2

    loss, grads = jax.value_and_grad(loss_fn)(params)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    by_hand = jax.tree.map(lambda p, g: p - 1e-4 * g, params, grads)
    assert_close(after.params, by_hand)


@pytest.mark.slow
def test_images_of_a_batch_stand_in_for_those_of_the_data():
    config = AutoencoderConfig(image_size=16, latent_dim=4, base_channels=4)
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    params, tx = autoencoder.init_autoencoder(config, 0), optax.sgd(1e-4)
    step = jax.jit(steps.make_autoencoder_step(config, tx, augment=True, fill=1.0))
    batch = batch_of([3, 1])
    found = []
    for data, b in (
        (ImageData(images), batch),
        (ImageData(None), batch._replace(images=images[[3, 1]])),
    ):
        state = TrainState.create(params, {}, tx, keep_ema=False)
        found.append(float(step(state, data, b)[1]["loss"]))
    assert found[0] == found[1]


# Statistics of latents.


def test_statistics_are_those_of_the_observed_views():
    rng = np.random.default_rng(0)
    z = (5 + 3 * rng.standard_normal((40, 2, 3))).astype(np.float32)
    observed = rng.random((40, 2)) < 0.7
    stats = latent_stats(np.where(observed[..., None], z, np.nan), observed)
    for view in range(2):
        seen = z[observed[:, view], view].astype(np.float64)
        np.testing.assert_allclose(stats.mean[view], seen.mean(0), rtol=1e-6)
        np.testing.assert_allclose(stats.std[view], seen.std(0, ddof=1), rtol=1e-6)
    scaled = stats.standardise(jnp.asarray(z))
    assert_close(stats.restore(scaled), z)


def test_a_dimension_that_does_not_vary_is_refused_by_name():
    z = np.random.default_rng(0).standard_normal((9, 2, 3)).astype(np.float32)
    z[:, 1, 2] = 7.0
    with pytest.raises(UserError, match="the first is 2 of view 1"):
        latent_stats(z, np.ones((9, 2), bool))


def test_a_view_that_hardly_any_object_has_is_refused():
    z = np.random.default_rng(0).standard_normal((9, 2, 3)).astype(np.float32)
    observed = np.ones((9, 2), bool)
    observed[1:, 1] = False
    with pytest.raises(UserError, match="view 1 is there for 1 training objects"):
        latent_stats(z, observed)
