"""Names of fields in messages are spelled as flags; everything else stays."""

import dataclasses
from pathlib import Path

import pytest

from jaxgrow.cli.flags import spell_flags


@dataclasses.dataclass(frozen=True)
class Data:
    path: Path | None = None
    val_path: Path | None = None
    source: str = "photos"
    log_every: int = 1


@dataclasses.dataclass(frozen=True)
class Growth:
    steps: tuple[int, ...] = ()
    log_every: int = 1


@dataclasses.dataclass(frozen=True)
class Config:
    data: Data
    growth: Growth
    batch_size: int = 1
    devices: int | None = None


@pytest.mark.parametrize(
    ("message", "spelled"),
    [
        ("growth.steps must be 1 or more.", "--growth.steps must be 1 or more."),
        ("halve batch_size (now 4)", "halve --batch-size (now 4)"),
        ("leave val_path x out", "leave --data.val-path x out"),
        ("data.val_path and batch_size.", "--data.val-path and --batch-size."),
        ("source folder needs a path: set path", None),
        ("pass devices 1", "pass --devices 1"),
        ("99 devices were asked for and 2 are here", None),
        ("log_every 3 is of two configs", None),
        ("growth.log_every 3 is of one", "--growth.log-every 3 is of one"),
        ("pass --batch-size 4", None),
        ("/data.path/batch_size/x and batch_size/x", None),
        ("batch_size.json and my-batch_size", None),
        ("the folder batch-size", None),
    ],
)
def test_names_of_fields_become_flags(message, spelled):
    if message.endswith("set path"):
        spelled = message.replace("set path", "set --data.path")
    assert spell_flags(message, Config) == (spelled or message)
