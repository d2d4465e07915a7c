"""Legs of furniture."""

from jaxgrow.data.procedural.builder import Builder
from jaxgrow.data.procedural.paints import Colour, Number, Paint
from jaxgrow.data.procedural.solids import Vec2


def legs(
    add: Builder,
    footprint: Vec2,
    span: Vec2,
    thick: Number,
    paint: Paint | Colour,
    *,
    round_legs: bool = False,
    splay: Number = 0.0,
) -> None:
    """Add four legs at the corners of a rectangle.

    Args:
        add: Builder of the object.
        footprint: Extents along x and z at the top.
        span: Heights of the lower and upper ends.
        thick: Thickness; splayed and round legs narrow to the foot.
        paint: Paint of the legs.
        round_legs: Rods instead of square posts.
        splay: Distance by which each foot stands out along x and z.
    """
    (length, width), (low, high) = footprint, span
    for side_x in (-1, 1):
        for side_z in (-1, 1):
            x, z = side_x * (length - thick) / 2, side_z * (width - thick) / 2
            if round_legs or splay:
                foot = (x + side_x * splay, low, z + side_z * splay)
                add.rod(foot, (x, high, z), 0.65 * thick, paint, top=1.5)
            else:
                at = (x, (low + high) / 2, z)
                add.box(at, (thick, high - low, thick), paint)
