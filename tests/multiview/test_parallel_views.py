"""The steps of System 2 on two virtual devices against one, with SGD."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrow.devices.parallel import Placement
from jaxgrow.multiview import classifier_step, gaussian, steps
from jaxgrow.multiview.batch import ImageData, LatentData, ViewBatch
from jaxgrow.multiview.conditioning import ConditioningDistribution
from jaxgrow.multiview.denoiser import Denoiser
from jaxgrow.multiview.regressor import MeanRegressor
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.nets import autoencoder, classifiers, score
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.training.train_state import TrainState
from tests.support import small_views
from tests.support.oracles import assert_close


DISTRIBUTION = ConditioningDistribution()
TX = optax.sgd(1e-4)


def _images():
    views = small_views.objects(8)
    images = views.images.reshape(-1, *views.images.shape[2:])
    return ImageData(images, np.repeat(views.labels, 4).astype(np.int32))


def _latents():
    z = np.random.default_rng(0).standard_normal((32, 4, small_views.DIM))
    observed = np.random.default_rng(1).random((32, 4)) < 0.8
    observed[:, 0] = True
    return LatentData(z.astype(np.float32), observed)


def _autoencoder(axis_name):
    config = small_views.AUTOENCODER
    step = steps.make_autoencoder_step(
        config, TX, augment=True, fill=1.0, ema_decay=0.9, axis_name=axis_name
    )
    return autoencoder.init_autoencoder(config, 0), {}, step, _images()


def _score(axis_name):
    model = Denoiser(small_views.SCORE, VPSDE())
    step = steps.make_latent_step(
        model, DISTRIBUTION, TX, ema_decay=0.9, axis_name=axis_name
    )
    return small_views.latent_model().params, {}, step, _latents()


def _score_on_a_gaussian_path(axis_name):
    config = dataclasses.replace(small_views.SCORE, gaussian_path=True)
    model = Denoiser(config, VPSDE())
    step = steps.make_latent_step(
        model, DISTRIBUTION, TX, ema_decay=0.9, axis_name=axis_name
    )
    z = _latents().z
    path = gaussian.fit_path(gaussian.shrunk_covariance(z), 4)
    data = LatentData(z, np.ones(z.shape[:2], bool), path)
    return small_views.latent_model().params, {}, step, data


def _regressor(axis_name):
    model = MeanRegressor(small_views.SCORE)
    step = steps.make_latent_step(
        model, DISTRIBUTION, TX, ema_decay=0.9, axis_name=axis_name
    )
    return score.init_score(small_views.SCORE, 4, 4, 0), {}, step, _latents()


def _classifier(axis_name):
    config = ClassifierConfig(width=4)
    params, stats = classifiers.init_classifier(config, 3, 0)
    step = classifier_step.make_classifier_step(config, TX, axis_name=axis_name)
    return params, stats, step, _images()


def batch(i):
    rows = np.arange(8 * i, 8 * i + 8, dtype=np.int32)
    keys = jax.random.split(jax.random.key(i), 8)
    return ViewBatch(rows, np.asarray(jax.random.key_data(keys)))


def train(make, placement, several=False):
    params, stats, step, data = make(placement.axis_name)
    params = jax.tree.map(jnp.copy, params)  # the step donates its state
    state = TrainState.create(params, stats, TX, keep_ema=True)
    state, data = placement.replicate((state, data))
    batches = [batch(0), batch(1)]
    if several:
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        calls = [placement.shard_batch(stacked, batch_axis=1)]
        step = steps.several_steps(step)
    else:
        calls = [placement.shard_batch(b) for b in batches]
    compiled = placement.compile_step(step)
    losses = []
    for call in calls:
        state, metrics = compiled(state, data, call)
        losses.append(np.atleast_1d(metrics["loss"]))
    return state, np.concatenate(losses)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [_autoencoder, _score, _score_on_a_gaussian_path, _regressor, _classifier],
)
def test_two_devices_equal_one(make):
    expected, on_one = train(make, Placement())
    for kind in ("pmap", "mesh"):
        for several in (False, True):
            found, on_two = train(make, Placement(2, kind), several)
            assert_close(found.params, expected.params, 1e-6, scale=1.0)
            assert_close(found.ema_params, expected.ema_params, 1e-6, scale=1.0)
            assert_close(found.stats, expected.stats, 1e-5, scale=1.0)
            np.testing.assert_allclose(on_two, on_one, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "steps_per_call"), [("pmap", 2), ("mesh", 1)])
def test_several_classifiers_at_once_on_two_devices_equal_those_on_one(
    kind, steps_per_call
):
    """Two seeds in front of every leaf and batch, and steps in front of those."""

    def train_both(placement):
        def stack(*trees):
            return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)

        config, data = ClassifierConfig(width=2), _images()
        step = classifier_step.several_models(
            classifier_step.make_classifier_step(
                config, TX, axis_name=placement.axis_name
            )
        )
        nets = [classifiers.init_classifier(config, 3, seed) for seed in (0, 1)]
        states = [TrainState.create(*net, TX, keep_ema=False) for net in nets]
        state, data = placement.replicate((stack(*states), data))
        batches, batch_axis = stack(batch(0), batch(1)), 1
        if steps_per_call == 2:
            batches, batch_axis = stack(batches, stack(batch(2), batch(3))), 2
            step = steps.several_steps(step)
        shared = placement.shard_batch(batches, batch_axis)
        return placement.compile_step(step)(state, data, shared)

    (expected, on_one), (found, on_two) = map(
        train_both, (Placement(), Placement(2, kind))
    )
    assert_close(found.params, expected.params, 1e-6, scale=1.0)
    assert_close(found.stats, expected.stats, 1e-5, scale=1.0)
    np.testing.assert_allclose(on_two["loss"], on_one["loss"], rtol=1e-5)
