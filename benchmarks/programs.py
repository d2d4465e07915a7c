"""Training steps as programs to be compiled and looked at, not run: no arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import gan_step
from jaxgrow.data.batches import PictureBatch
from jaxgrow.inpainting.losses import LossConfig
from jaxgrow.inpainting.stages import Stage
from jaxgrow.multiview import classifier_step, steps
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.multiview.steps import (
    Batch,
    Diffusion,
    ImageData,
    LatentData,
)
from jaxgrow.nets import autoencoder, classifiers, score
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.growing import NetConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.nets.vgg19 import VGG19Features, make_features_fn
from jaxgrow.training.train_state import TrainState


_ROWS = 1024  # of the data; a step gathers its batch from them
_VIEWS, _LATENTS = 4, 64


class Program(NamedTuple):
    """A step, and the shapes of its state, its data and its batch."""

    step: Callable[..., Any]
    state: Any
    data: Any
    batch: Any


def gan(resolution: int, batch_size: int, dtype: Any = "float32") -> Program:
    """System 1's step of a stage of the preset `paper`, but for `dtype`."""
    step, state, data, batch = paper_stage(resolution, batch_size, dtype)
    return Program(step, shapes_of(state), shapes_of(data), batch)


def paper_stage(resolution: int, batch_size: int, dtype: Any) -> Program:
    """The same with arrays: older stages frozen, VGG19's term of random weights.

    The term's weights are arguments of nothing: constants, as in a run.
    """
    stage = Stage(int(np.log2(resolution)) - 2, resolution, resolution, 1000, 0)
    params = jax.jit(VGG19Features().init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    features_fn = make_features_fn(params["params"], compute_dtype=dtype)
    state, step = gan_step.build(
        stage,
        "none" if resolution == 4 else "all",
        LossConfig(),
        features_fn,
        net=NetConfig(compute_dtype=dtype),
    )
    data, _ = gan_step.make_batch(resolution, _ROWS)
    rows = np.arange(batch_size, dtype=np.int32) % _ROWS
    return Program(step, state, data, PictureBatch(rows, rows % 2 == 0, rows, rows % 8))


def score_step(batch_size: int, dtype: Any = "float32") -> Program:
    """The paper's score network with its average."""
    config, tx = ScoreConfig(compute_dtype=dtype), optax.adam(1e-4)
    state = jax.eval_shape(
        lambda: TrainState.create(
            score.init_score(config, _VIEWS, _LATENTS, 0), {}, tx, keep_ema=True
        )
    )
    diffusion = Diffusion(VPSDE(), "uniform", 0.2)
    step = steps.make_score_step(config, diffusion, tx, ema_decay=0.999)
    data = LatentData(
        jax.ShapeDtypeStruct((_ROWS, _VIEWS, _LATENTS), jnp.float32),  # pyright: ignore
        jax.ShapeDtypeStruct((_ROWS, _VIEWS), jnp.bool_),  # pyright: ignore
    )
    return Program(step, state, data, _batch(batch_size))


def autoencoder_step(batch_size: int, dtype: Any = "float32") -> Program:
    """The paper's autoencoder at 64 px."""
    config, tx = AutoencoderConfig(compute_dtype=dtype), optax.adam(1e-3)
    state = jax.eval_shape(
        lambda: TrainState.create(
            autoencoder.init_autoencoder(config, 0), {}, tx, keep_ema=False
        )
    )
    step = steps.make_autoencoder_step(config, tx, augment=False, fill=1.0)
    return Program(step, state, _images(), _batch(batch_size))


def resnet18_step(batch_size: int, dtype: Any = "float32") -> Program:
    """ResNet18 at 64 px, batch statistics over all devices."""
    config, tx = ClassifierConfig(compute_dtype=dtype), optax.adam(1e-4)

    def create() -> TrainState:
        params, stats = classifiers.init_classifier(config, 1000, 0)
        return TrainState.create(params, stats, tx, keep_ema=False)

    step = classifier_step.make_classifier_step(config, tx)
    return Program(step, jax.eval_shape(create), _images(), _batch(batch_size))


def shapes_of(tree: Any) -> Any:
    """Shapes and types in place of arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def _images() -> ImageData:
    return ImageData(
        jax.ShapeDtypeStruct((_ROWS, 64, 64, 3), jnp.uint8),  # pyright: ignore
        jax.ShapeDtypeStruct((_ROWS,), jnp.int32),  # pyright: ignore
    )


def _batch(size: int) -> Batch:
    return Batch(np.zeros(size, np.int32), np.zeros((size, 2), np.uint32))
