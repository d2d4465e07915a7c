"""The camera of the NMR renderings (Kato et al. 2018): elevation 30 degrees."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float


ELEVATION = math.radians(30.0)
DISTANCE = 2.732
HALF_SLOPE = math.tan(math.radians(30.0) / 2)  # tangent of half the field of view
AZIMUTHS_24 = tuple(15.0 * k for k in range(24))  # degrees; 0 front, 6 right, 12 back


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera: its eye and the rays through its pixels.

    The ray through (u, v), both in [-1, 1], u to the right and v upwards, is
    `eye + t * (basis @ (1, u, v))`.
    """

    eye: Float[np.ndarray, "3"]
    basis: Float[np.ndarray, "3 3"]

    def project(
        self, points: Float[np.ndarray, "n 3"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Project points to (u, v)."""
        depth, right, up = np.linalg.solve(self.basis, (points - self.eye).T)
        return right / depth, up / depth


def camera(azimuth: float) -> Camera:
    """Return the camera that sees the origin from `azimuth` degrees about the y axis.

    Azimuth 0 sees an object's front, which faces +x; 90 sees its right side, at +z.
    """
    a = math.radians(azimuth)
    flat = np.array([math.cos(a), 0.0, math.sin(a)])
    back = math.cos(ELEVATION) * flat + math.sin(ELEVATION) * np.array([0.0, 1.0, 0.0])
    right = np.array([math.sin(a), 0.0, -math.cos(a)])
    up = math.cos(ELEVATION) * np.array([0.0, 1.0, 0.0]) - math.sin(ELEVATION) * flat
    basis = np.stack([-back, HALF_SLOPE * right, HALF_SLOPE * up], axis=1)
    return Camera(DISTANCE * back, basis)
