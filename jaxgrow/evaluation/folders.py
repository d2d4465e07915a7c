"""Comparison of two folders of image files, real and generated."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxgrow.data.files import map_in_threads
from jaxgrow.data.images import decode_image
from jaxgrow.devices import settings
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.errors import UserError
from jaxgrow.evaluation.classifiers import SavedClassifier, classifier_features
from jaxgrow.evaluation.figures import MetricColumns
from jaxgrow.evaluation.pairs import FilePair, KnownPixels, LoadedPair, Note, load_pair
from jaxgrow.metrics import frechet, image
from jaxgrow.metrics.frechet import FeatureStats, FrechetDistance
from jaxgrow.metrics.inception_distance import (
    FeaturesOfImages,
    network_input,
    resize_one,
)
from jaxgrow.metrics.lpips import Lpips


_FILES_AT_ONCE = 16
_PIXELS_AT_ONCE = 2**21
_LARGEST_BATCH = 32
_INCEPTION_BATCH = 32
_CLASSIFIER_BATCH = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderComparison:
    """Measurements of two folders.

    Attributes:
        names: Of the pairs; empty if the sets are not paired.
        num_images: Real and generated.
        per_image: psnr, ssim, l1, with masks also `*_hole`, with weights lpips; one
            value per pair.
        sha256: Of names and pixels of the real and of the generated images.
        features: Theirs, (n, d), if a network was given.
    """

    names: tuple[str, ...]
    num_images: tuple[int, int]
    per_image: MetricColumns
    sha256: tuple[str, str]
    features: tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]] | None


@settings.fixed()
def measure_pairs(
    pairs: Sequence[FilePair],
    *,
    lpips: Lpips | None = None,
    features_fn: FeaturesOfImages | None = None,
    invert: bool = False,
    note: Note = lambda sentence: None,
    on_progress: Callable[[], None] = lambda: None,
) -> FolderComparison:
    """Measure every pair, a few files in memory at a time.

    `features_fn` is FID's network, of images of 299 px. With `invert` the holes of the
    masks are black. `note` gets a sentence about each oddity.

    Raises:
        UserError: See `load_pair`.
    """
    meter, known = PairMeter(lpips, note), KnownPixels()
    real, fake = ImageSet(features_fn), ImageSet(features_fn)
    for pair in _read(pairs, lambda pair: load_pair(pair, invert=invert)):
        meter.add(pair)
        known.add(pair)
        real.add(pair.name, pair.real)
        fake.add(pair.name, pair.fake)
        on_progress()
    known.report(note)
    names = tuple(pair.name for pair in pairs)
    return _measured(names, meter.finish(names), real, fake)


@settings.fixed()
def measure_sets(
    real: Mapping[str, Path],
    fake: Mapping[str, Path],
    features_fn: FeaturesOfImages | None,
    on_progress: Callable[[], None] = lambda: None,
) -> FolderComparison:
    """Measure two sets of files by name that are not paired, see `measure_pairs`."""
    sets = ImageSet(features_fn), ImageSet(features_fn)
    for images, files in zip(sets, (real, fake), strict=True):
        loaded = _read(list(files.values()), decode_image)
        for name, pixels in zip(files, loaded, strict=True):
            images.add(name, pixels)
            on_progress()
    return _measured((), {}, *sets)


@settings.fixed()
def classifier_distance(
    classifier: SavedClassifier,
    real: Mapping[str, Path],
    fake: Mapping[str, Path],
    on_progress: Callable[[], None] = lambda: None,
) -> FrechetDistance:
    """Return the Frechet distance of two sets of files on a classifier's features.

    Raises:
        UserError: An image cannot be read or has another size than the first, or a
            side has one image only.
    """
    of_pixels, sides = classifier_features(classifier), {}
    features_fn = RowsFn(lambda _, pixels: of_pixels(pixels))
    size = features_fn.whole_shares(_CLASSIFIER_BATCH)

    def load(path: Path) -> UInt8[np.ndarray, "h w 3"]:
        pixels = decode_image(path)
        height, width = sides.setdefault("size", pixels.shape[:2])
        if pixels.shape[:2] != (height, width):
            raise UserError(
                f"{path} has {pixels.shape[1]}x{pixels.shape[0]} pixels and others "
                f"{width}x{height}, but a classifier compares images of one size: "
                "resize them, or leave the classifier out."
            )
        return pixels

    def stats(files: Sequence[Path]) -> FeatureStats:
        found = None
        for start in range(0, len(files), size):
            images = np.stack(list(_read(files[start : start + size], load)))
            rows = np.arange(size)
            features = features_fn((), images[rows.clip(max=len(images) - 1)])
            batch = frechet.stats_of(features, rows < len(images))
            found = batch if found is None else frechet.merge(found, batch)
            for _ in images:
                on_progress()
        assert found is not None
        return found

    both = [stats(list(files.values())) for files in (real, fake)]
    return frechet.frechet_distance(*both, name=frechet.CLASSIFIER_DISTANCE)


def _measured(names, per_image, real: "ImageSet", fake: "ImageSet") -> FolderComparison:
    features = real.features(), fake.features()
    has_features = features[0] is not None and features[1] is not None
    return FolderComparison(
        names=names,
        num_images=(real.count, fake.count),
        per_image=per_image,
        sha256=(real.digest.hexdigest(), fake.digest.hexdigest()),
        features=features if has_features else None,  # pyright: ignore
    )


class ImageSet:
    """Count, hash and a network's features of images of any size, one by one."""

    def __init__(self, features_fn: FeaturesOfImages | None):
        self.count, self.digest = 0, hashlib.sha256()
        self._features = None
        if features_fn is not None:
            self._features = RowsFn(lambda _, x: features_fn(network_input(x)))
        self._waiting: list[np.ndarray] = []
        self._done: list[np.ndarray] = []

    def add(self, name: str, pixels: UInt8[np.ndarray, "h w 3"]) -> None:
        self.count += 1
        self.digest.update(f"{name} {pixels.shape} ".encode(errors="surrogateescape"))
        self.digest.update(pixels.tobytes())
        if self._features is not None:
            self._waiting.append(resize_one(pixels))
        if len(self._waiting) == _INCEPTION_BATCH:
            self._flush()

    def features(self) -> Float[np.ndarray, "n d"] | None:
        """Return the features of all images added, in order; None without a network."""
        self._flush()
        return np.concatenate(self._done) if self._done else None

    def _flush(self) -> None:
        if self._features is not None and self._waiting:
            images = np.stack(self._waiting)
            found = self._features.in_batches(_INCEPTION_BATCH, (), images)
            self._done.append(np.asarray(found, np.float32))
            self._waiting.clear()


class PairMeter:
    """Paired metrics of images of many sizes, compiled once per size."""

    def __init__(self, lpips: Lpips | None, note: Note):
        self._lpips, self._note, self._compare = lpips, note, RowsFn(compare)
        self._waiting: dict[tuple, list[LoadedPair]] = {}
        self._found: dict[str, dict[str, float]] = {}

    def add(self, pair: LoadedPair) -> None:
        waiting = self._waiting.setdefault(pair.real.shape, [])
        waiting.append(pair)
        if len(waiting) == self._batch_size(pair.real.shape):
            self._flush(pair.real.shape)

    def finish(self, names: Sequence[str]) -> MetricColumns:
        """Return metric -> one value per image, in the order of `names`."""
        for shape in list(self._waiting):
            self._flush(shape)
        metrics = self._found[names[0]]
        return {m: np.array([self._found[name][m] for name in names]) for m in metrics}

    def _flush(self, shape: tuple) -> None:
        if not (pairs := self._waiting.pop(shape, [])):
            return
        # A short batch is filled up with its last pair: one shape, one compilation.
        rows = np.arange(self._batch_size(shape)).clip(max=len(pairs) - 1)
        real = np.stack([pair.real for pair in pairs])[rows]
        fake = np.stack([pair.fake for pair in pairs])[rows]
        holes = [pair.hole for pair in pairs if pair.hole is not None]
        hole = [np.stack(holes)[rows]] if holes else []
        found = self._compare((), real, fake, *hole)
        if self._lpips is not None:
            signed = (x / np.float32(127.5) - np.float32(1.0) for x in (real, fake))
            result = self._lpips(*signed)
            found["lpips"] = result.values
            for sentence in result.notes:
                self._note(f"{result.label}: {sentence}")
        values = {name: np.asarray(column) for name, column in found.items()}
        for i, pair in enumerate(pairs):
            self._found[pair.name] = {n: float(v[i]) for n, v in values.items()}

    def _batch_size(self, shape: tuple) -> int:
        fitting = max(_PIXELS_AT_ONCE // (shape[0] * shape[1]), 1)
        return self._compare.whole_shares(min(fitting, _LARGEST_BATCH))


def compare(_, real, fake, hole=None):
    """Return paired metrics of 8-bit pixels (b, h, w, 3), and of holes (b, h, w)."""
    x, y = real / jnp.float32(255), fake / jnp.float32(255)
    metrics = {"psnr": image.psnr, "ssim": image.ssim, "l1": image.l1}
    found = {name: metric(y, x) for name, metric in metrics.items()}
    if hole is not None:
        mask = hole[..., None].astype(jnp.float32)
        found |= {f"{name}_hole": f(y, x, mask) for name, f in metrics.items()}
    return found


def _read(items: Sequence, load: Callable) -> Iterator:
    """Load in threads, few at a time: photographs are large."""
    for start in range(0, len(items), _FILES_AT_ONCE):
        yield from map_in_threads(load, items[start : start + _FILES_AT_ONCE])
