"""Calls of oneDNN on CPU, the library that PyTorch convolves with there.

jaxlib for x86 contains oneDNN, and XLA calls it for any operation whose target is
`__onednn$convolution`, but makes no such operation of its own accord: its convolutions
take 1.2 to 100 times as long for the shapes of these networks. So they are made here.
Target and settings (XLA's `onednn_config.proto` and `onednn_convolution.cc`) are no
public interface and may change; before they are used, small ones are compared with
XLA's, and where that fails XLA convolves.

XLA cannot store a compiled program with such a call: it takes the call for one of
another kind and reads what is not there. So a process that has found oneDNN adds no
program to JAX's compilation cache any more.
"""

import functools
import json
import math
import os
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.devices import backend


SWITCH = "JAXGROW_ONEDNN"
"""Environment variable: `false` leaves every convolution to XLA."""

Pair: TypeAlias = tuple[int, int]
"""For rows and for columns."""

_TARGET = "__onednn$convolution"
_STATUS_RETURNING = 2  # API_VERSION_STATUS_RETURNING of XLA's CustomCallApiVersion
_STORED_FROM_S = "jax_persistent_cache_min_compile_time_secs"


def available(*operands: Array) -> bool:
    """Whether such arrays are convolved by oneDNN in this process now.

    Empty arrays never are. Where others are, no program is stored from now on.
    """
    found = (
        os.environ.get(SWITCH, "true").lower() != "false"
        and backend.on_cpu()
        and not backend.is_split()
        and all(x.dtype == jnp.float32 and x.size > 0 for x in operands)
        and _works()
    )
    if found:
        jax.config.update(_STORED_FROM_S, math.inf)
    return found


def call(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "_ _ _ _"],
    shape: tuple[int, ...],
    *,
    axes: Literal["HWIO", "HWOI", "IHWO"] = "HWIO",
    strides: Pair = (1, 1),
    pads: tuple[Pair, Pair] = ((0, 0), (0, 0)),
    dilations: Pair = (1, 1),
    groups: int = 1,
) -> Float[Array, "b p q o"]:
    """One call of oneDNN; `axes` are the kernel's, `shape` is that of the result.

    One channel with columns skipped is left to XLA: where the result is a single
    column, oneDNN reads outside of the picture.
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


@functools.cache
def _works() -> bool:
    """Whether oneDNN can be used, tried without storing what is tried."""
    before = getattr(jax.config, _STORED_FROM_S)
    jax.config.update(_STORED_FROM_S, math.inf)
    try:
        return _is_right()
    finally:
        jax.config.update(_STORED_FROM_S, before)


def _is_right() -> bool:
    """Whether jaxlib knows the target and gives what it is taken to give."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 5, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 2, 3, 4)).astype(np.float32)
    strided = {"strides": (2, 1), "pads": ((1, 0), (1, 0))}
    dilated = {"axes": "IHWO", "pads": ((0, 1), (2, 0)), "dilations": (1, 2)}
    turned = {"axes": "HWOI", "pads": ((2, 1), (0, 1))}
    depthwise = {"strides": (2, 1), "pads": ((1, 0), (0, 1)), "groups": 3}
    cases = [
        (kernel, (2, 3, 5, 4), strided),
        (kernel, (2, 6, 3, 4), dilated),
        (kernel.swapaxes(2, 3), (2, 7, 5, 4), turned),
        (kernel[:, :, :1, :3], (2, 3, 5, 3), depthwise),
    ]

    def pairs(x, *kernels):
        return [
            (call(x, kernel, shape, **options), by_xla(x, kernel, **options))
            for kernel, (_, shape, options) in zip(kernels, cases, strict=True)
        ]

    arrays = (x, *(kernel for kernel, *_ in cases))
    try:
        # Compiled first, so that it runs even while something else is traced.
        found = jax.jit(pairs).lower(*arrays).compile()(*arrays)
    except (RuntimeError, TypeError, ValueError):
        return False
    return all(np.allclose(ours, xlas, atol=1e-4) for ours, xlas in found)


def by_xla(
    x, kernel, *, pads, axes="HWIO", strides=(1, 1), dilations=(1, 1), groups=1
) -> Array:
    """What `call` has to give."""
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        rhs_dilation=dilations,
        dimension_numbers=("NHWC", axes, "NHWC"),
        feature_group_count=groups,
    )
