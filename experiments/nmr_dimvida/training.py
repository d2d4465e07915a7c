"""The training of one network, resumable at any moment; every phase but the last."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
import optax
from jaxtyping import PyTree
from rich.console import Console

from experiments.nmr_dimvida.config import Config, Phase, TrainingConfig
from experiments.shared.run_dir import RunLog, Stopped
from jaxgrow import files, logs, loop, multiview, parallel, partition
from jaxgrow.checkpoint import Checkpointer, check_same
from jaxgrow.errors import UserError
from jaxgrow.multiview import Batch, Step
from jaxgrow.train_state import TrainState


_STEPS_PER_CALL = 25  # off the CPU, where a step is mostly launches


class Run(RunLog):
    """A run under way: its config, its devices, and what it says."""

    def __init__(self, config: Config, console: Console):
        super().__init__(config.run_dir, console)
        self.config = config
        self.interrupt = loop.Interrupt()
        self.num_devices = min(
            parallel.check_devices(config.devices, training.batch_size)
            for training in (
                config.autoencoder_training,
                config.score_training,
                config.regressor_training,
                config.judge_training,
            )
        )

    @property
    def axis_name(self) -> str | None:
        return parallel.AXIS if self.num_devices > 1 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """One network's training.

    Attributes:
        phase: Its name.
        config: Steps, rates and intervals.
        num_examples: Rows of the data.
        first_step: Step of metrics.jsonl at which it begins.
        params: Fresh weights.
        stats: Fresh batch statistics.
        make_step: From the optimiser to the step.
        data: What the step gets with every call.
        plan: Batch of a step, as a pure function.
        validate: (step, state) -> figures of the validation; may draw.
        finish: Writes `result`, from the last state and what is to be noted.
        result: File that the next phases take.
    """

    phase: Phase
    config: TrainingConfig
    num_examples: int
    first_step: int
    params: Callable[[], PyTree]
    stats: Callable[[], PyTree]
    make_step: Callable[[optax.GradientTransformation], Step]
    data: PyTree
    plan: Callable[[int], Batch]
    validate: Callable[[int, TrainState], dict[str, float]]
    finish: Callable[[TrainState, dict[str, Any]], None]
    result: Path

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
        return TrainState.create(
            self.params(),
            self.stats(),
            self.optimiser(),
            keep_ema=self.config.ema_decay > 0,
        )


def train(run: Run, training: Training) -> None:
    """Trains from the newest checkpoint on, and lets `finish` write the result.

    Raises:
        UserError: For a mistake of the user's, or a loss that is no longer finite.
        Stopped: After SIGINT or SIGTERM during steps, once the run is saved.
    """
    folder = run.run_dir / "checkpoints" / training.phase
    checkpointer = Checkpointer(folder, keep=2)
    try:
        _Progress(run, training, checkpointer).train()
    finally:
        checkpointer.close()


class _Progress:
    def __init__(self, run: Run, training: Training, checkpointer: Checkpointer):
        self.run, self.training, self.checkpointer = run, training, checkpointer
        self.wall_s, self.validation, self.compiled = 0.0, {}, {}
        default = 1 if jax.default_backend() == "cpu" else _STEPS_PER_CALL
        self.steps_per_call = run.config.steps_per_call or default
        self.step = training.make_step(training.optimiser())

    def train(self) -> None:
        run, training = self.run, self.training
        start, state = self._resume()
        if start == training.num_steps and training.result.exists():
            run.say(f"{training.phase} is trained already")
            return
        run.lap()
        with (
            logs.progress_bar(run.console) as bar,
            run.interrupt.listening(),
            _memory_errors(training),
        ):
            task = bar.add_task(
                training.phase, total=training.num_steps, completed=start
            )

            def on_report(step: int, state: TrainState, series: dict) -> bool:
                bar.update(task, completed=step)
                self._report(step, state, series)
                return False

            state, step = loop.fit(
                self._call,
                state,
                self._batches,
                start=start,
                stop=training.num_steps,
                steps_per_call=self.steps_per_call,
                report_every=training.config.log_every,
                on_report=on_report,
                interrupt=run.interrupt,
            )
        if run.interrupt.signal is not None and step < training.num_steps:
            self._save(step, state)
            self.checkpointer.wait()
            where = f"saved at step {step} of {training.num_steps} of {training.phase}"
            raise Stopped(run.interrupt.signal, where)
        self.checkpointer.wait()
        entry = {
            "parameters": partition.count_params(state.params),
            "steps": step,
            "wall_s": round(self.wall_s, 1),
            "validation": self.validation,
        }
        training.finish(state, entry)
        path = run.run_dir / "phases.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        files.write_json(path, before | {training.phase: entry})

    def _resume(self) -> tuple[int, TrainState]:
        run, training = self.run, self.training
        wanted = run.config.result_fields(training.phase)

        def make_like(meta: dict[str, Any]) -> PyTree:
            owner = f"the phase {training.phase} in {run.run_dir}"
            check_same(meta["config"], wanted, owner)
            return jax.eval_shape(training.fresh)

        found = self.checkpointer.restore_latest(make_like, run.say)
        step, state = (0, training.fresh()) if found is None else found[:2]
        if found is not None:
            self.wall_s = found[2]["wall_s"]
            self.validation = found[2]["validation"]
            run.say(f"resuming {training.phase} at step {step} of {training.num_steps}")
        if step < training.num_steps:  # else later phases have rows of their own
            run.metrics.truncate_after(training.first_step + step)
        return step, parallel.replicate(state, run.num_devices)

    def _batches(self, step: int, k: int) -> Batch:
        """Batches of `k` steps; pure."""
        plans = [self.training.plan(step + i) for i in range(k)]
        if k == 1:
            return parallel.shard_batch(plans[0], self.run.num_devices)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *plans)
        return parallel.shard_batch(stacked, self.run.num_devices, batch_axis=1)

    def _call(self, state: TrainState, batch: Batch, step: int, k: int):
        if k not in self.compiled:
            body = self.step if k == 1 else multiview.several_steps(self.step)
            self.compiled[k] = parallel.compile_step(body, self.run.num_devices)
        return self.compiled[k](state, self.training.data, batch)

    def _report(self, step: int, state: TrainState, series: dict) -> None:
        run, training, config = self.run, self.training, self.training.config
        bad = loop.first_not_finite(series)
        if bad is not None:
            index, name = bad
            self._refuse(name, step - len(series[name]) + index + 1)
        lap = run.lap()
        self.wall_s += lap
        row = {name: float(values.mean()) for name, values in series.items()}
        row["learning_rate"] = float(np.asarray(training.learning_rate()(step)))
        is_last = step == training.num_steps
        if step % config.validate_every == 0 or is_last:
            self.validation = training.validate(step, state)
            row |= {f"validation/{n}": v for n, v in self.validation.items()}
        run.metrics.write(
            training.first_step + step,
            phase=training.phase,
            phase_step=step,
            steps_per_s=len(next(iter(series.values()))) / lap,
            **row,
        )
        if is_last or step % config.checkpoint_every == 0:
            self._save(step, state)

    def _save(self, step: int, state: TrainState) -> None:
        leaves = jax.device_get(jax.tree.leaves(state))
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            self._refuse("a weight or moment", step)
        fields = self.run.config.result_fields(self.training.phase)
        meta = {
            "config": fields,
            "wall_s": self.wall_s,
            "validation": self.validation,
        }
        self.checkpointer.save(step, state, meta)

    def _refuse(self, name: str, step: int) -> NoReturn:
        latest = self.checkpointer.latest_meta()
        kept = "no checkpoint had been saved"
        if latest is not None:
            kept = f"the checkpoint of step {latest[0]} is kept"
        phase = self.training.phase
        raise UserError(
            f"{name} is not finite at step {step} of {phase}; {kept}: lower "
            f"--{phase}-training.learning-rate and give another --run-dir."
        )


@contextlib.contextmanager
def _memory_errors(training: Training) -> Iterator[None]:
    """Turns a device without enough memory into a `UserError`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        phase, size = training.phase, training.config.batch_size
        raise UserError(
            f"{phase} needs more memory than the device has: halve "
            f"--{phase}-training.batch-size (now {size}) or lower --device-data-mb."
        ) from error
