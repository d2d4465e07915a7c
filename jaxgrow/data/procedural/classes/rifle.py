"""Rifles, carbines, shotguns and machine guns."""

import dataclasses

from jaxgrow.data.procedural.builder import Builder
from jaxgrow.data.procedural.draws import Draws, Number
from jaxgrow.data.procedural.paints import (
    BLACK,
    Colour,
    Paint,
    checks,
    colour,
    contrast,
    lines,
)
from jaxgrow.data.procedural.solids import rotation


@dataclasses.dataclass(frozen=True)
class _Look:
    metal: Colour
    furniture: Paint
    plain: Colour


def rifle(draw: Draws, builder: Builder) -> None:
    """A long gun about 1 long."""
    metal = colour(draw, "dark", "dark", "metal")
    plain = colour(draw, "wood", "wood", "dark", "drab")
    other = contrast(draw, plain)
    camouflage = checks(plain, other, x=7, y=2)
    furniture = draw.pick(Paint(plain), Paint(plain), Paint(plain), camouflage)
    look = _Look(metal, furniture, plain)
    draw.pick(_hunting, _hunting, _assault, _assault, _bullpup, _machine_gun)(
        draw, builder, look
    )


def _hunting(draw: Draws, builder: Builder, look: _Look) -> None:
    """Bolt action, lever action or shotgun: one long stock below a bare barrel."""
    double = draw.chance(0.25)
    tube = 0.022 if double else draw.uniform(0.016, 0.024)
    length = draw.uniform(0.5, 0.62)
    for side in (-1, 1) if double else (0,):
        at = (0.5 - length / 2, 0.03, side * 0.012)
        builder.cylinder(at, tube, length, look.metal, axis="x", top=0.8)
    fore = draw.uniform(0.2, 0.42)
    stock = [(-0.14, 0.02), (-0.14, -0.035), (fore - 0.04, -0.012), (fore, 0.02)]
    builder.plate(stock, 0.045, look.furniture)
    builder.box((-0.05, 0.025, 0), (0.2, 0.045, 0.036), look.metal)
    _butt(draw, builder, look)
    _trigger(builder, look, -0.08)
    kind = draw.count(0, 2)
    if kind == 0:
        _bolt(builder, look, draw.uniform(-0.1, -0.04))
    elif kind == 1:
        loop = [(-0.17, -0.08), (-0.05, -0.08), (-0.04, -0.07), (-0.17, -0.07)]
        builder.plate(loop, 0.014, look.metal)
        magazine = (0.22, 0.008, 0)
        builder.cylinder(magazine, 0.02, 0.4, look.metal, axis="x")
    else:
        pump = draw.uniform(0.1, 0.24)
        grip = lines(look.plain, BLACK, y=7, width=0.4)
        builder.cylinder((pump, 0.0, 0), 0.045, 0.16, grip, axis="x")
    if draw.chance(0.55):
        _scope(draw, builder, look, 0.075)
    else:
        _sights(builder, look, 0.46, 0.045)
    if draw.chance(0.25):
        _box_magazine(draw, builder, look, 0.02, -0.01, straight=True)
    if draw.chance(0.15):
        _bipod(draw, builder, look, 0.3, 0.0)


def _assault(draw: Draws, builder: Builder, look: _Look) -> None:
    """Receiver, pistol grip, handguard, a magazine that may curve."""
    length = draw.uniform(0.24, 0.36)
    builder.cylinder((0.5 - length / 2, 0.03, 0), 0.02, length, look.metal, axis="x")
    _muzzle(draw, builder, look, 0.5)
    upper = [(-0.14, -0.02), (0.14, -0.025), (0.14, 0.05), (-0.1, 0.055)]
    receiver = look.metal if draw.chance(0.7) else look.plain
    builder.plate(upper, 0.045, receiver)
    guard_end = draw.uniform(0.28, 0.38)
    half = (guard_end - 0.14) / 2
    slots = lines(look.plain, BLACK, x=draw.count(3, 6), y=1, width=0.25)
    guard = draw.pick(look.furniture, slots)
    at, size = (0.14 + half, 0.02, 0), (2 * half, 0.055, 0.046)
    builder.box(at, size, guard, taper=(0, 0.03, 0.1, 0.1))
    if draw.chance(0.45):
        gas = (guard_end + 0.02, 0.055, 0)
        builder.cylinder(gas, 0.014, 0.1, look.metal, axis="x")
    _grip(builder, look, -0.08, -0.02)
    _trigger(builder, look, -0.02)
    curve = draw.chance(0.6)
    _box_magazine(draw, builder, look, 0.07, -0.02, straight=not curve)
    draw.pick(_butt, _folding_butt, _sliding_butt)(draw, builder, look)
    top = draw.count(0, 2)
    if top == 0:
        _carry_handle(builder, look)
    elif top == 1:
        _scope(draw, builder, look, 0.09)
    _sights(builder, look, 0.42, 0.06)
    if draw.chance(0.3):
        launcher = (guard_end - 0.06, -0.035, 0)
        builder.cylinder(launcher, 0.045, 0.2, look.metal, axis="x")
    if draw.chance(0.2):
        _bipod(draw, builder, look, guard_end, 0.0)


def _bullpup(draw: Draws, builder: Builder, look: _Look) -> None:
    """The magazine sits behind the grip, in the stock itself."""
    builder.cylinder((0.34, 0.02, 0), 0.024, 0.32, look.metal, axis="x")
    _muzzle(draw, builder, look, 0.5)
    deep = draw.uniform(-0.13, -0.09)
    rear = [(-0.5, deep), (-0.36, deep + 0.02), (-0.1, -0.035), (-0.1, 0.06)]
    builder.plate([*rear, (-0.5, 0.05)], 0.055, look.furniture)
    fore = [(-0.1, -0.035), (0.22, -0.03), (0.26, 0.0), (0.22, 0.05), (-0.1, 0.06)]
    builder.plate(fore, 0.05, look.furniture)
    _grip(builder, look, 0.0, -0.03)
    _trigger(builder, look, 0.06)
    _box_magazine(draw, builder, look, -0.24, -0.04, straight=draw.chance(0.5))
    if draw.chance(0.5):
        _carry_handle(builder, look)
    else:
        _scope(draw, builder, look, 0.1)
    if draw.chance(0.5):
        builder.box((0.17, -0.07, 0), (0.03, 0.09, 0.03), look.metal)


def _machine_gun(draw: Draws, builder: Builder, look: _Look) -> None:
    """A long perforated jacket, a bipod, and a belt box or a drum."""
    jacket = lines(look.metal, BLACK, y=draw.count(6, 10), width=0.35)
    builder.cylinder((0.26, 0.03, 0), draw.uniform(0.04, 0.06), 0.3, jacket, axis="x")
    builder.cylinder((0.4, 0.03, 0), 0.022, 0.2, look.metal, axis="x")
    _muzzle(draw, builder, look, 0.5)
    builder.box((-0.03, 0.02, 0), (0.32, 0.09, 0.06), look.metal)
    builder.box((-0.02, 0.075, 0), (0.2, 0.025, 0.065), BLACK)
    _grip(builder, look, -0.14, -0.02)
    _trigger(builder, look, -0.09)
    _butt(draw, builder, look)
    feed = draw.count(0, 2)
    drab = colour(draw, "drab", "dark")
    if feed == 0:
        builder.box((0.02, -0.08, -0.05), (0.14, 0.12, 0.08), drab)
    elif feed == 1:
        builder.cylinder((0.03, -0.07, 0), 0.14, 0.06, drab, axis="z")
    else:
        builder.cylinder((0.02, 0.1, 0), 0.17, 0.035, drab)
    _bipod(draw, builder, look, draw.uniform(0.22, 0.4), 0.02)
    _sights(builder, look, 0.38, 0.07)
    if draw.chance(0.4):
        for x in (-0.02, 0.08):
            builder.rod((x, 0.08, 0), (x + 0.01, 0.14, 0), 0.014, look.metal)
        builder.cylinder((0.03, 0.145, 0), 0.025, 0.14, look.plain, axis="x")


def _butt(draw: Draws, builder: Builder, look: _Look) -> None:
    """A wooden stock: straight, dropped, or with a hole for the thumb."""
    drop, end = draw.uniform(0.03, 0.09), draw.uniform(-0.5, -0.42)
    comb = draw.uniform(-0.01, 0.02)
    if draw.chance(0.25):
        upper = [(-0.1, 0.03), (end, comb), (end, comb - 0.04), (-0.12, 0.0)]
        lower = [(-0.13, -0.01), (-0.17, -0.11), (-0.2, -0.11), (-0.2, -0.02)]
        toe = [(end + 0.1, comb), (end, comb), (end, -0.05 - drop), (end + 0.06, -0.1)]
        for outline in (upper, lower, toe):
            builder.plate(outline, 0.036, look.furniture)
    else:
        wrist = [(-0.1, 0.03), (-0.12, -0.03), (-0.22, -0.06), (-0.22, 0.0)]
        comb_line = [(-0.2, 0.005), (end, comb), (end, -0.06 - drop), (-0.22, -0.06)]
        for outline in (wrist, comb_line):
            builder.plate(outline, 0.038, look.furniture)
    builder.box((end, comb - 0.035 - drop / 2, 0), (0.014, 0.07 + drop, 0.04), BLACK)


def _folding_butt(draw: Draws, builder: Builder, look: _Look) -> None:
    """Two bars and a shoulder plate."""
    end, low = draw.uniform(-0.46, -0.36), draw.uniform(-0.1, -0.06)
    builder.rod((-0.12, 0.03, 0), (end, 0.02, 0), 0.018, look.metal)
    builder.rod((-0.12, 0.0, 0), (end, low, 0), 0.018, look.metal)
    builder.box((end, (low + 0.02) / 2, 0), (0.02, 0.05 - low, 0.035), look.metal)


def _sliding_butt(draw: Draws, builder: Builder, look: _Look) -> None:
    """A tube with a stock that slides on it."""
    end = draw.uniform(-0.44, -0.34)
    builder.cylinder((-0.2, 0.025, 0), 0.028, 0.18, look.metal, axis="x")
    shell = [(end + 0.15, 0.04), (end, 0.045), (end, -0.09), (end + 0.04, -0.085)]
    builder.plate([*shell, (end + 0.15, 0.0)], 0.036, look.furniture)


def _grip(builder: Builder, look: _Look, x: Number, y: Number) -> None:
    outline = [(x - 0.02, y), (x - 0.06, y - 0.11), (x - 0.015, y - 0.12)]
    builder.plate([*outline, (x + 0.03, y)], 0.034, look.plain)


def _trigger(builder: Builder, look: _Look, x: Number) -> None:
    builder.box((x, -0.065, 0), (0.07, 0.008, 0.012), look.metal)
    builder.box((x + 0.032, -0.05, 0), (0.008, 0.035, 0.012), look.metal)
    builder.rod((x, -0.03, 0), (x - 0.006, -0.058, 0), 0.01, look.metal)


def _bolt(builder: Builder, look: _Look, x: Number) -> None:
    """The handle sticks out on the right side alone."""
    builder.rod((x, 0.03, 0), (x - 0.02, 0.0, 0.07), 0.014, look.metal)
    builder.ball((x - 0.02, 0.0, 0.075), (0.026, 0.026, 0.026), look.metal)


def _box_magazine(
    draw: Draws, builder: Builder, look: _Look, x: Number, y: Number, *, straight: bool
) -> None:
    """One box, or three that bend forwards."""
    depth, width = draw.uniform(0.08, 0.17), 0.028
    paint = lines(look.metal, BLACK, x=2, width=0.2)
    if straight:
        lean = draw.uniform(0, 0.03)
        front, back = x + 0.03, x - 0.03
        outline = [(back, y), (back + lean, y - depth), (front + lean, y - depth)]
        builder.plate([*outline, (front, y)], width, paint)
        return
    pitch, step = 0.0, depth / 2.4
    for _ in range(3):
        turn = rotation(pitch=pitch)
        outline = [(-0.03, 0.008), (-0.03, -step), (0.03, -step), (0.03, 0.008)]
        builder.plate(outline, width, paint, at=(x, y, 0), turn=turn)
        x, y = x + step * float(turn[1, 0]), y - step * float(turn[1, 1])
        pitch += 0.28


def _muzzle(draw: Draws, builder: Builder, look: _Look, x: Number) -> None:
    """A bare muzzle, a flash hider or a silencer."""
    kind = draw.count(0, 2)
    if kind == 1:
        slots = lines(look.metal, BLACK, y=3, width=0.4)
        builder.cylinder((x, 0.03, 0), 0.034, 0.06, slots, axis="x", top=1.15)
    elif kind == 2:
        builder.cylinder((x, 0.03, 0), 0.045, 0.18, BLACK, axis="x")


def _sights(builder: Builder, look: _Look, x: Number, y: Number) -> None:
    post = [(x - 0.015, y - 0.03), (x + 0.015, y - 0.03), (x, y + 0.025)]
    builder.plate(post, 0.012, look.metal)
    builder.box((x - 0.42, y + 0.005, 0), (0.02, 0.025, 0.02), look.metal)


def _scope(draw: Draws, builder: Builder, look: _Look, y: Number) -> None:
    length, bell = draw.uniform(0.18, 0.28), draw.uniform(1.3, 1.8)
    x, tube = draw.uniform(-0.04, 0.02), 0.03
    builder.cylinder((x, y, 0), tube, length, look.metal, axis="x")
    front = (x + length / 2 + 0.03, y, 0)
    builder.cylinder(front, tube, 0.07, look.metal, axis="x", top=bell)
    rear = (x - length / 2 - 0.02, y, 0)
    builder.cylinder(rear, 1.3 * tube, 0.05, look.metal, axis="x", top=0.75)
    glass = (x + length / 2 + 0.066, y, 0)
    builder.cylinder(glass, bell * 0.8 * tube, 0.004, (0.3, 0.4, 0.5), axis="x")
    knob = (x, y + 0.02, 0.012)
    builder.cylinder(knob, 0.022, 0.022, look.metal)
    for offset in (-0.05, 0.05):
        mount = (x + offset, (y + 0.04) / 2, 0)
        builder.box(mount, (0.02, y - 0.04, 0.022), look.metal)


def _carry_handle(builder: Builder, look: _Look) -> None:
    bar = [(-0.1, 0.1), (-0.08, 0.115), (0.08, 0.115), (0.1, 0.1)]
    builder.plate(bar, 0.024, look.metal)
    for x in (-0.08, 0.07):
        builder.box((x, 0.075, 0), (0.028, 0.06, 0.02), look.metal)


def _bipod(draw: Draws, builder: Builder, look: _Look, x: Number, y: Number) -> None:
    reach = draw.uniform(0.14, 0.2)
    for side in (-1, 1):
        foot = (x + 0.03, y - reach, side * 0.5 * reach)
        builder.rod((x, y, 0), foot, 0.016, look.metal)
