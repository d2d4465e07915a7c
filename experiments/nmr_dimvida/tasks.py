"""From the config of one network's training to a task of the trainer."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import PyTree

from experiments.nmr_dimvida.config import Phase, TrainingConfig
from experiments.nmr_dimvida.run import Run
from jaxgrow.multiview import steps
from jaxgrow.multiview.classifier_step import several_models
from jaxgrow.multiview.steps import Step
from jaxgrow.storage import files
from jaxgrow.training import loop, train_state
from jaxgrow.training.feed import Feed
from jaxgrow.training.logs import MetricWriter
from jaxgrow.training.task import TrainingTask
from jaxgrow.training.train_state import TrainState


_STEPS_PER_CALL = 25  # off the CPU, where a step is mostly launches


def make_task(
    run: Run,
    phase: Phase,
    training: TrainingConfig,
    *,
    num_examples: int,
    feed: Feed,
    variables: Callable[[], tuple[PyTree, PyTree]],
    make_step: Callable[..., Step],
    save: Callable[[TrainState, dict[str, Any]], None],
    result: Path,
    name: str | None = None,
    remedy: str = "",
    num_models: int = 1,
    **options: Any,
) -> TrainingTask:
    """Build the task of one network, or of several that one step trains.

    `variables` returns fresh (parameters, batch statistics). `make_step` builds a step
    from the optimiser, `ema_decay` and `axis_name`. `save` writes `result`,
    the file for the next phases, from the last state and facts about the training. Of
    several trainings of a phase, each has a `name` and its own file of metrics.
    `remedy` is what else can be done where memory is short. With several models every
    leaf of the state and of a batch is stacked in front. `options` are further fields.
    """
    num_steps = training.num_steps(num_examples)
    schedule = learning_rate(training, num_steps)
    tx, keep_ema = optax.adam(schedule), training.ema_decay > 0
    axis_name = run.placement.axis_name
    step = make_step(tx, ema_decay=training.ema_decay, axis_name=axis_name)
    label = phase if name is None else f"{phase}/{name}"
    fields = f"{phase}_training" if name is None else phase
    create: Any = functools.partial(TrainState.create, tx=tx, keep_ema=keep_ema)
    if num_models > 1:
        step, create = several_models(step), jax.vmap(create)

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
        num_steps=num_steps,
        batch_size=num_models * training.batch_size,
        feed=lambda: feed,
        shapes=lambda: jax.eval_shape(lambda: create(*variables())),
        fresh=lambda data: create(*variables()),
        make_step=lambda k, due: step if k == 1 else steps.several_steps(step),
        row=row,
        finish=finish,
        is_done=lambda: result.exists() and label in _entries(run),
        metrics=None if name is None else MetricWriter(metrics),
        **_from_config(run, training, fields, remedy),
        **options,
    )


def _from_config(
    run: Run, training: TrainingConfig, fields: str, remedy: str
) -> dict[str, Any]:
    """Return the fields of a task that need nothing but the config."""
    most = loop.default_steps_per_call(_STEPS_PER_CALL, training.log_every)
    halve = f"halve {fields}.batch_size (now {training.batch_size})"
    more = f", {remedy}" if remedy else ""
    return {
        "log_every": training.log_every,
        "validate_every": training.validate_every,
        "steps_per_call": run.config.steps_per_call or most,
        "if_not_finite": f"lower {fields}.learning_rate and set another run_dir.",
        "if_too_large": f"{halve}{more} or lower device_data_mb.",
    }


def learning_rate(training: TrainingConfig, num_steps: int) -> optax.Schedule:
    """Return the warm-up, then a constant rate or a cosine to zero at the end."""
    top, warm_up = training.learning_rate, training.warm_up_steps
    if training.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            0.0 if warm_up else top, top, warm_up, max(num_steps, warm_up + 1)
        )
    if warm_up:
        return optax.linear_schedule(0.0, top, warm_up)
    return optax.constant_schedule(top)


def _entries_path(run: Run) -> Path:
    return run.run_dir / "phases.json"


def _entries(run: Run) -> dict[str, Any]:
    return files.read_json(_entries_path(run), dict, absent={})
