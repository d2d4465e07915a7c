"""Sofas."""

from jaxgrow.data.procedural.builder import Builder
from jaxgrow.data.procedural.classes.legs import legs
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import BLACK, Paint, shade
from jaxgrow.data.procedural.solids import Vec, Vec2, rotation


def sofa(draw: Draws, add: Builder) -> None:
    """A sofa, sometimes with a footstool or a corner on one side."""
    width, depth = draw.uniform(0.75, 1.0), draw.uniform(0.36, 0.46)
    seat, rise = draw.uniform(0.17, 0.24), draw.uniform(0.16, 0.28)
    arm, foot = draw.uniform(0.06, 0.14), draw.uniform(0.02, 0.08)
    skin = draw.colour("bright", "bright", "dark", "white", "wood")
    cover = draw.finish(skin, prob=0.3)
    soft = Paint(shade(skin, draw.uniform(0.75, 1.15)))
    if draw.chance(0.3):
        soft = draw.finish(draw.contrast(skin), prob=0.5)
    wood = draw.colour("wood", "metal", "dark")
    legs(add, (depth, width), foot, 0.045, wood, round_legs=draw.chance(0.5))
    add.box((0, foot + 0.35 * seat, 0), (depth, 0.7 * seat, width), cover)
    count, inner, cushion = draw.count(1, 3), width - 2 * arm, 0.5 * seat
    level = foot + 0.7 * seat
    for k in range(count):
        z = -inner / 2 + inner * (k + 0.5) / count
        size = (0.85 * depth, cushion, 0.96 * inner / count)
        add.box((0.03, level + cushion / 2, z), size, soft)
    _back(draw, add, (width, depth, inner), (level, rise + cushion), cover, soft)
    if draw.chance(0.9):
        _arms(draw, add, (width, depth, arm), (foot, seat), cover)
    if draw.chance(0.25):
        side, part = draw.sign(), inner / max(count, 2)
        at = (0.7 * depth, foot + 0.55 * seat, side * (inner - part) / 2)
        add.box(at, (0.8 * depth, 1.1 * seat, part), soft)
    if draw.chance(0.35):
        pillow = draw.finish(draw.colour("bright", "white"), prob=0.5)
        z = draw.sign() * 0.3 * inner
        at, turn = (-0.12 * depth, level + cushion + 0.07, z), rotation(pitch=0.4)
        add.box(at, (0.06, 0.15, 0.17), pillow, turn=turn)


def _back(
    draw: Draws, add: Builder, size: Vec, level: Vec2, cover: Paint, soft: Paint
) -> None:
    (width, depth, inner), (low, rise) = size, level
    thick, turn = draw.uniform(0.08, 0.14), rotation(pitch=draw.uniform(0, 0.15))
    wide = width if draw.chance(0.5) else inner
    at = (-depth / 2 + thick / 2, low + rise / 2, 0)
    add.box(at, (thick, rise, wide), cover, turn=turn)
    if draw.chance(0.25):
        add.cylinder((at[0] - 0.02, low + rise, 0), 1.1 * thick, wide, cover, axis="z")
    if draw.chance(0.25):
        for k in range(4):
            for row in (0.55, 0.8):
                z = inner * (-0.375 + 0.25 * k)
                button = (-depth / 2 + thick + 0.005, low + row * rise, z)
                add.ball(button, (0.02, 0.03, 0.03), BLACK)
        return
    count = draw.count(1, 3)
    for k in range(count):
        z = -inner / 2 + inner * (k + 0.5) / count
        cushion = (0.08, 0.68 * rise, 0.94 * inner / count)
        place = (-depth / 2 + thick + 0.03, low + 0.62 * rise, z)
        add.box(place, cushion, soft, turn=turn, taper=(0.1, 0.1, 0.04, 0.04))


def _arms(draw: Draws, add: Builder, size: Vec, level: Vec2, cover: Paint) -> None:
    (width, depth, arm), (foot, seat) = size, level
    rise, rolled = seat + draw.uniform(0.08, 0.2), draw.chance(0.35)
    sloped = draw.chance(0.3)
    lonely = draw.sign() if draw.chance(0.15) else 0
    for side in (-1, 1):
        if side == lonely:
            continue
        z = side * (width - arm) / 2
        if sloped:
            outline = [(-0.5, 0), (0.5, 0), (0.5, 0.6), (-0.5, 1)]
            shape = [(x * depth, foot + y * rise) for x, y in outline]
            add.plate(shape, arm, cover, at=(0, 0, z))
            continue
        add.box((0, foot + rise / 2, z), (depth, rise, arm), cover)
        if rolled:
            add.cylinder((0, foot + rise, z), 1.25 * arm, depth, cover, axis="x")
