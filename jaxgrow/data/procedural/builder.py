"""Assembly of objects from solids, and their arrays for the renderer."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxgrow.data.procedural import solids
from jaxgrow.data.procedural.draws import Number
from jaxgrow.data.procedural.paints import Colour, Paint
from jaxgrow.data.procedural.solids import (
    ALONG_X,
    ALONG_Z,
    UPRIGHT,
    Solid,
    Taper,
    Vec,
    Vec2,
)


# A ball of radius 0.707 fills the picture; less leaves a margin of white pixels.
_MAX_REACH = 0.68
_AXES = {"x": ALONG_X, "y": UPRIGHT, "z": ALONG_Z}
# Rotations of the x and y axes of an outline to those in the plane's name.
_PLANES = {
    "xy": UPRIGHT,
    "zy": np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "xz": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
}


class Builder:
    """Collects the solids of one object: x forwards, y up, z to its right."""

    def __init__(self) -> None:
        self.solids: list[Solid] = []

    def box(
        self,
        centre: Vec,
        size: Vec,
        paint: Paint | Colour,
        *,
        turn: np.ndarray = UPRIGHT,
        taper: Taper = (0, 0, 0, 0),
    ) -> None:
        """Add a box that may taper, see `solids.box`."""
        self.solids.append(solids.box(centre, size, _paint(paint), turn, taper))

    def plate(
        self,
        outline: Sequence[Vec2],
        thickness: Number,
        paint: Paint | Colour,
        *,
        plane: str = "xy",
        at: Vec = (0, 0, 0),
        turn: np.ndarray = UPRIGHT,
    ) -> None:
        """Add a plate: a convex outline, of either sense, in the plane xy, zy or xz."""
        area = sum(
            x0 * y1 - x1 * y0
            for (x0, y0), (x1, y1) in zip(
                outline, [*outline[1:], outline[0]], strict=True
            )
        )
        ordered = list(outline) if area > 0 else list(outline)[::-1]
        frame = turn @ _PLANES[plane]
        self.solids.append(solids.prism(ordered, thickness, _paint(paint), at, frame))

    def cylinder(
        self,
        centre: Vec,
        diameter: Number,
        length: Number,
        paint: Paint | Colour,
        *,
        axis: str = "y",
        top: Number = 1.0,
        turn: np.ndarray = UPRIGHT,
        flat: Number = 1.0,
    ) -> None:
        """Add a cylinder or cone along an axis.

        `top` is the ratio of the end on the positive side of the axis to the other
        end, `flat` the ratio of the two widths.
        """
        size = (diameter, length, diameter * flat)
        frame = turn @ _AXES[axis]
        self.solids.append(solids.cone(centre, size, _paint(paint), frame, top))

    def rod(
        self,
        start: Vec,
        end: Vec,
        diameter: Number,
        paint: Paint | Colour,
        *,
        top: Number = 1.0,
    ) -> None:
        """Add a round bar from `start` to `end`, `top` times as thick there."""
        a, b = np.array(start, float), np.array(end, float)
        length = float(np.linalg.norm(b - a))
        along = (b - a) / max(length, 1e-9)
        side = np.cross(along, [1.0, 0, 0] if abs(along[0]) < 0.9 else [0, 0, 1.0])
        side = side / np.linalg.norm(side)
        frame = np.stack([side, along, np.cross(side, along)], axis=1)
        size = (diameter * max(1.0, top), length, diameter * max(1.0, top))
        rod = solids.cone((a + b) / 2, size, _paint(paint), frame, top)
        self.solids.append(rod)

    def ball(
        self,
        centre: Vec,
        size: Vec,
        paint: Paint | Colour,
        *,
        turn: np.ndarray = UPRIGHT,
        cut: Vec2 = (-0.5, 0.5),
    ) -> None:
        """Add an ellipsoid, or its slice between two heights."""
        self.solids.append(solids.ellipsoid(centre, size, _paint(paint), turn, cut))


@dataclasses.dataclass(frozen=True)
class Scene:
    """The solids of an object in world coordinates, as arrays.

    Solid i owns the planes from plane_start[i] to plane_start[i + 1], and the hull
    points likewise.
    """

    planes: Float[np.ndarray, "k 4"]
    plane_start: Int[np.ndarray, " n_plus_1"]
    hull: Float[np.ndarray, "m 3"]
    hull_start: Int[np.ndarray, " n_plus_1"]
    quadrics: Float[np.ndarray, "n 4 4"]
    radii: Float[np.ndarray, "n 4"]
    to_unit: Float[np.ndarray, "n 3 4"]
    """Maps from the world to the frames of the solids."""
    paints: tuple[Paint, ...]


def make_scene(parts: Sequence[Solid]) -> Scene:
    """Centre the solids' bounding box on the origin and scale its longest side to 1.

    Deviation from NMR: an object that is nearly a cube is smaller, so that no view of
    it reaches the picture's edge.

    Raises:
        ValueError: There are no solids.
    """
    if not parts:
        raise ValueError("an object needs at least one solid")
    hulls = [part.hull @ part.frame.T + part.centre for part in parts]
    hull = np.concatenate(hulls)
    low, high = hull.min(axis=0), hull.max(axis=0)
    middle = (low + high) / 2
    reach = np.linalg.norm(hull - middle, axis=1).max()
    scale = float(min(1.0 / (high - low).max(), _MAX_REACH / reach))
    inverse = np.linalg.inv(np.stack([part.frame for part in parts]) * scale)
    centres = (np.stack([part.centre for part in parts]) - middle) * scale
    shift = -np.einsum("nij,nj->ni", inverse, centres)
    to_unit = np.concatenate([inverse, shift[..., None]], axis=2)
    whole = np.concatenate(
        [to_unit, np.tile([[[0.0, 0.0, 0.0, 1.0]]], (len(parts), 1, 1))], axis=1
    )
    counts = [len(part.planes) for part in parts]
    planes = np.concatenate([part.planes for part in parts])
    planes = np.einsum("ki,kij->kj", planes, np.repeat(whole, counts, axis=0))
    planes /= np.linalg.norm(planes[:, :3], axis=1, keepdims=True)
    local = np.stack([part.quadric for part in parts])
    radii = np.stack([part.radius for part in parts])
    return Scene(
        planes=planes,
        plane_start=np.cumsum([0, *counts]),
        hull=(hull - middle) * scale,
        hull_start=np.cumsum([0, *(len(points) for points in hulls)]),
        quadrics=np.einsum("nki,nkl,nlj->nij", whole, local, whole),
        radii=np.einsum("nk,nki->ni", radii, whole),
        to_unit=to_unit,
        paints=tuple(part.paint for part in parts),
    )


def around(count: int, phase: Number = 0.0) -> list[tuple[float, float]]:
    """Return (cos, sin) of `count` evenly spaced directions about the y axis."""
    angles = [phase + 2 * math.pi * k / count for k in range(count)]
    return [(math.cos(a), math.sin(a)) for a in angles]


def _paint(paint: Paint | Colour) -> Paint:
    return paint if isinstance(paint, Paint) else Paint(paint)
