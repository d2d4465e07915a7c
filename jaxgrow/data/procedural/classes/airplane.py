"""Airliners, light aircraft, biplanes, fighters and gliders."""

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.classes.airplane_parts import (
    cabin_body,
    engines,
    fuselage,
    livery,
    propeller,
    tail,
    wheels,
    winglets,
    wings,
)
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import BLACK, STEEL, Paint, checks, lines
from jaxgrow.data.procedural.solids import rotation


def airplane(draw: Draws, add: Builder) -> None:
    """An aeroplane; its nose points to +x, its length is about 1."""
    kind = draw.pick(
        _airliner, _airliner, _airliner, _light, _light, _biplane, _fighter, _glider
    )
    kind(draw, add)


def _airliner(draw: Draws, add: Builder) -> None:
    width = draw.uniform(0.08, 0.12)
    skin = draw.colour("white", "white", "metal", "bright")
    trim = draw.contrast(skin) if draw.chance(0.4) else draw.colour("bright")
    fuselage(draw, add, width, livery(draw, skin, trim), skin)
    add.box((0.37, 0.3 * width, 0), (0.03, 0.22 * width, 0.62 * width), BLACK)
    sweep, span = draw.uniform(0.14, 0.32), draw.uniform(0.78, 1.05)
    root, tip = draw.uniform(0.2, 0.3), draw.uniform(0.05, 0.09)
    low = -0.32 * width if draw.chance(0.75) else 0.4 * width
    metal = draw.colour("white", "metal", "metal")
    lead = draw.uniform(0.1, 0.17)
    dihedral = draw.uniform(0.03, 0.12) if low < 0 else -0.04
    wings(add, (lead, low), span, (root, tip), sweep, metal, dihedral, 0.022)
    if draw.chance(0.4):
        winglets(add, (lead - sweep, low), span, tip, dihedral, trim)
    engines(draw, add, width, low, (lead, sweep, span))
    tail(draw, add, width, trim, metal, t_tail=draw.chance(0.2))


def _light(draw: Draws, add: Builder) -> None:
    width = draw.uniform(0.12, 0.16)
    skin = draw.colour("white", "bright", "bright", "drab")
    trim = draw.contrast(skin)
    cabin_body(draw, add, width, skin, trim)
    high = draw.chance(0.5)
    level = 0.62 * width if high else -0.3 * width
    chord, span = draw.uniform(0.15, 0.2), draw.uniform(0.95, 1.25)
    wing = Paint(skin) if draw.chance(0.5) else lines(skin, trim, y=4, width=0.3)
    ends = (chord, chord * draw.uniform(0.55, 1.0))
    wings(add, (0.17, level), span, ends, 0.01, wing, 0.04, 0.025)
    if high:
        for side in (-1, 1):
            foot, head = (0.1, -0.4 * width, side * 0.05), (0.09, level, side * 0.28)
            add.rod(foot, head, 0.012, trim)
    twin = draw.chance(0.25) and not high
    if twin:
        for z in both(0.2):
            at = (0.18, level + 0.02, z)
            add.ball(at, (0.24, 0.07, 0.07), skin)
            propeller(draw, add, (0.3, level + 0.02, z), 0.2)
    else:
        propeller(draw, add, (0.42, 0, 0), draw.uniform(0.24, 0.32))
    tail(draw, add, 0.6 * width, trim, skin, t_tail=draw.chance(0.15))
    if not twin or draw.chance(0.5):
        wheels(draw, add, width)


def _biplane(draw: Draws, add: Builder) -> None:
    width = draw.uniform(0.11, 0.14)
    skin = draw.colour("bright", "drab", "bright")
    trim = draw.contrast(skin)
    cabin_body(draw, add, width, skin, trim, closed=False)
    span, chord = draw.uniform(0.85, 1.05), draw.uniform(0.15, 0.2)
    wing = draw.pick(Paint(skin), Paint(trim), checks(skin, trim, x=2, y=6))
    levels = [-0.4 * width, draw.uniform(1.1, 1.4) * width]
    if draw.chance(0.25):
        levels.insert(1, sum(levels) / 2)
    for step, level in enumerate(levels):
        lead = 0.2 + 0.03 * step
        wings(add, (lead, level), span, (chord, chord), 0, wing, 0.01, 0.018)
    for side in (-1, 1):
        for place in (0.1, 0.36):
            for x in (0.18, 0.07):
                foot = (x, levels[0], side * place * span)
                head = (x + 0.02, levels[-1], side * place * span)
                add.rod(foot, head, 0.01, draw.colour("wood", "dark"))
    propeller(draw, add, (0.4, 0, 0), draw.uniform(0.26, 0.34))
    tail(draw, add, 0.6 * width, trim, skin, t_tail=False)
    wheels(draw, add, width)


def _fighter(draw: Draws, add: Builder) -> None:
    width = draw.uniform(0.09, 0.12)
    skin = draw.colour("drab", "metal", "dark", "drab")
    dark = draw.contrast(skin)
    hide = draw.pick(Paint(skin), checks(skin, dark, y=5), lines(skin, dark, y=3))
    add.cylinder((-0.08, 0, 0), width, 0.7, hide, axis="x", flat=1.4)
    add.cylinder((0.38, 0, 0), width, 0.24, skin, axis="x", top=0.08, flat=1.3)
    add.ball((0.2, 0.45 * width, 0), (0.24, 0.09, 0.06), draw.colour("glass"))
    delta = draw.chance(0.45)
    root = 0.5 if delta else draw.uniform(0.24, 0.34)
    sweep = root * 0.85 if delta else draw.uniform(0.12, 0.24)
    lead = draw.uniform(0.1, 0.16)
    span, tip = draw.uniform(0.55, 0.72), 0.04 if delta else 0.09
    wings(add, (lead, -0.01), span, (root, tip), sweep, hide, 0.0, 0.016)
    if delta or draw.chance(0.3):
        wings(add, (0.28, 0.02), 0.3, (0.09, 0.03), 0.05, hide, 0.0, 0.01)
    if not delta:
        wings(add, (-0.3, 0), 0.42, (0.14, 0.05), 0.1, hide, 0.0, 0.012)
    twin, height = draw.chance(0.5), draw.uniform(0.14, 0.2)
    for side in (-1, 1) if twin else (0,):
        lean = rotation(roll=side * draw.uniform(0.05, 0.35))
        fin = [(-0.2, 0), (-0.36, height), (-0.44, height), (-0.43, 0)]
        add.plate(fin, 0.015, dark, at=(0, 0.4 * width, side * 0.05), turn=lean)
        nozzle = (-0.46, 0, side * 0.04)
        add.cylinder(nozzle, 0.75 * width, 0.08, BLACK, axis="x", top=1.2)
    if draw.chance(0.6):
        for side in (-1, 1):
            for place in (0.17, 0.25)[: draw.count(1, 2)]:
                at = (-0.08, -0.05, side * place)
                add.cylinder(at, 0.03, 0.22, STEEL, axis="x", top=0.5)


def _glider(draw: Draws, add: Builder) -> None:
    skin = draw.colour("white", "white", "bright")
    trim = draw.colour("bright")
    add.ball((0.22, 0, 0), (0.4, 0.1, 0.09), skin)
    add.cylinder((-0.16, 0.005, 0), 0.06, 0.55, skin, axis="x", top=2.0, flat=0.9)
    add.ball((0.28, 0.035, 0), (0.2, 0.07, 0.07), draw.colour("glass"))
    span = draw.uniform(1.25, 1.6)
    wing = lines(skin, trim, y=1, width=draw.uniform(0.0, 0.3))
    wings(add, (0.22, 0.03), span, (0.11, 0.05), 0.03, wing, 0.06, 0.016)
    tail(draw, add, 0.05, trim, skin, t_tail=draw.chance(0.7))
