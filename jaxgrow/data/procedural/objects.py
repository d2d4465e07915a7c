"""The thirteen classes, and views of one object of a class."""

import importlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.procedural.builder import Builder, Scene, make_scene
from jaxgrow.data.procedural.camera import camera
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import Number
from jaxgrow.data.procedural.render import render
from jaxgrow.errors import UserError


VERSION = 1  # to be raised when a pixel of any object changes
CLASSES = (
    *("airplane", "bench", "cabinet", "car", "chair", "display", "lamp"),
    *("loudspeaker", "rifle", "sofa", "table", "telephone", "vessel"),
)
"""The names of the NMR data set, in its order."""

_ROOM = "jaxgrow.data.procedural.classes"
_MAKERS: dict[str, Callable[[Draws, Builder], None]] = {
    name: getattr(importlib.import_module(f"{_ROOM}.{name}"), name) for name in CLASSES
}


def render_object(
    class_name: str,
    index: int,
    *,
    seed: int,
    azimuths: Sequence[Number],
    size: int = 64,
) -> UInt8[np.ndarray, "v size size 3"]:
    """Render views of a synthetic object, as a pure function of the arguments.

    Objects of a class count from 0. Azimuths are degrees about the vertical axis: 0
    sees the front, 90 the right side, 180 the back. Adding a view does not change the
    others. `size` is the side of a view in pixels.

    Raises:
        UserError: There is no such class, or a number is out of its range.
    """
    check_request([(class_name, index)], seed=seed, azimuths=azimuths, size=size)
    scene = object_scene(class_name, index, seed=seed)
    return np.stack([render(scene, camera(float(a)), size) for a in azimuths])


def object_scene(class_name: str, index: int, *, seed: int) -> Scene:
    """Build the solids of an object, scaled and centred."""
    builder = Builder()
    draw = Draws(seed, CLASSES.index(class_name), index)
    _MAKERS[class_name](draw, builder)
    return make_scene(builder.solids)


def check_request(
    items: Sequence[tuple[str, int]],
    *,
    seed: int,
    azimuths: Sequence[Number],
    size: int,
) -> None:
    """Check a request to render.

    Raises:
        UserError: There is no such class or no view, or a number is out of its range.
    """
    for class_name, index in items:
        if class_name not in _MAKERS:
            raise UserError(
                f"there are no synthetic objects of class {class_name!r}: choose among "
                f"{', '.join(CLASSES)}"
            )
        if index < 0:
            raise UserError(f"index {index} of class {class_name} must be at least 0")
    if seed < 0:
        raise UserError(f"seed {seed} must be at least 0")
    if not len(azimuths):
        raise UserError("no views are asked for: give at least one azimuth")
    if size < 1:
        raise UserError(f"size {size} of a view must be at least 1 pixel")
