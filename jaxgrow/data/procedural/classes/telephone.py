"""Mobile and desk telephones."""

import math

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import (
    BLACK,
    STEEL,
    WHITE,
    Colour,
    Paint,
    checks,
    lines,
    shade,
)
from jaxgrow.data.procedural.solids import Vec2, rotation


def telephone(draw: Draws, add: Builder) -> None:
    """A mobile telephone that stands upright, or a set with a handset."""
    kind = draw.pick(_slab, _slab, _keypad, _keypad, _clamshell, _desk_set, _desk_set)
    kind(draw, add)


def _slab(draw: Draws, add: Builder) -> None:
    width, thick = draw.uniform(0.45, 0.56), draw.uniform(0.05, 0.09)
    case = draw.colour("dark", "dark", "bright", "white", "metal")
    add.box((0, 0.5, 0), (thick, 1, width), draw.finish(case, prob=0.25))
    rim, face = draw.uniform(0.05, 0.13), draw.colour("dark", "white")
    add.box((thick / 2, 0.5, 0), (0.006, 0.98, 0.95 * width), face)
    glass = draw.pick(
        Paint(draw.colour("glass", "dark")),
        checks(draw.colour("bright"), draw.colour("glass"), y=8, z=4),
        lines(draw.colour("glass"), WHITE, y=5, z=3, width=0.45),
    )
    add.box((thick / 2 + 0.004, 0.5, 0), (0.006, 1 - 2 * rim, 0.88 * width), glass)
    add.cylinder((thick / 2 + 0.005, rim / 2, 0), 0.06, 0.01, STEEL, axis="x")
    add.box((thick / 2 + 0.005, 1 - rim / 2, 0), (0.008, 0.012, 0.14), BLACK)
    lens = (-thick / 2 - 0.006, 0.9, 0.3 * width)
    add.cylinder(lens, 0.1, 0.016, BLACK, axis="x")
    if draw.chance(0.5):
        add.cylinder((lens[0], 0.78, lens[2]), 0.08, 0.016, BLACK, axis="x")
    add.box((0, 0.72, width / 2), (0.3 * thick, 0.12, 0.016), STEEL)


def _keys(add: Builder, at: Vec2, size: Vec2, rows: int, paint: Paint | Colour) -> None:
    """A field of keys, three in a row, that stand out towards +x."""
    x, low = at
    height, width = size
    for row in range(rows):
        for column in (-1, 0, 1):
            key = (x, low + height * (row + 0.5) / rows, column * width / 3)
            add.box(key, (0.02, 0.6 * height / rows, 0.24 * width), paint)


def _keypad(draw: Draws, add: Builder) -> None:
    width, thick = draw.uniform(0.34, 0.46), draw.uniform(0.1, 0.18)
    case = draw.colour("dark", "bright", "bright", "white", "metal")
    add.box((0, 0.5, 0), (thick, 1, width), draw.finish(case, prob=0.2))
    key = draw.contrast(case)
    add.box((thick / 2, 0.72, 0), (0.012, 0.34, 0.82 * width), draw.colour("glass"))
    add.cylinder((thick / 2, 0.94, 0), 0.04, 0.01, BLACK, axis="x", flat=4.0)
    _keys(add, (thick / 2 + 0.005, 0.05), (0.4, 0.85 * width), 4, key)
    add.cylinder((thick / 2, 0.49, 0), 0.09, 0.03, STEEL, axis="x")
    if draw.chance(0.5):
        tall = draw.uniform(0.12, 0.35)
        at = (-0.15 * thick, 1 + tall / 2, 0.38 * width)
        add.cylinder(at, 0.06, tall, BLACK, top=0.8)
    seam = lines(shade(case, 0.8), BLACK, y=2, width=0.05)
    add.box((-thick / 2, 0.4, 0), (0.012, 0.6, 0.8 * width), seam)


def _clamshell(draw: Draws, add: Builder) -> None:
    """Open: keys on the lower half, the screen on the leaning upper one."""
    width, thick = draw.uniform(0.42, 0.54), draw.uniform(0.06, 0.1)
    case = draw.colour("bright", "metal", "dark", "white")
    add.box((0, 0.25, 0), (thick, 0.5, width), case)
    tilt = -draw.uniform(0.1, 0.45)
    lid = rotation(pitch=tilt)
    x, y = -math.sin(tilt) * 0.25, 0.5 + math.cos(tilt) * 0.25
    add.box((x, y, 0), (0.8 * thick, 0.5, width), case, turn=lid)
    ahead = (x + 0.42 * thick * math.cos(tilt), y + 0.42 * thick * math.sin(tilt), 0)
    screen = (0.012, 0.36, 0.8 * width)
    add.box(ahead, screen, draw.screen_picture(), turn=lid)
    add.cylinder((0, 0.5, 0), 0.08, width, STEEL, axis="z")
    key = draw.contrast(case)
    _keys(add, (thick / 2 + 0.005, 0.05), (0.36, 0.85 * width), 4, key)


def _desk_set(draw: Draws, add: Builder) -> None:
    """A wedge with keys or a dial, and a handset across it or at its left."""
    case = draw.colour("dark", "bright", "bright", "white")
    steep = draw.uniform(0.2, 0.26)
    wedge = [(-0.32, 0), (0.34, 0), (0.34, 0.06), (-0.14, steep), (-0.32, steep)]
    width = draw.uniform(0.6, 0.75)
    add.plate(wedge, width, case)
    slope = math.atan2(steep - 0.06, 0.48)
    face = rotation(pitch=-slope)
    middle = (0.1 + 0.02, (steep + 0.06) / 2 + 0.012, 0.0)
    old = draw.chance(0.45)
    across = old or draw.chance(0.3)
    shift = 0.0 if across else 0.14 * width
    if old:
        at = (middle[0], middle[1], 0.0)
        dial = checks(WHITE, BLACK, x=5, z=5)
        add.cylinder(at, 0.32, 0.04, dial, turn=face)
        add.cylinder((at[0], at[1] + 0.012, 0), 0.15, 0.04, STEEL, turn=face)
    else:
        pad = (0.34, 0.03, 0.46 * width)
        keys = lines(draw.contrast(case), case, x=4, z=3, width=0.35)
        add.box((middle[0], middle[1], shift), pad, keys, turn=face)
        screen = (-0.2, steep + 0.01, shift)
        add.box(screen, (0.14, 0.03, 0.46 * width), draw.colour("glass"))
    hand = case if draw.chance(0.7) else draw.contrast(case)
    top = steep + (0.12 if old else 0.07)
    if across:
        add.box((-0.2, top, 0), (0.08, 0.06, 0.72), hand)
        ends = [(-0.2, -0.31), (-0.2, 0.31)]
    else:
        lean = rotation(pitch=-0.75 * slope)
        level = 0.15 + 0.5 * steep
        add.box((0, level, -0.3 * width), (0.62, 0.05, 0.1), hand, turn=lean)
        ends = [(-0.26, -0.3 * width), (0.26, -0.3 * width)]
    for x, z in ends:
        y = top - 0.03 if across else 0.11 + 0.5 * steep - 0.7 * x * slope
        add.cylinder((x, y, z), 0.15, 0.09, hand, top=0.8)
    if old and across:
        for z in both(0.14):
            add.box((-0.2, steep + 0.03, z), (0.1, 0.07, 0.04), case)
