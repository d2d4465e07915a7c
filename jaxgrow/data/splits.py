"""Splits by the names of folders, and by hashes that are the same on every machine."""

import collections
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Literal


Role = Literal["train", "val", "test"]

_ROLES: dict[Role, set[str]] = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing"},
}
# Words that two folders of one split need not share; Places365 calls the pictures to
# train on data_256 or data_large.
_ANY = {"data", "large", "standard", "challenge", "images", "set"}
_MAX_SHARE = 0.5  # of the images that one held-out subject may have


def draw(seed: int, stream: str, identity: str) -> float:
    """Draw a number in [0, 1) that depends only on the arguments."""
    text = f"{seed}/{stream}/{identity}".encode(errors="surrogateescape")
    # 53 bits, because all 64 could round up to 1.
    return (int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 11) / 2**53


def draw_held_out(groups: Sequence[str], fraction: float, seed: int) -> set[str]:
    """Draw the subjects to hold out, each by a hash of its name.

    A subject is drawn with probability `fraction`, whatever the others are, so that
    more images change nothing for those that were there. Two exceptions: the subject of
    least draw is held out if there is no other, and that of the largest draw is not if
    there is no other to train on. A subject with more than half of the images is never
    held out.

    Args:
        groups: Subject of each image, two or more in all.
        fraction: Part of the subjects to hold out.
        seed: Seed of the draws.
    """
    counts = collections.Counter(groups)
    draws = {
        subject: draw(seed, "validation", subject)
        for subject, count in counts.items()
        if count <= _MAX_SHARE * len(groups)
    }
    held_out = {subject for subject, value in draws.items() if value < fraction}
    held_out = held_out or {min(draws, key=draws.__getitem__)}
    if len(held_out) == len(counts):
        held_out.remove(max(draws, key=draws.__getitem__))
    return held_out


def roles_of(folders: Iterable[str]) -> dict[str, Role]:
    """Return the roles of folders that lie side by side, by their names.

    Empty unless one is to train on and another is of the same kind, as in train2017
    and val2017. Upper and lower case are the same.

    >>> roles_of(["Train", "val_256", "notes"])
    {'Train': 'train', 'val_256': 'val'}
    >>> roles_of(["train_station", "test_track"])
    {}
    """
    found: dict[str, tuple[Role, set[str]]] = {}
    for folder in folders:
        words = set(re.findall(r"[^\W\d_]+", folder.lower()))
        role: Role | None = "train" if "data" in words else None
        for named, names in _ROLES.items():
            role = named if words & names else role
        if role is not None:
            found[folder] = role, words - _ANY - _ROLES[role]
    kinds = [
        {frozenset(rest) for role, rest in found.values() if (role == "train") == train}
        for train in (True, False)
    ]
    return {
        folder: role
        for folder, (role, rest) in found.items()
        if all(rest in some for some in kinds)
    }


def split_by_folders(names: Sequence[str]) -> tuple[Role | None, ...] | None:
    """Return the role of each file by the folders above it; None if they have no split.

    A file beside the folders of a split has none.

    Args:
        names: Paths with forward slashes.
    """
    folders = [name.rpartition("/")[0] for name in names]
    paths = {folder: PurePosixPath(folder) for folder in set(folders)}
    children: dict[PurePosixPath, set[str]] = collections.defaultdict(set)
    for path in paths.values():
        for place in (path, *path.parents):
            children[place.parent].add(place.name)
    splits = {
        parent: found for parent, some in children.items() if (found := roles_of(some))
    }
    if not splits:
        return None

    def role_of(path: PurePosixPath) -> Role | None:
        places = (*reversed(path.parents), path)
        for place, below in zip(places, (*places[1:], path), strict=True):
            if place in splits:
                return splits[place].get(below.name)
        return "train"

    roles: dict[str, Role | None] = {
        folder: role_of(path) for folder, path in paths.items()
    }
    return tuple(roles[folder] for folder in folders)
