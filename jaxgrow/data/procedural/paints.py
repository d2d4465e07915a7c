"""Colours, and patterns that cover a solid."""

import dataclasses
from typing import TypeAlias


Number: TypeAlias = float | int
Colour: TypeAlias = tuple[Number, Number, Number]  # red, green, blue in [0, 1]
Cells: TypeAlias = tuple[Number, Number, Number]

PLAIN, LINES, CHECKS = range(3)
BLACK, WHITE, STEEL = (0.08, 0.08, 0.09), (0.93, 0.93, 0.91), (0.6, 0.6, 0.62)
TYRE, RED_LIGHT, HEADLIGHT = (0.1, 0.1, 0.1), (0.7, 0.05, 0.05), (0.95, 0.93, 0.8)


@dataclasses.dataclass(frozen=True)
class Paint:
    """One colour, or two in a pattern along the axes of the solid's frame."""

    colour: Colour
    other: Colour = BLACK
    pattern: int = PLAIN
    """PLAIN; LINES of the other colour through the middle of cells; CHECKS, in which
    neighbouring cells differ."""
    cells: Cells = (0.0, 0.0, 0.0)
    """Number of cells along x, y and z of the solid's frame; 0 = not divided."""
    width: Number = 0.2
    """Width of a line as a part of its cell."""


def lines(
    colour: Colour,
    other: Colour,
    *,
    x: Number = 0,
    y: Number = 0,
    z: Number = 0,
    width: Number = 0.2,
) -> Paint:
    """Return a paint of lines across the given axes: planks, slots or windows."""
    return Paint(colour, other, LINES, (x, y, z), width)


def checks(
    colour: Colour, other: Colour, *, x: Number = 0, y: Number = 0, z: Number = 0
) -> Paint:
    """Return a chessboard over the given axes, or bands along a single one."""
    return Paint(colour, other, CHECKS, (x, y, z))


def shade(colour: Colour, factor: Number) -> Colour:
    """Return `colour` darker (factor < 1) or lighter."""
    r, g, b = colour
    return min(1.0, factor * r), min(1.0, factor * g), min(1.0, factor * b)


def pale(colour: Colour) -> Colour:
    """Return the colour half way to white."""
    r, g, b = colour
    return 0.5 + 0.5 * r, 0.5 + 0.5 * g, 0.5 + 0.5 * b
