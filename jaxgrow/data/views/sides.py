"""Azimuths of views and their names: 0 degrees in front, 90 at the object's right."""

import re
from collections.abc import Sequence


SIDES = {"front": 0.0, "right": 90.0, "back": 180.0, "left": 270.0}

_SYNONYMS = {"rear": "back", "behind": "back", "f": "front", "r": "right"}
_SYNONYMS |= {"b": "back", "l": "left"}
_SIDE = re.compile(r"(front|right|back|left|rear|behind)|view|side|ima?ge?|[\W_]+")
_DEGREES = re.compile(r"az(?:im(?:uth)?)?[_= ]?(\d+(?:\.\d+)?)|(\d+) ?_?(?:deg|°)")
_STEP, _LEAST = 15, 90  # bare numbers are degrees if they are such multiples, and reach


def name_of_azimuth(azimuth: float) -> str:
    """Return "front" and the like, else "45 degrees"."""
    names = {degrees: name for name, degrees in SIDES.items()}
    return names.get(azimuth, f"{azimuth:g} degrees")


def azimuths_of_names(names: Sequence[str]) -> tuple[float, ...] | None:
    """Return the azimuths in degrees that the names of views say; None if one does not.

    Names are sides (front, right, back or rear, left, "back-left"), degrees (az090,
    90deg), or bare numbers, if these are multiples of 15 below 360 and reach 90.

    >>> azimuths_of_names(["Front", "rear_left", "az045", "090"])
    (0.0, 225.0, 45.0, 90.0)
    """
    numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
    are_degrees = (
        all(n % _STEP == 0 for n in numbers) and _LEAST <= max(numbers, default=0) < 360
    )
    found = [
        float(name) if are_degrees and name.isdigit() else _azimuth(name.lower())
        for name in names
    ]
    known = tuple(azimuth for azimuth in found if azimuth is not None)
    return known if len(known) == len(names) else None


def _azimuth(name: str) -> float | None:
    if match := _DEGREES.search(name):
        return float(match[1] or match[2]) % 360
    name = _SYNONYMS.get(name, name)
    if _SIDE.sub("", name):
        return None
    words = [m[1] for m in _SIDE.finditer(name) if m[1]]
    sides = sorted({SIDES[_SYNONYMS.get(word, word)] for word in words})
    if sides == [0.0, 270.0]:
        return 315.0
    if len(sides) == 1 or (len(sides) == 2 and sides[1] - sides[0] == 90.0):
        return sum(sides) / len(sides)
    return None
