"""Objects seen from several sides, and their split into three parts."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int, UInt8


@dataclasses.dataclass(frozen=True)
class ViewSet:
    """Views of `n` objects; view `v` shows the same side of every object.

    Attributes:
        images: RGB views on white ground, in memory or mapped from disk, read-only.
            A view that does not exist is white.
        labels: Index of each object's class in `class_names`.
        class_names: All classes of the data, in alphabetical order.
        object_ids: `<class>/<object>`, in the data's own names; for a folder with
            subfolders such as train and test, with their names before it.
        observed: True where the view exists.
        azimuths: Azimuth of each view in degrees, 0 in front of the object and 90 at
            its right; None if unknown.
        view_names: Names of the views: their sides, or those of a folder's files.
    """

    images: UInt8[np.ndarray, "n v h w 3"]
    labels: Int[np.ndarray, " n"]
    class_names: tuple[str, ...]
    object_ids: tuple[str, ...]
    observed: Bool[np.ndarray, "n v"]
    azimuths: tuple[float, ...] | None
    view_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_views(self) -> int:
        return self.images.shape[1]

    @property
    def size(self) -> int:
        """Pixels along a side."""
        return self.images.shape[2]

    def take(self, indices: Int[np.ndarray, " k"]) -> "ViewSet":
        """Return the objects at `indices`, in that order, with images in memory."""
        return dataclasses.replace(
            self,
            images=np.asarray(self.images[indices]),
            labels=self.labels[indices],
            object_ids=tuple(self.object_ids[i] for i in indices.tolist()),
            observed=self.observed[indices],
        )


@dataclasses.dataclass(frozen=True)
class Partition:
    """Objects with one conditioning view each.

    Attributes:
        views: All views; those but the conditioning one are only for comparison.
        conditioning: Index of the conditioning view, which is observed.
    """

    views: ViewSet
    conditioning: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.views)


@dataclasses.dataclass(frozen=True)
class Partitions:
    """The three parts of Di Giacomo et al. (2024), Sec. IV, disjoint by object.

    Attributes:
        d: All views, to train the generative model.
        c: One view each, to train classifiers.
        e: One view each, to test.
        notes: Sentences for the user on repairs and assumptions.
        digests: Part -> hash of its pixels, names and classes.
    """

    d: ViewSet
    c: Partition
    e: Partition
    notes: tuple[str, ...]
    digests: dict[str, str]
