"""What each trained phase trains, validates and leaves behind."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.nmr_dimvida import panels
from experiments.nmr_dimvida.config import Config, Phase, TrainingConfig
from experiments.nmr_dimvida.objects import (
    ImageFeed,
    Objects,
    plan_objects,
    stream_of,
)
from experiments.nmr_dimvida.run import Run
from experiments.nmr_dimvida.training_step import Training
from jaxgrow.data.views import ViewSet
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.errors import UserError
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import SavedClassifier
from jaxgrow.metrics import image
from jaxgrow.multiview import (
    classifier_step,
    conditioning,
    gaussian,
    generator,
    saved_models,
    steps,
)
from jaxgrow.multiview.batch import LatentData
from jaxgrow.multiview.conditioning import ConditioningDistribution
from jaxgrow.multiview.denoiser import Denoiser, diffuse
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.latents import LatentStats, latent_stats
from jaxgrow.multiview.losses import masked_score_loss
from jaxgrow.multiview.regressor import MeanRegressor
from jaxgrow.multiview.saved_models import SavedAutoencoder, SavedLatentModel
from jaxgrow.nets import autoencoder, classifiers, score
from jaxgrow.pixels import to_unit
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import Latents, Missing, Params


_VALIDATION_BATCH = 64
_PRINCIPAL_IMAGES = 2_048  # that the linear path starts from
_VALIDATION_SEED = 1_000_003  # of validation's times, subsets and noise, always


def weights_path(config: Config, phase: Phase) -> Path:
    """Where a phase leaves its network."""
    return config.run_dir / "weights" / f"{phase}.safetensors"


def finished(config: Config, phase: Phase) -> Path:
    """`weights_path` of a phase that must be done.

    Raises:
        UserError: It is not.
    """
    path = weights_path(config, phase)
    if not path.exists():
        raise UserError(
            f"the phase {phase} has not left {path} yet: add it to --phases."
        )
    return path


def num_steps(config: Config, objects: Objects, phase: Phase) -> int:
    """Steps that a trained phase takes in all."""
    training: TrainingConfig = getattr(config, f"{phase}_training")
    of_images = phase in ("autoencoder", "coherence_classifier")
    train = objects.train
    return training.num_steps(int(train.observed.sum()) if of_images else len(train))


def view_names(config: Config, views: ViewSet) -> tuple[str, ...]:
    """What the slots are called: by side where they are sides, else by name."""
    if config.data.view_names:
        return config.data.view_names
    if views.azimuths is None:
        return tuple(f"view {slot}" for slot in range(views.num_views))
    sides = {0.0: "front", 90.0: "right", 180.0: "back", 270.0: "left"}
    return tuple(sides.get(a, f"{a:g} degrees") for a in views.azimuths)


def autoencoder_training(run: Run, objects: Objects, first_step: int) -> Training:
    """One autoencoder for all views (Eq. 1)."""
    config, training = run.config, run.config.autoencoder_training
    feed = ImageFeed(run, objects.train, "autoencoder")
    held = objects.validation
    images = held.images.reshape(-1, *held.images.shape[2:])[held.observed.ravel()]

    names = view_names(config, held)

    @jax.jit
    def decode(params, images):
        x_hat = steps.reconstruct(config.autoencoder, params, to_unit(images))
        return jnp.rint(jnp.clip(x_hat, 0.0, 1.0) * 255.0).astype(jnp.uint8)

    def compare(params, images):
        x = to_unit(images)
        x_hat = jnp.clip(steps.reconstruct(config.autoencoder, params, x), 0, 1)
        return image.psnr(x_hat, x), image.l1(x_hat, x)

    compare_rows = RowsFn(compare)

    def validate(step: int, state: TrainState) -> dict[str, float]:
        params = state.eval_params
        found = compare_rows.in_batches(_VALIDATION_BATCH, params, images)
        shown = panels.spread(held, panels.OBJECTS).images
        decoded = decode(params, shown.reshape(-1, *shown.shape[2:]))
        panels.draw_reconstructions(
            run, step, shown, np.asarray(decoded).reshape(shown.shape), names
        )
        return {"psnr": float(found[0].mean()), "mae": float(found[1].mean())}

    def finish(state: TrainState, info: dict[str, Any]) -> None:
        saved = SavedAutoencoder(config.autoencoder, state.eval_params)
        path = weights_path(config, "autoencoder")
        saved_models.save_autoencoder(path, saved, info)

    return Training(
        phase="autoencoder",
        config=training,
        num_examples=feed.num_examples,
        first_step=first_step,
        params=functools.partial(_fresh_autoencoder, config, feed),
        stats=dict,
        make_step=lambda tx: steps.make_autoencoder_step(
            config.autoencoder,
            tx,
            augment=config.augment,
            fill=config.fill,
            ema_decay=training.ema_decay,
            axis_name=run.placement.axis_name,
        ),
        data=feed.data,
        data_like=feed.data_like(),
        plan=feed.planner(training.batch_size),
        validate=validate,
        finish=finish,
        result=weights_path(config, "autoencoder"),
        remedy="" if config.autoencoder.remat else "pass --autoencoder.remat",
    )


def _fresh_autoencoder(config: Config, feed: ImageFeed) -> Params:
    params = autoencoder.init_autoencoder(
        config.autoencoder, stream_of(config, "autoencoder")
    )
    if config.autoencoder.linear_path:
        some = feed.spread(_PRINCIPAL_IMAGES).astype(np.float32) / 255.0
        params = autoencoder.start_from_principal_components(params, some)
    return params


def latent_training(
    run: Run, objects: Objects, first_step: int, phase: Phase
) -> Training:
    """The score network (Eq. 6), or the mean regressor on the same latents."""
    config = run.config
    training = config.score_training if phase == "score" else config.regressor_training
    n, num_views = objects.train.observed.shape
    dim = config.autoencoder.latent_dim
    distribution = ConditioningDistribution(
        config.p_joint,
        conditioning.subset_probabilities(num_views, config.size_weights),
    )
    names = view_names(config, objects.train)
    is_score = phase == "score"
    make_step = (
        functools.partial(steps.make_score_step, config.score, config.sde)
        if is_score
        else functools.partial(steps.make_regressor_step, config.score)
    )

    @functools.cache
    def autoencoder_and_latents():
        path = finished(config, "autoencoder")
        saved = saved_models.load_autoencoder(path)
        if saved.config.latent_dim != dim:
            raise UserError(
                f"the autoencoder in {path} has {saved.config.latent_dim} latents: "
                f"pass --autoencoder.latent-dim {saved.config.latent_dim}, not {dim}."
            )
        return saved, *standardised_latents(run, saved, objects)

    @functools.cache
    def validation_loss():
        _, _, held, _ = autoencoder_and_latents()
        return _latent_validation(config, distribution, held, is_score)

    def as_saved(state: TrainState, info: dict[str, Any]) -> SavedLatentModel:
        _, latents, _, stats = autoencoder_and_latents()
        return SavedLatentModel(
            config.score,
            state.eval_params,
            stats,
            names,
            config.sde,
            info,
            latents.gaussian,
        )

    def validate(step: int, state: TrainState) -> dict[str, float]:
        if is_score:
            saved, *_ = autoencoder_and_latents()
            view_generator = ViewGenerator(saved, as_saved(state, {}), panels.OBJECTS)
            panels.draw_generated(run, step, view_generator, objects.validation)
        return {"loss": validation_loss()(state.eval_params)}

    def finish(state: TrainState, info: dict[str, Any]) -> None:
        kind = "score" if is_score else "regressor"
        path = weights_path(config, phase)
        saved_models.save_latent_model(path, kind, as_saved(state, info))

    return Training(
        phase=phase,
        config=training,
        num_examples=n,
        first_step=first_step,
        params=lambda: score.init_score(
            config.score, num_views, dim, stream_of(config, phase)
        ),
        stats=dict,
        make_step=lambda tx: make_step(
            distribution,
            tx,
            ema_decay=training.ema_decay,
            axis_name=run.placement.axis_name,
        ),
        data=lambda: run.placement.replicate(autoencoder_and_latents()[1]),
        data_like=run.placement.like(_latents_like(config, n, num_views)),
        plan=plan_objects(stream_of(config, phase), training.batch_size, n),
        validate=validate,
        finish=finish,
        result=weights_path(config, phase),
    )


def _latents_like(config: Config, n: int, num_views: int) -> LatentData:
    dim = config.autoencoder.latent_dim

    def zeros() -> LatentData:
        path = (
            gaussian.path_like(num_views, dim) if config.score.gaussian_path else None
        )
        return LatentData(
            jnp.zeros((n, num_views, dim)), jnp.zeros((n, num_views), bool), path
        )

    return jax.eval_shape(zeros)


def standardised_latents(
    run: Run, saved: SavedAutoencoder, objects: Objects
) -> tuple[LatentData, LatentData, LatentStats]:
    """Latents of the training and validation objects, and their statistics."""
    encode = functools.partial(generator.encode_all, saved.config, saved.params)
    raw = encode(objects.train.images)
    stats = latent_stats(raw, objects.train.observed)
    held = encode(objects.validation.images)
    z = np.asarray(stats.standardise(jnp.asarray(raw)))
    z_held = np.asarray(stats.standardise(jnp.asarray(held)))
    path = None
    if run.config.score.gaussian_path:
        path = gaussian.fit_path(gaussian.shrunk_covariance(z), z.shape[1])
    return (
        LatentData(z, objects.train.observed, path),
        LatentData(z_held, objects.validation.observed, path),
        stats,
    )


def _latent_validation(
    config: Config,
    distribution: ConditioningDistribution,
    held: LatentData,
    is_score: bool,
) -> Callable[[Any], float]:
    """Loss on held-out objects, with the same times, subsets and noise every time."""
    repeats = max(1, -(-4 * _VALIDATION_BATCH // len(held.z)))
    z = np.tile(held.z, (repeats, 1, 1))
    observed = np.tile(held.observed, (repeats, 1))
    keys = generator.object_keys(_VALIDATION_SEED, np.arange(len(z)))

    def loss_of(params, path, z: Latents, observed: Missing, key_data: Array):
        keys = jax.random.wrap_key_data(key_data)
        if is_score:
            denoiser = Denoiser(config.score, config.sde, path)
            return denoiser.losses(params, distribution, keys, z, observed)
        missing = diffuse(config.sde, distribution, keys, z, observed).missing
        z_hat = MeanRegressor(config.score, path).predict(params, z, missing)
        return masked_score_loss(z_hat, z, missing, observed)

    jitted = jax.jit(loss_of)
    key_data = np.asarray(jax.random.key_data(keys))

    def validate(params) -> float:
        return float(np.mean(jitted(params, held.gaussian, z, observed, key_data)))

    return validate


def coherence_classifier_training(
    run: Run, objects: Objects, first_step: int
) -> Training:
    """A classifier of single views, trained on all views of partition d."""
    config, training = run.config, run.config.coherence_classifier_training
    feed = ImageFeed(run, objects.train, "coherence_classifier")
    class_names = objects.train.class_names
    held = objects.validation
    there = held.observed.ravel()
    images = held.images.reshape(-1, *held.images.shape[2:])[there]
    labels = np.repeat(held.labels, held.num_views)[there]
    fresh = functools.partial(
        classifiers.init_classifier,
        *(
            config.coherence_classifier,
            len(class_names),
            stream_of(config, "coherence_classifier"),
        ),
    )

    def predict(nets, x):
        params, stats = nets
        logits, _ = classifiers.apply_classifier(
            config.coherence_classifier, params, stats, to_unit(x), train=False
        )
        return logits.argmax(axis=1)

    predict_rows = RowsFn(predict)

    def validate(step: int, state: TrainState) -> dict[str, float]:
        nets = state.eval_params, state.stats
        predicted = predict_rows.in_batches(_VALIDATION_BATCH, nets, images)
        return {"accuracy": 100.0 * float((predicted == labels).mean())}

    def finish(state: TrainState, info: dict[str, Any]) -> None:
        saved = SavedClassifier(
            config.coherence_classifier, state.eval_params, state.stats, class_names
        )
        saved_classifiers.save_classifier(
            weights_path(config, "coherence_classifier"), saved, info
        )

    return Training(
        phase="coherence_classifier",
        config=training,
        num_examples=feed.num_examples,
        first_step=first_step,
        params=lambda: fresh()[0],
        stats=lambda: fresh()[1],
        make_step=lambda tx: classifier_step.make_classifier_step(
            config.coherence_classifier,
            tx,
            ema_decay=training.ema_decay,
            axis_name=run.placement.axis_name,
        ),
        data=feed.data,
        data_like=feed.data_like(),
        plan=feed.planner(training.batch_size),
        validate=validate,
        finish=finish,
        result=weights_path(config, "coherence_classifier"),
    )


TRAINED: dict[Phase, Callable[[Run, Objects, int], Training]] = {
    "autoencoder": autoencoder_training,
    "score": functools.partial(latent_training, phase="score"),
    "regressor": functools.partial(latent_training, phase="regressor"),
    "coherence_classifier": coherence_classifier_training,
}
"""The trained phases in their order: (run, objects, first step) -> training."""
