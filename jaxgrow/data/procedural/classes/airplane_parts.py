"""Parts of aeroplanes."""

import math

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import (
    BLACK,
    STEEL,
    Colour,
    Number,
    Paint,
    checks,
    lines,
)
from jaxgrow.data.procedural.solids import Vec, Vec2, rotation


def livery(draw: Draws, skin: Colour, trim: Colour) -> Paint:
    """A row of windows, a band along the sides, or the plain skin.

    The y axis of a fuselage is along it; its z axis is the airliner's.
    """
    kind = draw.count(0, 3)
    if kind == 0:
        return Paint(skin)
    if kind == 1:
        return lines(skin, trim, y=draw.count(1, 3), width=draw.uniform(0.15, 0.35))
    if kind == 2:
        return lines(skin, trim, x=1, width=draw.uniform(0.15, 0.3))
    return checks(skin, trim, x=2)


def fuselage(
    draw: Draws, add: Builder, width: Number, hide: Paint, skin: Colour
) -> None:
    """A tube with a round nose and a tail that rises to a narrow end."""
    add.cylinder((0.02, 0, 0), width, 0.68, hide, axis="x")
    nose = width * draw.uniform(1.6, 2.8)
    add.ball((0.36, 0, 0), (nose, width, width), skin)
    tail = rotation(pitch=-draw.uniform(0.08, 0.16))
    at = (-0.41, 0.16 * width, 0)
    add.cylinder(at, width, 0.22, skin, axis="x", top=1.0 / 0.3, turn=tail)


def cabin_body(
    draw: Draws,
    add: Builder,
    width: Number,
    skin: Colour,
    trim: Colour,
    *,
    closed: bool = True,
) -> None:
    """A body that is thick at the engine and thin at the tail."""
    hide = draw.pick(Paint(skin), lines(skin, trim, x=1, width=0.3), Paint(skin))
    add.cylinder((0.22, 0, 0), width, 0.36, hide, axis="x")
    tail = [(0.06, 0.48), (0.06, -0.5), (-0.5, 0.05), (-0.5, 0.36)]
    outline = [(x, y * width) for x, y in tail]
    add.plate(outline, 0.72 * width, hide)
    add.cylinder((0.4, 0, 0), 0.92 * width, 0.05, trim, axis="x", top=0.7)
    glass = draw.colour("glass")
    if closed:
        top = [(0.26, 0.4), (0.17, 1.0), (0.02, 1.0), (-0.12, 0.4)]
        canopy = [(x, y * 0.72 * width) for x, y in top]
        add.plate(canopy, 0.8 * width, glass)
    else:
        add.box((0.06, 0.5 * width, 0), (0.1, 0.3 * width, 0.4 * width), BLACK)
        add.box((0.12, 0.6 * width, 0), (0.01, 0.4 * width, 0.5 * width), glass)


def wings(
    add: Builder,
    lead: Vec2,
    span: Number,
    chords: Vec2,
    sweep: Number,
    paint: Paint | Colour,
    dihedral: Number,
    thickness: Number,
) -> None:
    """Two wings whose leading edges meet the middle at (x, y) = `lead`."""
    (x, y), (root, tip) = lead, chords
    for side in (-1, 1):
        outer = side * span / 2
        outline = [(x, 0), (x - sweep, outer), (x - sweep - tip, outer), (x - root, 0)]
        turn = rotation(roll=-side * dihedral)
        add.plate(outline, thickness, paint, plane="xz", at=(0, y, 0), turn=turn)


def winglets(
    add: Builder,
    lead: Vec2,
    span: Number,
    chord: Number,
    dihedral: Number,
    paint: Colour,
) -> None:
    """Small fins that stand on the wings' tips."""
    height = 0.06
    for z in both(span / 2):
        at = (lead[0], lead[1] + dihedral * span / 2, z)
        fin = [(0, 0), (-0.05, height), (-0.07, height), (-chord, 0)]
        add.plate(fin, 0.012, paint, at=at)


def engines(draw: Draws, add: Builder, width: Number, level: Number, wing: Vec) -> None:
    """Jets or propellers below the wings, or jets at the tail."""
    lead, sweep, span = wing
    case = draw.colour("metal", "white", "bright")
    bulk, length = width * draw.uniform(0.42, 0.6), draw.uniform(0.1, 0.15)
    if draw.chance(0.25):
        for z in both(0.78 * width):
            add.cylinder((-0.28, 0.28 * width, z), bulk, 0.16, case, axis="x", top=1.15)
        return
    turboprop, pairs = draw.chance(0.25), draw.count(1, 2)
    for side in (-1, 1):
        for pair in range(pairs):
            place = 0.3 + 0.27 * pair if pairs == 2 else 0.34
            x = lead - sweep * place + 0.02
            z = side * place * span / 2
            at = (x, level - (0 if turboprop else 0.55 * bulk), z)
            add.cylinder(at, bulk, length, case, axis="x", top=1.2)
            mouth = (at[0] + length / 2, at[1], at[2])
            if turboprop:
                propeller(draw, add, mouth, 2.4 * bulk)
            else:
                add.cylinder(mouth, 0.95 * bulk, 0.012, BLACK, axis="x")


def propeller(draw: Draws, add: Builder, at: Vec, diameter: Number) -> None:
    """A hub and two to four blades at a random angle."""
    blades, phase = draw.count(2, 4), draw.uniform(0, math.pi)
    add.ball(at, (0.08, 0.035, 0.035), STEEL)
    for k in range(blades):
        angle, reach = phase + 2 * math.pi * k / blades, diameter / 4
        y, z = at[1] + reach * math.cos(angle), at[2] + reach * math.sin(angle)
        blade = (0.012, diameter / 2, 0.03)
        add.box((at[0] + 0.01, y, z), blade, BLACK, turn=rotation(roll=angle))


def tail(
    draw: Draws,
    add: Builder,
    width: Number,
    fin_colour: Colour,
    skin: Colour,
    *,
    t_tail: bool,
) -> None:
    """A fin, and tailplanes at its foot or, for a T-tail, on its top."""
    height, lean = draw.uniform(0.14, 0.2), draw.uniform(0.04, 0.14)
    base = 0.3 * width
    fin = [(-0.36, 0), (-0.38 - lean, height), (-0.46 - lean, height), (-0.5, 0)]
    other = draw.contrast(fin_colour)
    striped = lines(fin_colour, other, y=draw.count(1, 3), width=0.35)
    paint = draw.pick(Paint(fin_colour), Paint(fin_colour), striped)
    add.plate(fin, 0.02, paint, at=(0, base, 0))
    lead = -0.37 - (lean if t_tail else 0.02)
    level = base + height if t_tail else base
    span = draw.uniform(0.3, 0.42)
    chords = (0.11, draw.uniform(0.05, 0.09))
    wings(add, (lead, level), span, chords, 0.6 * lean, skin, 0.03, 0.014)


def wheels(draw: Draws, add: Builder, width: Number) -> None:
    """Two wheels on legs, and a third at the nose or the tail."""
    drop = -0.5 * width - draw.uniform(0.05, 0.08)
    nose = draw.chance(0.5)
    x = 0.08 if nose else 0.24
    for side in (-1, 1):
        at = (x, drop, side * 0.1)
        add.rod((x, -0.3 * width, side * 0.03), at, 0.014, STEEL)
        add.cylinder(at, 0.06, 0.03, BLACK, axis="z")
        if draw.chance(0.3):
            add.ball(at, (0.12, 0.06, 0.04), STEEL)
    third = (0.36, drop, 0.0) if nose else (-0.44, -0.3 * width, 0.0)
    add.cylinder(third, 0.05, 0.025, BLACK, axis="z")
    add.rod(third, (third[0] - 0.01, 0, 0), 0.012, STEEL)
