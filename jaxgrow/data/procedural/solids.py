"""Solids whose intersection with a ray has a closed form.

Each is the part of its frame where some linear functions, and at most one quadratic
function, are not positive: boxes, prisms, cylinders, cones and ellipsoids, whole or
cut. The coordinates of the frame run from -1/2 to 1/2.
"""

import dataclasses
import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from jaxgrow.data.procedural.paints import Number, Paint


Vec2: TypeAlias = tuple[Number, Number]
Vec: TypeAlias = tuple[Number, Number, Number]
Taper: TypeAlias = tuple[Number, Number, Number, Number]


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
