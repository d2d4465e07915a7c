"""Convolutions and their gradients by oneDNN, the library that PyTorch uses on CPU.

jaxlib for x86 contains oneDNN. XLA calls it for any operation whose target is
`__onednn$convolution`, but creates no such operation itself: its own convolutions take
1.2 to 100 times as long for the shapes of these networks. The target and its settings
(XLA's `onednn_config.proto` and `onednn_convolution.cc`) are no public interface, so an
entry point chooses oneDNN for tested versions alone (`devices.runtime.configure`).

XLA can neither store nor export a program with such a call. Reverse-mode gradients
exist to any order; forward-mode gradients (`jax.jvp`) do not. Under `jax.vmap` a call
becomes a loop of calls.
"""

import functools
import json
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.devices import backend
from jaxgrow.ops.windows import (
    COLUMNS,
    FEW_CHANNELS,
    ConvWindow,
    RowsAndColumns,
    saving,
    to_columns,
)


_TARGET = "__onednn$convolution"
_STATUS_RETURNING = 2  # API_VERSION_STATUS_RETURNING of XLA's CustomCallApiVersion
_CACHED_BYTES = 4 * 2**20
_IMAGES_AT_ONCE = 16


def available(*operands: Array) -> bool:
    """True if oneDNN is chosen and can convolve_by_onednn these arrays."""
    return backend.uses_onednn() and all(
        x.dtype == jnp.float32 and x.size > 0 for x in operands
    )


def can_convolve(x: Array, kernel: Array, window: ConvWindow) -> bool:
    """True if oneDNN is available for a convolution and its gradients.

    They pad by the kernel's side less the padding, which must not be negative. The
    padded picture must be as large as the kernel.
    """
    return available(x, kernel) and all(
        min(pads) >= 0 and max(pads) < k <= side + sum(pads)
        for k, side, pads in zip(
            kernel.shape[:2], x.shape[1:3], window.pads, strict=True
        )
    )


def convolve_depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k m 1 c"], window: ConvWindow
) -> Float[Array, "b p q c"]:
    """Convolve every channel on its own; it has no gradients."""
    shape, (strides, pads) = _shape(x, kernel, window), window
    return call(x, kernel, shape, strides=strides, pads=pads, groups=x.shape[3])


def _shape(x: Array, kernel: Array, window: ConvWindow) -> tuple[int, ...]:
    """Return the output's shape."""
    p, q = (
        (side + sum(pads) - k) // stride + 1
        for side, k, stride, pads in zip(
            x.shape[1:3], kernel.shape[:2], window.strides, window.pads, strict=True
        )
    )
    return x.shape[0], p, q, kernel.shape[-1]


# Output, gradient of the input, gradient of the kernel: each is linear in its two
# arrays, and the gradients of each are the other two, so that gradients of any order
# are these three.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_by_onednn(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k m i o"], window: ConvWindow
) -> Float[Array, "b p q o"]:
    """Return the convolution, which has reverse-mode gradients of any order."""
    shape = _shape(x, kernel, window)
    if window.strides == (1, 1):
        return _convolve_unstrided(x, kernel, shape, window.pads)
    return call(x, kernel, shape, strides=window.strides, pads=window.pads)


def _convolve_unstrided(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k m _ _"],
    shape: tuple[int, ...],
    pads: tuple[RowsAndColumns, RowsAndColumns],
    axes: Literal["HWIO", "HWOI"] = "HWIO",
) -> Float[Array, "b p q o"]:
    """Convolve with stride 1.

    To a picture of 3 channels it computes four columns at a time, channels side by
    side. That multiplies by some zeros, but fills vector registers with 12 numbers
    instead of 3 and takes half the time.
    """
    width, o = shape[2:]
    if o > FEW_CHANNELS or width % COLUMNS:
        return call(x, kernel, shape, axes=axes, pads=pads)
    kernel = kernel.swapaxes(2, 3) if axes == "HWOI" else kernel
    columns = (*shape[:2], width // COLUMNS, COLUMNS * o)
    y = call(x, to_columns(kernel), columns, strides=(1, COLUMNS), pads=pads)
    return y.reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve_transposed(
    g: Float[Array, "b p q o"],
    kernel: Float[Array, "k m i o"],
    window: ConvWindow,
    shape: tuple[int, ...],
) -> Float[Array, "b h w i"]:
    """Return the gradient of a convolution's input, of this shape.

    It convolves g with the turned kernel, once for each phase of the input.

    Row s v + a of the input meets tap t in row v + (a + pad - t) / s of the output, for
    the t that leave no remainder: every phase a < s has taps of its own.
    """
    b, h, w, i = shape
    (s, t), (top, left) = window.strides, (pads[0] for pads in window.pads)
    p, q = -(-h // s), -(-w // t)

    def phase(a: int, e: int) -> Array:
        taps = kernel[(a + top) % s :: s, (e + left) % t :: t][::-1, ::-1]
        if 0 in taps.shape:
            return jnp.zeros((b, p, q, i), g.dtype)
        rows, above = _phase_pads(p, g.shape[1], taps.shape[0], (a + top) // s)
        columns, aside = _phase_pads(q, g.shape[2], taps.shape[1], (e + left) // t)
        frame = [(0, 0, 0), above, aside, (0, 0, 0)]
        framed = lax.pad(g, jnp.zeros((), g.dtype), frame)
        return _convolve_unstrided(framed, taps, (b, p, q, i), (rows, columns), "HWOI")

    phases = [[phase(a, e) for e in range(t)] for a in range(s)]
    interleaved = jnp.stack([jnp.stack(row, 3) for row in phases], 2)
    return interleaved.reshape(b, s * p, t * q, i)[:, :h, :w]


def _phase_pads(
    p: int, rows: int, taps: int, first: int
) -> tuple[RowsAndColumns, tuple[int, int, int]]:
    """Return zeros before and after `rows` rows of g, so that `taps` taps make p rows.

    First those that oneDNN adds. Then, as (before, after, 0), those beyond its limits,
    or with a minus sign the rows that no tap sees.
    """
    before = taps - 1 - first
    after = p - rows - before + taps - 1
    inside = min(max(before, 0), taps - 1), min(max(after, 0), taps - 1)
    return inside, (before - inside[0], after - inside[1], 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(
    x: Float[Array, "b h w i"],
    g: Float[Array, "b p q o"],
    window: ConvWindow,
    sides: RowsAndColumns,
) -> Float[Array, "k m i o"]:
    """Convolve over (rows, columns x channels) of x, images as its channels.

    Entry (r, c, i, o) of the gradient sums x[n, s y + r - pad, s z + c - pad, i]
    g[n, y, z, o] over images n and pixels (y, z). So g is a dilated kernel over a
    picture whose channels are the images and whose columns are the columns and channels
    of x. Above 4 MiB 16 images at a time are faster. At stride 1 x and g can be
    exchanged, which turns the result around. The smaller one is the picture, because
    the picture is transposed.
    """
    (k, m), (b, h, w, i), (_, p, q, o) = sides, x.shape, g.shape
    (s, t), (top, left) = window.strides, (pads[0] for pads in window.pads)
    if window.strides == (1, 1) and o < i:
        (top, bottom), (left, right) = window.pads
        pads = (k - 1 - top, k - 1 - bottom), (m - 1 - left, m - 1 - right)
        turned: Any = _kernel_gradient(g, x, ConvWindow((1, 1), pads), sides)
        return turned[::-1, ::-1].swapaxes(2, 3)
    bottom, right = k + (p - 1) * s - h - top, m + (q - 1) * t - w - left
    x = x[:, : h + min(bottom, 0), : w + min(right, 0)]
    pads = (top, max(bottom, 0)), (left * i, max(right, 0) * i)
    in_cache = 4 * (x.size + g.size) <= _CACHED_BYTES

    def part(x: Array, g: Array) -> Array:
        n, h, w, _ = x.shape
        picture = x.reshape(n, -1).T.reshape(1, h, w * i, n)
        shape, dilations = (1, k, m * i, o), (s, t * i)
        return call(picture, g, shape, axes="IHWO", pads=pads, dilations=dilations)

    size = b if in_cache else _IMAGES_AT_ONCE
    parts = [part(x[n : n + size], g[n : n + size]) for n in range(0, b, size)]
    return sum(parts[1:], parts[0]).reshape(k, m, i, o)


def _convolve_backward(window: ConvWindow, saved, g):
    x, kernel = saved
    d_x = convolve_transposed(g, kernel, window, x.shape)
    return d_x, _kernel_gradient(x, g, window, kernel.shape[:2])


def _transposed_backward(window: ConvWindow, shape: tuple[int, ...], saved, c):
    g, kernel = saved
    d_kernel = _kernel_gradient(c, g, window, kernel.shape[:2])
    return convolve_by_onednn(c, kernel, window), d_kernel


def _kernel_gradient_backward(window: ConvWindow, sides: RowsAndColumns, saved, c):
    x, g = saved
    return convolve_transposed(g, c, window, x.shape), convolve_by_onednn(x, c, window)


convolve_by_onednn.defvjp(saving(convolve_by_onednn), _convolve_backward)
convolve_transposed.defvjp(saving(convolve_transposed), _transposed_backward)
_kernel_gradient.defvjp(saving(_kernel_gradient), _kernel_gradient_backward)


def call(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "_ _ _ _"],
    shape: tuple[int, ...],
    *,
    axes: Literal["HWIO", "HWOI", "IHWO"] = "HWIO",
    strides: RowsAndColumns = (1, 1),
    pads: tuple[RowsAndColumns, RowsAndColumns] = ((0, 0), (0, 0)),
    dilations: RowsAndColumns = (1, 1),
    groups: int = 1,
) -> Float[Array, "b p q o"]:
    """Call oneDNN; `axes` are the kernel's, `shape` is that of the result.

    XLA convolves one channel with columns skipped: if the result is a single column,
    oneDNN reads outside of the picture.
    """
    if x.shape[3] == 1 and strides[1] > 1:
        return by_xla(x, kernel, axes=axes, strides=strides, pads=pads, groups=groups)
    picture = {"data": {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}}
    settings = {
        "dims": 4,
        "feature_groups": groups,
        "input": picture,
        "kernel": {
            "filter": {
                "input_feature_dim": axes.index("I"),
                "output_feature_dim": axes.index("O"),
                "spatial_dims": [axes.index("H"), axes.index("W")],
            }
        },
        "output": picture,
        "window": {
            "pad_left": [before for before, _ in pads],
            "pad_right": [after for _, after in pads],
            "strides": strides,
            "window_dilations": dilations,
        },
    }
    call_onednn = jax.ffi.ffi_call(
        _TARGET,
        jax.ShapeDtypeStruct(shape, x.dtype),
        vmap_method="sequential",
        custom_call_api_version=_STATUS_RETURNING,
        legacy_backend_config=json.dumps({"onednn_conv_config": settings}),
    )
    return call_onednn(x, kernel)


def by_xla(
    x, kernel, *, pads, axes="HWIO", strides=(1, 1), dilations=(1, 1), groups=1
) -> Array:
    """Return the result of `call`, by XLA."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilations,
        dimension_numbers=("NHWC", axes, "NHWC"),
        feature_group_count=groups,
    )
