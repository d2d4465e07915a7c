"""Procedural objects as a source of views."""

import hashlib
import json
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data import procedural
from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.listing import PARTS, Entry, Listing, Part
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
        self._objects: list[tuple[Part, int, int]] = []  # part, label, index
        first, labels = 0, range(len(self._names))
        for part in PARTS:
            indices = range(first, first + self._counts[part])
            self._objects.extend((part, n, i) for n in labels for i in indices)
            first = indices.stop

    def fingerprint(self) -> str:
        """Hash the generator's version, classes and counts."""
        identity = [procedural.VERSION, self._names, self._counts]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def list_objects(self) -> Listing:
        entries = tuple(
            Entry(f"{self._names[label]}/{i:04d}", label, part)
            for part, label, i in self._objects
        )
        return Listing(
            class_names=self._names,
            entries=entries,
            observed=np.ones((len(entries), len(self._config.views)), bool),
            azimuths=self._config.azimuths,
            view_names=self._config.sides,
            notes=(),
            read=self._read,
        )

    def _read(self) -> Iterator[UInt8[np.ndarray, "v h w 3"]]:
        items, config = [(self._names[n], i) for _, n, i in self._objects], self._config
        return procedural.render_objects(
            items, seed=self._seed, azimuths=config.azimuths, size=config.size
        )
