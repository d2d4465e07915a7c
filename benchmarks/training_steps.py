"""Training steps of both systems at the papers' sizes, to be compiled or run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgrow.data.batches import PictureBatch
from jaxgrow.inpainting import gan_step, networks
from jaxgrow.inpainting.batch import Data
from jaxgrow.inpainting.losses import LossConfig
from jaxgrow.inpainting.stages import GrowthConfig, OptimizerConfig, Stage
from jaxgrow.multiview import classifier_step, steps
from jaxgrow.multiview.batch import ImageData, LatentData, ViewBatch
from jaxgrow.multiview.conditioning import ConditioningDistribution
from jaxgrow.multiview.denoiser import Denoiser
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.nets import autoencoder, classifiers, score
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.growing import NetConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.nets.vgg19 import VGG19Features, make_features_fn
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import FeaturesFn, Params


_ROWS = 1024  # of the data; a step gathers its batch from them
_VIEWS, _LATENTS = 4, 64


class Program(NamedTuple):
    """A step with the shapes of its state, its data and its batch."""

    step: Callable[..., Any]
    state: Any
    data: Any
    batch: Any


def build_stage(
    stage: Stage,
    freeze: Any,
    losses: LossConfig,
    features_fn: FeaturesFn | None = None,
    net: NetConfig = NetConfig(skip="add"),  # noqa: B008
) -> tuple[Any, Callable[..., Any]]:
    """Return (state, step) of a System 1 stage; other settings are the defaults."""
    nets = networks.make_networks(
        stage,
        net,
        GrowthConfig(freeze=freeze),
        OptimizerConfig(),
        d_sees_mask=False,
        axis_name=None,
    )
    state = networks.enter_stage(nets, stage, 0, keep_ema=False, before=None)
    step = gan_step.make_gan_step(nets, losses, ema_decay=0.0, features_fn=features_fn)
    return state, step


def random_pictures(resolution: int, size: int) -> tuple[Data, PictureBatch]:
    """Draw pictures with holes, and the batch that takes all of them in order."""
    rng = np.random.default_rng(0)
    shape = (size, resolution, resolution)
    images = rng.integers(0, 256, (*shape, 3), np.uint8)
    masks = (rng.random((*shape, 1)) < 0.3).astype(np.uint8)
    rows = np.arange(size, dtype=np.int32)
    zeros = np.zeros(size, np.int32)
    batch = PictureBatch(rows, zeros.astype(bool), rows, zeros)
    return Data(jnp.asarray(images), jnp.asarray(masks)), batch


def random_vgg() -> Params:
    """Draw weights of VGG19's first two blocks; the time does not depend on them."""
    image = jnp.zeros((1, 8, 8, 3))
    return jax.jit(VGG19Features().init)(jax.random.key(0), image)["params"]


def paper_stage(resolution: int, batch_size: int, dtype: Any) -> Program:
    """Build a stage of the preset `paper` with arrays, except for `dtype`.

    Older stages are frozen. VGG19's weights are random constants of the program, as
    those of a run are constants.
    """
    stage = Stage(int(np.log2(resolution)) - 2, resolution, resolution, 1000, 0)
    state, step = build_stage(
        stage,
        "none" if resolution == 4 else "all",
        LossConfig(),
        make_features_fn(random_vgg(), compute_dtype=dtype),
        net=NetConfig(compute_dtype=dtype),
    )
    data, _ = random_pictures(resolution, _ROWS)
    rows = np.arange(batch_size, dtype=np.int32) % _ROWS
    return Program(step, state, data, PictureBatch(rows, rows % 2 == 0, rows, rows % 8))


def gan(resolution: int, batch_size: int, dtype: Any = "float32") -> Program:
    """Build the program of `paper_stage`."""
    step, state, data, batch = paper_stage(resolution, batch_size, dtype)
    return Program(step, shapes_of(state), shapes_of(data), batch)


def score_step(batch_size: int, dtype: Any = "float32") -> Program:
    """Build the step of the paper's score network with its average."""
    config, tx = ScoreConfig(compute_dtype=dtype), optax.adam(1e-4)
    state = jax.eval_shape(
        lambda: TrainState.create(
            score.init_score(config, _VIEWS, _LATENTS, 0), {}, tx, keep_ema=True
        )
    )
    model, distribution = Denoiser(config, VPSDE()), ConditioningDistribution()
    step = steps.make_latent_step(model, distribution, tx, ema_decay=0.999)
    data = LatentData(
        jax.ShapeDtypeStruct((_ROWS, _VIEWS, _LATENTS), jnp.float32),  # pyright: ignore
        jax.ShapeDtypeStruct((_ROWS, _VIEWS), jnp.bool_),  # pyright: ignore
    )
    return Program(step, state, data, _batch(batch_size))


def autoencoder_step(batch_size: int, dtype: Any = "float32") -> Program:
    """Build the step of the paper's autoencoder at 64 px."""
    config, tx = AutoencoderConfig(compute_dtype=dtype), optax.adam(1e-3)
    state = jax.eval_shape(
        lambda: TrainState.create(
            autoencoder.init_autoencoder(config, 0), {}, tx, keep_ema=False
        )
    )
    step = steps.make_autoencoder_step(config, tx, augment=False, fill=1.0)
    return Program(step, state, _images(), _batch(batch_size))


def resnet18_step(batch_size: int, dtype: Any = "float32") -> Program:
    """Build the step of ResNet18 at 64 px."""
    config, tx = ClassifierConfig(compute_dtype=dtype), optax.adam(1e-4)

    def create() -> TrainState:
        params, stats = classifiers.init_classifier(config, 1000, 0)
        return TrainState.create(params, stats, tx, keep_ema=False)

    step = classifier_step.make_classifier_step(config, tx)
    return Program(step, jax.eval_shape(create), _images(), _batch(batch_size))


def shapes_of(tree: Any) -> Any:
    """Return `tree` with shapes and types in place of arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def _images() -> ImageData:
    return ImageData(
        jax.ShapeDtypeStruct((_ROWS, 64, 64, 3), jnp.uint8),  # pyright: ignore
        jax.ShapeDtypeStruct((_ROWS,), jnp.int32),  # pyright: ignore
    )


def _batch(size: int) -> ViewBatch:
    return ViewBatch(np.zeros(size, np.int32), np.zeros((size, 2), np.uint32))
