"""A tiny autoencoder, score network and classifier with fresh weights, and objects."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxgrow.data.views import ViewSet
from jaxgrow.evaluation.classifiers import SavedClassifier
from jaxgrow.multiview.latents import LatentStats
from jaxgrow.multiview.saved_models import SavedAutoencoder, SavedLatentModel
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.nets import autoencoder, classifiers, score
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.score import ScoreConfig


NAMES = ("front", "back", "right", "left")
AZIMUTHS = (0.0, 180.0, 90.0, 270.0)
SIDE, DIM = 16, 4
AUTOENCODER = AutoencoderConfig(image_size=SIDE, latent_dim=DIM, base_channels=4)
SCORE = ScoreConfig(width=32, time_dim=16, num_groups=8)


@functools.cache
def saved_autoencoder(seed=0) -> SavedAutoencoder:
    return SavedAutoencoder(
        AUTOENCODER, autoencoder.init_autoencoder(AUTOENCODER, seed)
    )


@functools.cache
def latent_model(seed=0, num_views=4) -> SavedLatentModel:
    """A network whose output layer is not zero."""
    params = score.init_score(SCORE, num_views, DIM, seed)
    rng = np.random.default_rng(seed)
    out = jax.tree.map(
        lambda x: jnp.float32(0.1 * rng.standard_normal(x.shape)), params["out"]
    )
    stats = LatentStats(
        rng.standard_normal((num_views, DIM)).astype(np.float32),
        (0.5 + rng.random((num_views, DIM))).astype(np.float32),
    )
    names = NAMES[:num_views]
    return SavedLatentModel(SCORE, {**params, "out": out}, stats, names, VPSDE(), {})


@functools.cache
def coherence_classifier(num_classes=3) -> SavedClassifier:
    config = ClassifierConfig(width=4)
    params, stats = classifiers.init_classifier(config, num_classes, 0)
    return SavedClassifier(config, params, stats, tuple("abc"[:num_classes]))


def objects(n=5, seed=0, num_views=4) -> ViewSet:
    """Random views, a third of the objects of each class."""
    rng = np.random.default_rng(seed)
    return ViewSet(
        images=rng.integers(0, 256, (n, num_views, SIDE, SIDE, 3), np.uint8),
        labels=np.arange(n) % 3,
        class_names=("a", "b", "c"),
        object_ids=tuple(f"a/{i}" for i in range(n)),
        observed=np.ones((n, num_views), bool),
        azimuths=AZIMUTHS[:num_views],
        view_names=NAMES[:num_views],
    )
