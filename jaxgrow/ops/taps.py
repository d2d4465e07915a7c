"""What the taps of a convolution's window see, and windows of several columns."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


THIN = 4
"""So many channels, the pictures' 3 or a mask's 1, fill too little of a vector."""
COLUMNS = 4
"""That a convolution from or to so few makes at once."""


def to_columns(kernel: Float[Array, "k m i o"]) -> Float[Array, "k n i p"]:
    """The kernel to `COLUMNS` neighbouring columns side by side, n = m + COLUMNS - 1.

    At strides (1, COLUMNS) it gives their channels in order, p = COLUMNS o.
    """
    frames = [(column, COLUMNS - 1 - column) for column in range(COLUMNS)]
    shifted = [jnp.pad(kernel, ((0, 0), frame, (0, 0), (0, 0))) for frame in frames]
    return jnp.concatenate(shifted, axis=-1)


def shifts(
    x: Float[Array, "b h w c"], k: int, stride: int
) -> list[tuple[tuple[int, int], Float[Array, "b p q c"]]]:
    """What each of the k x k taps of a window sees; taps that see no pixel left out."""
    b, h, w, c = x.shape
    p, q = (-(-side // stride) for side in (h, w))
    pad = k // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def taps(side: int) -> list[int]:
        tops = range(-pad, side - pad, stride)
        return [i for i in range(k) if any(0 <= top + i < side for top in tops)]

    def shifted(i: int, j: int) -> Array:
        stop = (b, i + stride * (p - 1) + 1, j + stride * (q - 1) + 1, c)
        return lax.slice(padded, (0, i, j, 0), stop, (1, stride, stride, 1))

    return [((i, j), shifted(i, j)) for i in taps(h) for j in taps(w)]
