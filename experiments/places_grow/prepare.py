"""From a config to what stages train on: pictures, holes, features, batches."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from experiments.places_grow.config import VGG_WEIGHTS, Config
from experiments.shared import run_dir as runs
from jaxgrow.data import masks as hole_masks
from jaxgrow.data import pyramid, sources
from jaxgrow.data.batches import PictureBatch, plan_batch
from jaxgrow.data.file_sources import fingerprint_files
from jaxgrow.data.files import first_of, list_images
from jaxgrow.data.mask_files import try_masks
from jaxgrow.data.sources import ImageSource
from jaxgrow.devices.parallel import Placement
from jaxgrow.inpainting.batch import Data
from jaxgrow.inpainting.stages import Stage
from jaxgrow.pretrained.networks import load_perceptual
from jaxgrow.storage import files
from jaxgrow.training.feed import Feed, fits
from jaxgrow.typing import FeaturesFn


_VALIDATION_SEED = 1_000_003  # of the crops and holes of validation, the same always
# One protocol for every run, whatever it trained on, unless it brought its own masks.
_PROTOCOL_MASKS = hole_masks.MaskConfig(rectangle=1.0, stroke=1.0)
_OWN_MASKS_ONLY = {"rectangle": 0.0, "stroke": 0.0, "scratch": 0.0, "folder": 1.0}
_NUM_LOOKED_AT = 1_000  # masks that are read for the sake of warnings
_LARGE_HOLE = 0.5


class Pictures(NamedTuple):
    """Both halves of the data, at every resolution of the run.

    `digests` has name -> hash of the content of pictures and of the user's own masks.
    """

    train: pyramid.Pyramid
    validation: pyramid.Pyramid
    paired_masks: pyramid.Pyramid | None
    digests: dict[str, str | None]


def load_pictures(config: Config, on_message: Callable[[str], None]) -> Pictures:
    """Read or reuse the cached pyramids; photographs of the halves are disjoint.

    Raises:
        UserError: The pictures or masks cannot be found, read, paired or cached.
    """
    train, validation = sources.open_split(
        config.data, config.seed, without=config.masks.folder_path
    )
    data, resolutions = config.data, sorted(config.growth.resolutions)
    crops = sources.num_crops(data, len(train))
    for sentence in _left_out(train, validation):
        on_message(sentence)
    if config.masks.folder_path is not None:
        _describe_masks(config.masks.folder_path, on_message)

    def load(source: ImageSource, crops_per_image: int, seed: int, what: str):
        loaded = pyramid.load_pyramid(
            source,
            resolutions,
            crops_per_image=crops_per_image,
            min_crop=sources.MIN_CROP,
            seed=seed,
            cache_dir=data.cache_dir,
        )
        if loaded.was_damaged:
            on_message(f"the cache of the {what} pictures was damaged: made anew")
        if loaded.skipped:
            some = _some(loaded.skipped, f"{what} pictures")
            on_message(f"skipped, as they cannot be read: {some}")
        on_message(
            f"{what}: {len(source) - len(loaded.skipped)} pictures, "
            f"{len(loaded.names)} crops, at {', '.join(map(str, resolutions))} px"
        )
        return loaded

    paired = None
    if is_paired(config):
        assert config.masks.folder_path is not None  # MaskConfig has seen to it
        paired = pyramid.load_mask_pyramid(
            train,
            config.masks.folder_path,
            resolutions,
            crops_per_image=crops,
            min_crop=sources.MIN_CROP,
            seed=config.seed,
            cache_dir=data.cache_dir,
        )
        on_message("every picture trains with its own mask, and with no other shape")
    halves = (
        load(train, crops, config.seed, "training"),
        load(validation, data.val_crops_per_image, _VALIDATION_SEED, "validation"),
    )
    digests = {
        "training pictures": halves[0].digest,
        "validation pictures": halves[1].digest,
        "masks": _mask_digest(config, paired),
    }
    return Pictures(*halves, paired, digests)


class Inputs:
    """The pictures of a run and its perceptual features, once they are loaded.

    Attributes:
        pictures: Both halves of the data.
        features_fn: Of the perceptual term; None = it is off.
        digests: Name -> hash of the content of everything that was loaded.
    """

    pictures: Pictures
    features_fn: FeaturesFn | None
    digests: dict[str, str | None]

    def load(self, config: Config, on_message: Callable[[str], None]) -> None:
        """Load both.

        Raises:
            UserError: The data or the weights have a mistake.
        """
        runs.check_weights_dir(config.weights_dir)
        self.features_fn, perceptual_note = load_features(config)
        on_message(perceptual_note)
        self.pictures = load_pictures(config, on_message)
        self.digests = {**self.pictures.digests, "perceptual network": None}
        if self.features_fn is not None and config.vgg_weights is not None:
            digest = files.hash_files([config.vgg_weights])
            self.digests["perceptual network"] = digest


def load_features(config: Config) -> tuple[FeaturesFn | None, str]:
    """Return the perceptual term's features, and a sentence about them.

    The features are None if the term is off.

    Raises:
        UserError: A file that the user names is not there, or is of no use.
    """
    path = config.vgg_weights
    if path is None:
        return None, "perceptual term off: vgg_weights is None"
    if path == VGG_WEIGHTS and not path.exists():
        return None, (
            "perceptual term off: it needs weights: python -m tools.export_weights "
            f"vgg19 --prefix blocks12 --out {VGG_WEIGHTS}"
        )
    net = load_perceptual(path, compute_dtype=config.losses.perceptual_dtype)
    note = f"perceptual term on: {net.provenance.label} from {path}"
    return net.features_fn, note


def _mask_digest(config: Config, paired: pyramid.Pyramid | None) -> str | None:
    if paired is not None:
        return paired.digest
    if (folder := config.masks.folder_path) is None:
        return None
    names = list_images(folder).names
    return fingerprint_files([folder / name for name in names], names)


def is_paired(config: Config) -> bool:
    """Return True if pictures train with the masks of their names, and no others."""
    return config.masks.pairing == "by-name"


def _left_out(*halves: ImageSource) -> list[str]:
    """Return sentences on the files that the sources have left out."""
    unread: dict[str, str] = {}
    remarks: dict[str, None] = {}
    for source in halves:
        while isinstance(source, sources.Subset):
            source = source.source
        unread |= getattr(source, "skipped", {})
        remarks |= dict.fromkeys(getattr(source, "remarks", ()))
    if unread:
        some, why = _some(list(unread), "pictures"), next(iter(unread.values()))
        return [*remarks, f"skipped, as they cannot be read: {some}; {why}"]
    return list(remarks)


def _describe_masks(folder: Path, on_message: Callable[[str], None]) -> None:
    """Report oddities of the user's own masks, or of the first of many."""
    found = list_images(folder)
    loaded, faults = try_masks(folder, found.names[:_NUM_LOOKED_AT])
    on_message(f"{len(found.names)} masks of your own in {folder}")
    for sentence in found.remarks(folder):
        on_message(sentence)
    if faults:
        some, why = _some(list(faults), "masks"), next(iter(faults.values()))
        on_message(f"not used, as they cannot be read: {some}; {why}")
    grey = [name for name, (_, binary) in loaded.items() if not binary]
    if grey:
        some = _some(grey, "masks hold grey values")
        on_message(f"{some}: 128 and above is the hole, the rest is known")
    areas = np.array([mask.mean() for mask, _ in loaded.values()])
    useless = [n for n, a in zip(loaded, areas, strict=True) if a in (0.0, 1.0)]
    if useless:
        some = _some(useless, "masks have no hole or nothing but hole")
        on_message(f"{some}: they are not used")
    if areas.size and np.median(areas) > _LARGE_HOLE:
        on_message(
            f"the masks in {folder} hide {np.median(areas):.0%} of a picture: white "
            "is the hole; if they mark what is known, invert them"
        )


def _some(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what} ({first_of(names)})"


def stage_masks(
    config: Config, pictures: Pictures, stage: Stage
) -> UInt8[np.ndarray, "m r r 1"]:
    """Return the stage's bank of holes, or the pictures' own."""
    if pictures.paired_masks is not None:
        return pictures.paired_masks.images[stage.resolution]
    return hole_masks.mask_bank(
        config.masks, stage.resolution, config.num_masks, config.seed + stage.resolution
    )


def stage_plan(
    config: Config, pictures: Pictures, stage: Stage, num_masks: int
) -> Callable[[int], PictureBatch]:
    """Return step -> rows of a stage's pictures and masks."""
    return lambda step: plan_batch(
        config.seed + stage.resolution,
        step,
        config.batch_size,
        len(pictures.train.image_index),
        num_masks,
        augment=config.augment == "all",
        is_paired=pictures.paired_masks is not None,
    )


def picture_feed(
    config: Config, pictures: Pictures, stage: Stage, placement: Placement
) -> Feed:
    """Return the batches of a stage."""
    images = pictures.train.images[stage.resolution]
    masks = stage_masks(config, pictures, stage)
    on_device = fits(images, config.device_data_mb)
    return Feed(
        placement,
        config.batch_size,
        stage_plan(config, pictures, stage, len(masks)),
        Data(np.asarray(images) if on_device else None, masks),
        on_host=None if on_device else {"images": images},
        rows="image_index",
    )


class ValidationSet(NamedTuple):
    """Fixed pictures and holes of one resolution, photo-disjoint from training."""

    images: UInt8[np.ndarray, "n r r 3"]
    masks_by_bin: dict[str, UInt8[np.ndarray, "n r r 1"]]
    photo: Int[np.ndarray, " n"]
    names: tuple[str, ...]

    def mixed_masks(self) -> UInt8[np.ndarray, "n r r 1"]:
        """Return one hole per picture, from the five bins of area in turn."""
        bins = list(self.masks_by_bin.values())
        return np.stack([bins[i % len(bins)][i] for i in range(len(self.images))])


def validation_set(
    config: Config, pictures: Pictures, resolution: int
) -> ValidationSet:
    """Return the validation pictures, each with one hole per bin of area."""
    images = np.asarray(pictures.validation.images[resolution])
    mixture = config.masks if config.masks.folder > 0 else _PROTOCOL_MASKS
    if is_paired(config):
        mixture = dataclasses.replace(config.masks, **_OWN_MASKS_ONLY)
    masks = hole_masks.evaluation_masks(
        mixture, resolution, len(images), _VALIDATION_SEED
    )
    names = pictures.validation.names
    return ValidationSet(images, masks, pictures.validation.image_index, names)
