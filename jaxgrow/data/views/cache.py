"""Decoded views in the cache: one array and the names of its objects for each part."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrow.data import cache
from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.listing import PARTS, Listing, Part
from jaxgrow.data.views.view_set import ViewSet
from jaxgrow.devices import runtime


def load_views(
    key: str,
    config: ViewDataConfig,
    list_objects: Callable[[], Listing],
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[Part, ViewSet], tuple[str, ...], dict[str, str]]:
    """Return views and hash of each part, and notes, from the cache or decoded now.

    `key` is a hash of everything that decides the pixels and their order. If the cache
    is whole, `list_objects` is not called. `on_progress` gets the objects done and
    their total, when decoding.

    Raises:
        UserError: The data has a mistake, or the cache cannot be written.
    """

    def prepare() -> tuple[int, cache.Fill]:
        listing = list_objects()
        num_kept = sum(entry.part is not None for entry in listing.entries)
        num_bytes = num_kept * listing.observed.shape[1] * config.size**2 * 3
        return num_bytes, functools.partial(_fill, listing, on_progress)

    cached = cache.open_or_build(key, config.cache_dir, prepare)
    views: dict[Part, ViewSet] = {part: _view_set(part, cached) for part in PARTS}
    notes = tuple(cached.about["notes"])
    if cached.was_damaged:
        parent = config.cache_dir or runtime.cache_folder()
        notes = (*notes, f"the cache in {parent} was damaged and has been built anew")
    return views, notes, {part: _digest(part, cached) for part in PARTS}


def _fill(
    listing: Listing,
    on_progress: Callable[[int, int], None] | None,
    writer: cache.ArrayWriter,
) -> dict[str, Any]:
    kept = [i for i, entry in enumerate(listing.entries) if entry.part is not None]
    objects: dict[str, dict[str, list]] = {
        part: {"object_ids": [], "labels": [], "observed": []} for part in PARTS
    }
    rows = zip(kept, listing.read(), strict=True)
    for done, (i, views) in enumerate(rows, start=1):
        entry = listing.entries[i]
        assert entry.part is not None  # `kept` has no other
        writer.append(entry.part, views[None])
        objects[entry.part]["object_ids"].append(entry.object_id)
        objects[entry.part]["labels"].append(entry.label)
        objects[entry.part]["observed"].append(listing.observed[i].tolist())
        if on_progress is not None:
            on_progress(done, len(kept))
    return {
        "class_names": listing.class_names,
        "azimuths": listing.azimuths,
        "notes": listing.notes,
        "objects": objects,
    }


def _digest(part: Part, cached: cache.CachedArrays) -> str:
    """Hash everything about a part, and nothing of the others."""
    about = {name: cached.about[name] for name in ("class_names", "azimuths")}
    objects = cached.about["objects"][part]
    return cache.hash_json([about, objects, cached.checksums.get(part)])


def _view_set(part: Part, cached: cache.CachedArrays) -> ViewSet:
    objects, azimuths = cached.about["objects"][part], cached.about["azimuths"]
    return ViewSet(
        images=cached.arrays[part],
        labels=np.array(objects["labels"], np.int64),
        class_names=tuple(cached.about["class_names"]),
        object_ids=tuple(objects["object_ids"]),
        observed=np.array(objects["observed"], bool),
        azimuths=None if azimuths is None else tuple(azimuths),
    )
