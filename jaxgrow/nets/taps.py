"""What the taps of a convolution's window see."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


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
