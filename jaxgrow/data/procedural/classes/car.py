"""Cars."""

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import (
    BLACK,
    HEADLIGHT,
    RED_LIGHT,
    STEEL,
    TYRE,
    WHITE,
    Colour,
    Number,
    Paint,
    checks,
    lines,
)
from jaxgrow.data.procedural.solids import Vec2


# Profiles of cabins: x in parts of the car's length, y in parts of the cabin's height.
_CABINS: dict[str, list[Vec2]] = {
    "sedan": [(-0.36, 0), (-0.22, 1), (0.06, 1), (0.2, 0)],
    "hatchback": [(-0.48, 0), (-0.4, 1), (0.04, 1), (0.2, 0)],
    "coupe": [(-0.4, 0), (-0.14, 1), (0.02, 1), (0.2, 0)],
    "estate": [(-0.48, 0), (-0.44, 1), (0.08, 1), (0.2, 0)],
    "van": [(-0.49, 0), (-0.48, 1), (0.24, 1), (0.42, 0)],
    "pickup": [(-0.1, 0), (-0.06, 1), (0.1, 1), (0.2, 0)],
    "bus": [(-0.5, 0), (-0.5, 1), (0.46, 1), (0.49, 0)],
}


def car(draw: Draws, add: Builder) -> None:
    """A car 1 long."""
    kind = draw.pick(*_CABINS, "sedan", "hatchback", "coupe")
    big = kind in ("van", "bus")
    width = draw.uniform(0.38, 0.46) * (0.85 if big else 1.0)
    wheel = draw.uniform(0.15, 0.2)
    body = draw.uniform(0.12, 0.16) + (0.05 if big else 0.0)
    skin = draw.colour("bright", "bright", "bright", "metal", "dark", "white")
    top = 0.4 * wheel + body
    _body(draw, add, width, (0.4 * wheel, top), skin, flat=big)
    height = draw.uniform(0.11, 0.15) * (1.5 if big else 1.0)
    if kind == "coupe" and draw.chance(0.4):
        _open_top(draw, add, width, top)
    else:
        _cabin(draw, add, kind, width, (top, height), skin)
    if kind == "pickup":
        _bed(draw, add, width, top, skin)
    _wheels(draw, add, width, wheel, draw.uniform(0.28, 0.33))
    _lights(draw, add, width, top, body)
    if draw.chance(0.2) and not big:
        add.box((-0.46, top + 0.07, 0), (0.07, 0.012, 0.85 * width), skin)
        for z in both(0.3 * width):
            add.box((-0.45, top + 0.03, z), (0.03, 0.08, 0.015), skin)
    if draw.chance(0.12):
        _roof_sign(draw, add, top + height)


def _body(
    draw: Draws, add: Builder, width: Number, level: Vec2, skin: Colour, *, flat: bool
) -> None:
    """Bonnet, flanks and boot in one outline, over a dark sill."""
    low, top = level
    nose = 0.0 if flat else draw.uniform(0.02, 0.05)
    outline = [(-0.5, low + 0.02), (-0.48, low), (0.48, low), (0.5, low + 0.03)]
    outline += [(0.5, top - nose - 0.02), (0.46, top - nose), (0.2, top)]
    outline += [(-0.46, top), (-0.5, top - 0.03)]
    other = draw.contrast(skin)
    racing = lines(skin, other, z=1, width=draw.uniform(0.15, 0.3))
    two_tone = checks(skin, other, y=2)
    paint = draw.pick(*[Paint(skin)] * 4, racing, two_tone)
    add.plate(outline, width, paint)
    add.box((0, low + 0.01, 0), (0.94, 0.05, 1.01 * width), BLACK)


def _cabin(
    draw: Draws, add: Builder, kind: str, width: Number, level: Vec2, skin: Colour
) -> None:
    """Glass all round, a roof on it, and pillars between the windows."""
    (top, height), profile = level, _CABINS[kind]
    glass = draw.colour("glass")
    inner = 0.86 * width
    add.plate([(x, top + y * height) for x, y in profile], inner, glass)
    (x0, _), (x1, _), (x2, _), (x3, _) = profile
    roof = [(x1 - 0.01, 0.84), (x1 + 0.01, 1.06), (x2 - 0.01, 1.06), (x2 + 0.02, 0.84)]
    add.plate([(x, top + y * height) for x, y in roof], 0.9 * width, skin)
    pillars = [(x0, x1, 0.04), (x3, x2, 0.025)]
    posts = draw.count(1, 2) if x2 - x1 < 0.5 else draw.count(3, 5)
    for k in range(posts):
        x = x1 + (x2 - x1) * (k + 1) / (posts + 1)
        pillars.append((x, x, 0.025))
    for foot, head, thick in pillars:
        post = [(foot - thick / 2, 0), (head - thick / 2, 1)]
        post += [(head + thick / 2, 1), (foot + thick / 2, 0)]
        outline = [(x, top + y * height) for x, y in post]
        for z in both(inner / 2 - 0.005):
            add.plate(outline, 0.02, skin, at=(0, 0, z))
    if draw.chance(0.25):
        for z in both(0.36 * width):
            y = top + 1.15 * height
            add.rod((x1, y, z), (x2, y, z), 0.014, STEEL)


def _open_top(draw: Draws, add: Builder, width: Number, top: Number) -> None:
    leather = draw.colour("wood", "dark", "bright")
    add.box((-0.06, top, 0), (0.36, 0.01, 0.8 * width), BLACK)
    for z in both(0.2 * width):
        add.box((-0.12, top + 0.04, z), (0.06, 0.09, 0.3 * width), leather)
    screen = [(0.12, top), (0.06, top + 0.09), (0.075, top + 0.09), (0.14, top)]
    add.plate(screen, 0.82 * width, draw.colour("glass"))
    # The driver's wheel is on the left, at -z.
    add.cylinder((0.06, top + 0.02, -0.2 * width), 0.09, 0.012, BLACK, axis="x")


def _bed(draw: Draws, add: Builder, width: Number, top: Number, skin: Colour) -> None:
    add.box((-0.29, top, 0), (0.36, 0.008, 0.84 * width), BLACK)
    for z in both(0.46 * width):
        add.box((-0.29, top + 0.025, z), (0.4, 0.05, 0.03), skin)
    add.box((-0.485, top + 0.025, 0), (0.025, 0.05, 0.94 * width), skin)
    if draw.chance(0.4):
        load = draw.colour("wood", "drab", "bright")
        add.box((-0.3, top + 0.04, 0), (0.25, 0.08, 0.6 * width), load)


def _wheels(
    draw: Draws, add: Builder, width: Number, wheel: Number, axle: Number
) -> None:
    hub = draw.colour("metal", "white", "dark")
    for x in (-axle, axle):
        for side in (-1, 1):
            at = (x, wheel / 2, side * 0.45 * width)
            add.cylinder(at, wheel, 0.08, TYRE, axis="z")
            at = (x, wheel / 2, side * (0.45 * width + 0.041))
            add.cylinder(at, 0.6 * wheel, 0.006, hub, axis="z")


def _lights(
    draw: Draws, add: Builder, width: Number, top: Number, body: Number
) -> None:
    round_lamps = draw.chance(0.3)
    for side in (-1, 1):
        front = (0.495, top - 0.4 * body, side * 0.36 * width)
        if round_lamps:
            add.cylinder(front, 0.06, 0.03, HEADLIGHT, axis="x")
        else:
            add.box(front, (0.03, 0.035, 0.09), HEADLIGHT)
        back = (-0.495, top - 0.35 * body, side * 0.38 * width)
        add.box(back, (0.03, 0.045, 0.07), RED_LIGHT)
    grille = lines(BLACK, STEEL, y=3, width=0.3)
    add.box((0.497, top - 0.5 * body, 0), (0.02, 0.05, 0.4 * width), grille)
    add.box((-0.497, top - 0.55 * body, 0), (0.02, 0.04, 0.26 * width), WHITE)


def _roof_sign(draw: Draws, add: Builder, top: Number) -> None:
    """A taxi's sign, or a blue light bar."""
    if draw.chance(0.5):
        add.box((-0.06, top + 0.03, 0), (0.05, 0.04, 0.14), (0.95, 0.85, 0.2))
    else:
        add.box((-0.06, top + 0.025, 0), (0.05, 0.03, 0.28), (0.1, 0.2, 0.8))
