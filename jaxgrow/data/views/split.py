"""Split of objects into three parts, by a hash that is the same on every machine."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from jaxgrow.data.splits import draw
from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.listing import PARTS, Entry, Part
from jaxgrow.errors import UserError


MEANING = {"d": "generative model", "c": "classifiers", "e": "test"}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An object that has no part yet.

    Attributes:
        object_id: `<class>/<object>`.
        label: Index of its class.
        identity: Text that is hashed. Candidates of the same identity show the same
            object and get the same part.
        held_out: True if the data reserves the object for the test; None if the data
            has no such split.
    """

    object_id: str
    label: int
    identity: str
    held_out: bool | None


def part_of(
    identity: str,
    seed: int,
    *,
    held_out: bool | None,
    d_fraction: float,
    test_fraction: float,
) -> Part:
    """Return an object's part: e if held out, else d with probability `d_fraction`.

    If `held_out` is None, the object is held out with probability `test_fraction`.
    """
    if held_out is None:
        held_out = draw(seed, "test", identity) < test_fraction
    if held_out:
        return "e"
    return "d" if draw(seed, "d", identity) < d_fraction else "c"


def divide(
    candidates: Sequence[Candidate],
    class_names: Sequence[str],
    config: ViewDataConfig,
    seed: int,
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Return entries in the order of the candidates, and notes.

    Raising a limit on the objects of each class keeps the objects of the lower limit,
    and the limit of one part does not affect the others.

    Raises:
        UserError: A part would be empty.
    """
    in_test = {c.identity for c in candidates if c.held_out}
    notes: list[str] = []
    fractions = {
        name: getattr(config, name) for name in ("d_fraction", "test_fraction")
    }
    parts: list[Part | None] = [
        None
        if c.held_out is False and c.identity in in_test
        else part_of(c.identity, seed, held_out=c.held_out, **fractions)
        for c in candidates
    ]
    if num_doubled := parts.count(None):
        notes.append(
            f"{num_doubled} training objects are left out because they are in the test "
            "too"
        )
    notes += _limit(candidates, parts, config, seed)
    _check_parts(candidates, parts, class_names, notes)
    entries = tuple(
        Entry(c.object_id, c.label, part)
        for c, part in zip(candidates, parts, strict=True)
    )
    return entries, tuple(notes)


def conditioning_views(
    object_ids: Sequence[str], observed: Bool[np.ndarray, "n v"], seed: int
) -> Int[np.ndarray, " n"]:
    """Draw the conditioning view of each object, uniformly over the observed views."""
    chosen = np.empty(len(object_ids), np.int64)
    for i, (object_id, there) in enumerate(zip(object_ids, observed, strict=True)):
        choices = np.flatnonzero(there)
        chosen[i] = choices[int(draw(seed, "known", object_id) * len(choices))]
    return chosen


def _limit(
    candidates: Sequence[Candidate],
    parts: list[Part | None],
    config: ViewDataConfig,
    seed: int,
) -> list[str]:
    """Leave out all but the objects with the smallest draws, up to the limits.

    Returns:
        A sentence on each part that has lost some.
    """
    limits = {"d": config.objects_d, "c": config.objects_c, "e": config.objects_e}
    left_out: collections.Counter[Part] = collections.Counter()
    members: dict[tuple[Part, int], list[int]] = collections.defaultdict(list)
    for i, part in enumerate(parts):
        if part is not None and limits[part] is not None:
            members[part, candidates[i].label].append(i)
    for (part, _), indices in members.items():
        draws = {i: draw(seed, "limit", candidates[i].object_id) for i in indices}
        for i in sorted(indices, key=draws.__getitem__)[limits[part] :]:
            left_out[part] += 1
            parts[i] = None
    return [
        f"{count} objects of partition {part} ({MEANING[part]}) are left out: "
        f"objects_{part} takes at most {limits[part]} of each class"
        for part, count in left_out.items()
    ]


def _check_parts(
    candidates: Sequence[Candidate],
    parts: Sequence[Part | None],
    class_names: Sequence[str],
    notes: list[str],
) -> None:
    held = {(c.label, p) for c, p in zip(candidates, parts, strict=True)}
    for part in PARTS:
        lacking = [name for k, name in enumerate(class_names) if (k, part) not in held]
        if len(lacking) == len(class_names):
            raise UserError(
                f"partition {part} ({MEANING[part]}) would be empty, with "
                f"{len(candidates)} objects in all: add objects, or set other "
                "fractions"
            )
        if lacking:
            notes.append(
                f"partition {part} ({MEANING[part]}) has no object of "
                f"{', '.join(lacking)}"
            )
