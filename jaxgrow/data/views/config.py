"""Configuration of multi-view data and of its split."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from jaxgrow.data.views.sides import name_of_azimuth
from jaxgrow.errors import UserError
from jaxgrow.ranges import Checked, Count, Fraction, Range


NUM_RENDERED = 24  # views around each object in NMR
_STEP = 360.0 / NUM_RENDERED


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewDataConfig(Checked):
    """The objects, their views, and their split into three parts."""

    source: Literal["synthetic", "nmr", "softras", "folder"] = "synthetic"
    """synthetic: procedural objects, made here; nmr: NMR_Dataset.zip or its folder;
    softras: a folder of <synset>_<set>_images.npz; folder: your own
    <class>/<object>/<view>.png."""
    path: Path | None = None
    """Archive or folder of the data; synthetic has none."""
    views: tuple[Annotated[int, Range(0, NUM_RENDERED - 1)], ...] = (0, 12, 6, 18)
    """Views and their order, as indices of 24 around the object, 15 degrees apart:
    0 front, 12 back, 6 right, 18 left. For folder see view_names."""
    view_names: tuple[str, ...] = ()
    """folder: file names of the views without ending, in the order wanted; left out,
    all views, sorted by name. Sides (front, right, back, left) and degrees (az090)
    give the azimuths that the baselines mirror and copy need."""
    classes: tuple[str, ...] = ()
    """Only these classes; left out, all."""
    size: Annotated[int, Range(4, 4096)] = 64
    """Pixels along a side."""
    resize: bool = False
    """Scale square images of another size, instead of refusing them."""
    allow_missing: bool = False
    """folder: keep objects that lack some of the views."""
    objects_d: Count | None = None
    """Most objects of each class to train the generative model on; left out, 120 for
    synthetic and all otherwise."""
    objects_c: Count | None = None
    """Most objects of each class to train classifiers on; left out, 60 for synthetic
    and all otherwise."""
    objects_e: Count | None = None
    """Most objects of each class to test on; left out, 40 for synthetic and
    all otherwise."""
    d_fraction: Fraction = 0.5
    """Part of the training objects for the generative model; the classifiers get the
    others. Not for synthetic."""
    test_fraction: Fraction = 0.2
    """folder: part of the objects held out for the test if the folder has no
    subfolders train and test, or train and val."""
    cache_dir: Path | None = None
    """Folder of the decoded views; left out, jaxgrow in the user's cache folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source != "synthetic" and self.path is None:
            raise UserError(f"source {self.source} needs its data: set path")
        if self.source == "synthetic" and self.path is not None:
            raise UserError(
                f"source synthetic makes its own data: leave path {self.path} out, or "
                "set source"
            )
        self._check_views()

    @property
    def azimuths(self) -> tuple[float, ...]:
        """Degrees of the views in `views`."""
        return tuple(_STEP * index for index in self.views)

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of the views in `views`."""
        return tuple(map(name_of_azimuth, self.azimuths))

    def _check_views(self) -> None:
        if len(self.views) < 2 or len(self.view_names) == 1:
            raise UserError("at least 2 views are needed: set more of them")
        for chosen in (self.views, self.view_names):
            doubled = [view for view in chosen if chosen.count(view) > 1]
            if doubled:
                raise UserError(
                    f"view {doubled[0]} is given {chosen.count(doubled[0])} times: "
                    "give every view once"
                )
        if self.source == "folder" and self.views != type(self).views:
            raise UserError(
                f"views {self.views} are of rendered objects: set view_names to the "
                "file names of the views for folder"
            )
        if self.view_names and self.source != "folder":
            raise UserError(
                f"view_names are for source folder: set views for {self.source}"
            )
