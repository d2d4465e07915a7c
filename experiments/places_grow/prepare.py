"""From a config to arrays: pictures, holes and validation sets of every stage."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int, UInt8

from experiments.places_grow.config import Config
from jaxgrow import inpainting, parallel
from jaxgrow.data import masks as hole_masks
from jaxgrow.data import pyramid, sources
from jaxgrow.data.batches import plan_batch
from jaxgrow.data.sources import Source
from jaxgrow.growth import Stage
from jaxgrow.inpainting import Data, StepBatch


_VALIDATION_SEED = 1_000_003  # of the crops and holes of validation, the same always
# One protocol for every run, whatever it trained on, unless it brought its own masks.
_PROTOCOL_MASKS = hole_masks.MaskConfig(rectangle=1.0, stroke=1.0)


class Pictures(NamedTuple):
    """Both halves of the data, at every resolution of the run."""

    train: pyramid.Pyramid
    validation: pyramid.Pyramid
    paired_masks: pyramid.Pyramid | None


def load_pictures(config: Config, on_message: Callable[[str], None]) -> Pictures:
    """Reads or reuses the cached pyramids; photographs of the halves are disjoint."""
    train, validation = sources.open_split(config.data, config.seed)
    data, resolutions = config.data, _resolutions(config)
    crops = sources.num_crops(data, len(train))

    def load(source: Source, crops_per_image: int, seed: int, what: str):
        loaded = pyramid.load_pyramid(
            source,
            resolutions,
            crops_per_image=crops_per_image,
            min_crop=data.min_crop,
            seed=seed,
            cache_dir=data.cache_dir,
        )
        if loaded.was_damaged:
            on_message(f"the cache of the {what} pictures was damaged: made anew")
        if loaded.skipped:
            some = ", ".join(loaded.skipped[:3])
            on_message(f"{len(loaded.skipped)} broken {what} pictures skipped: {some}")
        on_message(
            f"{what}: {len(source)} pictures, {len(loaded.names)} crops, "
            f"at {', '.join(map(str, resolutions))} px"
        )
        return loaded

    paired = None
    if config.masks.folder > 0 and config.masks.pairing == "by-name":
        assert config.masks.folder_path is not None  # MaskConfig has seen to it
        paired = pyramid.load_mask_pyramid(
            train,
            config.masks.folder_path,
            resolutions,
            crops_per_image=crops,
            min_crop=data.min_crop,
            seed=config.seed,
            cache_dir=data.cache_dir,
        )
    return Pictures(
        train=load(train, crops, config.seed, "training"),
        validation=load(
            validation, data.val_crops_per_image, _VALIDATION_SEED, "validation"
        ),
        paired_masks=paired,
    )


def _resolutions(config: Config) -> list[int]:
    return sorted(config.growth.resolutions)


def stage_masks(
    config: Config, pictures: Pictures, stage: Stage
) -> UInt8[np.ndarray, "m r r 1"]:
    """The stage's bank of holes, or the pictures' own."""
    if pictures.paired_masks is not None:
        return pictures.paired_masks.images[stage.resolution]
    return hole_masks.mask_bank(
        config.masks, stage.resolution, config.num_masks, config.seed + stage.resolution
    )


class Feed:
    """Batches of a stage: indices where the pictures lie on the device, else pixels.

    Attributes:
        data: What the step gets with every call, on the devices already.
    """

    def __init__(
        self, config: Config, pictures: Pictures, stage: Stage, num_devices: int
    ):
        self._config, self._stage, self._num_devices = config, stage, num_devices
        self._images = pictures.train.images[stage.resolution]
        self._is_paired = pictures.paired_masks is not None
        masks = stage_masks(config, pictures, stage)
        self._num_masks = len(masks)
        fits = self._images.nbytes <= config.device_data_mb * 2**20
        on_device = np.asarray(self._images) if fits else None
        self.data: Data = parallel.replicate(Data(on_device, masks), num_devices)

    def __call__(self, step: int, k: int) -> StepBatch:
        """The batches of `k` steps from `step` of the stage on; pure."""
        batches = [self.plan(step + i) for i in range(k)]
        if k == 1:
            return parallel.shard_batch(batches[0], self._num_devices)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        return parallel.shard_batch(stacked, self._num_devices, batch_axis=1)

    def plan(self, step: int) -> StepBatch:
        """The batch of one step, not yet shared out over devices."""
        seed = self._config.seed + self._stage.resolution
        size = self._config.batch_size
        plan = plan_batch(seed, step, size, len(self._images), self._num_masks)
        mask_index, symmetry = plan.mask_index, plan.mask_symmetry
        if self._is_paired:
            mask_index = plan.image_index
            symmetry = plan.flip * np.int32(inpainting.MIRROR)
        images = None
        if self.data.images is None:
            images = self._images[plan.image_index]
        return StepBatch(plan.image_index, plan.flip, mask_index, symmetry, images)


class ValidationSet(NamedTuple):
    """Fixed pictures and holes of one resolution, photo-disjoint from training."""

    images: UInt8[np.ndarray, "n r r 3"]
    masks_by_bin: dict[str, UInt8[np.ndarray, "n r r 1"]]
    photo: Int[np.ndarray, " n"]
    names: tuple[str, ...]

    def mixed_masks(self) -> UInt8[np.ndarray, "n r r 1"]:
        """One hole per picture, from the five bins of area in turn."""
        bins = list(self.masks_by_bin.values())
        return np.stack([bins[i % len(bins)][i] for i in range(len(self.images))])


def validation_set(
    config: Config, pictures: Pictures, resolution: int
) -> ValidationSet:
    """The validation pictures of a resolution, each with one hole per bin of area."""
    images = np.asarray(pictures.validation.images[resolution])
    mixture = config.masks if config.masks.folder > 0 else _PROTOCOL_MASKS
    masks = hole_masks.evaluation_masks(
        mixture, resolution, len(images), _VALIDATION_SEED
    )
    names = pictures.validation.names
    return ValidationSet(images, masks, pictures.validation.image_index, names)
