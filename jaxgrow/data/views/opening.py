"""Reading the three partitions of multi-view data by its configuration."""

import dataclasses
import hashlib
import json
from collections.abc import Callable

from jaxgrow.data.views.cache import load_views
from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.folder import ObjectFolders
from jaxgrow.data.views.listing import ViewSource
from jaxgrow.data.views.nmr import Nmr
from jaxgrow.data.views.softras import SoftRas
from jaxgrow.data.views.split import conditioning_views
from jaxgrow.data.views.synthetic import Synthetic
from jaxgrow.data.views.view_set import Partition, Partitions
from jaxgrow.errors import UserError


_FORMAT = 4  # to be raised when the computation of the pixels or the split changes
_SOURCES: dict[str, Callable[[ViewDataConfig, int], ViewSource]] = {
    "synthetic": Synthetic,
    "nmr": Nmr,
    "softras": SoftRas,
    "folder": ObjectFolders,
}
_PLACES = ("path", "cache_dir")  # paths do not change the content


def open_partitions(
    config: ViewDataConfig,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Partitions:
    """Read multi-view data in three parts, from the cache or decoded now.

    No object is in two parts, and of a folder no copy of one either. An object's part
    and its conditioning view depend only on its name and `seed`, not on the machine or
    on other objects. Synthetic objects are also made from `seed`. `on_progress` gets
    the objects done and their total, when decoding.

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
    key = _key(config, seed, fingerprint)
    views, notes, digests = load_views(key, config, source.list_objects, on_progress)
    c, e = (
        Partition(v, conditioning_views(v.object_ids, v.observed, seed))
        for v in (views["c"], views["e"])
    )
    return Partitions(d=views["d"], c=c, e=e, notes=notes, digests=digests)


def _key(config: ViewDataConfig, seed: int, fingerprint: str) -> str:
    fields = dataclasses.asdict(config)
    options = {name: value for name, value in fields.items() if name not in _PLACES}
    text = json.dumps([_FORMAT, options, seed, fingerprint], sort_keys=True)
    return "views-" + hashlib.sha256(text.encode()).hexdigest()[:32]
