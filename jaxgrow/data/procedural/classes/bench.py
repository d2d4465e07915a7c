"""Benches."""

import math

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.classes.legs import legs
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import Colour, Paint
from jaxgrow.data.procedural.solids import Vec, rotation


def bench(draw: Draws, add: Builder) -> None:
    """A bench about 0.9 wide, with or without a back."""
    width, depth = draw.uniform(0.8, 1.0), draw.uniform(0.25, 0.4)
    height, thick = draw.uniform(0.28, 0.4), draw.uniform(0.03, 0.06)
    wood = draw.colour("wood", "wood", "bright", "metal", "white")
    frame = draw.colour("metal", "wood", "dark")
    planks = draw.count(1, 5)
    paint = draw.finish(wood, prob=0.3) if planks == 1 else Paint(wood)
    for k in range(planks):
        x = -depth / 2 + depth * (k + 0.5) / planks
        size = (depth / planks * 0.84, thick, width)
        add.box((x, height, 0), size, paint)
    back = draw.chance(0.7)
    if back:
        _back(draw, add, (width, depth, height), wood, frame)
    if draw.chance(0.45):
        rise = draw.uniform(0.1, 0.16)
        for z in both(0.48 * width):
            add.box((0, height + rise, z), (depth, 0.03, 0.045), frame)
            post = (0.44 * depth, height + rise / 2, z)
            add.box(post, (0.03, rise, 0.04), frame)
    _base(draw, add, (width, depth, height), frame, back=back)


def _back(draw: Draws, add: Builder, size: Vec, wood: Colour, frame: Colour) -> None:
    width, depth, height = size
    rise, tilt = draw.uniform(0.2, 0.38), draw.uniform(0.0, 0.3)
    turn, slope = rotation(pitch=tilt), math.tan(tilt)
    upright = draw.chance(0.25)
    count = draw.count(6, 10) if upright else draw.count(1, 4)
    for k in range(count):
        if upright:
            y, z = 0.5 * rise, width * (-0.46 + 0.92 * k / (count - 1))
            slat = (0.022, 0.9 * rise, 0.035)
        else:
            y, z = rise * (k + 0.6) / count, 0.0
            slat = (0.03, 0.7 * rise / count, width)
        at = (-depth / 2 - slope * y, height + y + 0.02, z)
        add.box(at, slat, wood, turn=turn)
    if upright:
        at = (-depth / 2 - slope * rise, height + rise, 0)
        add.box(at, (0.035, 0.05, width), wood, turn=turn)
    for z in both(0.42 * width):
        start = (-depth / 2 - 0.01, height - 0.02, z)
        top = (start[0] - slope * rise, height + rise, start[2])
        add.rod(start, top, 0.032, frame)


def _base(draw: Draws, add: Builder, size: Vec, frame: Colour, *, back: bool) -> None:
    width, depth, height = size
    style = draw.count(0, 4)
    if style <= 1:
        thick, splay = draw.uniform(0.035, 0.07), draw.pick(0.0, 0.0, 0.04)
        at, rods = (depth, 0.94 * width), style == 1
        legs(add, at, height, thick, frame, round_legs=rods, splay=splay)
        if draw.chance(0.4):
            add.box((0, 0.4 * height, 0), (0.03, 0.03, 0.86 * width), frame)
    elif style == 2:
        slab = (0.85 * depth, height, draw.uniform(0.04, 0.12))
        for z in both(0.38 * width):
            add.box((0, height / 2, z), slab, frame)
    elif style == 3:
        for z in both(0.36 * width):
            add.box((0, height / 2, z), (0.07, height, 0.07), frame)
            add.box((0, 0.02, z), (depth, 0.04, 0.08), frame)
    else:
        for z in both(0.4 * width):
            for ahead in (-1, 1):
                foot = (ahead * 0.55 * depth, 0, z)
                add.rod(foot, (-ahead * 0.4 * depth, height, z), 0.045, frame)
    if not back and draw.chance(0.4):
        add.box((0, 0.3 * height, 0), (0.8 * depth, 0.03, 0.7 * width), frame)
