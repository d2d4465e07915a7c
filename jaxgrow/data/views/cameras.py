"""Azimuths of the views of NMR, from the camera files beside them.

The point x of the world is at R x + t in the camera's frame, where [R t] are the first
rows of `world_mat_i` (Niemeyer et al. 2020, DVR). The eye, the origin of that frame, is
therefore at -R^-1 t, whatever the directions of the camera's axes. The world has y up
and the objects' front at +x, as in ShapeNetCore v1. View 0 of the archive has

    world_mat_0 = [[0, 0, -1, 0], [.5, -.866, 0, 0], [-.866, -.5, 0, 2.732], ...],

so that its eye, 2.732 (.866, .5, 0), is in front and 30 degrees above the ground. An
azimuth is atan2(z, x): Kato's script has its eyes at
2.732 (cos az cos el, sin el, sin az cos el).
"""

import io
import zipfile
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxgrow.data.views.archives import ZIP_ERRORS
from jaxgrow.errors import UserError


_MAX_BYTES = 2**22  # of the unpacked matrices of one object, 16 kB in the archive
_TOLERANCE = 1.0  # degrees


def read_eyes(content: bytes, name: str) -> Float[np.ndarray, "n 3"]:
    """Read the positions of the cameras of a `cameras.npz`.

    Reads `world_mat_i`, of three or four rows, or the inverse `world_mat_inv_i`.

    Raises:
        UserError: The file cannot be read or holds no such matrices.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
                raise ValueError(f"it unpacks to more than {_MAX_BYTES} bytes")
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
    # LinAlgError is a ValueError; other files raise errors of many types.
    except (*ZIP_ERRORS, ValueError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"cameras {name} cannot be read ({error}): replace the file, or remove all "
            "cameras.npz to go on unchecked"
        ) from error
    return positions


def azimuths_of(eyes: Float[np.ndarray, "n 3"], name: str) -> Float[np.ndarray, " n"]:
    """Compute azimuths in degrees in [0, 360), 0 in front and 90 at the right.

    The upright axis is y, as in the archive, if all eyes have the same height along
    it; else z, as in programs that map (x, y, z) to (x, -z, y).

    Raises:
        UserError: The eyes are not at one height above the ground along either axis.
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
    """Return the index of the view at each wanted azimuth.

    Raises:
        UserError: There is no view within one degree.
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
