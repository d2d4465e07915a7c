"""Solids whose intersection with a ray has a closed form.

Each is the part of its frame where some linear functions, and at most one quadratic
function, are not positive: boxes, prisms, cylinders, cones and ellipsoids, whole or
cut. The coordinates of the frame run from -1/2 to 1/2.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from jaxgrow.data.procedural.draws import Number
from jaxgrow.data.procedural.paints import Paint


Vec2: TypeAlias = tuple[Number, Number]
Vec: TypeAlias = tuple[Number, Number, Number]
Taper: TypeAlias = tuple[Number, Number, Number, Number]
_THINNEST = 1e-3
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
_NO_QUADRIC = np.zeros((4, 4))
_NO_PLANES = np.zeros((0, 4))


@dataclasses.dataclass(frozen=True)
class Solid:
    """A convex solid; point p of its frame is at frame @ p + centre in the world."""

    planes: Float[np.ndarray, "k 4"]
    """Rows (n, w): inside, n . p + w <= 0."""
    quadric: Float[np.ndarray, "4 4"]
    """Inside, (p, 1) . Q (p, 1) <= 0; all zero for a solid with flat faces."""
    radius: Float[np.ndarray, "4"]
    """Radius of a cone as a linear function of (p, 1); negative beyond its tip."""
    hull: Float[np.ndarray, "m 3"]
    """Points whose convex hull contains the solid."""
    frame: Float[np.ndarray, "3 3"]
    centre: Float[np.ndarray, "3"]
    paint: Paint


def rotation(*, yaw: Number = 0, pitch: Number = 0, roll: Number = 0) -> np.ndarray:
    """Compose roll about x, then pitch about z (nose up), then yaw about y; radians."""
    cy, sy = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cp, -sp, 0], [sp, cp, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return about_y @ about_z @ about_x


UPRIGHT = np.eye(3)
ALONG_X = rotation(pitch=-math.pi / 2)  # maps the y axis to the x axis
ALONG_Z = rotation(roll=math.pi / 2)


def box(centre: Vec, size: Vec, paint: Paint, turn: np.ndarray, taper: Taper) -> Solid:
    """Return a box whose top may be smaller or larger than its bottom.

    Args:
        centre: Centre of the untapered box.
        size: Sides along x, y and z before the turn.
        paint: Paint of the surface.
        turn: Rotation about the centre.
        taper: Distances by which the sides at -x, +x, -z and +z lean inwards from
            bottom to top, as parts of the box's width; negative leans outwards.
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
    return _solid(planes, hull, centre, size, paint, turn)


def prism(
    outline: Sequence[Vec2],
    thickness: Number,
    paint: Paint,
    centre: Vec,
    turn: np.ndarray,
) -> Solid:
    """Return a plate with a convex outline in its x-y plane and thickness along z.

    Args:
        outline: Corners, anticlockwise seen from +z, relative to `centre`.
        thickness: Thickness, half of it on each side.
        paint: Paint of the surface.
        centre: Origin of the outline.
        turn: Rotation about the centre.
    """
    points = np.array(outline, float)
    low, high = points.min(axis=0), points.max(axis=0)
    middle, extent = (low + high) / 2, high - low
    points = (points - middle) / np.maximum(extent, _THINNEST)
    edges = np.roll(points, -1, axis=0) - points
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
    planes = np.zeros((len(points) + 2, 4))
    planes[:-2, :2] = normals
    planes[:-2, 3] = -np.sum(normals * points, axis=1)
    planes[-2:] = [[0, 0, 1, -0.5], [0, 0, -1, -0.5]]
    hull = np.concatenate(
        [np.insert(points, 2, -0.5, axis=1), np.insert(points, 2, 0.5, axis=1)]
    )
    at = np.array(centre) + turn @ np.array([*middle, 0.0])
    size = (float(extent[0]), float(extent[1]), thickness)
    return _solid(planes, hull, at, size, paint, turn)


def cone(
    centre: Vec | np.ndarray, size: Vec, paint: Paint, turn: np.ndarray, top: Number
) -> Solid:
    """Return a cylinder or cone about the frame's y axis, with flat ends.

    Args:
        centre: Half way up the axis.
        size: Largest widths along x and z, and the length along y.
        paint: Paint of the surface.
        turn: Rotation about the centre.
        top: Radius of the top over that of the bottom; above 1 it widens upwards.
    """
    at_bottom, at_top = 0.5 / max(1.0, top), 0.5 * min(top, 1.0)
    if top > 1:
        at_top = 0.5
    slope, middle = at_top - at_bottom, (at_top + at_bottom) / 2
    radius = np.array([0.0, slope, 0.0, middle])
    quadric = np.diag([1.0, 0.0, 1.0, 0.0]) - np.outer(radius, radius)
    rims = [(at_bottom, -0.5), (at_top, 0.5)]
    hull = np.concatenate([np.insert(r * _RIM, 1, y, axis=1) for r, y in rims])
    return _solid(_CAPS, hull, centre, size, paint, turn, quadric, radius)


def ellipsoid(
    centre: Vec, size: Vec, paint: Paint, turn: np.ndarray, cut: Vec2
) -> Solid:
    """Return an ellipsoid, or its slice between two heights of its frame.

    Args:
        centre: Centre of the whole ellipsoid.
        size: The three diameters.
        paint: Paint of the surface.
        turn: Rotation about the centre.
        cut: Lowest and highest y of the slice, from -1/2 to 1/2.
    """
    low, high = cut
    planes, hull = _NO_PLANES, _AROUND_BALL
    if low > -0.5 or high < 0.5:
        planes = np.array([[0.0, -1.0, 0.0, low], [0.0, 1.0, 0.0, -high]])
        hull = np.clip(_CORNERS, [-0.5, low, -0.5], [0.5, high, 0.5])
    quadric = np.diag([1.0, 1.0, 1.0, -0.25])
    return _solid(planes, hull, centre, size, paint, turn, quadric)


def _solid(
    planes: np.ndarray,
    hull: np.ndarray,
    centre: Vec | np.ndarray,
    size: Vec,
    paint: Paint,
    turn: np.ndarray,
    quadric: np.ndarray = _NO_QUADRIC,
    radius: np.ndarray | None = None,
) -> Solid:
    frame = turn * np.maximum(np.array(size, float), _THINNEST)
    radius = np.zeros(4) if radius is None else radius
    return Solid(planes, quadric, radius, hull, frame, np.array(centre, float), paint)
