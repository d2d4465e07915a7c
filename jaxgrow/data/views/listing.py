"""What a source of views says about its objects before any pixel is read."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Bool, UInt8


Part = Literal["d", "c", "e"]
PARTS: tuple[Part, ...] = ("d", "c", "e")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One object.

    Attributes:
        object_id: `<class>/<object>`.
        label: Index of its class.
        part: Where it belongs; None if nowhere.
    """

    object_id: str
    label: int
    part: Part | None


@dataclasses.dataclass(frozen=True)
class Listing:
    """The objects of a source, and how to read them.

    Attributes:
        class_names: Names of the labels.
        entries: The objects.
        observed: Which of their views are there.
        azimuths: Degrees of the slots, if known.
        size: Pixels along a side.
        notes: Sentences for the user.
        read: Views of the entries that have a part, in the entries' order, few of
            them in memory at a time.
    """

    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    observed: Bool[np.ndarray, "n v"]
    azimuths: tuple[float, ...] | None
    size: int
    notes: tuple[str, ...]
    read: Callable[[], Iterator[UInt8[np.ndarray, "v h w 3"]]]


class Source(Protocol):
    """Somewhere that objects come from."""

    def fingerprint(self) -> str:
        """Hash that changes when the objects, or what is read of them, do."""
        ...

    def list_objects(self) -> Listing: ...
