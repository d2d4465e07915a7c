"""Fields of configs: what fits their annotations, and what is said of the rest."""

import dataclasses
import math
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from jaxgrow.errors import UserError
from jaxgrow.ranges import Checked, Count, Decay, Fraction, Positive, Seed, Share


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Checked):
    steps: Count = 1
    seed: Seed = 0
    rates: tuple[Positive, ...] = (0.1,)
    pair: tuple[Count, Count] = (1, 2)
    share: Share | None = None
    part: Fraction = 0.5
    decay: Decay = 0.0
    norm: Literal["batch", "none"] = "none"
    views: Literal[4, 24] = 4
    path: Path | None = None
    name: str = ""
    flip: bool = False


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"steps": np.int64(3), "rates": (np.float32(0.1), 2), "share": 1},
        {"rates": (), "seed": 2**32 - 1, "decay": 0, "path": Path(), "views": 24},
    ],
)
def test_values_within_their_ranges_are_taken(fields):
    Config(**fields)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", 0, "set steps to a whole number, 1 or more, not 0"),
        ("steps", 2**31, "1 or more"),
        ("steps", 1.5, "a whole number"),
        ("steps", "4", "not '4'"),
        ("steps", True, "not True"),
        ("steps", None, "not None"),
        ("seed", 2**32, r"a whole number, in \[0, 4294967295\]"),
        ("rates", (0.1, 0.0), "values that are each a number, above 0, not"),
        ("rates", (math.inf,), "above 0"),
        ("rates", 0.1, "values that are each"),
        ("pair", (1, 2, 3), "2 values that are each a whole number, 1 or more"),
        ("share", 1.5, r"a number, in \[0, 1\] or None, not 1.5"),
        ("share", math.nan, "not nan"),
        ("part", 1.0, r"in \(0, 1\)"),
        ("part", 0, r"in \(0, 1\)"),
        ("decay", 1, r"in \[0, 1\)"),
        ("norm", "layer", "one of batch, none, not 'layer'"),
        ("norm", [], "one of batch, none"),
        ("views", 5, "one of 4, 24"),
        ("path", 3, "a path or None"),
        ("name", 3, "a text"),
        ("flip", 1, "True or False"),
    ],
)
def test_another_type_or_range_is_refused_by_name(field, value, message):
    with pytest.raises(UserError, match=message):
        Config(**{field: value})


def test_every_number_of_the_experiments_has_a_range():
    from experiments.nmr_dimvida import config as dimvida
    from experiments.places_grow import config as places
    from jaxgrow import ranges

    def bare(kind):
        for name, hint in ranges._kinds_of(kind).items():
            if dataclasses.is_dataclass(hint):
                yield from bare(hint)
            # A range is all that makes a number more than its type.
            elif {"a whole number", "a number"} & set(
                ranges._described(hint)
                .replace("values that are each ", "")
                .split(" or ")
            ):
                yield f"{kind.__name__}.{name}"

    assert [*bare(places.Config), *bare(dimvida.Config)] == []
