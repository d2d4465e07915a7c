"""From a configuration to the three partitions."""

import dataclasses
import hashlib
import json
from collections.abc import Callable

from jaxgrow.data.views.cache import load_or_build
from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.folder import ObjectFolders
from jaxgrow.data.views.listing import Source
from jaxgrow.data.views.nmr import Nmr
from jaxgrow.data.views.softras import SoftRas
from jaxgrow.data.views.split import known_slots
from jaxgrow.data.views.synthetic import Synthetic
from jaxgrow.data.views.view_set import Partition, Partitions, ViewSet
from jaxgrow.errors import UserError


_FORMAT = 1  # a change of the pixels' computation or of the partition changes it
_SOURCES: dict[str, Callable[[ViewDataConfig, int], Source]] = {
    "synthetic": Synthetic,
    "nmr": Nmr,
    "softras": SoftRas,
    "folder": ObjectFolders,
}
_PLACES = ("path", "cache_dir")  # where things lie does not change them


def open_partitions(
    config: ViewDataConfig,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Partitions:
    """Multi-view data in three parts, from the cache or decoded now.

    No object is in two parts. An object's part, and the one view that is given of it,
    depend on its name and `seed` alone: neither the machine nor the other objects
    change them. Synthetic objects are also made from `seed`.

    Args:
        config: Which data.
        seed: Of every draw.
        on_progress: Called with the objects done and their total, when decoding.

    Raises:
        UserError: The data has a mistake, or the cache cannot be written.
    """
    if config.path is not None and not config.path.exists():
        raise UserError(f"path {config.path} does not exist: check it")
    try:
        source = _SOURCES[config.source](config, seed)
        fingerprint = source.fingerprint()
    except OSError as error:
        raise UserError(
            f"{error.filename or config.path} cannot be read ({error.strerror}): check "
            "the disk and your right to read it"
        ) from error
    views, notes = load_or_build(
        _key(config, seed, fingerprint),
        config.cache_dir,
        source.list_objects,
        on_progress,
    )
    return Partitions(
        d=views["d"],
        c=_give_one_view(views["c"], seed),
        e=_give_one_view(views["e"], seed),
        notes=notes,
    )


def _give_one_view(views: ViewSet, seed: int) -> Partition:
    known = known_slots(views.object_ids, views.observed, seed)
    return Partition(views=views, known=known)


def _key(config: ViewDataConfig, seed: int, fingerprint: str) -> str:
    fields = dataclasses.asdict(config)
    options = {name: value for name, value in fields.items() if name not in _PLACES}
    text = json.dumps([_FORMAT, options, seed, fingerprint], sort_keys=True)
    return "views-" + hashlib.sha256(text.encode()).hexdigest()[:32]
