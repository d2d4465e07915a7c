"""Colours by material, and patterns that cover a solid."""

import colorsys
import dataclasses
from typing import TypeAlias

from jaxgrow.data.procedural.draws import Draws, Number


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


def colour(draw: Draws, *materials: str) -> Colour:
    """Draw a colour of one of the materials; repeated names are more likely."""
    material = draw.pick(*materials)
    if material == "wood":
        h, s, v = (draw.uniform(*r) for r in ((0.05, 0.11), (0.35, 0.75), (0.25, 0.75)))
        return colorsys.hsv_to_rgb(h, s, v)
    if material == "drab":
        h, s, v = (draw.uniform(*r) for r in ((0.1, 0.32), (0.12, 0.42), (0.2, 0.48)))
        return colorsys.hsv_to_rgb(h, s, v)
    if material == "bright":
        h, s, v = (draw.uniform(*r) for r in ((0.0, 1.0), (0.3, 0.95), (0.35, 0.95)))
        return colorsys.hsv_to_rgb(h, s, v)
    low, high, tint = _GREYS[material]
    v = draw.uniform(low, high)
    return (v * tint[0], v * tint[1], v * tint[2])


def shade(colour: Colour, factor: Number) -> Colour:
    """Return `colour` darker (factor < 1) or lighter."""
    r, g, b = (min(1.0, factor * channel) for channel in colour)
    return (r, g, b)


def pale(colour: Colour) -> Colour:
    """Return the colour half way to white."""
    r, g, b = (0.5 + 0.5 * channel for channel in colour)
    return (r, g, b)


def contrast(draw: Draws, colour: Colour) -> Colour:
    """Draw a colour that contrasts with `colour`."""
    factor = draw.uniform(0.35, 0.7)
    if sum(colour) / 3 < 0.25:
        return pale(shade(colour, 1 + factor))
    return shade(colour, factor) if draw.chance(0.6) else pale(colour)


def finish(draw: Draws, colour: Colour, *, prob: Number = 0.3) -> Paint:
    """Return `colour`, with probability `prob` with stripes, checks or a grid."""
    if not draw.chance(prob):
        return Paint(colour)
    other, n = contrast(draw, colour), float(draw.count(3, 8))
    kind = draw.count(0, 3)
    if kind == 0:
        return lines(colour, other, z=n, width=draw.uniform(0.2, 0.5))
    if kind == 1:
        return lines(colour, other, y=draw.count(2, 4), width=draw.uniform(0.15, 0.4))
    if kind == 2:
        return checks(colour, other, x=n, y=n, z=n)
    return lines(colour, other, x=3, y=3, z=n, width=0.12)


def screen_picture(draw: Draws) -> Paint:
    """Draw a screen: switched off, or with text, windows or a scene."""
    dark = colour(draw, "dark", "glass")
    kind = draw.count(0, 3)
    if kind == 0:
        return Paint(dark)
    if kind == 1:
        return lines(WHITE, (0.3, 0.3, 0.4), y=draw.count(5, 8), width=0.4)
    if kind == 2:
        return Paint(colour(draw, "bright", "glass"))
    return checks(colour(draw, "bright"), dark, y=2)


# Darkest and lightest value of a material, and its tint.
_GREYS = {
    "metal": (0.25, 0.8, (0.96, 0.97, 1.0)),
    "dark": (0.05, 0.22, (0.92, 0.93, 1.0)),
    "white": (0.8, 0.97, (1.0, 1.0, 0.98)),
    "glass": (0.15, 0.55, (0.75, 0.9, 1.0)),
}
