"""Random draws that mean the same in every release of NumPy.

`Generator.uniform`, `choice` and `integers` may change their streams between releases;
everything here is made of `Generator.random()`, whose stream follows the bit generator.
"""

from typing import TypeAlias, TypeVar

import numpy as np


T = TypeVar("T")
Number: TypeAlias = float | int


class Draws:
    """A stream of draws that its seed fixes."""

    def __init__(self, *seed: int):
        self._random = np.random.default_rng(seed).random

    def chance(self, prob: Number) -> bool:
        """True with probability `prob`."""
        return bool(self._random() < prob)

    def uniform(self, low: Number, high: Number) -> float:
        """A number from [low, high)."""
        return low + (high - low) * float(self._random())

    def count(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int((high - low + 1) * self._random())

    def pick(self, *options: T) -> T:
        """One of the options, all alike in probability."""
        return options[int(len(options) * self._random())]

    def sign(self) -> int:
        """-1 or 1."""
        return self.pick(-1, 1)
