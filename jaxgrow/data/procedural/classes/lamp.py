"""Lamps that stand or hang."""

import math

from jaxgrow.data.procedural.builder import Builder, around
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import Colour, Number, Paint, lines, pale, shade
from jaxgrow.data.procedural.solids import Vec, rotation


def lamp(draw: Draws, add: Builder) -> None:
    """A table, floor, desk or hanging lamp."""
    metal = draw.colour("metal", "wood", "bright", "dark")
    cloth = draw.colour("white", "bright")
    cloth = pale(cloth) if draw.chance(0.6) else cloth
    bands = lines(cloth, draw.contrast(cloth), y=draw.count(1, 3), width=0.25)
    cover = draw.pick(Paint(cloth), Paint(cloth), bands, draw.finish(cloth, prob=1))
    kind = draw.pick(_table_lamp, _table_lamp, _floor_lamp, _desk_lamp, _hanging)
    kind(draw, add, metal, cover)


def _table_lamp(draw: Draws, add: Builder, metal: Colour, cover: Paint) -> None:
    tall = draw.uniform(0.5, 0.9)
    wide, deep = draw.uniform(0.35, 0.65), draw.uniform(0.2, 0.35)
    foot = draw.uniform(0.2, 0.32)
    if draw.chance(0.5):
        add.cylinder((0, 0.02, 0), foot, 0.04, metal, top=draw.uniform(0.6, 1))
    else:
        add.box((0, 0.02, 0), (foot, 0.04, foot), metal)
    add.cylinder((0, 0.5 * tall, 0), draw.uniform(0.02, 0.05), tall, metal)
    belly, form = draw.uniform(0.14, 0.3), draw.count(0, 3)
    at, high = (0, tall * draw.uniform(0.25, 0.4), 0), tall * draw.uniform(0.3, 0.5)
    glaze = draw.finish(metal, prob=0.5)
    if form == 0:
        add.ball(at, (belly, high, belly), glaze)
    elif form == 1:
        add.cylinder(at, belly, high, glaze, top=draw.uniform(0.3, 0.8))
    elif form == 2:
        for step in range(3):
            ball = (0, tall * (0.15 + 0.2 * step), 0)
            add.ball(ball, (0.7 * belly, 0.2 * tall, 0.7 * belly), glaze)
    _lampshade(draw, add, (0, tall, 0), wide, deep, cover)


def _lampshade(
    draw: Draws, add: Builder, at: Vec, wide: Number, deep: Number, cover: Paint
) -> None:
    form = draw.count(0, 4)
    if form == 0:
        side, lean = 0.8 * wide, draw.uniform(0, 0.25)
        add.box(at, (side, deep, side), cover, taper=(lean, lean, lean, lean))
    elif form == 1:
        dome = (at[0], at[1] - 0.3 * deep, at[2])
        add.ball(dome, (wide, 1.8 * deep, wide), cover, cut=(0, 0.5))
    else:
        add.cylinder(at, wide, deep, cover, top=draw.uniform(0.3, 1.0))


def _floor_lamp(draw: Draws, add: Builder, metal: Colour, cover: Paint) -> None:
    foot, wide = draw.uniform(0.2, 0.3), draw.uniform(0.22, 0.36)
    deep = draw.uniform(0.15, 0.22)
    if draw.chance(0.35):
        for c, s in around(3, draw.uniform(0, 2)):
            add.rod((0.16 * c, 0, 0.16 * s), (0, 0.85, 0), 0.025, metal, top=0.7)
    else:
        add.cylinder((0, 0.012, 0), foot, 0.025, metal)
        add.cylinder((0, 0.45, 0), 0.022, 0.9, metal)
    if draw.chance(0.3):
        reach = draw.uniform(0.15, 0.3)
        add.rod((0, 0.88, 0), (reach, 0.94, 0), 0.02, metal)
        _lampshade(draw, add, (reach, 0.86, 0), 0.8 * wide, 0.8 * deep, cover)
    elif draw.chance(0.25):
        add.cylinder((0, 0.93, 0), 0.08, 0.12, cover, top=wide / 0.08)
    else:
        _lampshade(draw, add, (0, 0.9, 0), wide, deep, cover)


def _desk_lamp(draw: Draws, add: Builder, metal: Colour, cover: Paint) -> None:
    """Two arms that lean back and then forwards, and a head that looks down."""
    add.cylinder((0, 0.02, 0), draw.uniform(0.24, 0.32), 0.04, metal, top=0.8)
    back, ahead = draw.uniform(0.1, 0.5), draw.uniform(0.6, 1.2)
    low, high = draw.uniform(0.4, 0.55), draw.uniform(0.35, 0.5)
    x, y = -math.sin(back) * low, 0.03 + math.cos(back) * low
    for z in (-0.02, 0.02):
        add.rod((0, 0.03, z), (x, y, z), 0.022, metal)
    add.ball((x, y, 0), (0.06, 0.06, 0.07), shade(metal, 0.7))
    end = (x + math.sin(ahead) * high, y + math.cos(ahead) * high, 0.0)
    add.rod((x, y, 0), end, 0.03, metal)
    head = rotation(pitch=draw.uniform(-0.1, 0.6))
    at = (end[0] + 0.03, end[1] - 0.04, 0.0)
    wide = draw.uniform(0.18, 0.28)
    add.cylinder(at, wide, 0.16, cover, top=0.35, turn=head)
    bulb = (at[0] + 0.04, at[1] - 0.07, 0)
    add.ball(bulb, (0.08, 0.08, 0.08), (1.0, 0.97, 0.7), turn=head)


def _hanging(draw: Draws, add: Builder, metal: Colour, cover: Paint) -> None:
    add.cylinder((0, 0.97, 0), 0.12, 0.03, metal)
    add.cylinder((0, 0.72, 0), 0.018, 0.5, metal)
    kind, wide = draw.count(0, 2), draw.uniform(0.35, 0.65)
    if kind == 0:
        add.ball((0, 0.4, 0), (wide, draw.uniform(0.3, 0.5), wide), cover)
    elif kind == 1:
        tall, top = draw.uniform(0.18, 0.4), draw.uniform(0.15, 0.9)
        add.cylinder((0, 0.4, 0), wide, tall, cover, top=top)
    else:
        add.ball((0, 0.48, 0), (0.12, 0.14, 0.12), metal)
        for c, s in around(draw.count(3, 7), 0.2):
            end = (0.32 * c, 0.42, 0.32 * s)
            add.rod((0, 0.48, 0), end, 0.022, metal)
            cup = (end[0], 0.47, end[2])
            add.cylinder(cup, 0.11, 0.11, cover, top=draw.uniform(0.8, 1.6))
