"""Stages of a growing run: their plan, their learning rates, and their early end."""

import dataclasses
import math
from typing import Annotated, Literal, NamedTuple

import optax

from jaxgrow.errors import UserError
from jaxgrow.inpainting.freezing import FreezePolicy, NetworkName
from jaxgrow.nets.growing import BASE_RESOLUTION, resolutions_up_to
from jaxgrow.ranges import Checked, Count, Decay, Natural, Positive, Range, Share


_FINAL_RATE = 0.1  # where cosine ends, as a share of the learning rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrowthConfig(Checked):
    """The stages, and what happens to the older ones."""

    resolutions: tuple[Annotated[int, Range(4, 1024)], ...] = (4, 8, 16, 32, 64)
    """Side of the pictures in pixels, stage by stage. (16,) alone trains 16 px from
    scratch."""
    steps: tuple[Count, ...] = (2_000, 5_000, 10_000, 30_000, 60_000)
    """Batches per stage; with adaptive growing the most that a stage takes."""
    freeze: FreezePolicy = "all"
    """Training of older stages: all (the paper) freezes them in both networks,
    generator in G alone, none trains them on, slow at a tenth of the rate."""
    fade: Share = 0.0
    """Part of a stage over which its new blocks fade in; 0 = at once, the paper's."""
    adaptive: bool = False
    """Also end a stage when the smoothed validation error has stopped improving."""
    min_steps: Share = 0.3
    """Adaptive: least part of a stage's steps before it may end."""
    patience: Count = 5
    """Adaptive: validations without an improvement after which a stage ends."""
    min_improvement: Decay = 0.002
    """Adaptive: relative fall of the smoothed error that counts as an improvement."""
    smoothing: Decay = 0.6
    """Adaptive: share of the old value in the smoothed error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.resolutions or len(self.resolutions) != len(self.steps):
            raise UserError(
                f"{len(self.resolutions)} resolutions and {len(self.steps)} numbers of "
                f"steps were given: pass one of growth.steps per resolution"
            )
        for r in self.resolutions:
            try:
                resolutions_up_to(r)
            except ValueError as error:
                raise UserError(f"growth.resolutions: {error}") from None
        if list(self.resolutions) != sorted(set(self.resolutions)):
            raise UserError(
                f"growth.resolutions must rise, not {self.resolutions}: "
                f"for example 4 8 16"
            )
        if self.fade and any(s.skips_a_size for s in plan_stages(self)):
            raise UserError(
                "growth.fade needs stages that double: fill the gap in "
                "growth.resolutions or set growth.fade to 0"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Checked):
    """Adam and its schedule, fresh at each stage."""

    g_learning_rate: tuple[Positive, ...] = (1e-3,)
    """Of the generator: one for all stages, or one per stage."""
    d_learning_rate: tuple[Positive, ...] = (1e-4,)
    """Of the discriminator: one for all stages, or one per stage."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of both within a stage; cosine ends at a tenth of the rate."""
    warm_up: Natural = 0
    """Steps of linear warm-up at the start of a stage."""
    ema_decay: Decay = 0.0
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
    """Return the stages of a run; the first adds everything and fades in nothing."""
    stages, first_new = [], BASE_RESOLUTION
    for i, (r, n) in enumerate(zip(config.resolutions, config.steps, strict=True)):
        fade_steps = round(config.fade * n) if i else 0
        stages.append(Stage(i, r, first_new, n, fade_steps))
        first_new = 2 * r
    return stages


def learning_rate(
    config: OptimizerConfig,
    network: NetworkName,
    stage: Stage,
) -> optax.Schedule:
    """Return the learning rate of a network over the steps of `stage`."""
    rates = config.g_learning_rate if network == "generator" else config.d_learning_rate
    rate = rates[0] if len(rates) == 1 else rates[stage.index]
    if config.schedule == "cosine":
        num_steps = max(1, stage.num_steps - config.warm_up)
        schedule = optax.cosine_decay_schedule(rate, num_steps, _FINAL_RATE)
    else:
        schedule = optax.constant_schedule(rate)
    if config.warm_up:
        ramp = optax.linear_schedule(0.0, rate, config.warm_up)
        schedule = optax.join_schedules([ramp, schedule], [config.warm_up])
    return schedule


def check_rates(optimizer: OptimizerConfig, growth: GrowthConfig) -> None:
    """Raise a `UserError` unless there is one learning rate, or one per stage."""
    for name in ("g_learning_rate", "d_learning_rate"):
        rates = getattr(optimizer, name)
        if len(rates) not in (1, len(growth.resolutions)):
            raise UserError(
                f"optimizer.{name} takes one number or "
                f"{len(growth.resolutions)}, one per stage, not {rates}"
            )


@dataclasses.dataclass
class Plateau:
    """Detector of a smoothed error that no longer falls; its fields are saved as JSON.

    Attributes:
        smoothed: Exponential average of the errors so far; None before the first.
        best: Smallest smoothed error that counted as an improvement.
        stale: Errors since then.
    """

    smoothed: float | None = None
    best: float | None = None
    stale: int = 0

    def update(self, error: float, config: GrowthConfig) -> bool:
        """Add an error; return True after `patience` errors without an improvement."""
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
