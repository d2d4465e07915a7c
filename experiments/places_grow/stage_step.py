"""One stage's training step: built, compiled ahead, and its memory known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from experiments.places_grow.config import Config
from experiments.places_grow.prepare import Feed
from jaxgrow.data.batches import PictureBatch
from jaxgrow.devices import hosts, memory, parallel
from jaxgrow.devices.memory import Programs, StepMemory, TooLarge
from jaxgrow.devices.parallel import Placement
from jaxgrow.errors import UserError
from jaxgrow.inpainting import gan_step, networks, stages
from jaxgrow.inpainting.losses import has_r1
from jaxgrow.inpainting.networks import InpaintState
from jaxgrow.inpainting.stages import Stage
from jaxgrow.training import loop
from jaxgrow.typing import FeaturesFn, Metrics


# Off the CPU, by resolution: calls of about a tenth of a second on one H100, against
# which starting a call is nothing and after which an interrupt is heard.
_STEPS_PER_CALL = {4: 100, 8: 100, 16: 50, 32: 25, 64: 10}
_STEPS_PER_LARGER_CALL = 5


class StageStep:
    """A stage's step, compiled once per number of steps in a call.

    Attributes:
        nets: The stage's networks and optimisers.
        feed: Its batches.
        steps_per_call: Most steps of one call.
        programs: What is compiled of it.
    """

    def __init__(
        self,
        config: Config,
        stage: Stage,
        feed: Feed,
        features_fn: FeaturesFn | None,
        placement: Placement,
        say: Callable[[str], None],
    ):
        self.feed, self.programs, self._say = feed, Programs(), say
        self._config, self._stage, self._placement = config, stage, placement
        self._features_fn = features_fn
        self.steps_per_call = config.steps_per_call or default_steps_per_call(
            stage.resolution, config.log_every
        )
        self.nets = make_networks(config, stage, placement.axis_name)
        self._schedule = stages.learning_rate(config.optimizer, "generator", stage)
        self._step = gan_step.make_gan_step(
            self.nets,
            config.losses,
            ema_decay=config.optimizer.ema_decay,
            features_fn=features_fn,
            axis_name=placement.axis_name,
        )

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
                weight = gan_step.automatic_perceptual_weight(
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
        self, state: InpaintState, batch: PictureBatch, step: int, k: int
    ) -> tuple[InpaintState, Metrics]:
        """Takes the `k` steps from `step` on."""
        # A call of several steps sees for itself which of them take R1.
        losses = self._config.losses
        with_r1 = k == 1 and has_r1(losses) and step % losses.r1_every == 0
        call = self.programs.get((k, with_r1))
        call = call or self._compile(k, with_r1, state, batch)
        return call(state, self.feed.data, batch)

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
        self._compile(k, False, shapes, self.feed(0, k))

    def _compile(
        self, k: int, with_r1: bool, state: PyTree, batch: PictureBatch
    ) -> Any:
        def single(state, data, batch):
            return self._step(state, data, batch, with_r1)

        several = gan_step.make_multi_step(self._step, self._config.losses)
        return self.programs.compile(
            (k, with_r1),
            self._placement.compile_step(single if k == 1 else several),
            *(state, self.feed.data, batch),
            too_large=too_large(self._config, self._stage),
            tell=self._tell,
        )

    def _tell(self, found: StepMemory) -> None:
        text = memory.sentence(found, self.batch_per_device, "images")
        self._say(f"{self._stage.resolution} px: {text}")

    @property
    def batch_per_device(self) -> int:
        """Images of a step that each device takes."""
        return self._config.batch_size // self._placement.num_devices


def default_steps_per_call(resolution: int, log_every: int) -> int:
    """1 on CPU; elsewhere a divisor of `log_every`, fewer for larger pictures."""
    if jax.default_backend() == "cpu":
        return 1
    most = _STEPS_PER_CALL.get(resolution, _STEPS_PER_LARGER_CALL)
    return loop.even_calls(most, log_every)


def too_large(config: Config, stage: Stage) -> TooLarge:
    """What the user can do where `stage` takes too much memory."""

    def make_error(amount: str) -> UserError:
        return UserError(
            f"the {stage.resolution} px stage needs {amount}: halve --batch-size (now "
            f"{config.batch_size}), lower --device-data-mb, pass --net.compute-dtype "
            "bfloat16, or leave the largest of --growth.resolutions out."
        )

    return make_error


def make_networks(config: Config, stage: Stage, axis_name: str | None = None):
    """The stage's networks and optimisers."""
    return networks.make_networks(
        stage,
        config.net,
        config.growth,
        config.optimizer,
        d_sees_mask=config.losses.d_sees_mask,
        axis_name=axis_name,
    )


def enter_stage(
    config: Config,
    nets: networks.Networks,
    stage: Stage,
    before: InpaintState | None,
) -> InpaintState:
    """State at the start of the stage."""
    return networks.enter_stage(
        nets,
        stage,
        config.seed,
        keep_ema=config.optimizer.ema_decay > 0,
        before=before,
    )


def state_shapes(config: Config, stage: Stage, placement: Placement) -> PyTree:
    """What a state of the stage looks like, placed as the step wants it."""
    state = enter_stage(config, make_networks(config, stage), stage, None)
    return placement.like(state)
