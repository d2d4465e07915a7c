"""What several kinds of furniture stand on."""

from jaxgrow.data.procedural.builder import Builder
from jaxgrow.data.procedural.draws import Number
from jaxgrow.data.procedural.paints import Colour, Paint


def legs(
    builder: Builder,
    footprint: tuple[Number, Number],
    span: tuple[Number, Number],
    thick: Number,
    paint: Paint | Colour,
    *,
    round_legs: bool = False,
    splay: Number = 0.0,
) -> None:
    """Four legs at the corners of a rectangle.

    Args:
        builder: Takes them.
        footprint: Extents along x and z at the top.
        span: Lower and upper end.
        thick: Of a leg; a splayed or round one narrows to the foot.
        paint: Of all four.
        round_legs: Rods in place of square posts.
        splay: How far each foot stands out along x and z.
    """
    (length, width), (low, high) = footprint, span
    for side_x in (-1, 1):
        for side_z in (-1, 1):
            x, z = side_x * (length - thick) / 2, side_z * (width - thick) / 2
            if round_legs or splay:
                foot = (x + side_x * splay, low, z + side_z * splay)
                builder.rod(foot, (x, high, z), 0.65 * thick, paint, top=1.5)
            else:
                at = (x, (low + high) / 2, z)
                builder.box(at, (thick, high - low, thick), paint)
