"""Types of arrays and functions that the package shares.

Names of axes: b batch, n images or objects, h w c image, r resolution, v views,
d latent.
"""

from collections.abc import Callable
from typing import TypeAlias

from jaxtyping import Array, Bool, Float, Key, PyTree, Scalar


Params: TypeAlias = PyTree[Float[Array, "..."]]
Metrics: TypeAlias = dict[str, Scalar]

Image: TypeAlias = Float[Array, "b h w 3"]  # in [-1, 1]
HoleMask: TypeAlias = Float[Array, "b h w 1"]  # 1 where the pixel is missing

Views: TypeAlias = Float[Array, "b v h w 3"]  # in [0, 1]
UnitImage: TypeAlias = Float[Array, "b h w 3"]  # in [0, 1]
Latents: TypeAlias = Float[Array, "b v d"]  # standardised
Missing: TypeAlias = Bool[Array, "b v"]  # True where the view is to be generated
MultiTime: TypeAlias = Float[Array, "b v"]  # in [0, 1]; 0 for a conditioning view
Keys: TypeAlias = Key[Array, " b"]  # one typed key per example
NoiseFn: TypeAlias = Callable[[Latents, MultiTime], Latents]  # predicts the noise in x

Activation: TypeAlias = Callable[[Array], Array]
FeaturesFn: TypeAlias = Callable[[Image], list[Array]]
