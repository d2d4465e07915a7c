"""Which views are given and which are to be generated: C and M of a joint sample.

The sets C run over the non-empty proper subsets of the V views, by size, then in
lexicographic order; for V = 4 these are 4 + 6 + 4 = 14.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxgrow.errors import UserError
from jaxgrow.typing import Keys, Missing


def conditioning_sets(num_views: int) -> list[tuple[int, ...]]:
    """All sets C of given views for which something is given and something missing."""
    return [
        given
        for size in range(1, num_views)
        for given in itertools.combinations(range(num_views), size)
    ]


def missing_rows(num_views: int) -> Bool[np.ndarray, "s v"]:
    """The missing views M of every set of `conditioning_sets`, in its order."""
    rows = np.ones((len(conditioning_sets(num_views)), num_views), bool)
    for row, given in zip(rows, conditioning_sets(num_views), strict=True):
        row[list(given)] = False
    return rows


def subset_probabilities(
    num_views: int, size_weights: Sequence[float] | None = None
) -> Float[np.ndarray, " s"]:
    """Probability of every conditioning set, given that there is one.

    Args:
        num_views: V.
        size_weights: Relative weight of |C| = 1 to V-1, shared evenly by the sets of
            that size; None for sets that are all as likely (Di Giacomo et al. 2024),
            4/14, 6/14, 4/14 by size for V = 4.

    Raises:
        UserError: The weights are not one per size, or not a distribution.
    """
    sizes = np.array([len(given) for given in conditioning_sets(num_views)])
    if size_weights is None:
        return np.full(len(sizes), 1.0 / len(sizes))
    weights = np.array(size_weights, float)
    if len(weights) != num_views - 1 or (weights < 0).any() or weights.sum() <= 0:
        raise UserError(
            f"the weights {tuple(size_weights)} of the numbers of given views must be "
            f"{num_views - 1}, one for each of 1 to {num_views - 1}, and none negative."
        )
    of_size = weights[sizes - 1] / np.bincount(sizes)[sizes]
    return of_size / of_size.sum()


def draw_missing(
    keys: Keys,
    num_views: int,
    p_joint: float = 0.2,
    probabilities: Float[np.ndarray, " s"] | None = None,
) -> Missing:
    """M of every example, drawn on its own (Di Giacomo et al. 2024, Sec. II-C).

    With probability `p_joint` nothing is given, and the example trains the joint score;
    otherwise C is drawn from `conditioning_sets`.

    Args:
        keys: One per example.
        num_views: V.
        p_joint: P(C = {}), the paper's d; in the public code of its parent d is the
            probability of the opposite.
        probabilities: Of `subset_probabilities`; None = uniform.
    """
    rows = jnp.asarray(missing_rows(num_views))
    if probabilities is None:
        probabilities = subset_probabilities(num_views)
    bounds = jnp.asarray(np.cumsum(probabilities)[:-1], jnp.float32)

    def draw(key: Array) -> Bool[Array, " v"]:
        coin, which = jax.random.uniform(key, (2,))
        row = rows[jnp.searchsorted(bounds, which, side="right")]
        return row | (coin < p_joint)

    return jax.vmap(draw)(keys)


def name_of(given: Sequence[int], view_names: Sequence[str]) -> str:
    """What a conditioning set is called in tables: "front+left"."""
    return "+".join(view_names[view] for view in given)
