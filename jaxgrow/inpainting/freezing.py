"""Freezing: the stage of every submodule, and the ones that train.

A growing network names every submodule `r<resolution>_<role>`. This module reads
nothing but that prefix.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Literal, TypeAlias

import jax
import optax
from jaxtyping import PyTree

from jaxgrow.nets.growing import stage_of
from jaxgrow.typing import Params


FreezePolicy: TypeAlias = Literal["all", "none", "generator", "slow"]
NetworkName: TypeAlias = Literal["generator", "discriminator"]
Label: TypeAlias = Literal["new", "old", "frozen"]


def first_trainable(policy: FreezePolicy, network: NetworkName, first_new: int) -> int:
    """Return the lowest resolution that trains in a stage that adds `first_new`.

    `all` freezes every older stage of both networks (Speck et al. 2023, Sec. III-D);
    `generator` freezes those of the generator alone; `none` freezes nothing; `slow`
    freezes nothing, but older stages learn at a fraction of the rate.
    """
    freezes = policy == "all" or policy == network == "generator"
    return first_new if freezes else 0


def stage_labels(
    names: Iterable[str],
    policy: FreezePolicy,
    network: NetworkName,
    first_new: int,
    resolution: int,
) -> dict[str, Label]:
    """Return the label of every submodule of a network: frozen, old or new.

    The stage adds the resolutions from `first_new` to `resolution`; the first one adds
    all. For `policy` see `first_trainable`.

    Raises:
        ValueError: If a name belongs to no stage, or to one above `resolution`.
    """
    first = first_trainable(policy, network, first_new)
    labels: dict[str, Label] = {}
    for name in names:
        stage = stage_of(name)
        if stage > resolution:
            raise ValueError(f"submodule {name!r} is of a stage above {resolution} px")
        if stage < first:
            labels[name] = "frozen"
        else:
            is_old = policy == "slow" and stage < first_new
            labels[name] = "old" if is_old else "new"
    return labels


def split(
    params: Mapping[str, Params], labels: Mapping[str, Label]
) -> tuple[dict[str, Params], dict[str, Params]]:
    """Return (trainable, frozen); `{**frozen, **trainable}` is `params` again."""
    trainable = {n: p for n, p in params.items() if labels[n] != "frozen"}
    frozen = {n: p for n, p in params.items() if labels[n] == "frozen"}
    return trainable, frozen


def partitioned(
    new: optax.GradientTransformation,
    old: optax.GradientTransformation,
    labels: Mapping[str, Label],
) -> optax.GradientTransformation:
    """Build an optimiser: `new` and `old` on the labels of these names, else nothing.

    Clipping, weight decay and moments each see their own partition only, and there
    are no moments at all for frozen weights. (`optax.masked` would not do: it passes
    the other gradients through, and they would be added to the frozen weights.)
    """
    transforms: dict[Hashable, optax.GradientTransformation]
    transforms = {"new": new, "old": old, "frozen": optax.set_to_zero()}
    return optax.partition(transforms, dict(labels))


def graft(
    fresh: Mapping[str, PyTree], kept: Mapping[str, PyTree], first_new: int
) -> dict[str, PyTree]:
    """Return `fresh` with every submodule older than `first_new` taken from `kept`.

    Raises:
        ValueError: If `kept` lacks one of them or has it in another shape.
    """
    grafted = {}
    for name, tree in fresh.items():
        if stage_of(name) >= first_new:
            grafted[name] = tree
            continue
        if name not in kept:
            raise ValueError(f"the stage before {first_new} px has no {name!r}")
        if _shapes(kept[name]) != _shapes(tree):
            raise ValueError(f"{name!r} has another shape than in the stage before")
        grafted[name] = kept[name]
    return grafted


def _shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: x.shape, tree)
