"""Ray casting of solids, vectorised over all pixels of a picture.

Along the ray eye + t d, with s = 1/t, the half-space n . p + w <= 0 is
s h <= -n . d with h = n . eye + w: a bound on s that is linear in the coordinates of
the pixel. It is an upper bound if the eye is outside, so that the ray enters at the
plane, and a lower bound if the eye is inside. The bounds of a quadric are a linear
function plus or minus the square root of a quadratic one. No pixel needs a division,
and the nearest surface has the largest s.
"""

import functools

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jaxgrow.data.procedural.builder import Scene
from jaxgrow.data.procedural.camera import Camera
from jaxgrow.data.procedural.paints import CHECKS, PLAIN


_LIGHT = np.array([4.08, 5.9, -1.0]) / np.linalg.norm([4.08, 5.9, -1.0])
_AMBIENT, _DIFFUSE, _HEADLIGHT = 0.5, 0.45, 0.18
_TINY = 1e-9


def render(scene: Scene, camera: Camera, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Render a scene on white ground, with each pixel the mean of 2x2 rays."""
    side = 2 * size
    inverse_depth, face = _cast(scene, camera, side)
    hit, grid = np.nonzero(face >= 0), _grid(side)
    places = np.stack([np.ones(len(hit[0])), grid[hit[1]], -grid[hit[0]]], axis=1)
    depth = inverse_depth[hit].astype(float)
    colours = np.ones((side, side, 3), np.float32)
    colours[hit] = _shade(scene, camera, places, depth, face[hit])
    upper, lower = colours[0::2], colours[1::2]
    total = (upper[:, 0::2] + upper[:, 1::2]) + (lower[:, 0::2] + lower[:, 1::2])
    return (total * (255 / 4) + 0.5).astype(np.uint8)


@functools.cache
def _grid(side: int) -> Float[np.ndarray, " s"]:
    """Return the coordinates of the rays across the picture, from -1 to 1."""
    return (2 * np.arange(side) + 1) / side - 1


def _cast(
    scene: Scene, camera: Camera, side: int
) -> tuple[Float[np.ndarray, "s s"], Int[np.ndarray, "s s"]]:
    """Find the inverse depth of the nearest face along every ray, and the face.

    It is a row in the table of planes, then of quadrics; -1 is the background.
    """
    inverse_depth = np.zeros((side, side), np.float32)
    faces = np.full((side, side), -1, np.int32)
    us, vs = _grid(side), -_grid(side)
    height = scene.planes[:, :3] @ camera.eye + scene.planes[:, 3]
    height = np.where(np.abs(height) < _TINY, -_TINY, height)
    bounds = -(scene.planes[:, :3] @ camera.basis) / height[:, None]
    owner = np.repeat(np.arange(len(scene.paints)), np.diff(scene.plane_start))
    # Within each solid, the planes by which a ray may enter come first.
    order = np.lexsort((height < 0, owner))
    bounds, starts = bounds[order], scene.plane_start.tolist()
    across = (bounds[:, :1] + bounds[:, 1:2] * us).astype(np.float32)[:, None, :]
    down = (bounds[:, 2:] * vs).astype(np.float32)[:, :, None]
    seen = height > 0
    num_seen = np.bincount(owner[seen], minlength=len(scene.paints)).tolist()
    curves = _Curves(scene, camera)
    face_ids, num_planes = order.tolist(), len(order)
    boxes = _screen_boxes(scene, camera, side).tolist()
    for i, (x0, x1, y0, y1) in enumerate(boxes):
        if x0 >= x1 or y0 >= y1:
            continue
        first, last = starts[i], starts[i + 1]
        middle = first + num_seen[i]
        depth, face = inverse_depth[y0:y1, x0:x1], faces[y0:y1, x0:x1]
        limits = across[first:last, :, x0:x1] + down[first:last, y0:y1, :]
        entered = list(limits[: middle - first])
        ids = face_ids[first:middle]
        leave = limits[middle - first :]
        inside = depth
        if len(leave):
            inside = np.maximum(depth, np.maximum.reduce(leave))
        if curves.exist[i]:
            near, far = curves.cross(i, us[x0:x1], vs[y0:y1])
            if near is not None:
                entered.append(near)
                ids = [*ids, num_planes + i]
            if far is not None:
                inside = np.maximum(inside, far)
        if not entered:
            continue
        enter = functools.reduce(np.minimum, entered)
        hit = enter > inside
        if not hit.any():
            continue
        for limit, face_id in zip(entered, ids, strict=True):
            np.copyto(face, face_id, where=hit & (limit == enter))
        np.copyto(depth, enter, where=hit)
    return inverse_depth, faces


class _Curves:
    """Crossings of rays and the quadrics of a scene.

    With e the eye and d the ray's direction, s solves c s^2 + 2 b s + a = 0 with
    c = (e, 1) Q (e, 1), b = (e, 1) Q (d, 0), a = (d, 0) Q (d, 0).
    """

    def __init__(self, scene: Scene, camera: Camera):
        eye = np.append(camera.eye, 1.0)
        q_eye = scene.quadrics @ eye
        c = q_eye @ eye
        self.exist = (np.abs(scene.quadrics).max(axis=(1, 2)) > 0).tolist()
        c = np.where(np.abs(c) < _TINY, _TINY, c)
        b = q_eye[:, :3] @ camera.basis
        a = camera.basis.T @ scene.quadrics[:, :3, :3] @ camera.basis
        self._mean = -b / c[:, None]
        square = b[:, :, None] * b[:, None, :] - c[:, None, None] * a
        self._square = square / (c**2)[:, None, None]
        self._outside = (c > 0).tolist()
        self._beyond_tip = (scene.radii @ eye < 0).tolist()

    def cross(
        self, i: int, us: Float[np.ndarray, " w"], vs: Float[np.ndarray, " h"]
    ) -> tuple[Float[np.ndarray, "h w"] | None, Float[np.ndarray, "h w"] | None]:
        """Return the upper and lower bounds on s inside quadric i; None if it has none.

        If the eye is inside the infinite cone, a ray enters by a cap and leaves by the
        side. If it is inside the mirror image beyond the tip, a ray enters by the side.
        """
        (m0, m1, m2), q = self._mean[i].tolist(), self._square[i].tolist()
        across = q[0][0] + (2 * q[0][1] + q[1][1] * us) * us
        down = (2 * q[0][2] + q[2][2] * vs) * vs
        square = across + down[:, None] + (2 * q[1][2] * vs)[:, None] * us
        mean = (m0 + m1 * us) + (m2 * vs)[:, None]
        root = np.sqrt(np.maximum(square, 0))
        if self._outside[i]:
            never = square <= 0
            near = np.where(never, -1, mean + root).astype(np.float32)
            return near, (mean - root).astype(np.float32)
        if self._beyond_tip[i]:
            return np.where(square > 0, mean - root, -1).astype(np.float32), None
        far = np.where(square > 0, mean + root, -1)
        return None, far.astype(np.float32)


def _screen_boxes(scene: Scene, camera: Camera, side: int) -> Int[np.ndarray, "n 4"]:
    """Return (x0, x1, y0, y1), the ranges of the rays that may meet each solid."""
    u, v = camera.project(scene.hull)
    starts = scene.hull_start[:-1]
    edges = [
        np.floor((np.minimum.reduceat(u, starts) + 1) / 2 * side),
        np.ceil((np.maximum.reduceat(u, starts) + 1) / 2 * side),
        np.floor((1 - np.maximum.reduceat(v, starts)) / 2 * side),
        np.ceil((1 - np.minimum.reduceat(v, starts)) / 2 * side),
    ]
    return np.clip(np.stack(edges, axis=1), 0, side).astype(int)


def _shade(
    scene: Scene,
    camera: Camera,
    places: Float[np.ndarray, "n 3"],
    inverse_depth: Float[np.ndarray, " n"],
    face: Int[np.ndarray, " n"],
) -> Float[np.ndarray, "n 3"]:
    """Shade the points that rays meet by ambient light, a lamp and a headlight."""
    points = camera.eye + places @ camera.basis.T / inverse_depth[:, None]
    gradients = np.zeros((len(scene.planes) + len(scene.quadrics), 3, 4))
    gradients[: len(scene.planes), :, 3] = scene.planes[:, :3]
    gradients[len(scene.planes) :] = scene.quadrics[:, :3]
    owner = np.repeat(np.arange(len(scene.paints)), np.diff(scene.plane_start))
    owner = np.append(owner, np.arange(len(scene.paints)))[face]
    normals = _affine(gradients[face], points)
    length = np.sqrt(_dot(normals, normals.T)) + _TINY
    light = _DIFFUSE * np.maximum(_dot(normals, _LIGHT), 0)
    light += _HEADLIGHT * np.maximum(-_dot(normals, camera.basis[:, 0]), 0)
    light = _AMBIENT + light / length
    base = np.array([paint.colour for paint in scene.paints])[owner]
    patterned = np.array([paint.pattern != PLAIN for paint in scene.paints])[owner]
    if patterned.any():
        which = owner[patterned]
        unit = _affine(scene.to_unit[which], points[patterned])
        other = np.array([paint.other for paint in scene.paints])[which]
        swap = _in_pattern(scene, which, unit)
        base[patterned] = np.where(swap[:, None], other, base[patterned])
    return np.clip(light[:, None] * base, 0, 1)


def _in_pattern(
    scene: Scene, owner: Int[np.ndarray, " n"], unit: Float[np.ndarray, "n 3"]
) -> Bool[np.ndarray, " n"]:
    """True if a point of a solid's frame has the second colour of its paint."""
    cells = np.array([paint.cells for paint in scene.paints])[owner]
    widths = np.array([paint.width for paint in scene.paints])[owner]
    is_checks = np.array([paint.pattern == CHECKS for paint in scene.paints])[owner]
    # Points of the end faces are moved off the seam, where rounding would decide.
    u = cells * (np.clip(unit, -0.499, 0.499) + 0.5)
    odd = np.floor(u).sum(axis=1) % 2 == 1
    on_line = (np.abs(u % 1 - 0.5) < widths[:, None] / 2) & (cells > 0)
    return np.where(is_checks, odd, on_line.any(axis=1))


def _affine(
    rows: Float[np.ndarray, "n 3 4"], points: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 3"]:
    x, y, z = points[:, :1], points[:, 1:2], points[:, 2:]
    return rows[..., 0] * x + rows[..., 1] * y + rows[..., 2] * z + rows[..., 3]


def _dot(
    rows: Float[np.ndarray, "n 3"], by: Float[np.ndarray, "3 ..."]
) -> Float[np.ndarray, " n"]:
    """Compute dot products with one vector, or with one column per row."""
    return rows[:, 0] * by[0] + rows[:, 1] * by[1] + rows[:, 2] * by[2]
