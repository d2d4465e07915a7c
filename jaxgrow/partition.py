"""Which parameters belong to which stage, and which of them train.

A growing network names every submodule `r<resolution>_<role>`; that prefix is all that
this module reads.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import jax
import optax
from jaxtyping import PyTree

from jaxgrow.typing import Params


FreezePolicy: TypeAlias = Literal["all", "none", "generator", "slow", "thaw_last"]
Label: TypeAlias = Literal["new", "old", "frozen"]

_STAGE_NAME = re.compile(r"r(\d+)_[a-z_]+")


def stage_of(name: str) -> int:
    """Resolution of the stage that owns the submodule `name`, r<resolution>_<role>."""
    if (match := _STAGE_NAME.fullmatch(name)) is None:
        raise ValueError(f"submodule {name!r} belongs to no stage: want r<res>_<role>")
    return int(match[1])


def first_trainable(
    policy: FreezePolicy,
    network: Literal["generator", "discriminator"],
    resolution: int,
) -> int:
    """Lowest resolution that trains, at whatever rate, while `resolution` does.

    `all` freezes every older stage of both networks (Speck et al. 2023, Sec. III-D);
    `generator` those of the generator alone; `none` nothing; `slow` nothing, but older
    stages learn at a tenth of the rate; `thaw_last` all but the stage just before.
    """
    frozen_below = {
        "all": resolution,
        "none": 0,
        "generator": resolution if network == "generator" else 0,
        "slow": 0,
        "thaw_last": resolution // 2,
    }
    return frozen_below[policy]


def stage_labels(
    names: Iterable[str], policy: FreezePolicy, first: int, resolution: int
) -> dict[str, Label]:
    """Label of every submodule: its stage is frozen, trains as old, or as new.

    Raises:
        ValueError: If a name belongs to no stage, or to one above `resolution`.
    """
    labels: dict[str, Label] = {}
    for name in names:
        stage = stage_of(name)
        if stage > resolution:
            raise ValueError(f"submodule {name!r} is of a stage above {resolution} px")
        if stage < first:
            labels[name] = "frozen"
        else:
            is_old = policy == "slow" and stage < resolution
            labels[name] = "old" if is_old else "new"
    return labels


def split(
    params: Mapping[str, Params], labels: Mapping[str, Label]
) -> tuple[dict[str, Params], dict[str, Params]]:
    """(trainable, frozen) submodules; `{**frozen, **trainable}` is `params` again."""
    trainable = {n: p for n, p in params.items() if labels[n] != "frozen"}
    frozen = {n: p for n, p in params.items() if labels[n] == "frozen"}
    return trainable, frozen


def partitioned(
    new: optax.GradientTransformation,
    old: optax.GradientTransformation,
    labels: Mapping[str, Label],
) -> optax.GradientTransformation:
    """`new` and `old` on the stages so labelled, nothing on the frozen ones.

    Clipping, weight decay and moments each see their own partition only, and there
    are no moments at all for frozen weights. (`optax.masked` would not do: it passes
    the other gradients through, and they would be added to the frozen weights.)
    """
    transforms = {"new": new, "old": old, "frozen": optax.set_to_zero()}
    return optax.partition(transforms, dict(labels))


def graft(
    fresh: Mapping[str, Params], kept: Mapping[str, Params], resolution: int
) -> dict[str, Params]:
    """`fresh` with every submodule older than `resolution` taken from `kept` by name.

    Raises:
        ValueError: If `kept` lacks one of them or has it in another shape.
    """
    grafted = {}
    for name, tree in fresh.items():
        if stage_of(name) >= resolution:
            grafted[name] = tree
            continue
        if name not in kept:
            raise ValueError(f"the stage before {resolution} px has no {name!r}")
        if jax.tree.map(lambda x: x.shape, kept[name]) != jax.tree.map(
            lambda x: x.shape, tree
        ):
            raise ValueError(f"{name!r} has another shape than the stage before")
        grafted[name] = kept[name]
    return grafted


def count_params(tree: PyTree) -> int:
    """Number of values in all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
