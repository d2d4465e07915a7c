"""Conditioning views C and missing views M of an object, and their distribution.

The sets C run over the non-empty proper subsets of the V views, by size, then in
lexicographic order; for V = 4 these are 4 + 6 + 4 = 14. There are 2^V - 2 of them, so
that above 12 views they are drawn without a list.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxgrow.errors import UserError
from jaxgrow.typing import Keys, Missing


_TABLE = 0x7AB1E  # a stream of draws that meets no other
_MAX_LISTED = 12  # views whose sets are listed, 4,094 of them


class ConditioningDistribution(NamedTuple):
    """The distribution of the missing views in training.

    Attributes:
        p_joint: P(C = {}), the paper's d; in the public code of its parent d is the
            probability of the opposite. Such an example trains the joint score.
        probabilities: By `subset_probabilities`; None = all sets are as likely.
    """

    p_joint: float = 0.2
    probabilities: Float[np.ndarray, " s"] | None = None


def conditioning_sets(num_views: int) -> list[tuple[int, ...]]:
    """Return all sets C that are neither empty nor all views."""
    return [
        views
        for size in range(1, num_views)
        for views in itertools.combinations(range(num_views), size)
    ]


def sampled_sets(num_views: int, most: int = 64) -> list[tuple[int, ...]]:
    """Return all conditioning sets, or as many of each size as make about `most`.

    The draw is the same for every call.
    """
    if 2**num_views - 2 <= most:
        return conditioning_sets(num_views)
    of_size = max(1, most // (num_views - 1))
    found = []
    for size in range(1, num_views):
        draws, sets = np.random.default_rng((_TABLE, num_views, size)), set()
        while len(sets) < min(of_size, math.comb(num_views, size)):
            order = np.argsort(draws.random(num_views))
            sets.add(tuple(sorted(order[:size].tolist())))
        found += sorted(sets)
    return found


def missing_rows(num_views: int) -> Bool[np.ndarray, "s v"]:
    """Return the missing views M of every set of `conditioning_sets`, in its order."""
    sets = conditioning_sets(num_views)
    return np.array([[view not in c for view in range(num_views)] for c in sets])


def subset_probabilities(
    num_views: int, size_weights: Sequence[float] | None = None
) -> Float[np.ndarray, " s"]:
    """Return the probability of every set of `conditioning_sets`.

    Above 12 views, of every size from 1 to V-1.

    Args:
        num_views: V.
        size_weights: Relative weight of |C| = 1 to V-1, shared evenly by the sets of
            that size; None for sets that are all as likely (Di Giacomo et al. 2024),
            4/14, 6/14, 4/14 by size for V = 4.

    Raises:
        UserError: The weights are not one per size, or not a distribution.
    """
    each = np.array([math.comb(num_views, k) for k in range(1, num_views)], float)
    weights = each if size_weights is None else np.array(size_weights, float)
    if len(weights) != num_views - 1 or (weights < 0).any() or weights.sum() <= 0:
        raise UserError(
            f"size_weights {tuple(weights.tolist())} must be {num_views - 1}, one for "
            f"each of 1 to {num_views - 1} conditioning views, none negative and not "
            "all 0."
        )
    if num_views > _MAX_LISTED:
        return weights / weights.sum()
    of_sets = np.repeat(weights / each, each.astype(int))
    return of_sets / of_sets.sum()


def draw_missing(
    keys: Keys,
    num_views: int,
    p_joint: float = 0.2,
    probabilities: Float[np.ndarray, " s"] | None = None,
) -> Missing:
    """Draw M for every example on its own (Di Giacomo et al. 2024, Sec. II-C).

    The numbers are those of a `ConditioningDistribution`.
    """
    is_listed = num_views <= _MAX_LISTED
    rows = jnp.asarray(missing_rows(num_views)) if is_listed else None
    if probabilities is None:
        probabilities = subset_probabilities(num_views)
    bounds = jnp.asarray(np.cumsum(probabilities)[:-1], jnp.float32)

    def draw(key: Array) -> Bool[Array, " v"]:
        coin, which = jax.random.uniform(key, (2,))
        index = jnp.searchsorted(bounds, which, side="right")
        if rows is not None:
            row = rows[index]
        else:  # as many views as the size says, in a random order
            scores = jax.random.uniform(jax.random.fold_in(key, 1), (num_views,))
            row = jnp.argsort(jnp.argsort(scores)) > index
        return row | (coin < p_joint)

    return jax.vmap(draw)(keys)


def name_of_set(views: Sequence[int], view_names: Sequence[str]) -> str:
    """Return the name of a conditioning set in tables: "front+left"."""
    return "+".join(view_names[view] for view in views)
