"""The objects of a source of views, listed before any pixel is read."""

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
        part: Part that it belongs to; None if it is left out.
    """

    object_id: str
    label: int
    part: Part | None


@dataclasses.dataclass(frozen=True)
class Listing:
    """The objects of a source, and a function that reads them.

    Attributes:
        class_names: Names of the labels.
        entries: The objects.
        observed: True where an object has the view.
        azimuths: Azimuths of the views in degrees; None if unknown.
        view_names: Names of the views.
        notes: Sentences for the user.
        read: Yields the views of the entries that have a part, in order, few in
            memory at a time.
    """

    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    observed: Bool[np.ndarray, "n v"]
    azimuths: tuple[float, ...] | None
    view_names: tuple[str, ...]
    notes: tuple[str, ...]
    read: Callable[[], Iterator[UInt8[np.ndarray, "v h w 3"]]]


class ViewSource(Protocol):
    """A source of objects seen from several sides."""

    def fingerprint(self) -> str:
        """Return a hash that changes when the objects or their views do."""
        ...

    def list_objects(self) -> Listing: ...
