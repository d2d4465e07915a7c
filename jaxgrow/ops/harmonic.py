"""Harmonic interpolation: holes filled with the solution of Laplace's equation."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jaxgrow.ops.pooling import upsample
from jaxgrow.typing import HoleMask, Image


# About one grey level of 255 from the exact solution at 64 px; its test has the bound.
_SWEEPS = 8  # per level
_OVER_RELAXATION = 1.7


def harmonic_fill(images: Image, mask: HoleMask) -> Image:
    """Return pictures whose holes are filled by harmonic (membrane) interpolation.

    The fill is the equilibrium of a membrane that the known pixels hold: each pixel of
    a hole is the mean of its neighbours inside the picture. It is approximated from
    coarse to fine: a level starts from the one of half the side, keeps the mean of the
    known pixels in every cell that has any, and relaxes the other cells by red-black
    successive over-relaxation (Young 1954). Known pixels are exact. A picture without a
    known pixel is 0.

    Args:
        images: Their side is a power of 2. Pixels of holes are not read.
        mask: 1 = hole.
    """
    known = 1.0 - mask
    levels = [(images * known, known)]
    while levels[-1][0].shape[1] > 1:
        total, count = levels[-1]
        levels.append((_sum_squares(total), _sum_squares(count)))
    total, count = levels.pop()
    u = total / jnp.maximum(count, 1.0)
    for total, count in reversed(levels):
        is_known = count > 0
        u = jnp.where(is_known, total / jnp.maximum(count, 1.0), upsample(u))
        u = _relax(u, is_known)
    return u


def _sum_squares(x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).sum((2, 4))


def _relax(u: Image, is_known: Bool[Array, "b h w 1"]) -> Image:
    side = u.shape[1]
    index = jnp.arange(side)
    red = ((index[:, None] + index[None]) % 2 == 0)[None, :, :, None]

    def sweep(_, u):
        for colour in (red, ~red):
            step = _OVER_RELAXATION * (_mean_of_neighbours(u) - u)
            u = u + jnp.where(colour & ~is_known, step, 0.0)
        return u

    return lax.fori_loop(0, _SWEEPS, sweep, u)


def _mean_of_neighbours(u: Image) -> Image:
    """Return the mean of four neighbours; the picture's rim is its own neighbour."""
    rows = jnp.pad(u, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    columns = jnp.pad(u, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
    return 0.25 * (rows[:, :-2] + rows[:, 2:] + columns[:, :, :-2] + columns[:, :, 2:])
