"""The run: every stage in turn, resumable at any moment, and its files."""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID

from experiments.places_grow import stage_step
from experiments.places_grow.config import EXPERIMENT, Config, to_plain
from experiments.places_grow.prepare import (
    Feed,
    Pictures,
    load_pictures,
    validation_set,
)
from experiments.places_grow.stage_step import StageStep
from jaxgrow import (
    files,
    growth,
    inpainting,
    logs,
    loop,
    parallel,
    partition,
    runtime,
    viz,
    weights,
)
from jaxgrow.checkpoint import Checkpointer, check_same
from jaxgrow.errors import UserError
from jaxgrow.growth import Plateau, Stage, plan_stages
from jaxgrow.inpainting import InpaintState
from jaxgrow.nets.features import load_vgg19, make_features_fn
from jaxgrow.typing import FeaturesFn


_PANEL_ROWS = 8


class Stopped(Exception):
    """The run was asked to stop and has saved; the same command goes on."""


@dataclasses.dataclass
class Progressed:
    """Where a run stands besides its arrays; the JSON that every checkpoint carries."""

    stage: int = 0
    stage_step: int = 0
    stage_done: bool = False
    global_step: int = 0
    fade: float = 1.0
    plateau: dict[str, Any] = dataclasses.field(default_factory=dict)
    wall_s: float = 0.0
    stage_wall_s: float = 0.0
    stages: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def train(config: Config, console: Console) -> None:
    """Trains every stage that is not trained yet.

    Raises:
        UserError: For a mistake of the user's, or a loss that is no longer finite.
        Stopped: After SIGINT or SIGTERM, once the run is saved.
    """
    num_devices = parallel.check_devices(config.devices, config.batch_size)
    _claim_run_dir(config)
    checkpointer = Checkpointer(config.run_dir / "checkpoints")
    try:
        with loop.Interrupt().listening() as interrupt:
            _Run(config, console, checkpointer, num_devices, interrupt).run()
    finally:
        checkpointer.close()


def _claim_run_dir(config: Config) -> None:
    """Writes config.json, or refuses a folder that belongs to something else."""
    path = config.run_dir / "config.json"
    if path.exists():
        saved = json.loads(path.read_text())
        if saved.get("experiment") != EXPERIMENT:
            raise UserError(
                f"{config.run_dir} holds a run of {saved.get('experiment')!r}, not of "
                f"{EXPERIMENT}: pass another --run-dir."
            )
    elif config.run_dir.is_dir() and any(config.run_dir.iterdir()):
        raise UserError(
            f"{config.run_dir} is not empty and is no run of {EXPERIMENT}: pass "
            "another --run-dir."
        )
    else:
        saved = {"experiment": EXPERIMENT, "config": to_plain(config)}
        files.write_json(path, saved)
    files.write_json(
        config.run_dir / "versions.json",
        {**runtime.versions(), "device": jax.devices()[0].device_kind},
    )
    files.write_json(config.run_dir / "command.json", sys.argv)


def load_features(config: Config) -> tuple[FeaturesFn | None, str]:
    """The perceptual term's features, and a sentence that says whether it is on."""
    if not config.vgg_weights.exists():
        return None, (
            f"perceptual term off: no VGG19 weights at {config.vgg_weights} "
            "(tools.export_weights makes them where the internet is)"
        )
    features_fn = make_features_fn(load_vgg19(config.vgg_weights))
    return features_fn, f"perceptual term on: VGG19 from {config.vgg_weights}"


class _Run:
    """A run under way: what all its stages share."""

    def __init__(
        self,
        config: Config,
        console: Console,
        checkpointer: Checkpointer,
        num_devices: int,
        interrupt: loop.Interrupt,
    ):
        self.config, self.console, self.interrupt = config, console, interrupt
        self.checkpointer, self.num_devices = checkpointer, num_devices
        self.stages = plan_stages(config.growth)
        self.features_fn, self.perceptual_note = load_features(config)
        self.metrics = logs.MetricWriter(config.run_dir / "metrics.jsonl")
        self.at = Progressed()
        self.clock = time.monotonic()

    def say(self, message: str) -> None:
        self.console.print(message, markup=False, highlight=False)

    def run(self) -> None:
        state = self._resume()
        if self.at.stage_done and self.at.stage == len(self.stages) - 1:
            self.say(f"training is complete: {self.config.run_dir}")
            return
        self.say(self.perceptual_note)
        files.write_json(self.config.run_dir / "notes.json", [self.perceptual_note])
        pictures = load_pictures(self.config, self.say)
        prepared = self._preflight(pictures)
        if self.at.stage_done:
            self._begin(self.at.stage + 1)
        for stage in self.stages[self.at.stage :]:
            step = prepared.pop(stage.index, None) or self._prepare(stage, pictures)
            if self.at.stage_step == 0:
                before = state
                state = None  # its buffers may be donated
                state = step.enter(before)
            state = self._train_stage(stage, step, pictures, state)
            if stage.index + 1 < len(self.stages):
                self._begin(stage.index + 1)

    def _begin(self, stage: int) -> None:
        self.at = dataclasses.replace(
            self.at,
            stage=stage,
            stage_step=0,
            stage_done=False,
            plateau={},
            stage_wall_s=0.0,
        )

    def _prepare(self, stage: Stage, pictures: Pictures) -> StageStep:
        feed = Feed(self.config, pictures, stage, self.num_devices)
        features_fn = self.features_fn
        if stage.resolution < self.config.losses.perceptual_from:
            features_fn = None
        return StageStep(self.config, stage, feed, features_fn, self.num_devices)

    def _preflight(self, pictures: Pictures) -> dict[int, StageStep]:
        """Compiles the largest stage that is to come and sees that it fits."""
        stage = self.stages[-1]
        self.say(f"compiling the largest stage, {stage.resolution} px")
        step = self._prepare(stage, pictures)
        step.compile()
        self.say(f"it fits: {step.memory_mb:.0f} MB for the step")
        return {stage.index: step}

    def _resume(self) -> InpaintState | None:
        wanted = self.config.result_fields()

        def make_like(meta: dict[str, Any]):
            check_same(meta["config"], wanted, f"the run in {self.config.run_dir}")
            stage = self.stages[meta["at"]["stage"]]
            return stage_step.state_shapes(self.config, stage, self.num_devices)

        found = self.checkpointer.restore_latest(make_like, self.say)
        if found is None:
            self.metrics.truncate_after(-1)
            return None
        _, state, meta = found
        self.at = Progressed(**meta["at"])
        self.metrics.truncate_after(self.at.global_step)
        stage = self.stages[self.at.stage]
        self.say(
            f"resuming at step {self.at.stage_step} of {stage.num_steps} "
            f"of the {stage.resolution} px stage"
        )
        return parallel.replicate(state, self.num_devices)

    def _train_stage(
        self, stage: Stage, step: StageStep, pictures: Pictures, state: InpaintState
    ) -> InpaintState:
        with logs.progress_bar(self.console) as bar:
            task = bar.add_task(
                f"{stage.resolution} px",
                total=stage.num_steps,
                completed=self.at.stage_step,
            )
            reporter = _Reporter(self, stage, step, pictures, bar, task)
            state, _ = loop.fit(
                step,
                state,
                step.feed,
                start=self.at.stage_step,
                stop=stage.num_steps,
                steps_per_call=step.steps_per_call,
                report_every=self.config.log_every,
                on_report=reporter,
                interrupt=self.interrupt,
            )
        if self.interrupt.signal is not None and not self.at.stage_done:
            self.checkpointer.wait()
            raise Stopped(
                f"{self.interrupt.signal.name} came: saved at step "
                f"{self.at.stage_step} of the {stage.resolution} px stage; the same "
                "command goes on from there"
            )
        return state

    def save(self, state: InpaintState) -> None:
        meta = {"config": self.config.result_fields(), "at": vars(self.at)}
        self.checkpointer.save(self.at.global_step, state, meta)

    def lap(self) -> float:
        """Seconds since the last lap; the first began with the run."""
        now = time.monotonic()
        lap, self.clock = now - self.clock, now
        return lap


class _Reporter:
    """What happens at a report: log, validate, draw, save, decide whether to go on."""

    def __init__(
        self,
        run: _Run,
        stage: Stage,
        step: StageStep,
        pictures: Pictures,
        bar: Progress,
        task: TaskID,
    ):
        self.run, self.stage, self.step = run, stage, step
        self.bar, self.task = bar, task
        self.validation = validation_set(run.config, pictures, stage.resolution)
        mixed = self.validation.mixed_masks()
        self.masks = mixed
        self.evaluate = inpainting.make_eval_step(step.nets, mixed)
        self.plateau = Plateau(**run.at.plateau)
        self.start = run.at.global_step - run.at.stage_step
        run.lap()

    def __call__(
        self, step: int, state: InpaintState, series: dict[str, np.ndarray]
    ) -> bool:
        run, config, stage = self.run, self.run.config, self.stage
        bad = loop.first_not_finite(series)
        if bad is not None:
            index, name = bad
            number = step - len(series[name]) + index + 1
            raise UserError(
                f"{name} is not finite at step {number} of the {stage.resolution} px "
                f"stage; the last good checkpoint is kept in "
                f"{run.checkpointer.directory}. Lower the learning rates and give "
                "another --run-dir, or remove the cause and resume."
            )
        lap = run.lap()
        at = run.at
        at.stage_step, at.global_step = step, self.start + step
        at.wall_s, at.stage_wall_s = at.wall_s + lap, at.stage_wall_s + lap
        at.fade = min(1.0, step / stage.fade_steps) if stage.fade_steps else 1.0
        row = {name: float(values.mean()) for name, values in series.items()}
        row["learning_rate"] = self.step.learning_rate(step)
        ends_early = False
        ends = step == stage.num_steps
        if step % config.validate_every == 0 or ends:
            row["validation/hole_error"], ends_early = self._validate(step, state)
            ends_early = ends_early and not ends
        run.metrics.write(
            at.global_step,
            stage=stage.resolution,
            stage_step=step,
            phase="train",
            steps_per_s=len(next(iter(series.values()))) / lap,
            **row,
        )
        self.bar.update(self.task, completed=step)
        if ends or ends_early:
            self._finish(step, state, "plateau" if ends_early else "steps")
        if at.stage_done or step % config.checkpoint_every == 0 or run.interrupt.signal:
            run.save(state)
        return at.stage_done

    def _validate(self, step: int, state: InpaintState) -> tuple[float, bool]:
        """Validation error; whether adaptive growing ends the stage here."""
        config, growth_config = self.run.config, self.run.config.growth
        output, error = self.evaluate(state.generator, self.validation.images, step)
        error = float(error)
        name = f"r{self.stage.resolution:03d}_{step:06d}.png"
        self._draw(np.asarray(output[:_PANEL_ROWS]), config.run_dir / "samples" / name)
        stale = self.plateau.update(error, growth_config)
        self.run.at.plateau = vars(self.plateau).copy()
        least = growth_config.min_steps * self.stage.num_steps
        return error, growth_config.adaptive and stale and step >= least

    def _draw(self, output: np.ndarray, path: Path) -> None:
        n = len(output)
        rounded = np.rint((output + 1.0) * 127.5).astype(np.uint8)
        original, hole = self.validation.images[:n], self.masks[:n].astype(bool)
        masked = viz.paint_holes(original, hole[..., 0])
        filled = np.where(hole, rounded, original)
        panel = viz.inpainting_panel(masked, rounded, filled, original)
        viz.save_png(path, panel)

    def _finish(self, step: int, state: InpaintState, ended_by: str) -> None:
        run, at, stage = self.run, self.run.at, self.stage
        g = state.generator
        at.stage_done = True
        params, stats = growth.without_old_heads(g, self.step.nets.generator)
        trainable, _ = partition.split(g.params, self.step.nets.g_labels)
        entry = {
            "resolution": stage.resolution,
            "parameters": partition.count_params(params),
            "trainable": partition.count_params(trainable),
            "steps": step,
            "images_seen": step * run.config.batch_size,
            "wall_s": round(at.stage_wall_s, 1),
            "steps_per_s": round(step / at.stage_wall_s, 2),
            "ended_by": ended_by,
            "peak_memory_mb": round(self.step.memory_mb),
        }
        at.stages = [*at.stages, entry]
        weights.save_generator(
            run.config.run_dir / "weights" / weights.file_name(stage.resolution),
            params,
            stats,
            run.config.net,
            stage.resolution,
            {"command": sys.argv[1:], "stages": at.stages, "seed": run.config.seed},
        )
        files.write_json(run.config.run_dir / "stages.json", at.stages)
