"""Stages of a growing run: their plan, how one is entered, and when it ends early."""

import dataclasses
import math
from typing import Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxgrow.errors import UserError
from jaxgrow.inpainting import freezing
from jaxgrow.inpainting.gan_step import InpaintState, Networks
from jaxgrow.nets.growing import (
    BASE_RESOLUTION,
    Discriminator,
    Generator,
    NetConfig,
    init_variables,
    resolutions_up_to,
    variable_shapes,
)
from jaxgrow.training.train_state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrowthConfig:
    """The stages, and what happens to the older ones."""

    resolutions: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Side of the pictures in pixels, stage by stage. (16,) alone trains 16 px from
    scratch."""
    steps: tuple[int, ...] = (2_000, 5_000, 10_000, 30_000, 60_000)
    """Batches per stage; with adaptive growing the most that a stage takes."""
    freeze: freezing.FreezePolicy = "all"
    """What an older stage does: all (the paper) freezes it in both networks,
    generator in G alone, none trains it on, slow trains it at old_rate, thaw_last
    freezes all but the stage just before."""
    fade: float = 0.0
    """Part of a stage over which its new blocks fade in; 0 = at once, the paper's."""
    adaptive: bool = False
    """Also end a stage when the smoothed validation error has stopped improving."""
    min_steps: float = 0.3
    """Adaptive: least part of a stage's steps before it may end."""
    patience: int = 5
    """Adaptive: validations without an improvement after which a stage ends."""
    min_improvement: float = 0.002
    """Adaptive: relative fall of the smoothed error that counts as an improvement."""
    smoothing: float = 0.6
    """Adaptive: share of the old value in the smoothed error."""

    def __post_init__(self) -> None:
        if not self.resolutions or len(self.resolutions) != len(self.steps):
            raise UserError(
                f"{len(self.resolutions)} resolutions and {len(self.steps)} numbers of "
                f"steps were given: pass one of --growth.steps per resolution"
            )
        for r in self.resolutions:
            try:
                resolutions_up_to(r)
            except ValueError as error:
                raise UserError(f"--growth.resolutions: {error}") from None
        if list(self.resolutions) != sorted(set(self.resolutions)):
            raise UserError(
                f"--growth.resolutions must rise, not {self.resolutions}: "
                f"for example 4 8 16"
            )
        if min(self.steps) < 1:
            raise UserError(f"--growth.steps must be 1 or more, not {self.steps}")
        if not 0.0 <= self.fade <= 1.0:
            raise UserError(f"--growth.fade must lie in [0, 1], not {self.fade}")
        if self.fade and any(s.skips_a_size for s in plan_stages(self)):
            raise UserError(
                "--growth.fade needs stages that double: fill the gap in "
                "--growth.resolutions or pass --growth.fade 0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam and its schedule, fresh at each stage."""

    g_learning_rate: tuple[float, ...] = (1e-3,)
    """Of the generator: one for all stages, or one per stage."""
    d_learning_rate: tuple[float, ...] = (1e-4,)
    """Of the discriminator: one for all stages, or one per stage."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of both within a stage."""
    final_rate: float = 0.1
    """Where cosine ends, as a part of the learning rate."""
    warm_up: int = 0
    """Steps of linear warm-up at the start of a stage."""
    old_rate: float = 0.1
    """Rate of older stages under the freeze policy slow, as a part of the new one's."""
    beta1: float = 0.9
    """Decay of Adam's first moment."""
    beta2: float = 0.999
    """Decay of Adam's second moment."""
    weight_decay: float = 0.0
    """Decoupled weight decay of whatever trains."""
    clip_norm: float | None = None
    """Largest gradient norm of a partition; None = no clipping."""
    ema_decay: float = 0.0
    """Decay of the average of G's weights that is evaluated and shipped; 0 = none."""


class Stage(NamedTuple):
    """One resolution's training.

    Attributes:
        index: Of the stage in the run.
        resolution: Side of its pictures.
        first_new: Lowest resolution that it adds to the networks.
        num_steps: Batches, at most.
        fade_steps: Of these, how many fade the new blocks in.
    """

    index: int
    resolution: int
    first_new: int
    num_steps: int
    fade_steps: int

    @property
    def skips_a_size(self) -> bool:
        return self.index > 0 and self.first_new != self.resolution


def plan_stages(config: GrowthConfig) -> list[Stage]:
    """The run's stages; the first adds everything and fades in nothing."""
    stages, first_new = [], BASE_RESOLUTION
    for i, (r, n) in enumerate(zip(config.resolutions, config.steps, strict=True)):
        fade_steps = round(config.fade * n) if i else 0
        stages.append(Stage(i, r, first_new, n, fade_steps))
        first_new = 2 * r
    return stages


def learning_rate(
    config: OptimizerConfig,
    network: Literal["generator", "discriminator"],
    stage: Stage,
) -> optax.Schedule:
    """Schedule over the steps of `stage`."""
    rates = config.g_learning_rate if network == "generator" else config.d_learning_rate
    rate = rates[0] if len(rates) == 1 else rates[stage.index]
    if config.schedule == "cosine":
        num_steps = max(1, stage.num_steps - config.warm_up)
        schedule = optax.cosine_decay_schedule(rate, num_steps, config.final_rate)
    else:
        schedule = optax.constant_schedule(rate)
    if config.warm_up:
        ramp = optax.linear_schedule(0.0, rate, config.warm_up)
        schedule = optax.join_schedules([ramp, schedule], [config.warm_up])
    return schedule


def check_rates(optimizer: OptimizerConfig, growth: GrowthConfig) -> None:
    """Refuses learning rates that are neither one nor one per stage."""
    for name in ("g_learning_rate", "d_learning_rate"):
        rates = getattr(optimizer, name)
        if len(rates) not in (1, len(growth.resolutions)) or min(rates) <= 0:
            raise UserError(
                f"--optimizer.{name.replace('_', '-')} takes one positive number or "
                f"{len(growth.resolutions)}, one per stage, not {rates}"
            )


def make_networks(
    stage: Stage,
    net: NetConfig,
    growth: GrowthConfig,
    optimizer: OptimizerConfig,
    *,
    d_sees_mask: bool,
    axis_name: str | None,
) -> Networks:
    """The networks of `stage`, their partition into old and new, and their optimisers.

    Raises:
        ValueError: If a submodule belongs to no stage.
    """
    generator = Generator(net, stage.resolution, axis_name)
    discriminator = Discriminator(net, stage.resolution, axis_name)
    args = {"growth": growth, "optimizer": optimizer, "stage": stage}
    g_labels, g_tx = _labels_and_tx(generator, "generator", 4, **args)
    d_channels = 4 if d_sees_mask else 3
    d_labels, d_tx = _labels_and_tx(discriminator, "discriminator", d_channels, **args)
    first = freezing.first_trainable
    return Networks(
        generator=generator,
        discriminator=discriminator,
        g_tx=g_tx,
        d_tx=d_tx,
        g_labels=g_labels,
        d_labels=d_labels,
        g_first=first(growth.freeze, "generator", stage.first_new),
        d_first=first(growth.freeze, "discriminator", stage.first_new),
        fade_steps=stage.fade_steps,
    )


def _labels_and_tx(net, network, channels, *, growth, optimizer, stage):
    names = variable_shapes(net, channels, fading=stage.fade_steps > 0)["params"]
    labels = freezing.stage_labels(
        names, growth.freeze, network, stage.first_new, stage.resolution
    )
    schedule = learning_rate(optimizer, network, stage)

    def tx(rate: float) -> optax.GradientTransformation:
        steps = [
            optax.scale_by_adam(b1=optimizer.beta1, b2=optimizer.beta2),
            optax.add_decayed_weights(optimizer.weight_decay),
            optax.scale_by_learning_rate(lambda count: rate * schedule(count)),
        ]
        if optimizer.clip_norm is not None:
            steps.insert(0, optax.clip_by_global_norm(optimizer.clip_norm))
        return optax.chain(*steps)

    return labels, freezing.partitioned(tx(1.0), tx(optimizer.old_rate), labels)


def enter_stage(
    nets: Networks,
    stage: Stage,
    seed: int,
    *,
    d_channels: int,
    keep_ema: bool,
    before: InpaintState | None,
) -> InpaintState:
    """State at the start of `stage`: older stages kept by name, all else fresh.

    New blocks, heads, optimisers and averages start afresh; the average starts at the
    weights. Older submodules keep their weights, spectral-norm vectors and statistics.

    Args:
        nets: From `make_networks`.
        stage: The stage.
        seed: The run's.
        d_channels: Of D's input, 3 or 4.
        keep_ema: Whether to keep an average of G's weights.
        before: State at the end of the stage before; None for the first.

    Raises:
        ValueError: If `before` lacks an older submodule.
    """

    def enter(net, network, channels, tx, old: TrainState | None, keep_ema):
        source = (seed, stage.resolution, network)
        fresh = init_variables(net, source, channels, fading=stage.fade_steps > 0)
        params = fresh.pop("params")
        stats = fresh
        if old is not None:
            params = freezing.graft(params, old.params, stage.first_new)
            stats = {
                name: freezing.graft(tree, old.stats[name], stage.first_new)
                for name, tree in stats.items()
            }
        return TrainState.create(params, stats, tx, keep_ema=keep_ema)

    old_g = None if before is None else before.generator
    old_d = None if before is None else before.discriminator
    return InpaintState(
        generator=enter(nets.generator, 0, 4, nets.g_tx, old_g, keep_ema),
        discriminator=enter(nets.discriminator, 1, d_channels, nets.d_tx, old_d, False),
        perceptual_weight=jnp.zeros(()),
    )


def without_old_heads(
    state: TrainState, generator: Generator
) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    """(params, stats) to evaluate with, without the heads that only a fade needs."""
    names = variable_shapes(generator, 4, fading=False)["params"]
    params = {name: state.eval_params[name] for name in names}
    stats = {
        collection: {name: tree[name] for name in names if name in tree}
        for collection, tree in state.stats.items()
    }
    return params, stats


@dataclasses.dataclass
class Plateau:
    """Whether a smoothed error has stopped falling; plain numbers, saved as JSON.

    Attributes:
        smoothed: Exponential average of the errors so far; None before the first.
        best: Smallest smoothed error that counted as an improvement.
        stale: Errors since then.
    """

    smoothed: float | None = None
    best: float | None = None
    stale: int = 0

    def update(self, error: float, config: GrowthConfig) -> bool:
        """Takes a new error in; True once `patience` brought no improvement."""
        if self.smoothed is None:
            self.smoothed = error
        else:
            self.smoothed += (1.0 - config.smoothing) * (error - self.smoothed)
        bar = math.inf if self.best is None else self.best
        if self.smoothed < bar * (1.0 - config.min_improvement):
            self.best, self.stale = self.smoothed, 0
        else:
            self.stale += 1
        return self.stale >= config.patience
