"""Assembly of objects from solids, and their arrays for the renderer."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxgrow.data.procedural.paints import Colour, Number, Paint
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
_THINNEST = 1e-3
_AXES = {"x": ALONG_X, "y": UPRIGHT, "z": ALONG_Z}
# Rotations of the x and y axes of an outline to those in the plane's name.
_PLANES = {
    "xy": UPRIGHT,
    "zy": np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]]),
    "xz": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
}
_SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
_CORNERS = _SIGNS / 2
# Corners of a rhombicuboctahedron: its square faces touch the ball of diameter 1.
_AROUND_BALL = np.concatenate(
    [_CORNERS * np.roll([1.0, *[math.sqrt(2) - 1] * 2], axis) for axis in range(3)]
)
# Edges of this regular polygon touch the unit circle where it meets the axes.
_ANGLES = np.pi * (2 * np.arange(12) + 1) / 12
_RIM = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1) / math.cos(math.pi / 12)
_CAPS = np.array([[0.0, -1.0, 0.0, -0.5], [0.0, 1.0, 0.0, -0.5]])
_NO_QUADRIC, _NO_RADIUS = np.zeros((4, 4)), np.zeros(4)


class Builder:
    """Collects the solids of one object: x forwards, y up, z to its right.

    `turn` is a rotation about the centre of a solid.
    """

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
        """Add a box whose top may be smaller or larger than its bottom.

        `centre` is that of the untapered box, `size` its sides along x, y and z before
        the turn. By `taper` the sides at -x, +x, -z and +z lean inwards from bottom to
        top, in parts of the box's width; negative leans outwards.
        """
        x0, x1, z0, z1 = taper
        planes = np.array(
            [
                [0, 1, 0, -0.5],
                [0, -1, 0, -0.5],
                [-1, x0, 0, x0 / 2 - 0.5],
                [1, x1, 0, x1 / 2 - 0.5],
                [0, z0, -1, z0 / 2 - 0.5],
                [0, z1, 1, z1 / 2 - 0.5],
            ]
        )
        hull = _CORNERS.copy()
        hull[[2, 3], 0] += x0
        hull[[6, 7], 0] -= x1
        hull[[2, 6], 2] += z0
        hull[[3, 7], 2] -= z1
        self._add(planes, hull, centre, size, paint, turn)

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
        """Add a plate: a convex outline, of either sense, in the plane xy, zy or xz.

        `at` is the origin of the outline; half of the thickness is on each side of it.
        """
        points = np.array(outline, float)
        x, y = points.T
        if x @ np.roll(y, -1) <= y @ np.roll(x, -1):  # clockwise
            points = points[::-1]
        low, high = points.min(axis=0), points.max(axis=0)
        middle, extent = (low + high) / 2, high - low
        points = (points - middle) / np.maximum(extent, _THINNEST)
        edges = np.roll(points, -1, axis=0) - points
        normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
        planes = np.zeros((len(points) + 2, 4))
        planes[:-2, :2] = normals
        planes[:-2, 3] = -np.sum(normals * points, axis=1)
        planes[-2:] = [[0, 0, 1, -0.5], [0, 0, -1, -0.5]]
        hull = np.concatenate([np.insert(points, 2, z, axis=1) for z in (-0.5, 0.5)])
        frame = turn @ _PLANES[plane]
        centre = np.array(at) + frame @ np.array([*middle, 0.0])
        size = (float(extent[0]), float(extent[1]), thickness)
        self._add(planes, hull, centre, size, paint, frame)

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
        """Add a cylinder or cone along an axis, with flat ends.

        `top` is the ratio of the end on the positive side of the axis to the other
        end, `flat` the ratio of the two widths.
        """
        size = (diameter, length, diameter * flat)
        self._add_cone(centre, size, paint, turn @ _AXES[axis], top)

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
        self._add_cone((a + b) / 2, size, paint, frame, top)

    def ball(
        self,
        centre: Vec,
        size: Vec,
        paint: Paint | Colour,
        *,
        turn: np.ndarray = UPRIGHT,
        cut: Vec2 = (-0.5, 0.5),
    ) -> None:
        """Add an ellipsoid, or its slice between two heights of its frame."""
        low, high = cut
        planes, hull = np.zeros((0, 4)), _AROUND_BALL
        if low > -0.5 or high < 0.5:
            planes = np.array([[0.0, -1.0, 0.0, low], [0.0, 1.0, 0.0, -high]])
            hull = np.clip(_CORNERS, [-0.5, low, -0.5], [0.5, high, 0.5])
        quadric = np.diag([1.0, 1.0, 1.0, -0.25])
        self._add(planes, hull, centre, size, paint, turn, quadric)

    def _add_cone(
        self,
        centre: Vec | np.ndarray,
        size: Vec,
        paint: Paint | Colour,
        turn: np.ndarray,
        top: Number,
    ) -> None:
        at_bottom, at_top = 0.5 / max(1.0, top), 0.5 * min(top, 1.0)
        slope, middle = at_top - at_bottom, (at_top + at_bottom) / 2
        radius = np.array([0.0, slope, 0.0, middle])
        quadric = np.diag([1.0, 0.0, 1.0, 0.0]) - np.outer(radius, radius)
        rims = [(at_bottom, -0.5), (at_top, 0.5)]
        hull = np.concatenate([np.insert(r * _RIM, 1, y, axis=1) for r, y in rims])
        self._add(_CAPS, hull, centre, size, paint, turn, quadric, radius)

    def _add(
        self,
        planes: np.ndarray,
        hull: np.ndarray,
        centre: Vec | np.ndarray,
        size: Vec,
        paint: Paint | Colour,
        turn: np.ndarray,
        quadric: np.ndarray = _NO_QUADRIC,
        radius: np.ndarray = _NO_RADIUS,
    ) -> None:
        frame = turn * np.maximum(np.array(size, float), _THINNEST)
        paint = paint if isinstance(paint, Paint) else Paint(paint)
        at = np.array(centre, float)
        self.solids.append(Solid(planes, quadric, radius, hull, frame, at, paint))


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


def both(z: Number) -> tuple[Number, Number]:
    """Return -z and z, the two sides of a symmetric object."""
    return -z, z


def around(count: int, phase: Number = 0.0) -> list[tuple[float, float]]:
    """Return (cos, sin) of `count` evenly spaced directions about the y axis."""
    angles = [phase + 2 * math.pi * k / count for k in range(count)]
    return [(math.cos(a), math.sin(a)) for a in angles]
