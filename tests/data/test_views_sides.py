"""Azimuths that names of views say, and names that say none."""

import pytest

from jaxgrow.data.views.sides import azimuths_of_names, name_of_azimuth


@pytest.mark.parametrize(
    ("names", "azimuths"),
    [
        ("back front left right", (180, 0, 270, 90)),
        ("FRONT Rear_view img-left", (0, 180, 270)),
        ("f r b l", (0, 90, 180, 270)),
        ("front_left frontright back-right rear.left", (315, 45, 135, 225)),
        ("000 090 180 270", (0, 90, 180, 270)),
        ("az000 az_45 azimuth=22.5_el30 90deg view_120deg", (0, 45, 22.5, 90, 120)),
        ("az360 front", (0, 0)),
        ("0000 0001 0002 0003", None),
        ("000 015 030", None),  # may be frames
        ("000 360", None),
        ("front top", None),
        ("left_right back", None),
        ("front_01 back", None),
        ("az-90 front", None),  # a sign or a hyphen
        ("background front", None),
        ("side back", None),
        ("a b", None),
    ],
)
def test_sides_and_degrees_are_azimuths_and_nothing_else(names, azimuths):
    assert azimuths_of_names(names.split()) == azimuths


def test_azimuths_have_the_names_of_sides():
    found = [name_of_azimuth(a) for a in (0.0, 45.0, 90.0, 180.0, 270.0)]
    assert found == ["front", "45 degrees", "right", "back", "left"]
