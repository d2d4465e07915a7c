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
from jaxgrow import files, hosts, logs, loop, multiview, parallel, partition
from jaxgrow.checkpoint import Checkpointer, check_same
from jaxgrow.errors import UserError
from jaxgrow.logs import MetricWriter
from jaxgrow.multiview import Batch, Step
from jaxgrow.train_state import TrainState


_STEPS_PER_CALL = 25  # off the CPU, where a step is mostly launches


class Run(RunLog):
    """A run under way: its config, its devices, and what it says."""

    def __init__(self, config: Config, console: Console):
        super().__init__(config.run_dir, console)
        self.config = config
        self.interrupt = loop.Interrupt()
        self.placement = parallel.place(
            config.parallel,
            config.devices,
            config.autoencoder_training.batch_size,
            config.score_training.batch_size,
            config.regressor_training.batch_size,
            config.judge_training.batch_size,
            config.classify.training.batch_size,
        )


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
        data: What the step gets with every call.
        plan: Batch of a step, as a pure function.
        validate: (step, state) -> figures of the validation; may draw.
        finish: Writes `result`, from the last state and what is to be noted.
        result: File that the next phases take.
        name: What it is called where its phase trains several networks; it then has a
            metrics file of its own.
        num_models: Networks that one step trains; above 1, every leaf of the state and
            of a batch is stacked in front.
        programs: Compiled steps by their number per call; trainings that share the
            step, the optimiser and all shapes may share them.
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
    name: str | None = None
    num_models: int = 1
    programs: dict[int, Any] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """A path below the folder of checkpoints."""
        return self.phase if self.name is None else f"{self.phase}/{self.name}"

    @property
    def flags(self) -> str:
        """What the fields of its config are called on the command line."""
        return f"--{self.phase}{'-' if self.name is None else '.'}training"

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


def train(run: Run, training: Training) -> None:
    """Trains from the newest checkpoint on, and lets `finish` write the result.

    Raises:
        UserError: For a mistake of the user's, or a loss that is no longer finite.
        Stopped: After SIGINT or SIGTERM during steps, once the run is saved.
    """
    folder = run.run_dir / "checkpoints" / training.label
    checkpointer = Checkpointer(folder, keep=2)
    try:
        _Progress(run, training, checkpointer).train()
    finally:
        checkpointer.close()


class _Progress:
    def __init__(self, run: Run, training: Training, checkpointer: Checkpointer):
        self.run, self.training, self.checkpointer = run, training, checkpointer
        self.wall_s, self.validation = 0.0, {}
        self.metrics = run.metrics
        if training.name is not None:
            path = run.run_dir / training.phase / "metrics" / f"{training.name}.jsonl"
            self.metrics = MetricWriter(path)
        default = loop.even_calls(_STEPS_PER_CALL, training.config.log_every)
        if jax.default_backend() == "cpu":
            default = 1
        self.steps_per_call = run.config.steps_per_call or default
        self.step = training.make_step(training.optimiser())

    def train(self) -> None:
        run, training = self.run, self.training
        start, state = self._resume()
        is_there = np.asarray(training.result.exists())
        if start == training.num_steps and hosts.from_first(is_there):
            run.say(f"{training.label} is trained already")
            return
        run.lap()
        with (
            logs.progress_bar(run.console) as bar,
            run.interrupt.listening(),
            _memory_errors(training),
        ):
            task = bar.add_task(
                training.label, total=training.num_steps, completed=start
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
            where = f"saved at step {step} of {training.num_steps} of {training.label}"
            raise Stopped(run.interrupt.signal, where)
        self.checkpointer.wait()
        entry = {
            "parameters": partition.count_params(state.params) // training.num_models,
            "steps": step,
            "wall_s": round(self.wall_s, 1),
            "validation": self.validation,
        }
        if hosts.is_first():
            training.finish(parallel.first_copy(state), entry)
            path = run.run_dir / "phases.json"
            before = json.loads(path.read_text()) if path.exists() else {}
            files.write_json(path, before | {training.label: entry})
        hosts.wait()

    def _resume(self) -> tuple[int, TrainState]:
        run, training = self.run, self.training
        wanted = run.config.result_fields(training.phase)

        def make_like(meta: dict[str, Any]) -> PyTree:
            owner = f"the phase {training.label} in {run.run_dir}"
            check_same(meta["config"], wanted, owner)
            return run.placement.like(jax.eval_shape(training.fresh))

        found = self.checkpointer.restore_latest(make_like, run.say)
        if found is None:
            step, state = 0, hosts.from_first(training.fresh())
        else:
            step, state = found[:2]
            self.wall_s = found[2]["wall_s"]
            self.validation = found[2]["validation"]
            run.say(f"resuming {training.label} at step {step} of {training.num_steps}")
        if step < training.num_steps:  # else later phases have rows of their own
            self.metrics.truncate_after(training.first_step + step)
        return step, run.placement.replicate(state)

    def _batches(self, step: int, k: int) -> Batch:
        """Batches of `k` steps; pure."""
        plans = [self.training.plan(step + i) for i in range(k)]
        if k == 1:
            return self.run.placement.shard_batch(plans[0])
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *plans)
        return self.run.placement.shard_batch(stacked, batch_axis=1)

    def _call(self, state: TrainState, batch: Batch, step: int, k: int):
        if k not in self.training.programs:
            body = self.step if k == 1 else multiview.several_steps(self.step)
            self.training.programs[k] = self.run.placement.compile_step(body)
        return self.training.programs[k](state, self.training.data, batch)

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
            self.validation = training.validate(step, parallel.first_copy(state))
            row |= {f"validation/{n}": v for n, v in self.validation.items()}
        self.metrics.write(
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
        raise UserError(
            f"{name} is not finite at step {step} of {self.training.label}; {kept}: "
            f"lower {self.training.flags}.learning-rate and give another --run-dir."
        )


@contextlib.contextmanager
def _memory_errors(training: Training) -> Iterator[None]:
    """Turns a device without enough memory into a `UserError`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        size = training.config.batch_size
        raise UserError(
            f"{training.label} needs more memory than the device has: halve "
            f"{training.flags}.batch-size (now {size}) or lower --device-data-mb."
        ) from error
