"""Decoded views on disk: one file of pixels for each partition, and what they show."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxgrow.data import cache
from jaxgrow.data.views.listing import PARTS, Entry, Listing, Part
from jaxgrow.data.views.view_set import ViewSet
from jaxgrow.devices import runtime


# Views of each partition, and notes.
Content = tuple[dict[Part, ViewSet], tuple[str, ...]]


def load_or_build(
    key: str,
    cache_dir: Path | None,
    list_objects: Callable[[], Listing],
    on_progress: Callable[[int, int], None] | None = None,
) -> Content:
    """The views from the cache; decoded first if they are not there whole.

    Args:
        key: Hash of everything that decides the pixels and their order.
        cache_dir: Where the cache lies; the house's default if None.
        list_objects: What to decode; not called if the cache is whole.
        on_progress: Called with the objects done and their total, when decoding.

    Raises:
        UserError: The data has a mistake, or the cache cannot be written.
    """
    listings: list[Listing] = []

    def num_bytes() -> int:
        listings.append(list_objects())
        return _num_bytes(listings[0])

    def build(folder: Path) -> None:
        _build(folder, listings[0], on_progress)

    (views, notes), was_damaged = cache.open_or_build(
        key, cache_dir, read=_open, num_bytes=num_bytes, build=build
    )
    if was_damaged:
        parent = cache_dir or runtime.cache_folder()
        notes = (*notes, f"the cache in {parent} was damaged and has been built anew")
    return views, notes


def _num_bytes(listing: Listing) -> int:
    num_kept = sum(entry.part is not None for entry in listing.entries)
    return num_kept * listing.observed.shape[1] * listing.size**2 * 3


def _build(
    folder: Path, listing: Listing, on_progress: Callable[[int, int], None] | None
) -> None:
    kept = [i for i, entry in enumerate(listing.entries) if entry.part is not None]
    checksums: dict[str, int] = dict.fromkeys(PARTS, 0)
    # Plain writes: on a full disk a memory map would kill the process.
    with (
        _raw_file(folder, "d").open("wb") as d,
        _raw_file(folder, "c").open("wb") as c,
        _raw_file(folder, "e").open("wb") as e,
    ):
        outputs: dict[str, IO[bytes]] = {"d": d, "c": c, "e": e}
        rows = zip(kept, listing.read(), strict=True)
        for done, (i, views) in enumerate(rows, start=1):
            part = listing.entries[i].part
            assert part is not None  # `kept` has no other
            content = np.ascontiguousarray(views).data
            checksums[part] = zlib.crc32(content, checksums[part])
            outputs[part].write(content)
            if on_progress is not None:
                on_progress(done, len(kept))
    entries = [(listing.entries[i], listing.observed[i].tolist()) for i in kept]
    meta = {
        "class_names": listing.class_names,
        "azimuths": listing.azimuths,
        "size": listing.size,
        "num_views": listing.observed.shape[1],
        "notes": listing.notes,
        "parts": {part: _describe(part, entries, checksums[part]) for part in PARTS},
    }
    (folder / "meta.json").write_text(json.dumps(meta))


def _describe(
    part: Part, entries: list[tuple[Entry, list[bool]]], checksum: int
) -> dict[str, Any]:
    mine = [(entry, there) for entry, there in entries if entry.part == part]
    return {
        "checksum": checksum,
        "object_ids": [entry.object_id for entry, _ in mine],
        "labels": [entry.label for entry, _ in mine],
        "observed": [there for _, there in mine],
    }


def _open(folder: Path) -> Content | None:
    """What lies in `folder`, or None if anything about it is wrong."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        views: dict[Part, ViewSet] = {
            part: _open_part(_raw_file(folder, part), part, meta) for part in PARTS
        }
        return views, tuple(meta["notes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _open_part(file: Path, part: Part, meta: dict[str, Any]) -> ViewSet:
    about, side = meta["parts"][part], meta["size"]
    if cache.checksum_of(file) != about["checksum"]:
        raise ValueError(f"{file} does not match its checksum")
    labels = np.array(about["labels"], np.int64)
    shape = (len(labels), meta["num_views"], side, side, 3)
    if file.stat().st_size != np.prod(shape):
        raise ValueError(f"{file} has another length")
    azimuths = meta["azimuths"]
    return ViewSet(
        images=np.memmap(file, np.uint8, mode="r", shape=shape),
        labels=labels,
        class_names=tuple(meta["class_names"]),
        object_ids=tuple(about["object_ids"]),
        observed=np.array(about["observed"], bool),
        azimuths=None if azimuths is None else tuple(azimuths),
    )


def _raw_file(folder: Path, part: str) -> Path:
    return folder / f"{part}.bin"
