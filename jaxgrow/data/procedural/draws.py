"""Random numbers, colours and paints that are the same in every release of NumPy.

`Generator.uniform`, `choice` and `integers` may change their streams between releases.
All draws here use `Generator.random()`, whose stream follows the bit generator.
"""

import colorsys
from typing import TypeVar

import numpy as np

from jaxgrow.data.procedural.paints import (
    WHITE,
    Colour,
    Number,
    Paint,
    checks,
    lines,
    pale,
    shade,
)


_T = TypeVar("_T")
# Limits of hue, saturation and value of a material.
_HUES = {
    "wood": ((0.05, 0.11), (0.35, 0.75), (0.25, 0.75)),
    "drab": ((0.1, 0.32), (0.12, 0.42), (0.2, 0.48)),
    "bright": ((0.0, 1.0), (0.3, 0.95), (0.35, 0.95)),
}
# Darkest and lightest value of a material, and its tint.
_GREYS = {
    "metal": (0.25, 0.8, (0.96, 0.97, 1.0)),
    "dark": (0.05, 0.22, (0.92, 0.93, 1.0)),
    "white": (0.8, 0.97, (1.0, 1.0, 0.98)),
    "glass": (0.15, 0.55, (0.75, 0.9, 1.0)),
}


class Draws:
    """A stream of random draws from a seed."""

    def __init__(self, *seed: int):
        self._random = np.random.default_rng(seed).random

    def chance(self, prob: Number) -> bool:
        """True with probability `prob`."""
        return bool(self._random() < prob)

    def uniform(self, low: Number, high: Number) -> float:
        """Draw a number from [low, high)."""
        return low + (high - low) * float(self._random())

    def count(self, low: int, high: int) -> int:
        """Draw a whole number from low to high, both included."""
        return low + int((high - low + 1) * self._random())

    def pick(self, *options: _T) -> _T:
        """Draw one of the options with equal probability."""
        return options[int(len(options) * self._random())]

    def sign(self) -> int:
        """Draw -1 or 1."""
        return self.pick(-1, 1)

    def colour(self, *materials: str) -> Colour:
        """Draw a colour of one of the materials; repeated names are more likely."""
        material = self.pick(*materials)
        if material in _HUES:
            h, s, v = (self.uniform(*limits) for limits in _HUES[material])
            return colorsys.hsv_to_rgb(h, s, v)
        low, high, tint = _GREYS[material]
        v = self.uniform(low, high)
        return (v * tint[0], v * tint[1], v * tint[2])

    def contrast(self, colour: Colour) -> Colour:
        """Draw a colour that contrasts with `colour`."""
        factor = self.uniform(0.35, 0.7)
        if sum(colour) / 3 < 0.25:
            return pale(shade(colour, 1 + factor))
        return shade(colour, factor) if self.chance(0.6) else pale(colour)

    def finish(self, colour: Colour, *, prob: Number = 0.3) -> Paint:
        """Return `colour`, with probability `prob` with stripes, checks or a grid."""
        if not self.chance(prob):
            return Paint(colour)
        other, n = self.contrast(colour), float(self.count(3, 8))
        kind = self.count(0, 3)
        if kind == 0:
            return lines(colour, other, z=n, width=self.uniform(0.2, 0.5))
        if kind == 1:
            rows, width = self.count(2, 4), self.uniform(0.15, 0.4)
            return lines(colour, other, y=rows, width=width)
        if kind == 2:
            return checks(colour, other, x=n, y=n, z=n)
        return lines(colour, other, x=3, y=3, z=n, width=0.12)

    def screen_picture(self) -> Paint:
        """Draw a screen: switched off, or with text, windows or a scene."""
        dark = self.colour("dark", "glass")
        kind = self.count(0, 3)
        if kind == 0:
            return Paint(dark)
        if kind == 1:
            return lines(WHITE, (0.3, 0.3, 0.4), y=self.count(5, 8), width=0.4)
        if kind == 2:
            return Paint(self.colour("bright", "glass"))
        return checks(self.colour("bright"), dark, y=2)
