"""The two networks of a stage: built, entered from the stage before, and trained."""

import dataclasses
from collections.abc import Mapping
from typing import Any, no_type_check

import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, PyTree

from jaxgrow.inpainting import freezing
from jaxgrow.inpainting.freezing import NetworkName
from jaxgrow.inpainting.stages import (
    GrowthConfig,
    OptimizerConfig,
    Stage,
    learning_rate,
)
from jaxgrow.nets import growing
from jaxgrow.nets.growing import (
    Discriminator,
    Generator,
    NetConfig,
    init_variables,
    variable_shapes,
)
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import Params


ADAM_EPS = 1e-8
"""Of both networks' Adam, PyTorch's default; it drowns gradients that are smaller."""
_OLD_RATE = 0.1  # of older stages under the policy slow, as a share of the new one's


@dataclasses.dataclass(frozen=True, kw_only=True)
class Player:
    """One network of a stage, and how it trains.

    Attributes:
        net: The network.
        channels: Channels of its input.
        labels: Label of each submodule, see `freezing.stage_labels`.
        first_trainable: Lowest resolution that trains; norms below it take no steps.
        tx: Its optimiser.
    """

    net: Generator | Discriminator
    channels: int
    labels: Mapping[str, freezing.Label]
    first_trainable: int
    tx: optax.GradientTransformation

    def split(
        self, params: Mapping[str, Params]
    ) -> tuple[dict[str, Params], dict[str, Params]]:
        """Return the (trainable, frozen) submodules."""
        return freezing.split(params, self.labels)

    def apply(
        self,
        params: Mapping[str, PyTree],
        stats: Mapping[str, PyTree],
        x: Float[Array, "b r r c"],
        *,
        fade: Float[Array, ""] | None,
        train: bool = False,
    ) -> tuple[Array, dict[str, PyTree]]:
        """Return (output, stats after the call); see `growing.apply`."""
        return growing.apply(
            self.net,
            params,
            stats,
            x,
            train=train,
            update_from=self.first_trainable,
            fade=fade,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Networks:
    """The two networks of a stage."""

    generator: Player
    discriminator: Player
    fade_steps: int
    """Steps over which the new blocks fade in; 0 = no fade."""


# JAX and Orbax rebuild it with other leaves than arrays: shapes, descriptions.
@no_type_check
class InpaintState(struct.PyTreeNode):
    """The training state of both networks, and the stage's perceptual weight."""

    generator: TrainState
    discriminator: TrainState
    perceptual_weight: Float[Array, ""]

    @property
    def step(self) -> Int[Array, ""]:
        return self.generator.step


def fade_factor(step: Int[Array, ""], fade_steps: int) -> Float[Array, ""] | None:
    """Return the new block's share, linear to 1 at `fade_steps`; None = no fade."""
    if fade_steps == 0:
        return None
    return jnp.minimum((step + 1) / fade_steps, 1.0).astype(jnp.float32)


def make_networks(
    stage: Stage,
    net: NetConfig,
    growth: GrowthConfig,
    optimizer: OptimizerConfig,
    *,
    d_sees_mask: bool,
    axis_name: str | None,
) -> Networks:
    """Build the networks of `stage`, with their labels and optimisers.

    Raises:
        ValueError: If a submodule belongs to no stage.
    """
    generator = Generator(net, stage.resolution, axis_name)
    discriminator = Discriminator(net, stage.resolution, axis_name)
    args = stage, growth, optimizer
    d_channels = 4 if d_sees_mask else 3
    return Networks(
        generator=_make_player(generator, "generator", 4, *args),
        discriminator=_make_player(discriminator, "discriminator", d_channels, *args),
        fade_steps=stage.fade_steps,
    )


def _make_player(
    net: Generator | Discriminator,
    name: NetworkName,
    channels: int,
    stage: Stage,
    growth: GrowthConfig,
    optimizer: OptimizerConfig,
) -> Player:
    names = variable_shapes(net, channels, fading=stage.fade_steps > 0)["params"]
    labels = freezing.stage_labels(
        names, growth.freeze, name, stage.first_new, stage.resolution
    )
    schedule = learning_rate(optimizer, name, stage)
    slow = optax.adam(lambda count: _OLD_RATE * schedule(count), eps=ADAM_EPS)
    return Player(
        net=net,
        channels=channels,
        labels=labels,
        first_trainable=freezing.first_trainable(growth.freeze, name, stage.first_new),
        tx=freezing.partitioned(optax.adam(schedule, eps=ADAM_EPS), slow, labels),
    )


def enter_stage(
    nets: Networks,
    stage: Stage,
    seed: int,
    *,
    keep_ema: bool,
    before: InpaintState | None,
) -> InpaintState:
    """Build the state at the start of `stage`.

    New blocks, heads, optimisers and averages start afresh; the average starts at the
    weights. Older submodules keep their weights, spectral-norm vectors and statistics.

    `before` is the state at the end of the stage before, None for the first. With
    `keep_ema` an average of G's weights is kept.

    Raises:
        ValueError: If `before` lacks an older submodule.
    """
    old_g = None if before is None else before.generator
    old_d = None if before is None else before.discriminator
    return InpaintState(
        generator=_enter(nets.generator, stage, (seed, 0), old_g, keep_ema),
        discriminator=_enter(nets.discriminator, stage, (seed, 1), old_d, False),
        perceptual_weight=jnp.zeros(()),
    )


def _enter(
    player: Player,
    stage: Stage,
    source: tuple[int, int],
    old: TrainState | None,
    keep_ema: bool,
) -> TrainState:
    seed, network = source
    stats: Any = init_variables(
        player.net,
        (seed, stage.resolution, network),
        player.channels,
        fading=stage.fade_steps > 0,
    )
    params = stats.pop("params")
    if old is not None:
        params = freezing.graft(params, old.params, stage.first_new)
        stats = {
            name: freezing.graft(tree, old.stats[name], stage.first_new)
            for name, tree in stats.items()
        }
    return TrainState.create(params, stats, player.tx, keep_ema=keep_ema)


def without_old_heads(
    state: TrainState, generator: Player
) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    """Return (params, stats) to evaluate with, without the heads that a fade needs."""
    names = variable_shapes(generator.net, generator.channels, fading=False)["params"]
    params = {name: state.eval_params[name] for name in names}
    stats = {
        collection: {name: tree[name] for name in names if name in tree}
        for collection, tree in state.stats.items()
    }
    return params, stats
