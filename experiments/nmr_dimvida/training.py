"""The training of one network, resumable at any moment; every phase but views."""

import json
from typing import Any, NoReturn

import jax
import numpy as np
from jaxtyping import PyTree

from experiments.nmr_dimvida.run import Run
from experiments.nmr_dimvida.training_step import Training, TrainingStep
from experiments.shared.run_dir import Stopped
from jaxgrow.devices import hosts, memory, parallel
from jaxgrow.errors import UserError
from jaxgrow.storage import files
from jaxgrow.training import logs, loop, train_state
from jaxgrow.training.checkpoint import Checkpointer, check_same
from jaxgrow.training.logs import MetricWriter
from jaxgrow.training.train_state import TrainState


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
        self.step = TrainingStep(run, training)

    def train(self) -> None:
        run, training = self.run, self.training
        start, state = self._resume()
        is_there = np.asarray(training.result.exists())
        if start == training.num_steps and hosts.from_first(is_there):
            run.say(f"{training.label} is trained already")
            return
        with memory.errors(training.too_large):
            data = training.data()
        run.lap()
        with (
            logs.progress_bar(run.console) as bar,
            run.interrupt.listening(),
            memory.errors(training.too_large),
        ):
            task = bar.add_task(
                training.label,
                total=training.num_steps,
                completed=start,
                examples=(
                    training.num_models * training.config.batch_size,
                    training.examples,
                ),
            )

            def on_report(step: int, state: TrainState, series: dict) -> bool:
                bar.update(task, completed=step)
                self._report(step, state, series)
                return False

            state, step = loop.fit(
                lambda state, batch, _, k: self.step.call(state, data, batch, k),
                state,
                self.step.batches,
                start=start,
                stop=training.num_steps,
                steps_per_call=self.step.steps_per_call,
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
            "parameters": train_state.count_params(state.params) // training.num_models,
            "steps": step,
            "wall_s": round(self.wall_s, 1),
            "validation": self.validation,
        }
        if self.step.has_compiled or training.name is None:
            used = training.programs.memory
            entry |= memory.describe(used, self.step.batch_per_device)
            if text := memory.measured_sentence():
                run.say(f"{training.label}: {text}")
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
