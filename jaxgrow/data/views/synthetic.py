"""Procedural objects as a source of views."""

import hashlib
import json
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data import procedural
from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.listing import PARTS, Entry, Listing
from jaxgrow.data.views.synsets import choose_classes


_DEFAULT_COUNTS = {"d": 120, "c": 60, "e": 40}


class Synthetic:
    """Objects of every class: the first indices are in d, the next in c, then e."""

    def __init__(self, config: ViewDataConfig, seed: int):
        self._config, self._seed = config, seed
        classes = choose_classes(procedural.CLASSES, config.classes, names={})
        self._names = tuple(classes.values())
        limits = {"d": config.objects_d, "c": config.objects_c, "e": config.objects_e}
        self._counts = {part: limits[part] or _DEFAULT_COUNTS[part] for part in PARTS}

    def fingerprint(self) -> str:
        """Hash the generator's version, classes and counts."""
        identity = [procedural.VERSION, self._names, self._counts]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def list_objects(self) -> Listing:
        entries = tuple(
            Entry(f"{name}/{self._first(part) + k:04d}", label, part)
            for part in PARTS
            for label, name in enumerate(self._names)
            for k in range(self._counts[part])
        )
        return Listing(
            class_names=self._names,
            entries=entries,
            observed=np.ones((len(entries), len(self._config.views)), bool),
            azimuths=self._config.azimuths,
            size=self._config.size,
            notes=(),
            read=self._read,
        )

    def _read(self) -> Iterator[UInt8[np.ndarray, "v h w 3"]]:
        items = [
            (name, self._first(part) + k)
            for part in PARTS
            for name in self._names
            for k in range(self._counts[part])
        ]
        return procedural.render_objects(
            items,
            seed=self._seed,
            azimuths=self._config.azimuths,
            size=self._config.size,
        )

    def _first(self, part: str) -> int:
        """Return the first index of a part's objects in each class."""
        return sum(self._counts[other] for other in PARTS[: PARTS.index(part)])
