"""From which side each view of NMR was taken, by the cameras that lie beside it.

A point of the world is in the camera's frame at R x + t, where [R t] are the first
rows of `world_mat_i` (Niemeyer et al. 2020, DVR), so that the eye, the origin of that
frame, is at -R^-1 t: which way the camera's own axes point does not matter. The world
has y up and the objects' front at +x, as in ShapeNetCore v1; for view 0 of the archive

    world_mat_0 = [[0, 0, -1, 0], [.5, -.866, 0, 0], [-.866, -.5, 0, 2.732], ...],

whose eye 2.732 (.866, .5, 0) is in front, 30 degrees above the ground. An azimuth is
atan2(z, x): Kato's script has its eyes at 2.732 (cos az cos el, sin el, sin az cos el).
"""

import io
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxgrow.errors import UserError


_TOLERANCE = 1.0  # degrees


def read_eyes(content: bytes, name: str) -> Float[np.ndarray, "n 3"]:
    """Where the cameras of a `cameras.npz` stand.

    Reads `world_mat_i`, of three or four rows, or the inverse `world_mat_inv_i`.

    Raises:
        UserError: The file cannot be read or holds no such matrices.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            eyes = []
            while (i := len(eyes)) < len(file.files):
                if f"world_mat_{i}" in file:
                    world = file[f"world_mat_{i}"].astype(np.float64)
                    eyes.append(-np.linalg.solve(world[:3, :3], world[:3, 3]))
                elif f"world_mat_inv_{i}" in file:
                    eyes.append(file[f"world_mat_inv_{i}"][:3, 3].astype(np.float64))
                else:
                    break
        positions = np.stack(eyes)
    except (
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        np.linalg.LinAlgError,
    ) as error:
        raise UserError(
            f"cameras {name} cannot be read ({error}): replace the file, or remove all "
            "cameras.npz to go on unchecked"
        ) from error
    return positions


def azimuths_of(eyes: Float[np.ndarray, "n 3"], name: str) -> Float[np.ndarray, " n"]:
    """Degrees in [0, 360) around the upright axis, 0 in front and 90 at the right.

    The upright axis is y, as in the archive, if all eyes have one height along it;
    else z, as programs that turn objects upright leave it (x, y, z) -> (x, -z, y).

    Raises:
        UserError: The eyes are not on one level, above the ground, around either.
    """
    radius = np.linalg.norm(eyes, axis=1).mean()
    x, y, z = eyes.T
    if np.ptp(y) < 0.02 * radius and y.mean() > 0:
        right = z
    elif np.ptp(z) < 0.02 * radius and z.mean() > 0:
        right = -y
    else:
        raise UserError(
            f"cameras {name} do not stand in a ring above the ground, so that the "
            "views cannot be told apart: give the archive as it was published"
        )
    return np.degrees(np.arctan2(right, x)) % 360.0


def find_views(
    azimuths: Float[np.ndarray, " n"], wanted: Sequence[float], name: str
) -> tuple[int, ...]:
    """The view at each wanted azimuth.

    Raises:
        UserError: There is none within one degree.
    """
    found = []
    for azimuth in wanted:
        distance = np.abs((azimuths - azimuth + 180.0) % 360.0 - 180.0)
        if distance.min() > _TOLERANCE:
            raise UserError(
                f"cameras {name} show no view at azimuth {azimuth:g} (the nearest is "
                f"at {azimuths[distance.argmin()]:.0f}): set views to others"
            )
        found.append(int(distance.argmin()))
    return tuple(found)
