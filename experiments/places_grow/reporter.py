"""What happens at a report of a stage: log, validate, draw, save, decide to go on."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from rich.progress import Progress, TaskID

from experiments.places_grow.prepare import Pictures, validation_set
from experiments.places_grow.run import Run
from experiments.places_grow.stage_step import StageStep
from jaxgrow import viz
from jaxgrow.devices import hosts, memory, parallel
from jaxgrow.inpainting import fill, networks, saved_models
from jaxgrow.inpainting.networks import InpaintState
from jaxgrow.inpainting.stages import Plateau, Stage
from jaxgrow.storage import files
from jaxgrow.training import loop, train_state


_PANEL_ROWS = 8


class Reporter:
    """Called by the loop; keeps what one stage needs for its reports."""

    def __init__(
        self,
        run: Run,
        stage: Stage,
        step: StageStep,
        pictures: Pictures,
        bar: Progress,
        task: TaskID,
    ):
        self.run, self.stage, self.step = run, stage, step
        self.bar, self.task = bar, task
        self.validation = validation_set(run.config, pictures, stage.resolution)
        self.masks = self.validation.mixed_masks()
        self.images = jnp.asarray(self.validation.images)
        self.evaluate = fill.make_eval_step(step.nets, jnp.asarray(self.masks))
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
            run.refuse_not_finite(name, step - len(series[name]) + index + 1)
        lap = run.lap()
        at = run.at
        at.stage_step, at.global_step = step, self.start + step
        at.wall_s, at.stage_wall_s = at.wall_s + lap, at.stage_wall_s + lap
        at.fade = min(1.0, step / stage.fade_steps) if stage.fade_steps else 1.0
        row = {name: float(values.mean()) for name, values in series.items()}
        row["learning_rate"] = self.step.learning_rate(step)
        ended_by = "steps" if step == stage.num_steps else None
        if step % config.validate_every == 0 or ended_by:
            here = parallel.first_copy(state)
            row["validation/hole_error"], is_stale = self._validate(step, here)
            ended_by = ended_by or ("plateau" if is_stale else None)
        run.metrics.write(
            at.global_step,
            stage=stage.resolution,
            stage_step=step,
            phase="train",
            steps_per_s=len(next(iter(series.values()))) / lap,
            **row,
        )
        self.bar.update(self.task, completed=step)
        if ended_by:
            self._finish(step, state, ended_by)
        if ended_by or step % config.checkpoint_every == 0:
            run.save(state)
        return at.stage_done

    def _validate(self, step: int, state: InpaintState) -> tuple[float, bool]:
        """Validation error; whether adaptive growing ends the stage here."""
        config, growth_config = self.run.config, self.run.config.growth
        output, error = self.evaluate(state.generator, self.images, jnp.int32(step))
        error = float(error)
        if not np.isfinite(error):
            self.run.refuse_not_finite("validation/hole_error", step)
        name = f"r{self.stage.resolution:03d}_{step:06d}.png"
        self._draw(np.asarray(output[:_PANEL_ROWS]), config.run_dir / "samples" / name)
        is_stale = self.plateau.update(error, growth_config)
        is_stale = bool(hosts.from_first(np.asarray(is_stale)))
        self.run.at.plateau = vars(self.plateau).copy()
        least = growth_config.min_steps * self.stage.num_steps
        return error, growth_config.adaptive and is_stale and step >= least

    def _draw(self, output: np.ndarray, path: Path) -> None:
        if not hosts.is_first():
            return
        n = len(output)
        rounded = np.rint((output + 1.0) * 127.5).astype(np.uint8)
        original, hole = self.validation.images[:n], self.masks[:n].astype(bool)
        masked = viz.paint_holes(original, hole[..., 0])
        filled = np.where(hole, rounded, original)
        viz.save_png(path, viz.inpainting_panel(masked, rounded, filled, original))

    def _finish(self, step: int, state: InpaintState, ended_by: str) -> None:
        run, at, stage = self.run, self.run.at, self.stage
        g = parallel.first_copy(state.generator)
        at.stage_done = True
        params, stats = networks.without_old_heads(g, self.step.nets.generator)
        trainable, _ = self.step.nets.generator.split(g.params)
        entry = {
            "resolution": stage.resolution,
            "parameters": train_state.count_params(params),
            "trainable": train_state.count_params(trainable),
            "steps": step,
            "images_seen": step * run.config.batch_size,
            "wall_s": round(at.stage_wall_s, 1),
            "steps_per_s": round(step / at.stage_wall_s, 2),
            "ended_by": ended_by,
            **memory.describe(self.step.programs.memory, self.step.batch_per_device),
        }
        at.stages = [*at.stages, entry]
        if not hosts.is_first():
            return
        saved_models.save_generator(
            run.config.run_dir / "weights" / saved_models.file_name(stage.resolution),
            params,
            stats,
            run.config.net,
            stage.resolution,
            {"command": sys.argv[1:], "stages": at.stages, "seed": run.config.seed},
        )
        files.write_json(run.config.run_dir / "stages.json", at.stages)
