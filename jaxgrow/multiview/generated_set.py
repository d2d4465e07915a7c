"""Generated views of many objects, as files with a record of their origin.

A folder of `multiview.chunked_images`: header.json (model, sampler, seed, objects and
their conditioning views), images.npy (n, k, v, h, w, 3) and progress.json.
"""

import dataclasses
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int, UInt8

from jaxgrow.data.views import Partition
from jaxgrow.devices import runtime
from jaxgrow.errors import UserError
from jaxgrow.multiview import chunked_images
from jaxgrow.multiview.generator import DEFAULT_SAMPLER, ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.storage import files


_VERSION = 2
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class GeneratedSet:
    """Objects with all views: one conditioning view each, the others generated.

    Attributes:
        images: `k` samples of every object, mapped from disk, read-only. The
            conditioning view is the same in all of them.
        conditioning: Index of the conditioning view.
        labels: Index of each object's class in `class_names`.
        object_ids: Names of the objects in the data.
        class_names: All classes of the data.
        view_names: One per view.
        header: The content of header.json, such as `model` (sha256 of the weights),
            `sampler`, `num_evaluations`, `seed` and `real_views`, the views that the
            conditioning images truly show.
    """

    images: UInt8[np.ndarray, "n k v h w 3"]
    conditioning: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    object_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    view_names: tuple[str, ...]
    header: dict[str, Any]

    def __len__(self) -> int:
        return len(self.labels)


def generate(
    folder: Path,
    view_generator: ViewGenerator,
    partition: Partition,
    *,
    model: str,
    conditioning: Int[np.ndarray, " n"] | None = None,
    sampler: SamplerConfig = DEFAULT_SAMPLER,
    num_samples: int = 1,
    seed: int = 0,
    chunk_size: int = _CHUNK,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> GeneratedSet:
    """Write all views of every object, generated from its conditioning view.

    Images that the folder has already are kept if all that decides them is the same,
    and replaced otherwise. A run that is killed at any moment and started again leaves
    the same bytes. All processes of a run call this, and each generates a share.

    Args:
        folder: Made if need be.
        view_generator: The model.
        partition: Objects with one conditioning view each; no other view is read.
        model: `files.hash_files` of the model's weights.
        conditioning: View as which each conditioning image is taken; None = the view
            that it shows.
        sampler: Sampler and number of network evaluations.
        num_samples: Samples k of every object.
        seed: Of all draws; those of object `i` depend on (seed, i) alone.
        chunk_size: Objects that are written together.
        on_progress: Called with the objects on disk and their number, at the start and
            after every chunk; of several processes, those of its share. An exception
            of it ends the generation without loss.
        on_note: Called with a sentence if the folder's old content was thrown away.

    Raises:
        UserError: The disk is full, read-only or forbidden, a view does not exist, or
            the images are not of the model's shape.
    """
    at = partition.conditioning if conditioning is None else conditioning
    _check(view_generator, at, num_samples)
    options = {"sampler": sampler, "num_samples": num_samples, "seed": seed}
    header = _header(view_generator, partition, model, at, **options)

    def make_chunk(start: int, stop: int) -> UInt8[np.ndarray, "b k v h w 3"]:
        rows = np.arange(start, stop)
        images, missing = _place(partition, at, rows)
        return view_generator.generate_views(images, missing, ids=rows, **options)

    make_chunk(0, 0)  # refuses images of another shape before anything is lost
    chunked_images.write_chunks_together(
        folder, header, make_chunk, chunk_size, on_progress=on_progress, on_note=on_note
    )
    return open_generated(folder)


def open_generated(folder: Path) -> GeneratedSet:
    """Open a folder that `generate` has written.

    Raises:
        UserError: It is missing, unfinished, damaged, or of another version.
    """
    if not folder.exists():
        raise UserError(
            f"there are no generated views in {folder}: the phase views of nmr_dimvida "
            "makes them."
        )
    try:
        header, images = chunked_images.read_finished(folder)
        return _interpret(header, images)
    except chunked_images.Unusable as reason:
        raise UserError(
            f"the generated views in {folder} cannot be used ({reason}): generate them "
            "again."
        ) from reason


def _interpret(header: dict[str, Any], images: np.ndarray) -> GeneratedSet:
    if (version := header.get("version")) != _VERSION:
        raise chunked_images.Unusable(f"they are of version {version}")
    try:
        return GeneratedSet(
            images=images,
            conditioning=np.array(header["conditioning"], np.int64),
            labels=np.array(header["labels"], np.int64),
            object_ids=tuple(header["object_ids"]),
            class_names=tuple(header["class_names"]),
            view_names=tuple(header["view_names"]),
            header=header,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise chunked_images.Unusable(f"{chunked_images.HEADER} is damaged") from error


def _check(
    view_generator: ViewGenerator, conditioning: np.ndarray, num_samples: int
) -> None:
    num_views = len(view_generator.view_names)
    wrong = np.flatnonzero((conditioning < 0) | (conditioning >= num_views))
    if len(wrong):
        raise UserError(
            f"the conditioning view of object {wrong[0]} is "
            f"{conditioning[wrong[0]]}: the model has {num_views} views, 0 to "
            f"{num_views - 1}."
        )
    if num_samples < 1:
        raise UserError(f"the number of samples must be 1 or more, not {num_samples}.")


def _header(
    view_generator: ViewGenerator,
    partition: Partition,
    model: str,
    conditioning: np.ndarray,
    *,
    sampler: SamplerConfig,
    num_samples: int,
    seed: int,
) -> dict[str, Any]:
    views = partition.views
    return files.plain(
        {
            "version": _VERSION,
            "shape": (len(views), num_samples, *views.images.shape[1:]),
            "model": model,
            "sampler": sampler,
            "num_evaluations": sampler.num_evaluations,
            "seed": seed,
            "num_samples": num_samples,
            "size": views.size,
            "view_names": view_generator.view_names,
            "class_names": views.class_names,
            "object_ids": views.object_ids,
            "labels": views.labels,
            "conditioning_pixels": _conditioning_checksum(partition),
            "real_views": partition.conditioning,
            "conditioning": conditioning,
            "made_with": runtime.versions() | {"device": jax.devices()[0].device_kind},
        }
    )


def _conditioning_checksum(partition: Partition) -> str:
    """Return the CRC-32 of the pixels that decide the others."""
    checksum = 0
    for i, view in enumerate(partition.conditioning):
        pixels = np.ascontiguousarray(partition.views.images[i, view])
        checksum = zlib.crc32(pixels.data, checksum)
    return f"{checksum:08x}"


def _place(
    partition: Partition, conditioning: np.ndarray, rows: np.ndarray
) -> tuple[UInt8[np.ndarray, "b v h w 3"], Bool[np.ndarray, "b v"]]:
    """Return the conditioning images among blank ones, and the mask of the latter."""
    source, at = partition.views.images, np.arange(len(rows))
    images = np.zeros((len(rows), *source.shape[1:]), np.uint8)
    images[at, conditioning[rows]] = source[rows, partition.conditioning[rows]]
    missing = np.ones(images.shape[:2], bool)
    missing[at, conditioning[rows]] = False
    return images, missing
