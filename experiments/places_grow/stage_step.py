"""One stage's training step: built, compiled ahead, and its memory known."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from experiments.places_grow.config import Config
from experiments.places_grow.prepare import Feed
from jaxgrow import growth, hosts, inpainting, loop, parallel
from jaxgrow.errors import UserError
from jaxgrow.examples import StepBatch
from jaxgrow.growth import Stage
from jaxgrow.inpainting import InpaintState
from jaxgrow.losses import Due, due_terms
from jaxgrow.parallel import Placement
from jaxgrow.typing import FeaturesFn, Metrics


# Off the CPU, by resolution: calls of about a tenth of a second on one H100 as
# docs/performance.md predicts it, against which starting a call is nothing and
# after which an interrupt is heard.
_STEPS_PER_CALL = {4: 100, 8: 100, 16: 50, 32: 25, 64: 10}
_STEPS_PER_LARGER_CALL = 5


class StageStep:
    """A stage's step, compiled once per number of steps in a call.

    Attributes:
        nets: The stage's networks and optimisers.
        feed: Its batches.
        steps_per_call: Most steps of one call.
        memory_mb: What the largest call takes on a device, once it is compiled.
    """

    def __init__(
        self,
        config: Config,
        stage: Stage,
        feed: Feed,
        features_fn: FeaturesFn | None,
        placement: Placement,
    ):
        self.feed, self.memory_mb = feed, 0.0
        self._config, self._stage, self._placement = config, stage, placement
        self._features_fn = features_fn
        self.steps_per_call = config.steps_per_call or default_steps_per_call(
            stage.resolution, config.log_every
        )
        self.nets = make_networks(config, stage, placement.axis_name)
        self._schedule = growth.learning_rate(config.optimizer, "generator", stage)
        self._step = inpainting.make_gan_step(
            self.nets,
            config.losses,
            ema_decay=config.optimizer.ema_decay,
            features_fn=features_fn,
            axis_name=placement.axis_name,
        )
        self._compiled: dict[tuple[int, Due], Any] = {}

    def enter(self, before: InpaintState | None) -> InpaintState:
        """State at the start of the stage, on its devices."""
        config = self._config
        if before is not None:
            before = parallel.first_copy(before)
        state = enter_stage(config, self.nets, self._stage, before)
        if self._features_fn is not None:
            weight = config.losses.perceptual_weight
            if weight is None:
                first = jax.tree.map(jnp.asarray, self.feed.plan(0))
                weight = inpainting.automatic_perceptual_weight(
                    self.nets,
                    config.losses,
                    self._features_fn,
                    state,
                    parallel.first_copy(self.feed.data),
                    first,
                )
            state = state.replace(perceptual_weight=jnp.float32(weight))
        return self._placement.replicate(hosts.from_first(state))

    def __call__(
        self, state: InpaintState, batch: StepBatch, step: int, k: int
    ) -> tuple[InpaintState, Metrics]:
        """Takes the `k` steps from `step` on."""
        # A call of several steps sees for itself what is due.
        due = self._due(step) if k == 1 else Due()
        call = self._compiled.get((k, due)) or self._compile(k, due, state, batch)
        return call(state, self.feed.data, batch)

    def _due(self, step: int) -> Due:
        has_perceptual = self._features_fn is not None
        losses = self._config.losses
        return due_terms(losses, step, has_perceptual=has_perceptual)

    def learning_rate(self, step: int) -> float:
        """Of the generator's new blocks."""
        return float(np.asarray(self._schedule(step)))

    def compile(self) -> None:
        """Compiles the largest call before there is a state.

        Raises:
            UserError: If it does not fit into the device's memory.
        """
        shapes = state_shapes(self._config, self._stage, self._placement)
        k = self.steps_per_call
        due = self._due(0)._replace(with_r1=False) if k == 1 else Due()
        self._compile(k, due, shapes, self.feed(0, k))

    def _compile(self, k: int, due: Due, state: PyTree, batch: StepBatch) -> Any:
        def single(state, data, batch):
            return self._step(state, data, batch, *due)

        several = inpainting.make_multi_step(
            self._step,
            self._config.losses,
            has_perceptual=self._features_fn is not None,
        )
        jitted = self._placement.compile_step(single if k == 1 else several)
        compiled = jitted.lower(state, self.feed.data, batch).compile()
        self._check_memory(compiled)
        self._compiled[k, due] = compiled
        return compiled

    def _check_memory(self, compiled: Any) -> None:
        analysis = compiled.memory_analysis()
        if analysis is None:
            return
        needed = (
            analysis.temp_size_in_bytes
            + analysis.argument_size_in_bytes
            + analysis.output_size_in_bytes
            - analysis.alias_size_in_bytes
        )
        self.memory_mb = max(self.memory_mb, needed / 2**20)
        available = device_memory_bytes()
        if available is not None and needed > available:
            amount = (
                f"{needed / 2**20:,.0f} MB where the device has "
                f"{available / 2**20:,.0f} MB"
            )
            raise _too_large(self._config, self._stage, amount)


def default_steps_per_call(resolution: int, log_every: int) -> int:
    """1 on CPU; elsewhere a divisor of `log_every`, fewer for larger pictures."""
    if jax.default_backend() == "cpu":
        return 1
    most = _STEPS_PER_CALL.get(resolution, _STEPS_PER_LARGER_CALL)
    return loop.even_calls(most, log_every)


@contextlib.contextmanager
def memory_errors(config: Config, stage: Stage) -> Iterator[None]:
    """Turns a device without enough memory for `stage` into a `UserError`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        amount = "more memory than the device has"
        raise _too_large(config, stage, amount) from error


def _too_large(config: Config, stage: Stage, amount: str) -> UserError:
    return UserError(
        f"the {stage.resolution} px stage needs {amount}: halve --batch-size (now "
        f"{config.batch_size}), lower --device-data-mb, pass --net.compute-dtype "
        "bfloat16, or leave the largest of --growth.resolutions out."
    )


def device_memory_bytes() -> int | None:
    """Memory of a device, or of the machine where the device is the CPU."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    if jax.default_backend() == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def make_networks(config: Config, stage: Stage, axis_name: str | None = None):
    """The stage's networks and optimisers."""
    return growth.make_networks(
        stage,
        config.net,
        config.growth,
        config.optimizer,
        d_sees_mask=config.losses.d_sees_mask,
        axis_name=axis_name,
    )


def enter_stage(
    config: Config,
    nets: inpainting.Networks,
    stage: Stage,
    before: InpaintState | None,
) -> InpaintState:
    """State at the start of the stage."""
    return growth.enter_stage(
        nets,
        stage,
        config.seed,
        d_channels=4 if config.losses.d_sees_mask else 3,
        keep_ema=config.optimizer.ema_decay > 0,
        before=before,
    )


def state_shapes(config: Config, stage: Stage, placement: Placement) -> PyTree:
    """What a state of the stage looks like, placed as the step wants it."""
    state = enter_stage(config, make_networks(config, stage), stage, None)
    return placement.like(state)
