"""Tables and desks."""

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.classes.legs import legs
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import Colour, Number, Paint, checks, lines
from jaxgrow.data.procedural.solids import Vec, Vec2


def table(draw: Draws, add: Builder) -> None:
    """A dining, coffee or round table, a trestle or a desk with drawers."""
    width = draw.uniform(0.65, 1.0)
    depth = draw.uniform(0.4, 0.75) * width + 0.1
    height, thick = draw.uniform(0.28, 0.7), draw.uniform(0.02, 0.06)
    skin = draw.colour("wood", "wood", "bright", "white", "glass", "dark")
    frame = draw.colour("wood", "metal", "dark") if draw.chance(0.6) else skin
    top = _top(draw, skin)
    form = draw.pick(*["square"] * 5, "round", "round", "oval")
    if form == "square":
        add.box((0, height, 0), (depth, thick, width), top)
    elif form == "round":
        depth = width
        add.cylinder((0, height, 0), width, thick, top)
    else:
        # The frame's x axis carries the diameter, its z axis the flattened one.
        add.cylinder((0, height, 0), depth, thick, top, flat=width / depth)
    size = (depth, height, width)
    if form != "square" and draw.chance(0.55):
        _pedestal(draw, add, size, frame)
    elif form != "square":
        _four_legs(draw, add, (0.66 * depth, height, 0.66 * width), frame, top)
    else:
        base = draw.pick(*[_four_legs] * 3, _slabs, _trestle, _desk)
        base(draw, add, size, frame, top)
    if draw.chance(0.2):
        _load(draw, add, height + thick / 2, (depth, width))


def _top(draw: Draws, skin: Colour) -> Paint:
    other, kind = draw.contrast(skin), draw.count(0, 5)
    if kind == 0:
        return lines(skin, other, x=draw.count(3, 7), width=0.12)
    if kind == 1:
        return checks(skin, other, x=6, z=8)
    if kind == 2:
        return lines(skin, other, z=1, width=draw.uniform(0.2, 0.4))
    return Paint(skin)


def _four_legs(draw: Draws, add: Builder, size: Vec, frame: Colour, top: Paint) -> None:
    depth, height, width = size
    thick, style = draw.uniform(0.03, 0.075), draw.count(0, 2)
    splay = draw.uniform(0.02, 0.08) if style == 2 else 0.0
    at, rods = (0.95 * depth, 0.95 * width), style == 1
    legs(add, at, height, thick, frame, round_legs=rods, splay=splay)
    if draw.chance(0.45):
        add.box((0, height - 0.04, 0), (0.86 * depth, 0.06, 0.88 * width), frame)
    if draw.chance(0.3):
        level = height * draw.uniform(0.2, 0.45)
        add.box((0, level, 0), (0.86 * depth, 0.02, 0.88 * width), top)


def _pedestal(draw: Draws, add: Builder, size: Vec, frame: Colour) -> None:
    depth, height, _ = size
    column = draw.uniform(0.05, 0.14)
    add.cylinder((0, height / 2, 0), column, height, frame, top=draw.uniform(0.6, 1.6))
    if draw.chance(0.5):
        foot, top = depth * draw.uniform(0.4, 0.65), draw.uniform(0.3, 1)
        add.cylinder((0, 0.02, 0), foot, 0.04, frame, top=top)
    else:
        for x, z in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            end = (x * 0.3 * depth, 0.015, z * 0.3 * depth)
            add.rod((0, 0.12 * height, 0), end, 0.05, frame, top=0.6)


def _slabs(draw: Draws, add: Builder, size: Vec, frame: Colour, top: Paint) -> None:
    """A closed board at either end, sometimes one at the back too."""
    depth, height, width = size
    for z in both(0.43 * width):
        add.box((0, height / 2, z), (0.85 * depth, height, 0.04), frame)
    if draw.chance(0.5):
        back = (-0.38 * depth, 0.6 * height, 0)
        add.box(back, (0.02, 0.6 * height, 0.84 * width), frame)
    if draw.chance(0.35):
        add.box((0, 0.3 * height, 0), (0.8 * depth, 0.025, 0.84 * width), top)


def _trestle(draw: Draws, add: Builder, size: Vec, frame: Colour, top: Paint) -> None:
    """Two crossed pairs of bars, connected by one bar."""
    depth, height, width = size
    thick = draw.uniform(0.035, 0.055)
    for z in both(0.38 * width):
        for ahead in (-1, 1):
            foot = (ahead * 0.42 * depth, 0, z)
            add.rod(foot, (-ahead * 0.36 * depth, height, z), thick, frame)
    add.cylinder((0, 0.48 * height, 0), 0.03, 0.78 * width, top, axis="z")


def _desk(draw: Draws, add: Builder, size: Vec, frame: Colour, top: Paint) -> None:
    """Drawers on one side, a board or two legs on the other, modesty board behind."""
    (depth, height, width), side = size, draw.sign()
    z, wide = side * 0.32 * width, 0.28 * width
    deep = draw.uniform(0.55, 0.95) * height
    add.box((0, height - deep / 2, z), (0.9 * depth, deep, wide), frame)
    front, rows = draw.contrast(frame), draw.count(2, 4)
    for row in range(rows):
        y = height - 0.03 - (deep - 0.04) * (row + 0.5) / rows
        add.box((0.45 * depth, y, z), (0.014, 0.8 * deep / rows, 0.9 * wide), top)
        add.box((0.46 * depth, y, z), (0.02, 0.016, 0.3 * wide), front)
    if deep < 0.8 * height or draw.chance(0.5):
        legs(add, (0.9 * depth, 0.94 * width), height, 0.04, frame)
    else:
        end = (0, height / 2, -side * 0.45 * width)
        add.box(end, (0.9 * depth, height, 0.04), frame)
    if draw.chance(0.6):
        back = (-0.4 * depth, 0.65 * height, 0)
        add.box(back, (0.02, 0.5 * height, 0.9 * width), frame)


def _load(draw: Draws, add: Builder, level: Number, size: Vec2) -> None:
    """A bowl or a pile of books, off the centre."""
    depth, width = size
    x, z = draw.uniform(-0.2, 0.2) * depth, draw.uniform(-0.25, 0.25) * width
    paint = draw.colour("bright", "white")
    if draw.chance(0.5):
        add.cylinder((x, level + 0.025, z), 0.08, 0.05, paint, top=2.0)
    else:
        pile = lines(paint, draw.contrast(paint), y=3, width=0.4)
        add.box((x, level + 0.03, z), (0.13, 0.06, 0.17), pile)
