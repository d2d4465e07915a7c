"""Ships and boats."""

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import BLACK, STEEL, WHITE, Colour, Number, lines


def vessel(draw: Draws, add: Builder) -> None:
    """A ship or boat 1 long."""
    kind = draw.pick(_cargo, _sailing, _sailing, _motor, _liner, _warship, _rowing)
    kind(draw, add)


def _hull(
    draw: Draws, add: Builder, width: Number, height: Number, skin: Colour
) -> None:
    """Stern block, and a bow that narrows to the stem; boot top in another colour."""
    water_line = draw.contrast(skin)
    paint = lines(skin, water_line, y=1, width=draw.uniform(0.0, 0.3))
    bow = draw.uniform(0.1, 0.24)
    rise = draw.uniform(0.0, 0.25) * height
    flare = (-0.02, 0.0, -0.18, -0.18)
    middle = ((bow - 0.5) / 2, height / 2, 0)
    add.box(middle, (0.5 + bow, height, 0.7 * width), paint, taper=flare)
    half = 0.475 * width
    deck = [(bow - 0.01, -half), (bow - 0.01, half), (bow + 0.2, 0.55 * half)]
    deck += [(0.5, 0.0), (bow + 0.2, -0.55 * half)]
    at = (0, 0.75 * height + rise / 2, 0)
    add.plate(deck, 0.5 * height + rise, paint, plane="xz", at=at)
    keel = [(bow - 0.01, -0.36 * width), (bow - 0.01, 0.36 * width)]
    keel += [(0.42, 0.04 * width), (0.42, -0.04 * width)]
    add.plate(keel, 0.6 * height, paint, plane="xz", at=(0, 0.3 * height, 0))


def _cargo(draw: Draws, add: Builder) -> None:
    width, height = draw.uniform(0.15, 0.2), draw.uniform(0.09, 0.13)
    _hull(draw, add, width, height, draw.colour("bright", "dark", "bright"))
    bridge = lines(WHITE, BLACK, y=draw.count(2, 4), width=0.25)
    tall = draw.uniform(0.14, 0.22)
    at = (-0.38, height + tall / 2, 0)
    add.box(at, (0.1, tall, 0.85 * width), bridge)
    funnel = draw.colour("bright", "dark")
    add.cylinder((-0.42, height + tall + 0.02, 0), 0.05, 0.08, funnel)
    if draw.chance(0.3):
        deck = lines(draw.colour("drab", "bright"), STEEL, x=6, width=0.2)
        add.box((0.02, height + 0.01, 0), (0.6, 0.03, 0.8 * width), deck)
        add.cylinder((0.02, height + 0.035, 0), 0.03, 0.62, STEEL, axis="x")
        return
    bays = draw.count(3, 6)
    for bay in range(bays):
        for z in both(0.22 * width):
            stack = draw.uniform(0.03, 0.12)
            paint = lines(draw.colour("bright"), BLACK, y=3, width=0.12)
            x = -0.28 + 0.58 * (bay + 0.5) / bays
            at = (x, height + stack / 2, z)
            add.box(at, (0.52 / bays, stack, 0.42 * width), paint)


def _sailing(draw: Draws, add: Builder) -> None:
    width, height = draw.uniform(0.18, 0.26), draw.uniform(0.07, 0.11)
    skin = draw.colour("white", "wood", "bright", "dark")
    _hull(draw, add, width, height, skin)
    wood = draw.colour("wood", "metal")
    deck = lines(wood, draw.contrast(wood), z=5, width=0.15)
    add.box((-0.16, height + 0.004, 0), (0.6, 0.01, 0.9 * width), deck)
    cloth = draw.colour("white", "white", "bright")
    other, bands = draw.contrast(cloth), draw.count(2, 5)
    sail = lines(cloth, other, y=bands, width=draw.uniform(0, 0.3))
    masts, tall = draw.count(1, 2), draw.uniform(0.6, 0.95)
    belly = draw.uniform(-0.05, 0.05)
    for k in range(masts):
        x = 0.08 - 0.28 * k
        mast = tall * (1 - 0.2 * k)
        add.rod((x, height, 0), (x, height + mast, 0), 0.018, wood)
        reach = 0.34 if masts == 1 else 0.22
        foot, head = height + 0.07, height + 0.95 * mast
        leech = [(x - 0.015, foot), (x - 0.015, head), (x - reach, foot + 0.02)]
        add.plate(leech, 0.008, sail, at=(0, 0, belly))
        add.rod((x, foot, belly), (x - reach, foot, belly), 0.014, wood)
    if draw.chance(0.75):
        jib = [(0.11, height + 0.05), (0.45, height + 0.03), (0.1, height + 0.8 * tall)]
        add.plate(jib, 0.006, sail, at=(0, 0, -belly))
    if draw.chance(0.5):
        at, lean = (-0.1, height + 0.03, 0), (0.05, 0.2, 0.1, 0.1)
        add.box(at, (0.24, 0.06, 0.5 * width), WHITE, taper=lean)


def _motor(draw: Draws, add: Builder) -> None:
    width, height = draw.uniform(0.24, 0.32), draw.uniform(0.1, 0.14)
    skin = draw.colour("white", "white", "bright", "dark")
    _hull(draw, add, width, height, skin)
    deck = draw.colour("wood", "white")
    add.box((-0.15, height + 0.004, 0), (0.62, 0.01, 0.9 * width), deck)
    glass, level, x = draw.colour("glass"), height, draw.uniform(-0.08, 0.02)
    for step in range(draw.count(1, 3)):
        tall, shrink = draw.uniform(0.06, 0.09), 0.78**step
        long, broad = 0.46 * shrink, 0.8 * width * shrink
        lean = (0.03, 0.2, 0.06, 0.06)
        house = lines(WHITE, glass, y=1, width=0.45)
        at = (x - 0.04 * step, level + tall / 2, 0)
        add.box(at, (long, tall, broad), house, taper=lean)
        level += tall
    if draw.chance(0.6):
        add.rod((x - 0.1, level, 0), (x - 0.16, level + 0.14, 0), 0.016, STEEL)
    if draw.chance(0.4):
        add.box((-0.52, 0.6 * height, 0), (0.06, 0.16, 0.06), BLACK)


def _liner(draw: Draws, add: Builder) -> None:
    """A passenger ship with rows of windows and one to four funnels."""
    width, height = draw.uniform(0.13, 0.17), draw.uniform(0.07, 0.1)
    _hull(draw, add, width, height, draw.colour("dark", "white", "bright"))
    level, decks = height, draw.count(2, 3)
    for deck in range(decks):
        tall = draw.uniform(0.035, 0.05)
        rows = lines(WHITE, (0.3, 0.35, 0.45), x=18, y=1, width=0.5)
        long = 0.74 - 0.12 * deck
        add.box((-0.08, level + tall / 2, 0), (long, tall, 0.9 * width), rows)
        level += tall
    stack, cap = draw.colour("bright", "bright", "dark"), draw.uniform(0.06, 0.11)
    funnels = draw.count(1, 4)
    for k in range(funnels):
        x = -0.1 + (k - (funnels - 1) / 2) * 0.12 - (0.1 if funnels == 1 else 0)
        band = lines(stack, draw.contrast(stack), y=2, width=0.3)
        add.cylinder((x, level + cap / 2, 0), 0.06, cap, band, flat=0.7)
    add.rod((0.26, level - 0.05, 0), (0.26, level + 0.1, 0), 0.012, STEEL)


def _warship(draw: Draws, add: Builder) -> None:
    width, height = draw.uniform(0.12, 0.16), draw.uniform(0.06, 0.09)
    grey = draw.colour("metal", "metal", "drab")
    _hull(draw, add, width, height, grey)
    if draw.chance(0.3):
        deck = lines((0.3, 0.31, 0.33), WHITE, z=1, width=0.06)
        flat = (-0.02, height + 0.03, 0)
        add.box(flat, (0.94, 0.03, 1.7 * width), deck, taper=(0, 0.03, 0, 0))
        island = (-0.02, height + 0.1, 0.7 * width)
        add.box(island, (0.16, 0.13, 0.05), grey, taper=(0.1, 0.1, 0, 0))
        x, z = -0.02, 0.7 * width
        add.rod((x, height + 0.16, z), (x, height + 0.28, z), 0.015, STEEL)
        return
    level = height
    for step in range(draw.count(2, 3)):
        tall = draw.uniform(0.05, 0.08)
        house = lines(grey, BLACK, y=1, width=0.15)
        at = (-0.04 + 0.03 * step, level + tall / 2, 0)
        size = (0.36 * 0.6**step, tall, 0.7 * width)
        add.box(at, size, house, taper=(0.05, 0.08, 0.12, 0.12))
        level += tall
    add.rod((-0.02, level, 0), (-0.02, level + 0.16, 0), 0.03, grey, top=0.3)
    add.box((-0.02, level + 0.09, 0), (0.012, 0.03, 0.12), STEEL)
    add.cylinder((-0.17, height + 0.1, 0), 0.055, 0.1, grey, flat=0.8)
    places = [(0.24, 1), (0.34, 1), (-0.34, -1)][: draw.count(1, 3)]
    for x, ahead in places:
        at, lean = (x, height + 0.025, 0), (0.15, 0.15, 0.1, 0.1)
        add.box(at, (0.09, 0.05, 0.07), grey, taper=lean)
        for z in both(0.015):
            end = (x + ahead * 0.13, height + 0.045, z)
            add.rod((x, height + 0.03, z), end, 0.014, BLACK)


def _rowing(draw: Draws, add: Builder) -> None:
    """An open boat: thwarts, perhaps oars or an outboard motor."""
    width, height = draw.uniform(0.3, 0.4), draw.uniform(0.12, 0.16)
    skin = draw.colour("wood", "wood", "bright", "white")
    _hull(draw, add, width, height, skin)
    inside = draw.contrast(skin)
    add.box((-0.14, height + 0.002, 0), (0.62, 0.012, 0.8 * width), inside)
    wood = draw.colour("wood")
    for x in (-0.36, -0.12, 0.12):
        add.box((x, height + 0.012, 0), (0.08, 0.016, 0.92 * width), wood)
    for z in both(0.46 * width):
        add.box((-0.14, height + 0.015, z), (0.7, 0.03, 0.03), wood)
    if draw.chance(0.6):
        for side in (-1, 1):
            start = (-0.14, height + 0.06, side * 0.2 * width)
            end = (-0.22, height - 0.02, side * 1.15 * width)
            add.rod(start, end, 0.016, wood)
            add.box(end, (0.06, 0.012, 0.1), wood)
    else:
        add.box((-0.54, height + 0.04, 0), (0.08, 0.1, 0.07), BLACK)
        add.box((-0.54, 0.4 * height, 0), (0.04, 0.12, 0.03), STEEL)
