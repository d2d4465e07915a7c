"""Legs of furniture."""

from jaxgrow.data.procedural.builder import Builder
from jaxgrow.data.procedural.paints import Colour, Number, Paint
from jaxgrow.data.procedural.solids import Vec2


def legs(
    add: Builder,
    footprint: Vec2,
    height: Number,
    thick: Number,
    paint: Paint | Colour,
    *,
    round_legs: bool = False,
    splay: Number = 0.0,
) -> None:
    """Add four legs from the ground to the corners of a rectangle at `height`.

    `footprint` is its extents along x and z. Round legs are rods instead of square
    posts; each foot stands out by `splay` along x and z. Both narrow to the foot.
    """
    length, width = footprint
    for side_x in (-1, 1):
        for side_z in (-1, 1):
            x, z = side_x * (length - thick) / 2, side_z * (width - thick) / 2
            if round_legs or splay:
                foot = (x + side_x * splay, 0, z + side_z * splay)
                add.rod(foot, (x, height, z), 0.65 * thick, paint, top=1.5)
            else:
                add.box((x, height / 2, z), (thick, height, thick), paint)
