"""Frechet distances of arrays of images, under the names that they may bear."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxgrow.evaluation.classifiers import SavedClassifier, classify
from jaxgrow.metrics import frechet
from jaxgrow.metrics.frechet import FrechetDistance
from jaxgrow.metrics.inception_distance import FeaturesOfPixels, pixel_features
from jaxgrow.pixels import to_unit
from jaxgrow.pretrained.networks import FeatureNet


def inception_distance(
    net: FeatureNet,
    real: UInt8[np.ndarray, "n h w 3"],
    fake: UInt8[np.ndarray, "m h w 3"],
    batch_size: int = 64,
) -> FrechetDistance:
    """FID with the network of `pretrained.load_inception`; random weights are named.

    Raises:
        UserError: See `frechet_distance`.
    """
    random = " (RANDOM weights)" if net.provenance.is_random else ""
    return _distance(
        pixel_features(net.features_fn), real, fake, frechet.FID + random, batch_size
    )


def classifier_distance(
    classifier: SavedClassifier,
    real: UInt8[np.ndarray, "n h w 3"],
    fake: UInt8[np.ndarray, "m h w 3"],
    batch_size: int = 128,
) -> FrechetDistance:
    """The same distance on what a classifier of this project sees; it is not FID.

    Raises:
        UserError: See `frechet_distance`.
    """
    name = frechet.CLASSIFIER_DISTANCE
    return _distance(classifier_features(classifier), real, fake, name, batch_size)


def classifier_features(classifier: SavedClassifier) -> FeaturesOfPixels:
    """What goes into the classifier's head, (b, d), of 8-bit pixels."""
    width = classifier.params["head"]["kernel"].shape[0]
    identity = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    headless = classifier._replace(params={**classifier.params, "head": identity})
    return lambda pixels: classify(headless, to_unit(pixels))


def _distance(
    features_fn: Callable,
    real: UInt8[np.ndarray, "n h w 3"],
    fake: UInt8[np.ndarray, "m h w 3"],
    name: str,
    batch_size: int,
) -> FrechetDistance:
    stats = [
        frechet.stats_of_images(features_fn, images, batch_size=batch_size)
        for images in (real, fake)
    ]
    return frechet.frechet_distance(*stats, name=name)
