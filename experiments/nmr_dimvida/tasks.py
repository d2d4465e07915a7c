"""From the config of one network's training to a task of the trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import PyTree

from experiments.nmr_dimvida.config import Phase, TrainingConfig
from experiments.nmr_dimvida.run import Run
from jaxgrow.devices.memory import Programs
from jaxgrow.multiview import steps
from jaxgrow.multiview.steps import Step
from jaxgrow.storage import files
from jaxgrow.training import loop, train_state
from jaxgrow.training.feed import Feed
from jaxgrow.training.logs import MetricWriter
from jaxgrow.training.task import TrainingTask, Validation
from jaxgrow.training.train_state import TrainState


_STEPS_PER_CALL = 25  # off the CPU, where a step is mostly launches


def make_task(
    run: Run,
    phase: Phase,
    training: TrainingConfig,
    *,
    num_examples: int,
    first_step: int,
    feed: Feed,
    variables: Callable[[], tuple[PyTree, PyTree]],
    make_step: Callable[[optax.GradientTransformation], Step],
    validate: Callable[[int, TrainState], Validation],
    save: Callable[[TrainState, dict[str, Any]], None],
    result: Path,
    inputs: Callable[[], dict[str, str | None]] = dict,
    examples: str = "images",
    name: str | None = None,
    remedy: str = "",
    num_models: int = 1,
    programs: Programs | None = None,
) -> TrainingTask:
    """Build the task of one network, or of several that one step trains.

    Args:
        run: The run.
        phase: The phase that the training belongs to.
        training: Steps, rates and intervals.
        num_examples: Rows of the data.
        first_step: Step of metrics.jsonl at which the training begins.
        feed: Its batches.
        variables: Returns fresh (parameters, batch statistics).
        make_step: From the optimiser to the step.
        validate: (step, state) -> values of the validation; may draw.
        save: Writes `result`, from the last state and facts about the training.
        result: File for the next phases.
        inputs: Name -> hash of the data and networks that it is made from.
        examples: What the rows of the batches are, in plural.
        name: Name of the training where its phase has several. It then has a metrics
            file of its own.
        remedy: What else the user can do where memory is short.
        num_models: Networks that one step trains. Above 1, every leaf of the state and
            of a batch is stacked in front.
        programs: Compiled steps to share; None = its own.
    """
    num_steps = training.num_steps(num_examples)
    schedule = learning_rate(training, num_steps)
    tx, keep_ema = optax.adam(schedule), training.ema_decay > 0
    step, label = make_step(tx), phase if name is None else f"{phase}/{name}"
    fields = f"{phase}_training" if name is None else phase

    def fresh(data: Any = None) -> TrainState:
        def create(params: PyTree, stats: PyTree) -> TrainState:
            return TrainState.create(params, stats, tx, keep_ema=keep_ema)

        return (create if num_models == 1 else jax.vmap(create))(*variables())

    def row(step: int) -> dict[str, Any]:
        rate = float(np.asarray(schedule(step)))
        return {"phase": phase, "phase_step": step, "learning_rate": rate}

    def finish(state: TrainState, entry: dict[str, Any]) -> None:
        num_params = train_state.count_params(state.params) // num_models
        entry = {"parameters": num_params, **entry}
        save(state, entry)
        files.write_json(_entries_path(run), _entries(run) | {label: entry})

    metrics = run.run_dir / phase / "metrics" / f"{name}.jsonl"
    return TrainingTask(
        name=label,
        label=label,
        settings=run.config.result_fields(phase),
        inputs=inputs,
        num_steps=num_steps,
        batch_size=num_models * training.batch_size,
        examples=examples,
        log_every=training.log_every,
        validate_every=training.validate_every,
        steps_per_call=run.config.steps_per_call
        or loop.default_steps_per_call(_STEPS_PER_CALL, training.log_every),
        feed=lambda: feed,
        shapes=lambda: jax.eval_shape(fresh),
        fresh=fresh,
        make_step=lambda k, due: step if k == 1 else steps.several_steps(step),
        row=row,
        validate=validate,
        finish=finish,
        is_done=lambda: result.exists() and label in _entries(run),
        if_not_finite=f"lower {fields}.learning_rate and set another run_dir.",
        if_too_large=f"halve {fields}.batch_size (now {training.batch_size})"
        f"{f', {remedy}' if remedy else ''} or lower device_data_mb.",
        first_step=first_step,
        metrics=None if name is None else MetricWriter(metrics),
        programs=programs or Programs(),
    )


def learning_rate(training: TrainingConfig, num_steps: int) -> optax.Schedule:
    """Return the warm-up, then a constant rate or a cosine to zero at the end."""
    top, warm_up = training.learning_rate, training.warm_up_steps
    if training.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0 if warm_up else top, top, warm_up, max(num_steps, warm_up + 1)
        )
    return optax.join_schedules(
        [optax.linear_schedule(0.0, top, warm_up), optax.constant_schedule(top)],
        [warm_up],
    )


def _entries_path(run: Run) -> Path:
    return run.run_dir / "phases.json"


def _entries(run: Run) -> dict[str, Any]:
    return files.read_json(_entries_path(run), dict, absent={})
