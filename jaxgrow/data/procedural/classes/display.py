"""Monitors, televisions and laptop computers."""

import math

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import BLACK, STEEL, lines
from jaxgrow.data.procedural.solids import rotation


def display(draw: Draws, add: Builder) -> None:
    """A monitor, a television or a laptop computer, screen towards +x."""
    draw.pick(_flat, _flat, _flat, _tube, _laptop)(draw, add)


def _flat(draw: Draws, add: Builder) -> None:
    width = draw.uniform(0.8, 1.0)
    height = width * draw.uniform(0.5, 0.75)
    case, thick = draw.colour("dark", "dark", "metal", "white"), 0.04
    low = draw.uniform(0.06, 0.2)
    middle = low + height / 2
    add.box((0, middle, 0), (thick, height, width), case)
    rim = draw.uniform(0.015, 0.06)
    panel = (0.008, height - 2 * rim, width - 2 * rim)
    add.box((thick / 2 + 0.002, middle + 0.2 * rim, 0), panel, draw.screen_picture())
    slots = lines(case, draw.contrast(case), y=draw.count(4, 7), width=0.3)
    hump = draw.uniform(0.03, 0.09)
    at = (-thick / 2 - hump / 2, middle - 0.05 * height, 0)
    size = (hump, draw.uniform(0.4, 0.75) * height, draw.uniform(0.4, 0.75) * width)
    add.box(at, size, slots, taper=(0.2, 0, 0.05, 0.05))
    base, foot = draw.count(0, 3), draw.uniform(0.3, 0.6) * width
    if base == 0:
        add.box((-0.03, (low + 0.06) / 2, 0), (0.05, low + 0.06, 0.14), case)
        add.box((0, 0.012, 0), (0.28, 0.024, foot), case)
    elif base == 1:
        add.cylinder((-0.03, (low + 0.06) / 2, 0), 0.06, low + 0.06, case)
        add.cylinder((0, 0.012, 0), 0.75 * foot, 0.024, case, flat=0.8)
    elif base == 2:
        for side in (-1, 1):
            start = (0, low + 0.02, side * 0.36 * width)
            add.rod(start, (0.13, 0.01, side * 0.4 * width), 0.03, case)
            add.rod(start, (-0.13, 0.01, side * 0.4 * width), 0.03, case)
    else:
        arm = [(-0.02, 0.0), (-0.1, low + 0.1), (-0.06, low + 0.1), (0.02, 0.0)]
        add.plate(arm, 0.1, case)
        add.box((0.02, 0.01, 0), (0.24, 0.02, foot), STEEL)
    if draw.chance(0.3):
        for z in both(width / 2 + 0.04):
            at = (0, middle, z)
            add.box(at, (0.05, height, 0.07), lines(case, BLACK, y=12, width=0.5))


def _tube(draw: Draws, add: Builder) -> None:
    """A cathode ray tube: as deep as it is wide."""
    width, depth = draw.uniform(0.75, 0.95), draw.uniform(0.45, 0.65)
    height = width * draw.uniform(0.72, 0.85)
    case = draw.colour("dark", "white", "wood", "metal")
    low = draw.pick(0.0, 0.08)
    middle = low + height / 2
    add.box((0, middle, 0), (0.14, height, width), case)
    slots = lines(case, draw.contrast(case), y=5, width=0.3)
    back = (-0.07 - depth / 2, middle, 0)
    size = (0.94 * height, depth, 0.94 * width)
    turn = rotation(pitch=math.pi / 2)
    add.box(back, size, slots, turn=turn, taper=(0.18, 0.1, 0.2, 0.2))
    right = draw.chance(0.4)
    part = 0.72 if right else 0.86
    shift = -0.1 * width if right else 0.0
    panel = (0.02, 0.8 * height, part * width)
    add.box((0.07, middle + 0.02, shift), panel, draw.screen_picture())
    if right:
        for k in range(3):
            at = (0.08, middle + (0.25 - 0.2 * k) * height, 0.4 * width)
            add.cylinder(at, 0.07, 0.03, STEEL, axis="x")
    if low > 0:
        add.cylinder((-0.1, low / 2, 0), 0.5 * width, low, case, top=0.7)
    if draw.chance(0.2):
        for z in both(0.3):
            top = (-0.2, low + height + 0.3, z)
            add.rod((-0.15, low + height, 0), top, 0.014, STEEL)


def _laptop(draw: Draws, add: Builder) -> None:
    width, depth = draw.uniform(0.85, 1.0), draw.uniform(0.55, 0.66)
    case = draw.colour("dark", "metal", "white")
    add.box((0, 0.02, 0), (depth, 0.04, width), case)
    keys = lines(BLACK, STEEL, x=5, z=12, width=0.2)
    add.box((-0.06, 0.042, 0), (0.5 * depth, 0.008, 0.88 * width), keys)
    add.box((0.36 * depth, 0.042, 0), (0.18 * depth, 0.006, 0.26 * width), STEEL)
    tilt = draw.uniform(0.1, 0.5)
    lid = rotation(pitch=tilt)
    hinge, half = -depth / 2 + 0.01, depth / 2
    x, y = hinge - math.sin(tilt) * half, 0.04 + math.cos(tilt) * half
    add.box((x, y, 0), (0.025, depth, width), case, turn=lid)
    ahead = (x + 0.012 * math.cos(tilt), y + 0.012 * math.sin(tilt), 0)
    screen = (0.008, 0.86 * depth, 0.92 * width)
    add.box(ahead, screen, draw.screen_picture(), turn=lid)
