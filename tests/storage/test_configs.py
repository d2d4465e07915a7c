import copy
import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from jaxgrow.errors import UserError
from jaxgrow.ranges import Checked, Count
from jaxgrow.storage import configs, files


@dataclasses.dataclass(frozen=True)
class Net(Checked):
    width: Count = 8
    norm: Literal["batch", "none"] = "none"


@dataclasses.dataclass(frozen=True)
class Config(Checked):
    net: Net = Net()
    rates: tuple[float, ...] = (0.1, 1.0)
    size: tuple[int, int] = (2, 3)
    path: Path | None = Path("a")
    flip: bool = True


PLAIN = files.plain(Config())


@pytest.mark.parametrize(
    "config", [Config(), Config(Net(3, "batch"), (), (0, 1), None)]
)
def test_a_config_comes_back_from_json(config):
    assert configs.from_plain(Config, files.plain(config)) == config


@pytest.mark.parametrize("plain", [None, 3, "x", [], {}, {"net": PLAIN["net"]}])
def test_another_shape_is_refused(plain):
    with pytest.raises((KeyError, TypeError)):
        configs.from_plain(Config, plain)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("net",), 3),
        (("net",), None),
        (("net", "width"), "8"),
        (("net", "width"), 1.5),
        (("net", "width"), True),
        (("net", "width"), None),
        (("net", "width"), 0),
        (("net", "norm"), "layer"),
        (("net", "norm"), []),
        (("rates",), 3),
        (("rates",), ["x"]),
        (("rates",), {}),
        (("size",), [1]),
        (("size",), [1, 2, 3]),
        (("path",), 3),
        (("flip",), 1),
    ],
)
def test_a_value_of_another_type_or_range_is_refused_by_name(place, value):
    plain = copy.deepcopy(PLAIN)
    inside = plain
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    with pytest.raises((TypeError, UserError), match=place[-1]):
        configs.from_plain(Config, plain)
