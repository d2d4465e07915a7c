"""Array and function types shared by the package.

Axis names used in every annotation: b batch, n images, h w c image, r resolution.
"""

from collections.abc import Callable
from typing import TypeAlias

from jaxtyping import Array, Bool, Float, PyTree, Scalar, UInt8


Params: TypeAlias = PyTree[Float[Array, "..."]]
Metrics: TypeAlias = dict[str, Scalar]

Image: TypeAlias = Float[Array, "b h w 3"]  # in [-1, 1]
HoleMask: TypeAlias = Float[Array, "b h w 1"]  # 1 where the pixel is to be painted
Pixels: TypeAlias = UInt8[Array, "n h w 3"]  # images at rest
HolePixels: TypeAlias = Bool[Array, "n h w"]

Activation: TypeAlias = Callable[[Array], Array]
FeaturesFn: TypeAlias = Callable[[Image], list[Array]]
