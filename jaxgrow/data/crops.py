"""Square windows around the holes of a picture of any size.

A network paints squares of one resolution. `plan` covers every hole with windows in
which enough is known. `shrink` scales a window to the resolution, and `enlarge` scales
the painted square back.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from PIL import Image
from PIL.Image import Resampling
from scipy import ndimage


_CONTEXT = 2.0  # side of the window over that of the hole
_MIN_KNOWN_FRAC = 0.5  # below the known fraction that networks are trained on
_MIN_HOLE_FRAC = 0.05  # a hole that fills less of its window is cut in two
_GROWTH = 1.25  # factor by which a window grows until enough is known
_SHARED = 1.5  # largest ratio of a shared window's side to the hole's own window
_EPS = 1e-6  # known part of a cell below which it is hole
_REACH = 0.7  # standard deviation of the Gaussian in `enlarge`, in cells
_SAMPLES = 4  # samples of that Gaussian per cell and direction
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


@dataclasses.dataclass(frozen=True)
class Window:
    """A square of pixels; outside the picture it shows the picture mirrored."""

    top: int
    left: int
    side: int

    def indices(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and columns of the picture that the square shows."""
        return (
            _mirror(np.arange(self.top, self.top + self.side), height),
            _mirror(np.arange(self.left, self.left + self.side), width),
        )

    def box(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of the part inside the picture."""
        return (
            slice(max(self.top, 0), min(self.top + self.side, height)),
            slice(max(self.left, 0), min(self.left + self.side, width)),
        )


class _Piece(NamedTuple):
    """Part of a connected hole, inside these rows and columns."""

    label: int
    rows: slice
    columns: slice

    @property
    def box(self) -> tuple[slice, slice]:
        return self.rows, self.columns

    @property
    def extent(self) -> int:
        return max(s.stop - s.start for s in self.box)


def plan(
    mask: Bool[np.ndarray, "h w"], resolution: int
) -> tuple[list[Window], Int32[np.ndarray, "h w"]]:
    """Choose windows that cover all holes of a mask.

    Each connected hole gets a window of twice its extent, so that a hole is as large
    for the network as in training, but of at least `resolution` pixels, so that
    nothing is enlarged without need. Long thin holes are cut into pieces with finer
    windows. A window grows while other holes leave too little of it known. Pieces that
    fit into a window of about their own size share it. A picture of `resolution`
    square is one window.

    Returns:
        The windows, and for every pixel the index of the window that paints it, or -1
        if it is known.
    """
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, _EIGHT_NEIGHBOURS, output=labels)
    total = np.pad(mask.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    pieces = [
        piece
        for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1)
        for piece in _cut(_Piece(label, rows, columns), labels, resolution)
    ]
    placed = [(_window(piece, total, resolution), piece) for piece in pieces]
    placed.sort(key=lambda item: -item[0].side)
    windows: list[Window] = []
    owner = np.full(mask.shape, -1, np.int32)
    inner = np.empty((len(placed), 5), np.int64)  # top, bottom, left, right, side
    for window, piece in placed:
        n = len(windows)
        fits = (
            (inner[:n, 0] <= piece.rows.start)
            & (inner[:n, 1] >= piece.rows.stop)
            & (inner[:n, 2] <= piece.columns.start)
            & (inner[:n, 3] >= piece.columns.stop)
            & (inner[:n, 4] <= _SHARED * window.side)
        )
        index = int(fits.argmax()) if fits.any() else n
        if index == n:
            windows.append(window)
            inner[n] = (*_inner(window, mask.shape), window.side)
        here = owner[piece.box]
        here[labels[piece.box] == piece.label] = index
    return windows, owner


def shrink(
    image: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    window: Window,
    resolution: int,
) -> tuple[Float[np.ndarray, "r r 3"], Bool[np.ndarray, "r r"]]:
    """Scale a window to `resolution`: means of each cell's known pixels, and the hole.

    Hole pixels are never read. A cell is hole, and 0, if no part of it is known. A
    threshold of a quarter or a half known cost up to 0.4 dB PSNR on photographs.
    """
    values, known = _pixels_of(image, mask, window)
    if window.side == resolution:
        return values * known, known[..., 0] == 0.0
    shrinks = window.side > resolution
    sums = _resize(
        np.concatenate([values * known, known], -1),
        resolution,
        Resampling.BOX if shrinks else Resampling.BILINEAR,
    )
    known_frac = sums[..., 3:]
    return sums[..., :3] / np.maximum(known_frac, _EPS), known_frac[..., 0] < _EPS


def enlarge(
    painted: Float[np.ndarray, "r r 3"],
    image: UInt8[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    window: Window,
) -> Float[np.ndarray, "s s 3"]:
    """Scale a painted square to its window's size, continuous with the known pixels.

    The result is p + G(known (x - p)) / (G(known) + 0.01), where p is the bilinear
    interpolation of the square, x the picture and G a Gaussian of about a cell's
    width. The second term extends the difference at the known pixels into the hole.
    Without it the picture's edges end a cell before the hole; it raised the hole's
    PSNR by 0.1 to 0.3 dB.
    """
    resolution = painted.shape[0]
    if window.side == resolution:
        return painted
    enlarged = _resize(painted, window.side, Resampling.BILINEAR)
    if window.side < resolution:
        return enlarged
    values, known = _pixels_of(image, mask, window)
    residual = np.concatenate([known * (values - enlarged), known], -1)
    # A few samples per cell are enough for the Gaussian, whatever the cell's size.
    side = min(window.side, _SAMPLES * resolution)
    sigma = _REACH * side / resolution
    residual = _resize(residual, side, Resampling.BOX)
    residual = ndimage.gaussian_filter(residual, (sigma, sigma, 0.0), mode="nearest")
    offset = residual[..., :3] / (residual[..., 3:] + 0.01)
    return enlarged + _resize(offset, window.side, Resampling.BILINEAR)


def paste(
    image: UInt8[np.ndarray, "h w 3"],
    values: Float[np.ndarray, "s s 3"],
    window: Window,
    owner: Int32[np.ndarray, "h w"],
    index: int,
) -> None:
    """Write a window's rounded values to the pixels of `image` that it owns."""
    box = window.box(*owner.shape)
    rows, columns = (np.arange(s.start, s.stop) for s in box)
    owned = owner[box] == index
    values = values[np.ix_(rows - window.top, columns - window.left)][owned]
    image[box][owned] = np.rint(values.clip(0.0, 255.0)).astype(np.uint8)


def _pixels_of(
    image: np.ndarray, mask: np.ndarray, window: Window
) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "s s 1"]]:
    """Return the window's pixels, and 1 where they are known."""
    grid = np.ix_(*window.indices(*mask.shape))
    return image[grid].astype(np.float32), (~mask[grid])[..., None].astype(np.float32)


def _resize(
    values: np.ndarray, side: int, method: Resampling
) -> Float[np.ndarray, "s s c"]:
    channels = [
        Image.fromarray(np.ascontiguousarray(values[..., c], np.float32))
        for c in range(values.shape[-1])
    ]
    return np.stack([np.asarray(c.resize((side, side), method)) for c in channels], -1)


def _mirror(index: np.ndarray, length: int) -> np.ndarray:
    index = index % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def _cut(piece: _Piece, labels: np.ndarray, resolution: int) -> list[_Piece]:
    """Return `piece`, or its parts if it is too thin for one window."""
    inside = labels[piece.box] == piece.label
    window_side = _CONTEXT * piece.extent
    if window_side <= resolution or inside.sum() >= _MIN_HOLE_FRAC * window_side**2:
        return [piece]
    axis = int(inside.shape[1] > inside.shape[0])
    middle = inside.shape[axis] // 2
    first, second = np.array_split(inside, [middle], axis)
    parts = []
    for start, half in ((0, first), (middle, second)):
        top = piece.rows.start + (start if axis == 0 else 0)
        left = piece.columns.start + (start if axis == 1 else 0)
        for rows, columns in ndimage.find_objects(half.astype(np.uint8)):
            part = _Piece(
                piece.label,
                slice(top + rows.start, top + rows.stop),
                slice(left + columns.start, left + columns.stop),
            )
            parts += _cut(part, labels, resolution)
    return parts


def _window(piece: _Piece, total: np.ndarray, resolution: int) -> Window:
    """Return the smallest window that is half known, or almost as much as possible."""
    height, width = total.shape[0] - 1, total.shape[1] - 1
    limit = max(height, width)
    side = min(max(resolution, math.ceil(_CONTEXT * piece.extent)), limit)
    candidates = []
    while True:
        top = _place(piece.rows, side, height)
        left = _place(piece.columns, side, width)
        window = Window(top, left, side)
        candidates.append((_known_frac(window, total), window))
        if candidates[-1][0] >= _MIN_KNOWN_FRAC or side == limit:
            break
        side = min(math.ceil(_GROWTH * side), limit)
    enough = min(_MIN_KNOWN_FRAC, 0.9 * max(frac for frac, _ in candidates))
    return next(window for frac, window in candidates if frac >= enough)


def _place(extent: slice, side: int, length: int) -> int:
    """Return the start of an interval around `extent`, moved inside if it fits."""
    if side >= length:
        return -((side - length) // 2)
    return min(max((extent.start + extent.stop - side) // 2, 0), length - side)


def _inner(window: Window, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) of the part with context on all sides.

    At an edge of the picture, beyond which there is no context, it reaches the edge.
    """
    margin = window.side // 8
    bounds = []
    for start, length in zip((window.top, window.left), shape, strict=True):
        stop = start + window.side
        bounds.append(start + margin if start > 0 else 0)
        bounds.append(stop - margin if stop < length else length)
    return tuple(bounds)


def _known_frac(window: Window, total: np.ndarray) -> float:
    """Return the known fraction of the window's part inside the picture."""
    rows, columns = window.box(total.shape[0] - 1, total.shape[1] - 1)
    corners = total[np.ix_([rows.start, rows.stop], [columns.start, columns.stop])]
    holes = corners[0, 0] + corners[1, 1] - corners[0, 1] - corners[1, 0]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return 1.0 - float(holes) / area
