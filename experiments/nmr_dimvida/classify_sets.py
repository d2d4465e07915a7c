"""What classifiers are trained on, and what they are shown at test."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from experiments.nmr_dimvida.config import Config, TrainSet
from experiments.nmr_dimvida.evaluate import load_methods
from experiments.nmr_dimvida.generate import generated_folder
from experiments.nmr_dimvida.objects import Objects
from jaxgrow.data.views import Partition
from jaxgrow.data.views.split import conditioning_views
from jaxgrow.multiview.baselines import RECONSTRUCTION, CompleteFn
from jaxgrow.multiview.evaluation import one_view
from jaxgrow.multiview.generated_set import GeneratedSet, open_generated


class Labelled(NamedTuple):
    """Images with their classes, and the object that each shows."""

    images: UInt8[np.ndarray, "rows h w 3"]
    labels: Int[np.ndarray, " rows"]
    objects: Int[np.ndarray, " rows"]

    def of_objects(self, chosen: Bool[np.ndarray, " n"]) -> "Labelled":
        """The images of some of the objects."""
        rows = np.flatnonzero(chosen[self.objects])
        return Labelled(self.images[rows], self.labels[rows], self.objects[rows])


class Sets:
    """Training sets of partition c and test sets of partition e, each made when asked.

    Attributes:
        ca: Partition c with generated views.
        augmented: Of them, the images to train on, (n, k, v, h, w, 3).

    Raises:
        UserError: The generated views or a network that makes controls are not there.
    """

    def __init__(self, config: Config, objects: Objects):
        self._config, self._objects = config, objects
        self.ca = self._generated_views("ca")
        self.augmented = self.ca.images[:, : config.classify.train_samples]
        self._methods = load_methods(config, objects.train)

    def train(self, name: TrainSet) -> Labelled:
        """A training set, by its name in `ClassifyConfig.train_sets`."""
        part = self._objects.c
        one = _labelled(given_views(part)[:, None], part.views.labels)
        if name in ("single", "single, same steps"):
            return one
        if name == "augmented":
            images = self.augmented.reshape(len(part), -1, *one.images.shape[1:])
        elif name == "matched":
            return self._with_seen(one)
        elif name == "reconstructed":
            images = self._with_reconstruction(part)
        elif name == "real views":
            images = real_views(part)
        else:
            images = self._by_method(part, name)
        return _labelled(images, part.views.labels)

    def tests(self) -> dict[str, Callable[[], UInt8[np.ndarray, "n m h w 3"]]]:
        """Name -> images of every test object, whose outputs are averaged."""
        part = self._objects.e
        one = given_views(part)

        def generated(name: str) -> np.ndarray:
            images = self._generated_views(name).images
            return images.reshape(len(part), -1, *images.shape[3:])

        def alone() -> np.ndarray:
            images = generated("ea").reshape(
                len(part), -1, *part.views.images.shape[1:]
            )
            others = np.arange(part.views.num_views) != part.known[:, None]
            kept = np.broadcast_to(others[:, None], images.shape[:3])
            return images[kept].reshape(len(part), -1, *one.shape[1:])

        return {
            "single": lambda: one[:, None],
            "generated": lambda: generated("ea"),
            "generated alone": alone,
            "unknown slot": lambda: generated("ea_unknown"),
            "flips": lambda: one_view.flips(one),
            "crops": lambda: one_view.crops(one),
            "reconstruction": lambda: self._with_reconstruction(part),
            "mirror": lambda: self._by_method(part, "mirror"),
            "nearest neighbour": lambda: self._by_method(part, "nearest neighbour"),
            "mean regressor": lambda: self._by_method(part, "mean regressor"),
            "real views": lambda: real_views(part),
        }

    def sweep(self, evaluations: int) -> UInt8[np.ndarray, "n m h w 3"]:
        """The generated test set in another number of network evaluations."""
        images = self._generated_views(f"ea_steps_{evaluations}").images
        return images.reshape(len(images), -1, *images.shape[3:])

    def _generated_views(self, name: str) -> GeneratedSet:
        return open_generated(generated_folder(self._config, name))

    def _with_seen(self, one: Labelled) -> Labelled:
        """And one view of each object that the diffusion model was trained on."""
        seen = self._objects.train
        known = conditioning_views(seen.object_ids, seen.observed, self._config.seed)
        images = given_views(Partition(seen, known))
        return Labelled(
            np.concatenate([one.images, images]),
            np.concatenate([one.labels, seen.labels]),
            np.arange(len(one.images) + len(images)),
        )

    def _with_reconstruction(self, part: Partition) -> UInt8[np.ndarray, "n 2 h w 3"]:
        one = given_views(part)
        images, missing = _among_blanks(part)
        rebuilt = self._methods[RECONSTRUCTION](images, np.ones_like(missing))
        rows = np.arange(len(part))
        return np.stack([one, rebuilt[rows, part.known]], axis=1)

    def _by_method(self, part: Partition, name: str) -> UInt8[np.ndarray, "n v h w 3"]:
        method: CompleteFn = self._methods[name]
        return method(*_among_blanks(part))


def given_views(part: Partition) -> UInt8[np.ndarray, "n h w 3"]:
    """The one view of every object."""
    return np.asarray(part.views.images[np.arange(len(part)), part.known])


def real_views(part: Partition) -> UInt8[np.ndarray, "n v h w 3"]:
    """All real views, the ceiling; the given one where another is not there."""
    there = part.views.observed[..., None, None, None]
    return np.where(there, part.views.images, given_views(part)[:, None])


def _among_blanks(
    part: Partition,
) -> tuple[UInt8[np.ndarray, "n v h w 3"], Bool[np.ndarray, "n v"]]:
    """The given views in their slots, white elsewhere, and where that is."""
    images = np.full(part.views.images.shape, 255, np.uint8)
    missing = np.ones(images.shape[:2], bool)
    rows = np.arange(len(part))
    images[rows, part.known] = given_views(part)
    missing[rows, part.known] = False
    return images, missing


def _labelled(
    images: UInt8[np.ndarray, "n m h w 3"], labels: Int[np.ndarray, " n"]
) -> Labelled:
    n, m, *pixels = images.shape
    objects = np.repeat(np.arange(n), m)
    return Labelled(images.reshape(n * m, *pixels), labels[objects], objects)
