"""LPIPS and FID of filled pictures, if weights of their networks are available."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxgrow.metrics import frechet
from jaxgrow.metrics.frechet import FeatureStats
from jaxgrow.metrics.inception_distance import pixel_features
from jaxgrow.metrics.lpips import Lpips
from jaxgrow.pixels import to_signed
from jaxgrow.pretrained.networks import FeatureNet


class FeatureNets(NamedTuple):
    """The available networks.

    Attributes:
        lpips: From `networks.load_lpips`.
        inception: From `networks.load_inception`.
        needs: lpips, fid -> instructions for getting missing weights.
    """

    lpips: Lpips | None = None
    inception: FeatureNet | None = None
    needs: Mapping[str, str] = {}


class FeatureMetrics:
    """Measures the pictures that methods filled against one set of originals.

    Attributes:
        labels: lpips, fid -> name of the figure, which says if weights are random.
        notes: Sentences for the reader of the figures, each once.
    """

    def __init__(
        self,
        nets: FeatureNets,
        images: UInt8[np.ndarray, "n r r 3"],
        batch_size: int = 64,
    ):
        self._nets, self._images, self._batch_size = nets, images, batch_size
        self._fakes: dict[tuple[str, str], FeatureStats] = {}
        self._notes: dict[str, None] = {}
        self.labels: dict[str, str] = {}
        if nets.lpips is not None:
            self.labels["lpips"] = nets.lpips.label
        if nets.inception is not None:
            is_random = nets.inception.provenance.is_random
            random = " (RANDOM weights)" if is_random else ""
            self.labels["fid"] = frechet.FID + random
            self._features_fn = pixel_features(nets.inception.features_fn)
            self._real = self._stats(images)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def add(
        self, method: str, bin: str, filled: UInt8[np.ndarray, "n r r 3"]
    ) -> dict[str, Float[np.ndarray, " n"]]:
        """Add a method's pictures of a bin; return {"lpips": of each}, or {}."""
        if self._nets.inception is not None:
            self._fakes[method, bin] = self._stats(filled)
        if (lpips := self._nets.lpips) is None:
            return {}
        parts, size = [], self._batch_size
        for first in range(0, len(filled), size):
            rows = np.arange(first, first + size).clip(max=len(filled) - 1)
            pair = (to_signed(jnp.asarray(x[rows])) for x in (filled, self._images))
            result = lpips(*pair)
            self._notes |= dict.fromkeys(f"LPIPS: {note}" for note in result.notes)
            parts.append(np.asarray(result.values, np.float64))
        return {"lpips": np.concatenate(parts)[: len(filled)]}

    def distance(self, method: str, bins: Sequence[str]) -> dict[str, float]:
        """Return {"fid": of the method's pictures in some bins}, or {}."""
        if self._nets.inception is None:
            return {}
        fake = functools.reduce(frechet.merge, [self._fakes[method, b] for b in bins])
        found = frechet.frechet_distance(self._real, fake, name=self.labels["fid"])
        self._notes |= dict.fromkeys(found.notes)
        return {"fid": found.value}

    def _stats(self, images: UInt8[np.ndarray, "n r r 3"]) -> FeatureStats:
        return frechet.stats_of_images(
            self._features_fn, images, batch_size=self._batch_size
        )
