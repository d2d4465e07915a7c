"""The phases that train on latents: the score network and the mean regressor."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.nmr_dimvida import panels
from experiments.nmr_dimvida.config import Config
from experiments.nmr_dimvida.objects import Objects, plan_objects, stream_of
from experiments.nmr_dimvida.run import Run, finished, weights_path
from experiments.nmr_dimvida.tasks import make_task
from jaxgrow.errors import UserError
from jaxgrow.multiview import conditioning, gaussian, generator, saved_models, steps
from jaxgrow.multiview.batch import LatentData
from jaxgrow.multiview.conditioning import ConditioningDistribution
from jaxgrow.multiview.denoiser import Denoiser, diffuse
from jaxgrow.multiview.gaussian import GaussianPath
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.latents import LatentStats, latent_stats
from jaxgrow.multiview.losses import masked_score_loss
from jaxgrow.multiview.regressor import MeanRegressor
from jaxgrow.multiview.saved_models import SavedAutoencoder, SavedLatentModel
from jaxgrow.multiview.steps import Step
from jaxgrow.nets import score
from jaxgrow.training.feed import Feed
from jaxgrow.training.task import TrainingTask, Validation
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import Keys, Latents, Missing, Params


_NUM_LOSSES = 256  # losses that a validation averages at least
_VALIDATION_SEED = 1_000_003  # of validation's times, subsets and noise, always

LossesFn = Callable[
    [Params, Keys, Latents, Missing, GaussianPath | None], Float[Array, " b"]
]


def score_training(run: Run, objects: Objects, first_step: int) -> TrainingTask:
    """Return the training of the score network (Eq. 6)."""
    config, data = run.config, _Latents(run, objects)
    distribution = _distribution(config, objects)

    def losses(params, keys, z, observed, path):
        denoiser = Denoiser(config.score, config.sde, path)
        return denoiser.losses(params, distribution, keys, z, observed)

    validation_loss = _validation_loss(data, losses)

    def validate(step: int, state: TrainState) -> Validation:
        view_generator = ViewGenerator(
            data.autoencoder, data.as_saved(state, {}), panels.OBJECTS
        )
        panels.draw_generated(run, step, view_generator, objects.validation)
        return {"loss": validation_loss(state.eval_params)}

    model = Denoiser(config.score, config.sde)
    make_step = functools.partial(steps.make_latent_step, model, distribution)
    return _latent_task(data, first_step, "score", make_step, validate)


def regressor_training(run: Run, objects: Objects, first_step: int) -> TrainingTask:
    """Return the training of the mean regressor on the same latents."""
    config, data = run.config, _Latents(run, objects)
    distribution = _distribution(config, objects)

    def losses(params, keys, z, observed, path):
        missing = diffuse(config.sde, distribution, keys, z, observed).missing
        z_hat = MeanRegressor(config.score, path).predict(params, z, missing)
        return masked_score_loss(z_hat, z, missing, observed)

    validation_loss = _validation_loss(data, losses)

    def validate(step: int, state: TrainState) -> Validation:
        return {"loss": validation_loss(state.eval_params)}

    model = MeanRegressor(config.score)
    make_step = functools.partial(steps.make_latent_step, model, distribution)
    return _latent_task(data, first_step, "regressor", make_step, validate)


class _Latents:
    """The trained autoencoder and all latents, loaded and encoded when first used."""

    def __init__(self, run: Run, objects: Objects):
        self.run, self.objects = run, objects

    @functools.cached_property
    def autoencoder(self) -> SavedAutoencoder:
        config = self.run.config
        path, dim = finished(config, "autoencoder"), config.autoencoder.latent_dim
        saved = saved_models.load_autoencoder(path)
        if saved.config.latent_dim != dim:
            raise UserError(
                f"the autoencoder in {path} has {saved.config.latent_dim} latents: "
                f"set autoencoder.latent_dim {saved.config.latent_dim}, not {dim}."
            )
        return saved

    @functools.cached_property
    def standardised(self) -> tuple[LatentData, LatentData, LatentStats]:
        """Latents of the training and validation objects, and their statistics."""
        saved, objects = self.autoencoder, self.objects
        train, held = objects.train, objects.validation
        encode = functools.partial(generator.encode_all, saved.config, saved.params)
        raw = encode(train.images)
        stats = latent_stats(raw, train.observed)
        z = np.asarray(stats.standardise(jnp.asarray(raw)))
        z_held = np.asarray(stats.standardise(jnp.asarray(encode(held.images))))
        path = None
        if self.run.config.score.gaussian_path:
            path = gaussian.fit_path(gaussian.shrunk_covariance(z), z.shape[1])
        data = LatentData(z, train.observed, path)
        return data, LatentData(z_held, held.observed, path), stats

    def as_saved(self, state: TrainState, info: dict[str, Any]) -> SavedLatentModel:
        config, (train, _, stats) = self.run.config, self.standardised
        names = self.objects.train.view_names
        return SavedLatentModel(
            *(config.score, state.eval_params, stats, names),
            *(config.sde, info, train.gaussian, self.digest),
        )

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the autoencoder's weights."""
        return self.autoencoder.digest

    def inputs(self) -> dict[str, str | None]:
        """Return what the model is made from, without a network that is not trained."""
        there = weights_path(self.run.config, "autoencoder").exists()
        autoencoder = {"autoencoder": self.digest} if there else {}
        return self.objects.inputs() | autoencoder

    def like(self) -> LatentData:
        """Shapes of the training latents, before the autoencoder is trained."""
        config, shape = self.run.config, self.objects.train.observed.shape
        dim = config.autoencoder.latent_dim

        def zeros() -> LatentData:
            has_path = config.score.gaussian_path
            path = gaussian.path_like(shape[1], dim) if has_path else None
            return LatentData(jnp.zeros((*shape, dim)), jnp.zeros(shape, bool), path)

        return jax.eval_shape(zeros)


def _distribution(config: Config, objects: Objects) -> ConditioningDistribution:
    num_views, weights = objects.train.num_views, config.size_weights
    probabilities = conditioning.subset_probabilities(num_views, weights)
    return ConditioningDistribution(config.p_joint, probabilities)


def _latent_task(
    data: _Latents,
    first_step: int,
    phase: Literal["score", "regressor"],
    make_step: Callable[..., Step],
    validate: Callable[[int, TrainState], Validation],
) -> TrainingTask:
    run, config, stream = data.run, data.run.config, stream_of(data.run.config, phase)
    training = config.score_training if phase == "score" else config.regressor_training
    n, num_views = data.objects.train.observed.shape
    path = weights_path(config, phase)

    def save(state: TrainState, info: dict[str, Any]) -> None:
        saved_models.save_latent_model(path, phase, data.as_saved(state, info))

    def variables() -> tuple[Params, dict[str, Any]]:
        dim = config.autoencoder.latent_dim
        return score.init_score(config.score, num_views, dim, stream), {}

    return make_task(
        run,
        phase,
        training,
        num_examples=n,
        inputs=data.inputs,
        first_step=first_step,
        feed=Feed(
            run.placement,
            training.batch_size,
            plan_objects(stream, training.batch_size, n),
            lambda: data.standardised[0],
            like=data.like(),
        ),
        variables=variables,
        make_step=make_step,
        validate=validate,
        save=save,
        result=path,
        examples="objects",
    )


def _validation_loss(data: _Latents, losses: LossesFn) -> Callable[[Params], float]:
    """Build the mean loss on held-out objects, with the same draws every time."""

    def losses_of(params, path, z: Latents, observed: Missing, key_data: Array):
        keys = jax.random.wrap_key_data(key_data, impl="threefry2x32")
        return losses(params, keys, z, observed, path)

    jitted = jax.jit(losses_of)

    @functools.cache
    def examples():
        _, held, _ = data.standardised
        repeats = max(1, -(-_NUM_LOSSES // len(held.z)))
        z = np.tile(held.z, (repeats, 1, 1))
        observed = np.tile(held.observed, (repeats, 1))
        keys = generator.object_keys(_VALIDATION_SEED, np.arange(len(z)))
        return held.gaussian, z, observed, np.asarray(jax.random.key_data(keys))

    return lambda params: float(np.mean(jitted(params, *examples())))
