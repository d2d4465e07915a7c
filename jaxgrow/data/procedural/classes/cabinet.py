"""Chests of drawers, wardrobes, sideboards and shelves."""

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.classes.legs import legs
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import BLACK, Colour, Number, Paint, lines
from jaxgrow.data.procedural.solids import Vec


def cabinet(draw: Draws, add: Builder) -> None:
    """A chest of drawers, a wardrobe, a sideboard or a shelf with things on it."""
    width, height = draw.uniform(0.4, 1.0), draw.uniform(0.35, 1.0)
    depth = draw.uniform(0.28, 0.5)
    skin = draw.colour("wood", "wood", "bright", "white", "metal")
    low = draw.uniform(0.04, 0.13) if draw.chance(0.45) else 0.0
    if low:
        dark = draw.colour("dark", "wood", "metal")
        rods, splay = draw.chance(0.5), draw.pick(0.0, 0.02)
        legs(add, (depth, width), low, 0.04, dark, round_legs=rods, splay=splay)
    elif draw.chance(0.4):
        low = 0.04
        add.box((-0.01, 0.02, 0), (0.94 * depth, 0.04, 0.97 * width), BLACK)
    size, front = (depth, height, width), skin
    if draw.chance(0.5):
        front = draw.colour("wood", "white", "bright")
    if draw.chance(0.3):
        _shelf(draw, add, size, low, skin)
    else:
        add.box((0, low + height / 2, 0), size, draw.finish(skin, prob=0.2))
        fronts = draw.pick(_doors, _doors, _drawers, _drawers, _mixed)
        fronts(draw, add, size, low, front)
    top = low + height
    if draw.chance(0.4):
        board = draw.colour("wood", "dark", "white")
        add.box((0, top + 0.012, 0), (1.06 * depth, 0.025, 1.04 * width), board)
    if height < 0.6 and draw.chance(0.3):
        _ornament(draw, add, top + 0.02, width)


def _shelf(draw: Draws, add: Builder, size: Vec, low: Number, skin: Colour) -> None:
    (depth, height, width), thick = size, 0.02
    at = (-depth / 2 + thick / 2, low + height / 2, 0)
    add.box(at, (thick, height, width), draw.contrast(skin))
    for z in both((width - thick) / 2):
        add.box((0, low + height / 2, z), (depth, height, thick), skin)
    if width > 0.7:
        add.box((0, low + height / 2, 0), (0.96 * depth, height, thick), skin)
    count = draw.count(2, 5)
    for k in range(count + 1):
        at = (0, low + thick / 2 + (height - thick) * k / count, 0)
        add.box(at, (depth, thick, width), skin)
    for k in range(count):
        if draw.chance(0.6):
            cell, books = height / count, draw.colour("bright")
            row = lines(books, draw.contrast(books), z=draw.count(3, 7), width=0.4)
            wide, high = draw.uniform(0.2, 0.4) * width, draw.uniform(0.5, 0.8) * cell
            z = draw.uniform(-0.28, 0.28) * width
            at = (0.02, low + k * cell + thick + high / 2, z)
            add.box(at, (0.6 * depth, high, wide), row)


def _panel(draw: Draws, front: Colour) -> Paint:
    """A plain front, one with a framed field, slats, or panes of glass."""
    kind, other = draw.count(0, 4), draw.contrast(front)
    if kind == 1:
        return lines(front, other, y=1, z=1, width=0.7)
    if kind == 2:
        return lines(front, other, y=draw.count(6, 10), width=0.3)
    if kind == 3:
        return lines(draw.colour("glass"), front, y=3, z=2, width=0.15)
    return Paint(front)


def _doors(draw: Draws, add: Builder, size: Vec, low: Number, front: Colour) -> None:
    """One to four doors; a single one has its handle on one side."""
    depth, height, width = size
    count, metal = draw.count(1, 3 if width < 0.8 else 4), draw.colour("metal", "dark")
    paint, knobs, only = _panel(draw, front), draw.chance(0.4), draw.sign()
    for k in range(count):
        z = -width / 2 + width * (k + 0.5) / count
        door = (0.012, 0.94 * height, 0.92 * width / count)
        add.box((depth / 2 + 0.005, low + height / 2, z), door, paint)
        side = only if count == 1 else (1 if k % 2 == 0 else -1)
        at = (depth / 2 + 0.022, low + 0.52 * height, z + side * 0.38 * width / count)
        if knobs:
            add.ball(at, (0.035, 0.035, 0.035), metal)
        else:
            add.box(at, (0.022, 0.16 * height, 0.016), metal)


def _drawers(draw: Draws, add: Builder, size: Vec, low: Number, front: Colour) -> None:
    (depth, height, width), rows = size, draw.count(2, 5)
    columns = draw.count(1, 2)
    metal, knobs = draw.colour("metal", "dark"), draw.chance(0.4)
    other = draw.contrast(front) if draw.chance(0.25) else front
    for row in range(rows):
        for column in range(columns):
            y = low + height * (row + 0.5) / rows
            z = -width / 2 + width * (column + 0.5) / columns
            drawer = (0.014, 0.86 * height / rows, 0.92 * width / columns)
            paint = front if (row + column) % 2 == 0 else other
            add.box((depth / 2 + 0.005, y, z), drawer, paint)
            if knobs:
                add.ball((depth / 2 + 0.025, y, z), (0.035, 0.035, 0.035), metal)
            else:
                grip = (0.022, 0.016, 0.28 * width / columns)
                add.box((depth / 2 + 0.02, y, z), grip, metal)


def _mixed(draw: Draws, add: Builder, size: Vec, low: Number, front: Colour) -> None:
    """A door on one side, drawers on the other."""
    (depth, height, width), side = size, draw.sign()
    part, metal = 0.5 * width, draw.colour("metal", "dark")
    z = side * width / 4
    door = (0.012, 0.94 * height, 0.92 * part)
    add.box((depth / 2 + 0.005, low + height / 2, z), door, _panel(draw, front))
    at = (depth / 2 + 0.02, low + 0.55 * height, side * 0.05 * width)
    add.box(at, (0.022, 0.15 * height, 0.016), metal)
    rows = draw.count(2, 5)
    for row in range(rows):
        y = low + height * (row + 0.5) / rows
        drawer = (0.014, 0.86 * height / rows, 0.9 * part)
        add.box((depth / 2 + 0.005, y, -z), drawer, front)
        add.box((depth / 2 + 0.02, y, -z), (0.022, 0.016, 0.3 * part), metal)


def _ornament(draw: Draws, add: Builder, level: Number, width: Number) -> None:
    """A vase or a box on one side of the top."""
    z, clay = draw.sign() * 0.28 * width, draw.colour("bright", "white")
    glaze = draw.finish(clay, prob=0.5)
    if draw.chance(0.5):
        add.ball((0, level + 0.07, z), (0.11, 0.16, 0.11), glaze)
        add.cylinder((0, level + 0.15, z), 0.05, 0.06, glaze, top=1.5)
    else:
        add.box((0, level + 0.04, z), (0.14, 0.08, 0.18), glaze)
