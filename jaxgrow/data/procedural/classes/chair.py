"""Chairs."""

import math

from jaxgrow.data.procedural.builder import Builder, around, both
from jaxgrow.data.procedural.classes.legs import legs
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import BLACK, Colour, Number, Paint
from jaxgrow.data.procedural.solids import Vec, rotation


def chair(draw: Draws, add: Builder) -> None:
    """A chair, an armchair with wooden arms, or a swivel chair."""
    width, depth = draw.uniform(0.4, 0.5), draw.uniform(0.38, 0.48)
    seat, rise = draw.uniform(0.38, 0.5), draw.uniform(0.35, 0.58)
    skin = draw.colour("wood", "bright", "bright", "dark", "white")
    frame = skin if draw.chance(0.4) else draw.colour("wood", "metal", "dark")
    thick = draw.uniform(0.03, 0.09)
    cover = draw.finish(skin, prob=0.3)
    if draw.chance(0.2):
        add.cylinder((0, seat, 0), width, thick, cover, flat=depth / width)
    else:
        lean = draw.pick(0.0, 0.0, 0.08)
        add.box((0, seat, 0), (depth, thick, width), cover, taper=(0, 0, lean, lean))
    _back(draw, add, (width, depth, seat), rise, cover, frame)
    if draw.chance(0.4):
        arm = draw.uniform(0.16, 0.24)
        for z in both(0.5 * width):
            add.box((0, seat + arm, z), (0.95 * depth, 0.035, 0.05), frame)
            start = (0.38 * depth, seat, z)
            add.rod(start, (0.42 * depth, seat + arm, z), 0.032, frame)
    _base(draw, add, (width, depth, seat), frame)


def _back(
    draw: Draws, add: Builder, size: Vec, rise: Number, cover: Paint, frame: Colour
) -> None:
    """A panel, bars across, bars upright, a rounded shell or a frame with a panel."""
    width, depth, seat = size
    tilt, style = draw.uniform(0.0, 0.22), draw.count(0, 4)
    turn, slope, foot = rotation(pitch=tilt), math.tan(tilt), -depth / 2 + 0.02

    def bar(y: Number, z: Number, size: Vec, paint: Paint | Colour) -> None:
        add.box((foot - slope * y, seat + y, z), size, paint, turn=turn)

    if style == 0:
        lean = draw.pick(0.0, 0.12)
        at = (foot - slope * rise / 2, seat + rise / 2, 0)
        panel = (draw.uniform(0.03, 0.08), rise, 0.95 * width)
        add.box(at, panel, cover, turn=turn, taper=(0, 0, lean, lean))
        return
    if style == 3:
        at = (foot - slope * rise * 0.6, seat + 0.62 * rise, 0)
        add.ball(at, (0.06, 0.85 * rise, width), cover, turn=turn)
        for z in both(0.25 * width):
            bar(0.2 * rise, z, (0.03, 0.5 * rise, 0.03), frame)
        return
    for z in both(0.45 * width):
        bar(rise / 2, z, (0.035, rise, 0.035), frame)
    if style == 1:
        count = draw.count(2, 5)
        for k in range(count):
            y = rise * (0.25 + 0.75 * (k + 0.5) / count)
            bar(y, 0, (0.035, 0.5 * rise / count, 0.88 * width), cover)
    elif style == 2:
        bar(0.95 * rise, 0, (0.035, 0.06, 0.94 * width), frame)
        count = draw.count(3, 6)
        for k in range(count):
            z = width * (-0.36 + 0.72 * k / (count - 1))
            bar(0.5 * rise, z, (0.022, 0.9 * rise, 0.022), frame)
    else:
        bar(0.7 * rise, 0, (0.03, 0.5 * rise, 0.84 * width), cover)


def _base(draw: Draws, add: Builder, size: Vec, frame: Colour) -> None:
    width, depth, seat = size
    style = draw.count(0, 5)
    if style < 3:
        thick = draw.uniform(0.03, 0.055)
        splay = draw.uniform(0.02, 0.07) if style == 2 else 0.0
        at, rods = (depth, width), style == 1
        legs(add, at, seat, thick, frame, round_legs=rods, splay=splay)
        if draw.chance(0.3):
            level = draw.uniform(0.15, 0.3) * seat
            for z in both(0.46 * width):
                add.box((0, level, z), (0.9 * depth, 0.025, 0.02), frame)
    elif style == 3:
        add.cylinder((0, 0.55 * seat, 0), 0.05, 0.9 * seat, frame)
        for c, s in around(5):
            end = (0.25 * c, 0.03, 0.25 * s)
            add.rod((0, 0.09, 0), end, 0.04, frame)
            add.ball(end, (0.05, 0.06, 0.05), BLACK)
    elif style == 4:
        for z in both(0.45 * width):
            add.box((0, seat / 2, z), (0.9 * depth, seat, 0.04), frame)
    else:
        for z in both(0.45 * width):
            add.rod((0.45 * depth, 0.015, z), (0.45 * depth, seat, z), 0.03, frame)
            add.rod((-0.5 * depth, 0.015, z), (0.46 * depth, 0.015, z), 0.03, frame)
        if draw.chance(0.5):
            back = (-0.5 * depth, 0.015, 0)
            add.cylinder(back, 0.03, 0.9 * width, frame, axis="z")
