"""A choice between arrays that skips needless work."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxgrow.devices import backend


def where_any(
    here: Bool[Array, "..."],
    fn: Callable[[], Float[Array, "..."]],
    otherwise: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Return `jnp.where(here, fn(), otherwise)`.

    On CPU `fn` is not computed if nothing is `here`; elsewhere the branch costs more
    than it saves.
    """
    if not backend.on_cpu():
        return jnp.where(here, fn(), otherwise)
    return jax.lax.cond(
        here.any(),
        lambda before: jnp.where(here, fn(), before),
        lambda before: before,
        otherwise,
    )
