"""Training and test sets of the classifiers."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from experiments.nmr_dimvida.config import Config
from experiments.nmr_dimvida.evaluate import load_methods
from experiments.nmr_dimvida.evaluation_config import TrainSet
from experiments.nmr_dimvida.generate import generated_folder
from experiments.nmr_dimvida.objects import Objects
from jaxgrow.data.views import Partition
from jaxgrow.data.views.split import conditioning_views
from jaxgrow.multiview.baselines import RECONSTRUCTION
from jaxgrow.multiview.evaluation import one_view
from jaxgrow.multiview.generated_set import GeneratedSet, open_generated


_BASELINES = ("mirror", "nearest neighbour", "mean regressor")


class Labelled(NamedTuple):
    """Images with their classes, and the object that each shows."""

    images: UInt8[np.ndarray, "rows h w 3"]
    labels: Int[np.ndarray, " rows"]
    objects: Int[np.ndarray, " rows"]

    def of_objects(self, chosen: Bool[np.ndarray, " n"]) -> "Labelled":
        """Return the images of the chosen objects."""
        rows = np.flatnonzero(chosen[self.objects])
        return Labelled(self.images[rows], self.labels[rows], self.objects[rows])


class Sets:
    """Training sets of partition c and test sets of partition e, each made when needed.

    Attributes:
        ca: Partition c with generated views.
        augmented: Its images to train on, (n, k, v, h, w, 3).

    Raises:
        UserError: The generated views or a network that makes controls are not there.
    """

    def __init__(self, config: Config, objects: Objects):
        self._config, self._objects = config, objects
        self.ca = self._generated_set("ca")
        self.augmented = self.ca.images[:, :1]
        self._methods = load_methods(config, objects.train)

    def train(self, name: TrainSet) -> Labelled:
        """Return a training set, by its name in `ClassifyConfig.train_sets`."""
        part = self._objects.c
        if name == "matched":
            return self._matched(part)
        if name in ("single", "single, same steps"):
            images = conditioning_images(part)[:, None]
        elif name == "augmented":
            images = _flat(self.augmented)
        elif name == "reconstructed":
            images = self._with_reconstruction(part)
        elif name == "real views":
            images = real_views(part)
        else:
            images = self._by_method(part, name)
        n, m, *pixels = images.shape
        objects = np.repeat(np.arange(n), m)
        rows = images.reshape(n * m, *pixels)
        return Labelled(rows, part.views.labels[objects], objects)

    def tests(self) -> dict[str, Callable[[], UInt8[np.ndarray, "n m h w 3"]]]:
        """Return functions that make the images of every test object, by name.

        The classifier's outputs for the images of an object are averaged.
        """
        part = self._objects.e
        one = conditioning_images(part)
        by_method = functools.partial(self._by_method, part)
        return {
            "single": lambda: one[:, None],
            "generated": lambda: self.generated("ea"),
            "generated alone": self._generated_alone,
            "unknown slot": lambda: self.generated("ea_unknown"),
            "flips": lambda: one_view.flips(one),
            "crops": lambda: one_view.crops(one),
            "reconstruction": lambda: self._with_reconstruction(part),
            **{
                name: functools.partial(by_method, name)
                for name in _BASELINES
                if name in self._methods
            },
            "real views": lambda: real_views(part),
        }

    def generated(self, name: str) -> UInt8[np.ndarray, "n m h w 3"]:
        """Return all samples of all views of every object, by the name of the set."""
        return _flat(self._generated_set(name).images)

    def _generated_set(self, name: str) -> GeneratedSet:
        return open_generated(generated_folder(self._config, name))

    def _generated_alone(self) -> UInt8[np.ndarray, "n m h w 3"]:
        images = self._generated_set("ea").images
        kept = np.broadcast_to(_missing(self._objects.e)[:, None], images.shape[:3])
        return images[kept].reshape(len(images), -1, *images.shape[3:])

    def _matched(self, part: Partition) -> Labelled:
        """One view of each object of c and of those that train the diffusion model."""
        seen = self._objects.train
        known = conditioning_views(seen.object_ids, seen.observed, self._config.seed)
        parts = (part, Partition(seen, known))
        return Labelled(
            np.concatenate([conditioning_images(p) for p in parts]),
            np.concatenate([p.views.labels for p in parts]),
            np.arange(len(part) + len(seen)),
        )

    def _with_reconstruction(self, part: Partition) -> UInt8[np.ndarray, "n 2 h w 3"]:
        every = np.ones(part.views.images.shape[:2], bool)
        rebuilt = self._methods[RECONSTRUCTION](_among_blanks(part), every)
        own = rebuilt[np.arange(len(part)), part.conditioning]
        return np.stack([conditioning_images(part), own], axis=1)

    def _by_method(self, part: Partition, name: str) -> UInt8[np.ndarray, "n v h w 3"]:
        return self._methods[name](_among_blanks(part), _missing(part))


def conditioning_images(part: Partition) -> UInt8[np.ndarray, "n h w 3"]:
    """Return the one view of every object."""
    return np.asarray(part.views.images[np.arange(len(part)), part.conditioning])


def real_views(part: Partition) -> UInt8[np.ndarray, "n v h w 3"]:
    """Return all real views, with the conditioning view in place of unobserved ones."""
    there = part.views.observed[..., None, None, None]
    return np.where(there, part.views.images, conditioning_images(part)[:, None])


def _missing(part: Partition) -> Bool[np.ndarray, "n v"]:
    return np.arange(part.views.num_views) != part.conditioning[:, None]


def _among_blanks(part: Partition) -> UInt8[np.ndarray, "n v h w 3"]:
    """The conditioning views in their places, and white for all others."""
    others = _missing(part)[..., None, None, None]
    return np.where(others, np.uint8(255), part.views.images)


def _flat(images: UInt8[np.ndarray, "n k v h w 3"]) -> UInt8[np.ndarray, "n m h w 3"]:
    return images.reshape(len(images), -1, *images.shape[3:])
