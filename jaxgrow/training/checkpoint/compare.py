"""Comparison of a checkpoint's settings and arrays with the wanted ones."""

import json
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from jaxgrow.errors import UserError
from jaxgrow.storage import files


_NUM_NAMED = 4  # differing arrays that an error names before it says how many more
_ABSENT = "absent"


def check_same(saved: dict[str, Any], wanted: dict[str, Any], what: str) -> None:
    """Raise `UserError` naming every value in which two nested dicts differ.

    Args:
        saved: As it came back from JSON.
        wanted: The same before JSON: tuples, paths and dataclasses are fine.
        what: Names the owner of `saved` in the message, say "the run in runs/a".
    """
    if differing := _differences(_flatten(saved), _flatten(wanted)):
        raise UserError(
            f"{what} was made with other settings: {', '.join(differing)}; give the "
            "same values again or choose another run directory."
        )


def check_leaves(saved: dict[str, str], wanted: dict[str, str], path: Path) -> None:
    """Raise `UserError` naming the first arrays in which two trees differ.

    Args:
        saved: Path of a leaf -> its type and shape, in the checkpoint.
        wanted: The same for the tree to restore.
        path: Directory of the checkpoint, for the message.
    """
    if differing := _differences(saved, wanted):
        named = ", ".join(differing[:_NUM_NAMED])
        more = len(differing) - _NUM_NAMED
        raise UserError(
            f"the checkpoint {path} holds other arrays than this run: {named}"
            f"{f' and {more} more' if more > 0 else ''}; give the settings it was made "
            "with or choose another run directory."
        )


def _differences(there: dict[str, str], here: dict[str, str]) -> list[str]:
    names = [*there, *(name for name in here if name not in there)]
    return [
        f"{name} is {there.get(name, _ABSENT)} there and {here.get(name, _ABSENT)} here"
        for name in names
        if there.get(name, _ABSENT) != here.get(name, _ABSENT)
    ]


def _flatten(tree: dict[str, Any]) -> dict[str, str]:
    """Return dotted name -> JSON text of the value."""
    flat = flatten_dict(files.plain(tree), sep=".")
    return {name: json.dumps(value) for name, value in flat.items()}
