"""One network's training: what it consists of, and its step, compiled ahead."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import PyTree

from experiments.nmr_dimvida.config import Phase, TrainingConfig
from experiments.nmr_dimvida.run import Run
from jaxgrow.devices import hosts, memory
from jaxgrow.devices.memory import Programs, StepMemory
from jaxgrow.errors import UserError
from jaxgrow.multiview import steps
from jaxgrow.multiview.batch import ViewBatch
from jaxgrow.multiview.steps import Step
from jaxgrow.training import loop
from jaxgrow.training.train_state import TrainState


_STEPS_PER_CALL = 25  # off the CPU, where a step is mostly launches


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """One network's training.

    Attributes:
        phase: That it belongs to.
        config: Steps, rates and intervals.
        num_examples: Rows of the data.
        first_step: Step of metrics.jsonl at which it begins.
        params: Fresh weights.
        stats: Fresh batch statistics.
        make_step: From the optimiser to the step.
        data: Puts on the devices what the step gets with every call.
        data_like: What `data` will look like, where that is known beforehand.
        plan: Batch of a step, as a pure function.
        validate: (step, state) -> figures of the validation; may draw.
        finish: Writes `result`, from the last state and what is to be noted.
        result: File that the next phases take.
        name: What it is called where its phase trains several networks; it then has a
            metrics file of its own.
        remedy: What else the user can do where memory is short.
        num_models: Networks that one step trains; above 1, every leaf of the state and
            of a batch is stacked in front.
        programs: Compiled calls by their number of steps; trainings that share the
            step, the optimiser and all shapes may share them.
    """

    phase: Phase
    config: TrainingConfig
    num_examples: int
    first_step: int
    params: Callable[[], PyTree]
    stats: Callable[[], PyTree]
    make_step: Callable[[optax.GradientTransformation], Step]
    data: Callable[[], PyTree]
    plan: Callable[[int], ViewBatch]
    validate: Callable[[int, TrainState], dict[str, float]]
    finish: Callable[[TrainState, dict[str, Any]], None]
    result: Path
    name: str | None = None
    data_like: PyTree = None
    remedy: str = ""
    num_models: int = 1
    programs: Programs = dataclasses.field(default_factory=Programs)

    @property
    def label(self) -> str:
        """A path below the folder of checkpoints."""
        return self.phase if self.name is None else f"{self.phase}/{self.name}"

    @property
    def flags(self) -> str:
        """What the fields of its config are called on the command line."""
        return f"--{self.phase}{'-' if self.name is None else '.'}training"

    @property
    def examples(self) -> str:
        """What the rows of its batches are."""
        return "objects" if self.phase in ("score", "regressor") else "images"

    @property
    def num_steps(self) -> int:
        return self.config.num_steps(self.num_examples)

    def learning_rate(self) -> optax.Schedule:
        """Warm-up, then constant or cosine to zero."""
        top, warm_up = self.config.learning_rate, self.config.warm_up_steps
        if self.config.schedule == "cosine":
            return optax.warmup_cosine_decay_schedule(
                0.0 if warm_up else top, top, warm_up, max(self.num_steps, warm_up + 1)
            )
        return optax.join_schedules(
            [optax.linear_schedule(0.0, top, warm_up), optax.constant_schedule(top)],
            [warm_up],
        )

    def optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate())

    def fresh(self) -> TrainState:
        tx, keep_ema = self.optimiser(), self.config.ema_decay > 0

        def create(params: PyTree, stats: PyTree) -> TrainState:
            return TrainState.create(params, stats, tx, keep_ema=keep_ema)

        create = create if self.num_models == 1 else jax.vmap(create)
        return create(self.params(), self.stats())

    def too_large(self, amount: str) -> UserError:
        """What the user can do where `amount` of memory is too much."""
        remedy = f", {self.remedy}" if self.remedy else ""
        return UserError(
            f"{self.label} needs {amount}: halve {self.flags}.batch-size (now "
            f"{self.config.batch_size}){remedy} or lower --device-data-mb."
        )


class TrainingStep:
    """The step of a training, compiled once for every number of steps in a call.

    Attributes:
        steps_per_call: Most steps of one call.
        batch_per_device: Examples of a step that each device takes.
        has_compiled: Whether a program was compiled for this training.
    """

    def __init__(self, run: Run, training: Training):
        self._run, self._training = run, training
        self._step = training.make_step(training.optimiser())
        default = loop.even_calls(_STEPS_PER_CALL, training.config.log_every)
        if jax.default_backend() == "cpu":
            default = 1
        self.steps_per_call = run.config.steps_per_call or default
        size = training.num_models * training.config.batch_size
        self.batch_per_device = size // run.placement.num_devices
        self.has_compiled = False

    def batches(self, step: int, k: int) -> ViewBatch:
        """Batches of `k` steps; pure."""
        plans = [self._training.plan(step + i) for i in range(k)]
        batch_axis = int(self._training.num_models > 1)
        if k == 1:
            return self._run.placement.shard_batch(plans[0], batch_axis)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *plans)
        return self._run.placement.shard_batch(stacked, batch_axis + 1)

    def call(self, state: TrainState, data: PyTree, batch: ViewBatch, k: int):
        """Takes `k` steps."""
        program = self._training.programs.get(k)
        program = program or self._compile(k, state, data, batch)
        return program(state, data, batch)

    def compile(self) -> None:
        """Compiles the largest call of a whole training before there are any arrays."""
        training, placement = self._training, self._run.placement
        assert training.data_like is not None, (
            f"{training.label} has no data_like, without which it cannot be compiled "
            "before its data is there"
        )
        until_report = min(training.num_steps, training.config.log_every)
        k = self.steps_per_call if self.steps_per_call <= until_report else 1
        state = placement.like(jax.eval_shape(training.fresh))
        self._compile(k, state, training.data_like, self.batches(0, k))

    def _compile(self, k: int, state: PyTree, data: PyTree, batch: ViewBatch) -> Any:
        self.has_compiled = True
        body = self._step if k == 1 else steps.several_steps(self._step)
        return self._training.programs.compile(
            k,
            self._run.placement.compile_step(body),
            *(state, data, batch),
            too_large=self._training.too_large,
            tell=self._tell,
        )

    def _tell(self, found: StepMemory) -> None:
        training = self._training
        text = memory.sentence(found, self.batch_per_device, training.examples)
        self._run.say(f"{training.label}: {text}")


def preflight(run: Run, trainings: Iterable[Training]) -> None:
    """Compiles the steps of the trainings that are to come and sees that they fit.

    What is compiled here is not compiled again. The classifiers of the phase classify
    are not among them: what they train on is not there yet.

    Raises:
        UserError: One does not fit.
    """
    for training in trainings:
        is_there = np.asarray(training.result.exists())
        if not hosts.from_first(is_there):
            TrainingStep(run, training).compile()
