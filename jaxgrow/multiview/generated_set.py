"""Generated views of many objects, as files that say what made them.

A folder of `multiview.chunked_images`: header.json (model, sampler, seed, objects,
which slot was given), images.npy (n, k, v, h, w, 3) and progress.json.
"""

import dataclasses
import hashlib
import zlib
from collections.abc import Callable, Iterable
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


_VERSION = 1
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class GeneratedSet:
    """Objects with all views, of which one is real and the others are generated.

    Attributes:
        images: `k` samples of every object, mapped from disk, read-only. The given
            view is the same in all of them.
        known: Slot that the one real view was put into.
        labels: Index of each object's class in `class_names`.
        object_ids: What the data calls the objects.
        class_names: All classes of the data.
        view_names: One per slot.
        header: Everything that header.json says, such as `model` (sha256 of the
            weights), `sampler`, `num_evaluations`, `seed` and `real_slots`, the slots
            that the given views truly belong to.
    """

    images: UInt8[np.ndarray, "n k v h w 3"]
    known: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    object_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    view_names: tuple[str, ...]
    header: dict[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_given(self) -> Bool[np.ndarray, "n v"]:
        """True where a view is the real one."""
        return np.arange(self.images.shape[2]) == self.known[:, None]

    def as_rows(
        self,
    ) -> tuple[UInt8[np.ndarray, "rows h w 3"], Int[np.ndarray, " rows"]]:
        """Every view of every sample of every object, in that order, and its class.

        The images stay on disk. The given view comes once a sample, so that it keeps
        its share 1 / v of the rows.
        """
        n, k, v, *pixels = self.images.shape
        return self.images.reshape(n * k * v, *pixels), np.repeat(self.labels, k * v)


def model_digest(weights: Iterable[Path]) -> str:
    """sha256 over the contents of files, in their order, in hexadecimal.

    Raises:
        UserError: One of them is not there, or cannot be read.
    """
    digest = hashlib.sha256()
    for path in weights:
        try:
            with files.disk_errors(path, "read"), path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except FileNotFoundError:
            raise UserError(f"no weights at {path}: no such file.") from None
    return digest.hexdigest()


def generate(
    folder: Path,
    view_generator: ViewGenerator,
    partition: Partition,
    *,
    model: str,
    known: Int[np.ndarray, " n"] | None = None,
    sampler: SamplerConfig = DEFAULT_SAMPLER,
    num_samples: int = 1,
    seed: int = 0,
    chunk_size: int = _CHUNK,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> GeneratedSet:
    """Writes all views of every object, from its given one.

    What the folder has already is kept as far as it goes if everything that decides it
    is the same, and made anew otherwise. A process that is killed at any moment and
    started again leaves the same bytes as one that is not. Of several processes of a
    run, which must all call this, each makes a share of the objects.

    Args:
        folder: Made if need be.
        view_generator: The model.
        partition: Objects with one given view each; no other view is read.
        model: What tells this model from others: `model_digest` of its weights.
        known: Slot to put each given view into; None = the one that it belongs to.
        sampler: How, and in how many network evaluations.
        num_samples: Samples k of every object.
        seed: Of all draws; those of object `i` depend on (seed, i) alone.
        chunk_size: Objects that are put on disk together.
        on_progress: Gets the objects that are on disk and their number, at the start
            and after every chunk; of several processes, those of its share. What it
            raises ends the generation without a loss.
        on_note: Gets a sentence if what was in the folder had to be thrown away.

    Raises:
        UserError: The disk is full, read-only or forbidden, a slot does not exist, or
            the views are not the model's.
    """
    slots = partition.known if known is None else known
    _check(view_generator, slots, num_samples)
    views = partition.views
    header = {
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
        "given_pixels": _checksum_of_given(partition),
        "real_slots": partition.known,
        "known": slots,
        "made_with": runtime.versions() | {"device": jax.devices()[0].device_kind},
    }

    def make_chunk(start: int, stop: int) -> UInt8[np.ndarray, "b k v h w 3"]:
        rows = np.arange(start, stop)
        images, missing = _place(partition, slots, rows)
        return view_generator.generate_views(
            images,
            missing,
            sampler=sampler,
            num_samples=num_samples,
            seed=seed,
            ids=rows,
        )

    make_chunk(0, 0)  # refuses views that are not the model's before anything is lost
    chunked_images.write_together(
        folder,
        files.plain(header),
        make_chunk,
        chunk_size,
        on_progress=on_progress,
        on_note=on_note,
    )
    return open_generated(folder)


def open_generated(folder: Path) -> GeneratedSet:
    """What `generate` has left in a folder.

    Raises:
        UserError: There is nothing, it is not finished, damaged, or of another version.
    """
    if not folder.exists():
        raise UserError(
            f"there are no generated views in {folder}: the phase views of nmr_dimvida "
            "makes them."
        )
    try:
        header, images = chunked_images.read(folder)
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
            known=np.array(header["known"], np.int64),
            labels=np.array(header["labels"], np.int64),
            object_ids=tuple(header["object_ids"]),
            class_names=tuple(header["class_names"]),
            view_names=tuple(header["view_names"]),
            header=header,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise chunked_images.Unusable(f"{chunked_images.HEADER} is damaged") from error


def _check(view_generator: ViewGenerator, slots: np.ndarray, num_samples: int) -> None:
    num_views = len(view_generator.view_names)
    wrong = np.flatnonzero((slots < 0) | (slots >= num_views))
    if len(wrong):
        raise UserError(
            f"object {wrong[0]} is given slot {slots[wrong[0]]}: the model knows "
            f"{num_views} slots, 0 to {num_views - 1}."
        )
    if num_samples < 1:
        raise UserError(f"the number of samples must be 1 or more, not {num_samples}.")


def _checksum_of_given(partition: Partition) -> str:
    """CRC-32 of the pixels that decide the others."""
    checksum = 0
    for i, slot in enumerate(partition.known):
        pixels = np.ascontiguousarray(partition.views.images[i, slot])
        checksum = zlib.crc32(pixels.data, checksum)
    return f"{checksum:08x}"


def _place(
    partition: Partition, slots: np.ndarray, rows: np.ndarray
) -> tuple[UInt8[np.ndarray, "b v h w 3"], Bool[np.ndarray, "b v"]]:
    """The given views in their slots among blank ones, and where those are."""
    source, at = partition.views.images, np.arange(len(rows))
    images = np.zeros((len(rows), *source.shape[1:]), np.uint8)
    images[at, slots[rows]] = source[rows, partition.known[rows]]
    missing = np.ones(images.shape[:2], bool)
    missing[at, slots[rows]] = False
    return images, missing
