"""The training of one network or pair of networks, resumable at any moment."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Hashable, Iterable
from typing import Any, NoReturn

import jax
import numpy as np
from jaxtyping import PyTree

from jaxgrow.devices import hosts, memory, parallel
from jaxgrow.devices.memory import StepMemory
from jaxgrow.errors import UserError
from jaxgrow.training import logs, loop
from jaxgrow.training.checkpoint import Checkpointer, check_same
from jaxgrow.training.run import Stopped, TrainingRun
from jaxgrow.training.task import Progress, TrainingTask, Validation


_CHECKPOINTS_KEPT = 2


class Trainer:
    """Trains one task, from its newest checkpoint on.

    Attributes:
        progress: Steps taken; fresh until `resume`.
    """

    _checkpoints: Checkpointer

    def __init__(self, run: TrainingRun, task: TrainingTask):
        self.run, self.task = run, task
        self.progress, self._state, self._is_resumed = Progress(), None, False
        self._folder = run.run_dir / "checkpoints" / task.name
        self._metrics = task.metrics or run.metrics
        self._clock = 0.0

    def is_done(self) -> bool:
        """Return True if the result is there, as the first process sees it."""
        return hosts.first_says([self.task.is_done()])[0]

    def has_ended(self) -> bool:
        """Return True if all steps are taken and the result is there."""
        return self.progress.ended_by is not None and self.is_done()

    def compile(self) -> None:
        """Compile the largest call before there are any arrays.

        Raises:
            UserError: It does not fit into the device's memory.
        """
        task, feed = self.task, self.task.feed()
        until_report = min(task.num_steps, task.log_every)
        k = task.steps_per_call if task.steps_per_call <= until_report else 1
        state = self.run.placement.like(task.shapes())
        self._compile(k, task.due(0, k), state, feed.like(), feed(0, k))

    def check(self) -> None:
        """See that result and checkpoints are of this training; write nothing.

        Raises:
            UserError: They were made with other settings, or a record is damaged.
        """
        self.is_done()
        if self._has_begun():
            with self._open_checkpoints() as checkpoints:
                if (latest := checkpoints.latest_meta()) is not None:
                    self._check(latest[1])

    def _has_begun(self) -> bool:
        return hosts.first_says([self._folder.is_dir()])[0]

    def _check(self, meta: dict[str, Any]) -> None:
        if meta.keys() != {"settings", "inputs", "progress"}:
            raise UserError(
                f"{self._folder} holds checkpoints of something else, or of "
                "another version: choose another run directory."
            )
        owner = f"the training of {self.task.label} in {self.run.run_dir}"
        check_same(meta["settings"], self.task.settings, owner)
        here, there = self.task.inputs(), meta["inputs"]
        if other := [name for name in here if here[name] != there.get(name)]:
            raise UserError(
                f"{owner} was made with other {' and other '.join(other)}, by their "
                "content: give the same again or choose another run directory."
            )

    def resume(self) -> None:
        """Read the newest checkpoint that is whole.

        Raises:
            UserError: It was made with other settings, or all of them are damaged.
        """
        run, task = self.run, self.task

        def make_like(meta: dict[str, Any]) -> PyTree:
            self._check(meta)
            return run.placement.like(task.shapes())

        found = None
        if self._has_begun():
            with self._open_checkpoints() as checkpoints:
                found = checkpoints.restore_latest(make_like, run.say)
        self._is_resumed = True
        if found is not None:
            self.progress = Progress(**found[2]["progress"])
            self._state = run.placement.replicate(found[1])
        if self.progress.ended_by is None:  # else later trainings have rows
            self._metrics.truncate_after(task.first_step + self.progress.step)
            if found is not None:
                run.say(f"resuming at step {self.progress.step} of {self._whole}")

    def train(self) -> Any:
        """Train to the end, write the result, and return the last state.

        Raises:
            UserError: For a mistake of the user's, or a loss that is not finite.
            Stopped: After SIGINT or SIGTERM, once the training is saved.
        """
        run, task = self.run, self.task
        if not self._is_resumed:
            self.resume()
        state, self._state = self._state, None  # the first step donates it
        if self.has_ended():
            run.say(f"{task.label} is trained already")
            return state
        if self.progress.ended_by is None:
            with (
                self._open_checkpoints() as self._checkpoints,
                memory.errors(self._too_large),
            ):
                state = self._take_steps(state)
        if self.progress.ended_by is not None:
            self._finish(state)
        if run.interrupt.signal is not None:
            where = f"saved at step {self.progress.step} of {self._whole}"
            raise Stopped(run.interrupt.signal, where)
        return state

    def _open_checkpoints(self) -> contextlib.closing[Checkpointer]:
        return contextlib.closing(Checkpointer(self._folder, keep=_CHECKPOINTS_KEPT))

    @property
    def _whole(self) -> str:
        return f"{self.task.num_steps} of {self.task.label}"

    def _take_steps(self, state: Any) -> Any:
        run, task, feed = self.run, self.task, self.task.feed()
        data = feed.place()
        if state is None:
            fresh = task.fresh(parallel.first_copy(data))
            state = run.placement.replicate(hosts.from_first(fresh))
        with logs.progress_bar(run.console) as bar, run.interrupt.listening():
            shown = bar.add_task(
                task.label,
                total=task.num_steps,
                completed=self.progress.step,
                examples=(task.batch_size, task.examples),
            )

            def on_report(step: int, state: Any, series: dict[str, np.ndarray]) -> bool:
                bar.update(shown, completed=step)
                return self._report(step, state, series)

            self._clock = time.monotonic()
            state, _ = loop.fit(
                functools.partial(self._call, data),
                state,
                feed,
                start=self.progress.step,
                stop=task.num_steps,
                steps_per_call=task.steps_per_call,
                report_every=task.log_every,
                on_report=on_report,
                interrupt=run.interrupt,
            )
        if self.progress.ended_by is None:  # interrupted
            self._save(state)
        return state

    def _call(self, data: Any, state: Any, batch: Any, step: int, k: int) -> Any:
        """Take the `k` steps from `step` on."""
        due = self.task.due(step, k)
        program = self.task.programs.get((k, due))
        program = program or self._compile(k, due, state, data, batch)
        return program(state, data, batch)

    def _compile(self, k: int, due: Hashable, state: Any, data: Any, batch: Any) -> Any:
        step = self.task.make_step(k, due)
        return self.task.programs.compile(
            (k, due),
            self.run.placement.compile_step(step),
            *(state, data, batch),
            too_large=self._too_large,
            tell=self._say_memory,
        )

    def _report(self, step: int, state: Any, series: dict[str, np.ndarray]) -> bool:
        """Log, validate and save what is due; return True at the training's end."""
        task, progress = self.task, self.progress
        if (bad := loop.first_not_finite(series)) is not None:
            index, name = bad
            self._refuse(name, step - len(series[name]) + index + 1)
        lap, self._clock = time.monotonic() - self._clock, time.monotonic()
        progress.step, progress.wall_s = step, progress.wall_s + lap
        row = {name: float(values.mean()) for name, values in series.items()}
        if (remark := task.remark(step, row)) is not None:
            self.run.say(remark)
        is_last = step == task.num_steps
        if step % task.validate_every == 0 or is_last:
            found = self._validate(step, state)
            row |= {f"validation/{name}": value for name, value in found.items()}
        self._metrics.write(
            task.first_step + step,
            **task.row(step),
            steps_per_s=len(next(iter(series.values()))) / lap,
            **row,
        )
        if is_last:
            progress.ended_by = "steps"
        if progress.ended_by is not None or step % task.validate_every == 0:
            self._save(state)
        return progress.ended_by is not None

    def _validate(self, step: int, state: Any) -> Validation:
        """Validate, and decide if the training ends here."""
        validations = self.progress.validations
        found = self.task.validate(step, parallel.first_copy(state))
        for name, value in found.items():
            if not np.isfinite(value):
                self._refuse(f"validation/{name}", step)
        validations.append(found)
        if hosts.first_says([self.task.should_end(step, validations)])[0]:
            self.progress.ended_by = "plateau"
        return found

    def _save(self, state: Any) -> None:
        leaves = jax.device_get(jax.tree.leaves(state))
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            self._refuse("a weight or moment", self.progress.step)
        settings, inputs = self.task.settings, self.task.inputs()
        meta = {"settings": settings, "inputs": inputs}
        meta["progress"] = dataclasses.asdict(self.progress)
        self._checkpoints.save(self.progress.step, state, meta)

    def _finish(self, state: Any) -> None:
        task, progress = self.task, self.progress
        entry = {
            "steps": progress.step,
            "wall_s": round(progress.wall_s, 1),
            "steps_per_s": round(progress.step / progress.wall_s, 2),
            "ended_by": progress.ended_by,
            "validation": progress.validations[-1],
        }
        entry |= memory.describe(task.programs.memory, self._batch_per_device)
        if used := memory.measured_sentence():
            self.run.say(f"{task.label}: {used}")
        if hosts.is_first():
            task.finish(parallel.first_copy(state), entry)
        hosts.wait()

    def _refuse(self, name: str, step: int) -> NoReturn:
        kept = "no checkpoint had been saved"
        if (latest := self._checkpoints.latest_meta()) is not None:
            good = f"the last good checkpoint, of step {latest[0]}"
            kept = f"{good}, is kept in {self._folder}"
        raise UserError(
            f"{name} is not finite at step {step} of {self.task.label}; {kept}: "
            f"{self.task.if_not_finite}"
        )

    @property
    def _batch_per_device(self) -> int:
        return self.task.batch_size // self.run.placement.num_devices

    def _say_memory(self, found: StepMemory) -> None:
        text = memory.sentence(found, self._batch_per_device, self.task.examples)
        self.run.say(f"{self.task.label}: {text}")

    def _too_large(self, amount: str) -> UserError:
        return UserError(f"{self.task.label} needs {amount}: {self.task.if_too_large}")


def preflight(trainers: Iterable[Trainer]) -> None:
    """Compile the steps of all trainings that are to come, and see that they fit.

    What is compiled here is not compiled again.

    Raises:
        UserError: One does not fit.
    """
    for trainer in trainers:
        if not trainer.is_done():
            trainer.compile()
