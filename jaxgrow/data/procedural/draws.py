"""Random draws that are the same in every release of NumPy.

`Generator.uniform`, `choice` and `integers` may change their streams between releases.
All draws here use `Generator.random()`, whose stream follows the bit generator.
"""

from typing import TypeAlias, TypeVar

import numpy as np


_T = TypeVar("_T")
Number: TypeAlias = float | int


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
