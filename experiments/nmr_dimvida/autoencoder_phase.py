"""The phase that trains one autoencoder for all views (Eq. 1)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.nmr_dimvida import panels
from experiments.nmr_dimvida.config import Config
from experiments.nmr_dimvida.objects import (
    Objects,
    image_feed,
    observed_images,
    spread_images,
    stream_of,
)
from experiments.nmr_dimvida.run import Run, weights_path
from experiments.nmr_dimvida.tasks import make_task
from jaxgrow.data.views import ViewSet
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.metrics import image
from jaxgrow.multiview import saved_models, steps
from jaxgrow.multiview.saved_models import SavedAutoencoder
from jaxgrow.nets import autoencoder
from jaxgrow.pixels import to_unit
from jaxgrow.training.task import TrainingTask
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import Params


_VALIDATION_BATCH = 64
_PRINCIPAL_IMAGES = 2_048  # that the linear path starts from


def autoencoder_training(run: Run, objects: Objects, first_step: int) -> TrainingTask:
    """Return the training of the autoencoder."""
    config, training = run.config, run.config.autoencoder_training
    held = objects.validation
    images, names = observed_images(held), held.view_names

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

    def save(state: TrainState, info: dict[str, Any]) -> None:
        saved = SavedAutoencoder(config.autoencoder, state.eval_params)
        saved_models.save_autoencoder(weights_path(config, "autoencoder"), saved, info)

    return make_task(
        run,
        "autoencoder",
        training,
        num_examples=int(objects.train.observed.sum()),
        inputs=objects.inputs,
        first_step=first_step,
        feed=image_feed(run, objects.train, "autoencoder", training.batch_size),
        variables=lambda: (_fresh_autoencoder(config, objects.train), {}),
        make_step=functools.partial(
            steps.make_autoencoder_step,
            config.autoencoder,
            augment=config.augment,
            fill=config.fill,
        ),
        validate=validate,
        save=save,
        result=weights_path(config, "autoencoder"),
        remedy="" if config.autoencoder.remat else "pass autoencoder.remat",
    )


def _fresh_autoencoder(config: Config, views: ViewSet) -> Params:
    params = autoencoder.init_autoencoder(
        config.autoencoder, stream_of(config, "autoencoder")
    )
    if config.autoencoder.linear_path:
        some = spread_images(views, _PRINCIPAL_IMAGES).astype(np.float32) / 255.0
        params = autoencoder.start_from_principal_components(params, some)
    return params
