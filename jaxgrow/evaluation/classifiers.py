"""Classifiers of single views: their files, logits, accuracy and features."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt8

from jaxgrow.data import arrays
from jaxgrow.devices import settings
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.metrics.inception_distance import FeaturesOfPixels
from jaxgrow.nets import classifiers
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.pixels import to_unit
from jaxgrow.storage import network_file
from jaxgrow.typing import Params, UnitImage


_BATCH = 256


class SavedClassifier(NamedTuple):
    """A classifier of single views in [0, 1]."""

    config: ClassifierConfig
    params: Params
    stats: PyTree
    class_names: tuple[str, ...]


def save_classifier(path: Path, saved: SavedClassifier, info: dict[str, Any]) -> None:
    """Write a classifier in one move; raises `UserError` if the disk refuses."""
    header = {"config": saved.config, "class_names": saved.class_names, "info": info}
    tree = {"params": saved.params, "stats": saved.stats}
    network_file.save_network(path, "classifier", header, tree)


@settings.fixed()
def load_classifier(path: Path) -> SavedClassifier:
    """Return the classifier in a file of `save_classifier`, bit for bit.

    Raises:
        UserError: The file is missing, damaged, of another kind, or does not fit.
    """
    header, tree = network_file.load_network(path, "classifier")
    config = network_file.config_of(path, ClassifierConfig, header)
    names = tuple(header["class_names"])
    params, stats = classifiers.classifier_shapes(config, len(names))
    network_file.check_shapes(path, tree, {"params": params, "stats": stats})
    return SavedClassifier(config, tree["params"], tree["stats"], names)


def classify(classifier: SavedClassifier, images: UnitImage) -> Float[Array, "b k"]:
    """Return logits, with the running statistics of training."""
    logits, _ = classifiers.apply_classifier(
        classifier.config, classifier.params, classifier.stats, images, train=False
    )
    return logits


@settings.fixed()
def logits_of(classifier: SavedClassifier, images: Any) -> Float[np.ndarray, "n k"]:
    """Return logits of any number of images; the devices of this machine share them.

    Raises:
        UserError: The images are not uint8 of shape (n, h, w, 3).
    """
    images = arrays.as_pixels(images, "images")
    nets = classifier.params, classifier.stats
    return _logits(classifier.config).in_batches(_BATCH, nets, images)


@functools.lru_cache(maxsize=16)
def _logits(config: ClassifierConfig) -> RowsFn:
    def logits(nets, images):
        params, stats = nets
        return classifiers.apply_classifier(config, params, stats, to_unit(images))[0]

    return RowsFn(logits)


def accuracy(
    classifier: SavedClassifier,
    images: UInt8[np.ndarray, "n h w 3"],
    labels: Int[np.ndarray, " n"],
) -> float:
    """Return the percentage of images that the classifier labels correctly."""
    predicted = logits_of(classifier, images).argmax(axis=1)
    return 100.0 * float((predicted == labels).mean())


def classifier_features(classifier: SavedClassifier) -> FeaturesOfPixels:
    """Return a function from 8-bit pixels to the input of the head, (b, d)."""
    width = classifier.params["head"]["kernel"].shape[0]
    identity = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    headless = classifier._replace(params={**classifier.params, "head": identity})
    return lambda pixels: classify(headless, to_unit(pixels))
