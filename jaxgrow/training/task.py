"""The parts of one training, and its progress."""

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from jaxtyping import PyTree

from jaxgrow.devices.memory import Programs
from jaxgrow.training.feed import Feed
from jaxgrow.training.logs import MetricWriter
from jaxgrow.typing import Metrics


StepFn = Callable[[Any, Any, Any], tuple[Any, Metrics]]
"""(state, data, batch) -> (state after the step or steps, their metrics)."""

Validation = dict[str, float]
"""Name -> value, as `TrainingTask.validate` returns them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """One training: a stage of System 1, a phase or a classifier of System 2.

    Attributes:
        name: Folder of its checkpoints, below `checkpoints` of the run.
        label: The training in sentences and at the progress bar.
        settings: Fields that decide the result, as JSON; a resumed training must have
            the same.
        inputs: Returns name -> hash of the content of everything else that decides the
            result, such as pictures; what is not there yet is left out.
        num_steps: Steps in all.
        batch_size: Examples of a step, over all devices and models.
        examples: What the examples are, in plural.
        log_every: Steps between two rows of metrics.
        validate_every: Steps between two validations, each with a checkpoint. A
            multiple of log_every.
        steps_per_call: Most steps of one compiled call.
        feed: Opens the data; called when it is first needed.
        shapes: Returns shapes and types of the state, before any data is read.
        fresh: Returns the state at the start, from the data on the devices.
        make_step: (k, due) -> the step that takes `k` steps at once.
        row: Step -> what a row of metrics has besides the metrics.
        validate: (step, state) -> values of the validation; may draw.
        finish: Writes the result, from the last state and facts about the training.
        is_done: Returns True if the result is there.
        if_not_finite: What the user can do where a loss is not finite.
        if_too_large: What the user can do where memory is short.
        due: (step, k) -> the variant of the step that the next `k` steps take.
        should_end: (step, all validations) -> True to end before `num_steps`.
        remark: (step, row of metrics) -> a sentence to the user, or None.
        first_step: Step of the metrics at which the training begins.
        metrics: Its own file of metrics; None = the run's.
        programs: Compiled calls. Trainings with the same step, optimiser and shapes
            may share them.
    """

    name: str
    label: str
    settings: dict[str, Any]
    inputs: Callable[[], dict[str, str | None]] = dict
    num_steps: int
    batch_size: int
    examples: str = "images"
    log_every: int
    validate_every: int
    steps_per_call: int
    feed: Callable[[], Feed]
    shapes: Callable[[], PyTree]
    fresh: Callable[[PyTree], Any]
    make_step: Callable[[int, Any], StepFn]
    row: Callable[[int], dict[str, Any]]
    validate: Callable[[int, Any], Validation]
    finish: Callable[[Any, dict[str, Any]], None]
    is_done: Callable[[], bool]
    if_not_finite: str
    if_too_large: str
    due: Callable[[int, int], Hashable] = lambda *_: None
    should_end: Callable[[int, list[Validation]], bool] = lambda *_: False
    remark: Callable[[int, Mapping[str, float]], str | None] = lambda *_: None
    first_step: int = 0
    metrics: MetricWriter | None = None
    programs: Programs = dataclasses.field(default_factory=Programs)


@dataclasses.dataclass
class Progress:
    """Progress of a training; every checkpoint carries it as JSON.

    Attributes:
        step: Steps taken.
        wall_s: Seconds of training so far.
        validations: All of them, oldest first.
        ended_by: "steps", or "plateau" where `should_end` ended it; None before that.
    """

    step: int = 0
    wall_s: float = 0.0
    validations: list[Validation] = dataclasses.field(default_factory=list)
    ended_by: str | None = None
