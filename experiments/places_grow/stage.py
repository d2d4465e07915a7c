"""One stage of a run as a task of the trainer."""

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from experiments.places_grow.config import Config
from experiments.places_grow.prepare import Inputs, picture_feed, validation_set
from jaxgrow import viz
from jaxgrow.devices import hosts, parallel
from jaxgrow.devices.memory import Programs
from jaxgrow.inpainting import fill, gan_step, networks, saved_models, stages
from jaxgrow.inpainting.losses import has_r1
from jaxgrow.inpainting.networks import InpaintState, Networks
from jaxgrow.inpainting.stages import Plateau, Stage
from jaxgrow.storage import files
from jaxgrow.training import loop, train_state
from jaxgrow.training.feed import Feed
from jaxgrow.training.run import TrainingRun
from jaxgrow.training.task import TrainingTask, Validation
from jaxgrow.typing import FeaturesFn


# Off the CPU, by resolution: calls of about a tenth of a second on one H100. That is
# long beside the start of a call, and short enough to react to an interrupt.
_STEPS_PER_CALL = {4: 100, 8: 100, 16: 50, 32: 25, 64: 10}
_STEPS_PER_LARGER_CALL = 5
_PANEL_ROWS = 8
_PANEL_TITLES = ("masked input", "output", "composite", "original")
_DEAD_SHARE = 0.5  # of gradients below Adam's eps


class StageTraining:
    """Everything that the trainer needs of one stage.

    Attributes:
        stage: The stage.
        name: Folder of its checkpoints.
        before: State at the end of the stage before; None for the first stage, and
            where it is not needed because this stage is resumed.
    """

    def __init__(self, run: TrainingRun, config: Config, stage: Stage, inputs: Inputs):
        self.stage, self.name = stage, f"stage_{stage.index}"
        self.before: InpaintState | None = None
        self._run, self._config, self._inputs = run, config, inputs
        self._schedule = stages.learning_rate(config.optimizer, "generator", stage)
        self._programs = Programs()

    def task(self) -> TrainingTask:
        """Return the task; the stages before must be done."""
        config, stage = self._config, self.stage
        before = self._entries[: stage.index]
        first_step = np.array(sum(entry["steps"] for entry in before))
        return TrainingTask(
            name=self.name,
            label=f"the {stage.resolution} px stage",
            settings=config.result_fields(),
            inputs=lambda: self._inputs.digests,
            num_steps=stage.num_steps,
            batch_size=config.batch_size,
            log_every=config.log_every,
            validate_every=config.validate_every,
            steps_per_call=config.steps_per_call
            or default_steps_per_call(stage.resolution, config.log_every),
            feed=lambda: self._feed,
            shapes=functools.partial(state_shapes, config, stage),
            fresh=self._fresh,
            make_step=self._make_step,
            row=self._row,
            validate=self._validate,
            finish=self._finish,
            is_done=self.is_done,
            if_not_finite="lower the learning rates and set another run_dir.",
            if_too_large=f"halve batch_size (now {config.batch_size}), lower "
            "device_data_mb, set net.compute_dtype bfloat16, or leave the largest of "
            "growth.resolutions out.",
            due=self._due,
            should_end=self._should_end,
            remark=self._remark,
            first_step=int(hosts.from_first(first_step)),
            programs=self._programs,
        )

    def is_done(self) -> bool:
        """Return True if the stage's weights and its entry in stages.json are there."""
        return len(self._entries) > self.stage.index and self._weights.exists()

    @property
    def _entries(self) -> list[dict[str, Any]]:
        return read_stages(self._run.run_dir)

    @property
    def _weights(self) -> Path:
        name = saved_models.file_name(self.stage.resolution)
        return self._run.run_dir / "weights" / name

    @functools.cached_property
    def _nets(self) -> Networks:
        axis_name = self._run.placement.axis_name
        return make_networks(self._config, self.stage, axis_name)

    @functools.cached_property
    def _feed(self) -> Feed:
        return picture_feed(
            self._config, self._inputs.pictures, self.stage, self._run.placement
        )

    @property
    def _features_fn(self) -> FeaturesFn | None:
        is_on = self.stage.resolution >= self._config.losses.perceptual_from
        return self._inputs.features_fn if is_on else None

    def _fresh(self, data: PyTree) -> InpaintState:
        config, nets = self._config, self._nets
        before, self.before = self.before, None  # its memory is freed
        if before is not None:
            before = parallel.first_copy(before)
        state = enter_stage(config, nets, self.stage, before)
        if self._features_fn is None:
            return state
        weight = config.losses.perceptual_weight
        if weight is None:
            first = jax.tree.map(jnp.asarray, self._feed.batch(0))
            weight = gan_step.automatic_perceptual_weight(
                nets, config.losses, self._features_fn, state, data, first
            )
        return state.replace(perceptual_weight=jnp.float32(weight))

    def _due(self, step: int, k: int) -> bool:
        """Return True for a step with R1; several at once decide by themselves."""
        losses = self._config.losses
        return k == 1 and has_r1(losses) and step % losses.r1_every == 0

    def _make_step(self, k: int, with_r1: bool) -> Callable[..., Any]:
        config = self._config
        step = gan_step.make_gan_step(
            self._nets,
            config.losses,
            ema_decay=config.optimizer.ema_decay,
            features_fn=self._features_fn,
            axis_name=self._run.placement.axis_name,
        )
        if k > 1:
            return gan_step.make_multi_step(step, config.losses)
        return lambda state, data, batch: step(state, data, batch, with_r1)

    def _row(self, step: int) -> dict[str, Any]:
        return {
            "stage": self.stage.resolution,
            "stage_step": step,
            "phase": "train",
            "learning_rate": float(np.asarray(self._schedule(step))),
        }

    @functools.cached_property
    def _validation(self):
        """Pictures, holes, and the compiled function from a generator to its output."""
        found = validation_set(
            self._config, self._inputs.pictures, self.stage.resolution
        )
        masks = found.mixed_masks()
        evaluate = fill.make_eval_step(self._nets, jnp.asarray(masks))
        return found.images, masks, evaluate

    def _validate(self, step: int, state: InpaintState) -> Validation:
        images, masks, evaluate = self._validation
        output, error = evaluate(state.generator, jnp.asarray(images), jnp.int32(step))
        if np.isfinite(error) and hosts.is_first():
            name = f"r{self.stage.resolution:03d}_{step:06d}.png"
            path = self._run.run_dir / "samples" / name
            _draw(path, images, masks, np.asarray(output))
        return {"hole_error": float(error)}

    def _should_end(self, step: int, validations: list[Validation]) -> bool:
        growth, plateau = self._config.growth, Plateau()
        is_stale = [plateau.update(v["hole_error"], growth) for v in validations][-1]
        least = growth.min_steps * self.stage.num_steps
        return growth.adaptive and is_stale and step >= least

    def _remark(self, step: int, row: Mapping[str, float]) -> str | None:
        is_first = step <= self._config.log_every
        return dead_sentence(row, self.stage.resolution) if is_first else None

    def _finish(self, state: InpaintState, entry: dict[str, Any]) -> None:
        config, g = self._config, state.generator
        params, stats = networks.without_old_heads(g, self._nets.generator)
        trainable, _ = self._nets.generator.split(g.params)
        entry = {
            "resolution": self.stage.resolution,
            "parameters": train_state.count_params(params),
            "trainable": train_state.count_params(trainable),
            "images_seen": entry["steps"] * config.batch_size,
            **entry,
        }
        entries = [*self._entries[: self.stage.index], entry]
        saved_models.save_generator(
            self._weights,
            params,
            stats,
            config.net,
            self.stage.resolution,
            {"command": sys.argv[1:], "stages": entries, "seed": config.seed},
        )
        files.write_json(self._run.run_dir / "stages.json", entries)


def read_stages(run_dir: Path) -> list[dict[str, Any]]:
    """Return the finished stages, as stages.json has them; [] if there are none.

    Raises:
        UserError: The file is damaged.
    """
    path = run_dir / "stages.json"
    entries = files.read_json(path, list, absent=[])
    with files.reading(path):
        for entry in entries:
            if not all(type(entry[n]) is int for n in ("resolution", "steps")):
                raise TypeError(f"no stage: {entry}")
    return entries


def _draw(path: Path, images: np.ndarray, masks: np.ndarray, output: np.ndarray):
    """Save a panel: masked pictures, raw outputs, filled pictures, originals.

    The rows are evenly spaced, because crops of one photograph lie side by side.
    """
    rows = np.linspace(0, len(images) - 1, min(_PANEL_ROWS, len(images))).astype(int)
    images, hole = images[rows], masks[rows].astype(bool)
    rounded = np.rint((output[rows] + 1.0) * 127.5).astype(np.uint8)
    masked = viz.paint_holes(images, hole[..., 0])
    filled = np.where(hole, rounded, images)
    columns = np.stack([masked, rounded, filled, images], axis=1)
    viz.save_png(path, viz.image_grid(columns, column_titles=_PANEL_TITLES))


def dead_sentence(row: Mapping[str, float], resolution: int) -> str | None:
    """Return a warning if a row of metrics is that of a generator that cannot learn."""
    share = row["g/grads_below_eps"]
    if share < _DEAD_SHARE:
        return None
    return (
        f"the generator of {resolution} px is dead: {share:.0%} of its gradient's "
        f"entries are below Adam's eps {networks.ADAM_EPS:g}, and its output has an "
        f"RMS of {row['g/output_rms']:.1e}: begin with smaller growth.resolutions, or "
        "set net.norm spectral or net.skip add."
    )


def default_steps_per_call(resolution: int, log_every: int) -> int:
    """Return 1 on CPU, else a divisor of `log_every`, smaller for larger pictures."""
    most = _STEPS_PER_CALL.get(resolution, _STEPS_PER_LARGER_CALL)
    return loop.default_steps_per_call(most, log_every)


def make_networks(config: Config, stage: Stage, axis_name: str | None = None):
    """Return the stage's networks and optimisers."""
    options = {"d_sees_mask": config.losses.d_sees_mask, "axis_name": axis_name}
    return networks.make_networks(
        stage, config.net, config.growth, config.optimizer, **options
    )


def enter_stage(
    config: Config, nets: Networks, stage: Stage, before: InpaintState | None
) -> InpaintState:
    """Return the state at the start of the stage."""
    keep_ema = config.optimizer.ema_decay > 0
    return networks.enter_stage(
        nets, stage, config.seed, keep_ema=keep_ema, before=before
    )


def state_shapes(config: Config, stage: Stage) -> PyTree:
    """Return shapes and types of a state of the stage."""
    nets = make_networks(config, stage)
    return jax.eval_shape(lambda: enter_stage(config, nets, stage, None))
