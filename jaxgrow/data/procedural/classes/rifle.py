"""Rifles, carbines, shotguns and machine guns."""

import dataclasses

from jaxgrow.data.procedural.builder import Builder, both
from jaxgrow.data.procedural.draws import Draws
from jaxgrow.data.procedural.paints import BLACK, Colour, Number, Paint, checks, lines
from jaxgrow.data.procedural.solids import rotation


@dataclasses.dataclass(frozen=True)
class _Look:
    metal: Colour
    furniture: Paint
    plain: Colour


def rifle(draw: Draws, add: Builder) -> None:
    """A long gun about 1 long."""
    metal = draw.colour("dark", "dark", "metal")
    plain = draw.colour("wood", "wood", "dark", "drab")
    other = draw.contrast(plain)
    camouflage = checks(plain, other, x=7, y=2)
    furniture = draw.pick(Paint(plain), Paint(plain), Paint(plain), camouflage)
    look = _Look(metal, furniture, plain)
    kind = draw.pick(_hunting, _hunting, _assault, _assault, _bullpup, _machine_gun)
    kind(draw, add, look)


def _hunting(draw: Draws, add: Builder, look: _Look) -> None:
    """Bolt action, lever action or shotgun: one long stock below a bare barrel."""
    double = draw.chance(0.25)
    tube = 0.022 if double else draw.uniform(0.016, 0.024)
    length = draw.uniform(0.5, 0.62)
    for side in (-1, 1) if double else (0,):
        at = (0.5 - length / 2, 0.03, side * 0.012)
        add.cylinder(at, tube, length, look.metal, axis="x", top=0.8)
    fore = draw.uniform(0.2, 0.42)
    stock = [(-0.14, 0.02), (-0.14, -0.035), (fore - 0.04, -0.012), (fore, 0.02)]
    add.plate(stock, 0.045, look.furniture)
    add.box((-0.05, 0.025, 0), (0.2, 0.045, 0.036), look.metal)
    _butt(draw, add, look)
    _trigger(add, look, -0.08)
    kind = draw.count(0, 2)
    if kind == 0:
        _bolt(add, look, draw.uniform(-0.1, -0.04))
    elif kind == 1:
        loop = [(-0.17, -0.08), (-0.05, -0.08), (-0.04, -0.07), (-0.17, -0.07)]
        add.plate(loop, 0.014, look.metal)
        add.cylinder((0.22, 0.008, 0), 0.02, 0.4, look.metal, axis="x")
    else:
        pump = draw.uniform(0.1, 0.24)
        grip = lines(look.plain, BLACK, y=7, width=0.4)
        add.cylinder((pump, 0.0, 0), 0.045, 0.16, grip, axis="x")
    if draw.chance(0.55):
        _scope(draw, add, look, 0.075)
    else:
        _sights(add, look, 0.46, 0.045)
    if draw.chance(0.25):
        _box_magazine(draw, add, look, 0.02, -0.01, straight=True)
    if draw.chance(0.15):
        _bipod(draw, add, look, 0.3, 0.0)


def _assault(draw: Draws, add: Builder, look: _Look) -> None:
    """Receiver, pistol grip, handguard, a magazine that may curve."""
    length = draw.uniform(0.24, 0.36)
    add.cylinder((0.5 - length / 2, 0.03, 0), 0.02, length, look.metal, axis="x")
    _muzzle(draw, add, look, 0.5)
    upper = [(-0.14, -0.02), (0.14, -0.025), (0.14, 0.05), (-0.1, 0.055)]
    add.plate(upper, 0.045, look.metal if draw.chance(0.7) else look.plain)
    guard_end = draw.uniform(0.28, 0.38)
    half = (guard_end - 0.14) / 2
    slots = lines(look.plain, BLACK, x=draw.count(3, 6), y=1, width=0.25)
    guard = draw.pick(look.furniture, slots)
    at, size = (0.14 + half, 0.02, 0), (2 * half, 0.055, 0.046)
    add.box(at, size, guard, taper=(0, 0.03, 0.1, 0.1))
    if draw.chance(0.45):
        add.cylinder((guard_end + 0.02, 0.055, 0), 0.014, 0.1, look.metal, axis="x")
    _grip(add, look, -0.08, -0.02)
    _trigger(add, look, -0.02)
    curve = draw.chance(0.6)
    _box_magazine(draw, add, look, 0.07, -0.02, straight=not curve)
    draw.pick(_butt, _folding_butt, _sliding_butt)(draw, add, look)
    top = draw.count(0, 2)
    if top == 0:
        _carry_handle(add, look)
    elif top == 1:
        _scope(draw, add, look, 0.09)
    _sights(add, look, 0.42, 0.06)
    if draw.chance(0.3):
        add.cylinder((guard_end - 0.06, -0.035, 0), 0.045, 0.2, look.metal, axis="x")
    if draw.chance(0.2):
        _bipod(draw, add, look, guard_end, 0.0)


def _bullpup(draw: Draws, add: Builder, look: _Look) -> None:
    """The magazine sits behind the grip, in the stock itself."""
    add.cylinder((0.34, 0.02, 0), 0.024, 0.32, look.metal, axis="x")
    _muzzle(draw, add, look, 0.5)
    deep = draw.uniform(-0.13, -0.09)
    rear = [(-0.5, deep), (-0.36, deep + 0.02), (-0.1, -0.035), (-0.1, 0.06)]
    add.plate([*rear, (-0.5, 0.05)], 0.055, look.furniture)
    fore = [(-0.1, -0.035), (0.22, -0.03), (0.26, 0.0), (0.22, 0.05), (-0.1, 0.06)]
    add.plate(fore, 0.05, look.furniture)
    _grip(add, look, 0.0, -0.03)
    _trigger(add, look, 0.06)
    _box_magazine(draw, add, look, -0.24, -0.04, straight=draw.chance(0.5))
    if draw.chance(0.5):
        _carry_handle(add, look)
    else:
        _scope(draw, add, look, 0.1)
    if draw.chance(0.5):
        add.box((0.17, -0.07, 0), (0.03, 0.09, 0.03), look.metal)


def _machine_gun(draw: Draws, add: Builder, look: _Look) -> None:
    """A long perforated jacket, a bipod, and a belt box or a drum."""
    jacket = lines(look.metal, BLACK, y=draw.count(6, 10), width=0.35)
    add.cylinder((0.26, 0.03, 0), draw.uniform(0.04, 0.06), 0.3, jacket, axis="x")
    add.cylinder((0.4, 0.03, 0), 0.022, 0.2, look.metal, axis="x")
    _muzzle(draw, add, look, 0.5)
    add.box((-0.03, 0.02, 0), (0.32, 0.09, 0.06), look.metal)
    add.box((-0.02, 0.075, 0), (0.2, 0.025, 0.065), BLACK)
    _grip(add, look, -0.14, -0.02)
    _trigger(add, look, -0.09)
    _butt(draw, add, look)
    feed = draw.count(0, 2)
    drab = draw.colour("drab", "dark")
    if feed == 0:
        add.box((0.02, -0.08, -0.05), (0.14, 0.12, 0.08), drab)
    elif feed == 1:
        add.cylinder((0.03, -0.07, 0), 0.14, 0.06, drab, axis="z")
    else:
        add.cylinder((0.02, 0.1, 0), 0.17, 0.035, drab)
    _bipod(draw, add, look, draw.uniform(0.22, 0.4), 0.02)
    _sights(add, look, 0.38, 0.07)
    if draw.chance(0.4):
        for x in (-0.02, 0.08):
            add.rod((x, 0.08, 0), (x + 0.01, 0.14, 0), 0.014, look.metal)
        add.cylinder((0.03, 0.145, 0), 0.025, 0.14, look.plain, axis="x")


def _butt(draw: Draws, add: Builder, look: _Look) -> None:
    """A wooden stock: straight, dropped, or with a hole for the thumb."""
    drop, end = draw.uniform(0.03, 0.09), draw.uniform(-0.5, -0.42)
    comb = draw.uniform(-0.01, 0.02)
    if draw.chance(0.25):
        upper = [(-0.1, 0.03), (end, comb), (end, comb - 0.04), (-0.12, 0.0)]
        lower = [(-0.13, -0.01), (-0.17, -0.11), (-0.2, -0.11), (-0.2, -0.02)]
        toe = [(end + 0.1, comb), (end, comb), (end, -0.05 - drop), (end + 0.06, -0.1)]
        for outline in (upper, lower, toe):
            add.plate(outline, 0.036, look.furniture)
    else:
        wrist = [(-0.1, 0.03), (-0.12, -0.03), (-0.22, -0.06), (-0.22, 0.0)]
        comb_line = [(-0.2, 0.005), (end, comb), (end, -0.06 - drop), (-0.22, -0.06)]
        for outline in (wrist, comb_line):
            add.plate(outline, 0.038, look.furniture)
    add.box((end, comb - 0.035 - drop / 2, 0), (0.014, 0.07 + drop, 0.04), BLACK)


def _folding_butt(draw: Draws, add: Builder, look: _Look) -> None:
    """Two bars and a shoulder plate."""
    end, low = draw.uniform(-0.46, -0.36), draw.uniform(-0.1, -0.06)
    add.rod((-0.12, 0.03, 0), (end, 0.02, 0), 0.018, look.metal)
    add.rod((-0.12, 0.0, 0), (end, low, 0), 0.018, look.metal)
    add.box((end, (low + 0.02) / 2, 0), (0.02, 0.05 - low, 0.035), look.metal)


def _sliding_butt(draw: Draws, add: Builder, look: _Look) -> None:
    """A tube with a stock that slides on it."""
    end = draw.uniform(-0.44, -0.34)
    add.cylinder((-0.2, 0.025, 0), 0.028, 0.18, look.metal, axis="x")
    shell = [(end + 0.15, 0.04), (end, 0.045), (end, -0.09), (end + 0.04, -0.085)]
    add.plate([*shell, (end + 0.15, 0.0)], 0.036, look.furniture)


def _grip(add: Builder, look: _Look, x: Number, y: Number) -> None:
    outline = [(x - 0.02, y), (x - 0.06, y - 0.11), (x - 0.015, y - 0.12)]
    add.plate([*outline, (x + 0.03, y)], 0.034, look.plain)


def _trigger(add: Builder, look: _Look, x: Number) -> None:
    add.box((x, -0.065, 0), (0.07, 0.008, 0.012), look.metal)
    add.box((x + 0.032, -0.05, 0), (0.008, 0.035, 0.012), look.metal)
    add.rod((x, -0.03, 0), (x - 0.006, -0.058, 0), 0.01, look.metal)


def _bolt(add: Builder, look: _Look, x: Number) -> None:
    """The handle sticks out on the right side alone."""
    add.rod((x, 0.03, 0), (x - 0.02, 0.0, 0.07), 0.014, look.metal)
    add.ball((x - 0.02, 0.0, 0.075), (0.026, 0.026, 0.026), look.metal)


def _box_magazine(
    draw: Draws, add: Builder, look: _Look, x: Number, y: Number, *, straight: bool
) -> None:
    """One box, or three that bend forwards."""
    depth, width = draw.uniform(0.08, 0.17), 0.028
    paint = lines(look.metal, BLACK, x=2, width=0.2)
    if straight:
        lean = draw.uniform(0, 0.03)
        front, back = x + 0.03, x - 0.03
        outline = [(back, y), (back + lean, y - depth), (front + lean, y - depth)]
        add.plate([*outline, (front, y)], width, paint)
        return
    pitch, step = 0.0, depth / 2.4
    for _ in range(3):
        turn = rotation(pitch=pitch)
        outline = [(-0.03, 0.008), (-0.03, -step), (0.03, -step), (0.03, 0.008)]
        add.plate(outline, width, paint, at=(x, y, 0), turn=turn)
        x, y = x + step * float(turn[1, 0]), y - step * float(turn[1, 1])
        pitch += 0.28


def _muzzle(draw: Draws, add: Builder, look: _Look, x: Number) -> None:
    """A bare muzzle, a flash hider or a silencer."""
    kind = draw.count(0, 2)
    if kind == 1:
        slots = lines(look.metal, BLACK, y=3, width=0.4)
        add.cylinder((x, 0.03, 0), 0.034, 0.06, slots, axis="x", top=1.15)
    elif kind == 2:
        add.cylinder((x, 0.03, 0), 0.045, 0.18, BLACK, axis="x")


def _sights(add: Builder, look: _Look, x: Number, y: Number) -> None:
    post = [(x - 0.015, y - 0.03), (x + 0.015, y - 0.03), (x, y + 0.025)]
    add.plate(post, 0.012, look.metal)
    add.box((x - 0.42, y + 0.005, 0), (0.02, 0.025, 0.02), look.metal)


def _scope(draw: Draws, add: Builder, look: _Look, y: Number) -> None:
    length, bell = draw.uniform(0.18, 0.28), draw.uniform(1.3, 1.8)
    x, tube = draw.uniform(-0.04, 0.02), 0.03
    add.cylinder((x, y, 0), tube, length, look.metal, axis="x")
    front = (x + length / 2 + 0.03, y, 0)
    add.cylinder(front, tube, 0.07, look.metal, axis="x", top=bell)
    rear = (x - length / 2 - 0.02, y, 0)
    add.cylinder(rear, 1.3 * tube, 0.05, look.metal, axis="x", top=0.75)
    glass = (x + length / 2 + 0.066, y, 0)
    add.cylinder(glass, bell * 0.8 * tube, 0.004, (0.3, 0.4, 0.5), axis="x")
    add.cylinder((x, y + 0.02, 0.012), 0.022, 0.022, look.metal)
    for offset in (-0.05, 0.05):
        mount = (x + offset, (y + 0.04) / 2, 0)
        add.box(mount, (0.02, y - 0.04, 0.022), look.metal)


def _carry_handle(add: Builder, look: _Look) -> None:
    bar = [(-0.1, 0.1), (-0.08, 0.115), (0.08, 0.115), (0.1, 0.1)]
    add.plate(bar, 0.024, look.metal)
    for x in (-0.08, 0.07):
        add.box((x, 0.075, 0), (0.028, 0.06, 0.02), look.metal)


def _bipod(draw: Draws, add: Builder, look: _Look, x: Number, y: Number) -> None:
    reach = draw.uniform(0.14, 0.2)
    for z in both(0.5 * reach):
        add.rod((x, y, 0), (x + 0.03, y - reach, z), 0.016, look.metal)
