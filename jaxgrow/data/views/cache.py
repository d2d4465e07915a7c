"""Decoded views in the cache: one array and the names of its objects for each part."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxgrow.data import cache
from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.listing import PARTS, Listing, Part
from jaxgrow.data.views.split import MEANING
from jaxgrow.data.views.view_set import ViewSet
from jaxgrow.devices import runtime
from jaxgrow.errors import UserError


_SHARED = ("class_names", "azimuths", "view_names")  # by all parts


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
    digests = {part: _digest(part, cached) for part in PARTS}
    notes = tuple(cached.about["notes"])
    if config.source == "folder":  # the splits of published data stay as they are
        notes += _leave_out_copies(views, digests, cached.about["contents"])
    if cached.was_damaged:
        parent = config.cache_dir or runtime.cache_folder()
        notes = (*notes, f"the cache in {parent} was damaged and has been built anew")
    return views, notes, digests


def _leave_out_copies(
    views: dict[Part, ViewSet], digests: dict[str, str], contents: dict[Part, list[str]]
) -> tuple[str, ...]:
    """Leave out objects whose views are those of an object of an earlier part.

    Returns:
        A sentence on each part that has lost some.
    """
    notes, seen = [], {}
    for part in PARTS:
        same = [seen.setdefault(content, part) != part for content in contents[part]]
        if not any(same):
            continue
        names = [n for n, out in zip(views[part].object_ids, same, strict=True) if out]
        if all(same):
            raise UserError(
                f"partition {part} ({MEANING[part]}) would be empty: all of its "
                f"{len(names)} objects have the same views as objects of others: add "
                "some that are not among those to train on"
            )
        views[part] = views[part].take(np.flatnonzero(~np.array(same)))
        digests[part] = cache.hash_json([digests[part], names])
        notes.append(
            f"{len(names)} objects of partition {part} ({MEANING[part]}), such as "
            f"{names[0]}, are left out: objects to train on have the same views"
        )
    return tuple(notes)


def _fill(
    listing: Listing,
    on_progress: Callable[[int, int], None] | None,
    writer: cache.ArrayWriter,
) -> dict[str, Any]:
    kept = [i for i, entry in enumerate(listing.entries) if entry.part is not None]
    objects: dict[str, dict[str, list]] = {
        part: {"object_ids": [], "labels": [], "observed": []} for part in PARTS
    }
    contents: dict[str, list[str]] = {part: [] for part in PARTS}
    rows = zip(kept, listing.read(), strict=True)
    for done, (i, views) in enumerate(rows, start=1):
        entry = listing.entries[i]
        assert entry.part is not None  # `kept` has no other
        writer.append(entry.part, views[None])
        contents[entry.part].append(hashlib.sha256(views.tobytes()).hexdigest())
        objects[entry.part]["object_ids"].append(entry.object_id)
        objects[entry.part]["labels"].append(entry.label)
        objects[entry.part]["observed"].append(listing.observed[i].tolist())
        if on_progress is not None:
            on_progress(done, len(kept))
    return {
        "class_names": listing.class_names,
        "azimuths": listing.azimuths,
        "view_names": listing.view_names,
        "notes": listing.notes,
        "objects": objects,
        "contents": contents,
    }


def _digest(part: Part, cached: cache.CachedArrays) -> str:
    """Hash everything about a part, and nothing of the others."""
    about = {name: cached.about[name] for name in _SHARED}
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
        view_names=tuple(cached.about["view_names"]),
    )
