"""Loudspeakers."""

from jaxgrow.data.procedural.builder import Builder
from jaxgrow.data.procedural.classes.legs import legs
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import (
    BLACK,
    STEEL,
    Colour,
    Number,
    lines,
    pale,
    shade,
)
from jaxgrow.data.procedural.solids import Vec2


def loudspeaker(draw: Draws, add: Builder) -> None:
    """A cabinet with its drivers towards +x, on feet, on a stand or on the floor."""
    height = draw.uniform(0.6, 1.0)
    width, depth = height * draw.uniform(0.32, 0.7), height * draw.uniform(0.3, 0.6)
    skin = draw.colour("dark", "wood", "dark", "wood", "bright", "white")
    low = 0.0
    if draw.chance(0.2):
        low = 0.05
        legs(add, (depth, width), low, 0.04, BLACK, round_legs=True)
    elif draw.chance(0.2):
        low = draw.uniform(0.3, 0.6)
        add.cylinder((0, low / 2, 0), 0.06, low, BLACK)
        add.box((0, 0.012, 0), (0.8 * depth, 0.024, 0.9 * width), BLACK)
    hide = draw.finish(skin, prob=0.25)
    lean = draw.uniform(0, 0.12) if draw.chance(0.4) else 0.0
    sides = draw.uniform(0, 0.12) if draw.chance(0.3) else 0.0
    middle, front = low + height / 2, depth / 2
    taper = (lean, 0, sides, sides)
    add.box((0, middle, 0), (depth, height, width), hide, taper=taper)
    if draw.chance(0.5):
        baffle = (0.008, 0.95 * height, width * (0.94 - sides))
        add.box((front + 0.003, middle, 0), baffle, draw.contrast(skin))
    _drivers(draw, add, (front + 0.008, low), height, width * (1 - 2 * sides), skin)
    at = (-front, low + 0.25 * height, 0)
    add.box(at, (0.02, 0.12 * height, 0.3 * width), STEEL)


def _drivers(
    draw: Draws, add: Builder, place: Vec2, height: Number, width: Number, skin: Colour
) -> None:
    """One to four cones, the largest below, perhaps a horn or a port."""
    x, low = place
    ring = draw.colour("dark") if sum(skin) > 0.9 else draw.colour("metal")
    cone = draw.pick(shade(ring, 0.5), (0.85, 0.8, 0.3), BLACK, pale(ring))
    dust_cap = draw.pick(ring, STEEL, BLACK)
    count, level, left = draw.count(1, 4), low + 0.04 * height, 0.92 * height
    for k in range(count):
        share = left / (count - k)
        diameter = min(0.85 * width, 0.9 * share)
        if k:
            diameter *= draw.uniform(0.45, 0.85)
        at, last = (x, level + share / 2, 0.0), k == count - 1
        if last and count > 1 and draw.chance(0.25):
            horn = (0.02, 0.6 * share, 0.75 * width)
            add.box(at, horn, lines(BLACK, STEEL, z=5, width=0.2))
        else:
            add.cylinder(at, diameter, 0.02, ring, axis="x")
            inner = (x + 0.008, at[1], 0)
            add.cylinder(inner, 0.8 * diameter, 0.012, cone, axis="x")
            cap = 0.32 * diameter
            add.ball((x + 0.012, at[1], 0), (0.05, cap, cap), dust_cap)
        level, left = level + share, left - share
    if draw.chance(0.3):
        port = (x, low + 0.09 * height, 0.3 * width)
        add.cylinder(port, 0.16 * width, 0.015, BLACK, axis="x")
