"""The training of every stage in turn, resumable at any moment."""

import dataclasses
from typing import Any

from rich.console import Console

from experiments.places_grow import stage_step
from experiments.places_grow.config import EXPERIMENT, Config
from experiments.places_grow.prepare import Feed, Pictures, load_pictures
from experiments.places_grow.reporter import Reporter
from experiments.places_grow.run import Progressed, Run
from experiments.places_grow.stage_step import StageStep
from experiments.shared import cli
from experiments.shared import run_dir as runs
from experiments.shared.run_dir import Stopped
from jaxgrow.devices import memory, parallel
from jaxgrow.devices.parallel import Placement
from jaxgrow.errors import UserError
from jaxgrow.inpainting.networks import InpaintState
from jaxgrow.inpainting.stages import Stage, plan_stages
from jaxgrow.pretrained import networks
from jaxgrow.training import logs, loop
from jaxgrow.training.checkpoint import Checkpointer, check_same
from jaxgrow.typing import FeaturesFn


def train(config: Config, console: Console) -> None:
    """Trains every stage that is not trained yet.

    Raises:
        UserError: For a mistake of the user's, or a loss that is no longer finite.
        Stopped: After SIGINT or SIGTERM during steps, once the run is saved.
    """
    cli.start(config.hosts, num_steps=sum(config.growth.steps))
    placement = parallel.place(config.parallel, config.devices, config.batch_size)
    runs.claim(config.run_dir, EXPERIMENT, config)
    checkpointer = Checkpointer(config.run_dir / "checkpoints")
    try:
        _Training(Run(config, console, checkpointer), placement).train()
    finally:
        checkpointer.close()


def load_features(config: Config) -> tuple[FeaturesFn | None, str]:
    """The perceptual term's features, and a sentence that says whether it is on."""
    if not config.vgg_weights.exists():
        return None, (
            "perceptual term off: it needs weights: python -m tools.export_weights "
            f"vgg19 --prefix blocks12 --out {config.vgg_weights}"
        )
    net = networks.load_perceptual(
        config.vgg_weights, compute_dtype=config.losses.perceptual_dtype
    )
    note = f"perceptual term on: {net.provenance.label} from {config.vgg_weights}"
    return net.features_fn, note


class _Training:
    """The stages of a run, on its devices."""

    def __init__(self, run: Run, placement: Placement):
        self.run, self.config, self.placement = run, run.config, placement
        self.stages = plan_stages(run.config.growth)

    def train(self) -> None:
        run = self.run
        state = self._resume()
        runs.describe(self.config.run_dir, EXPERIMENT, self.config)
        if run.at.stage_done and run.at.stage == len(self.stages) - 1:
            run.say(f"training is complete: {self.config.run_dir}")
            return
        self.features_fn, perceptual_note = load_features(self.config)
        run.note(perceptual_note)
        pictures = load_pictures(self.config, run.note)
        prepared = self._preflight(pictures)
        if run.at.stage_done:
            self._begin(run.at.stage + 1)
        for stage in self.stages[run.at.stage :]:
            with memory.errors(stage_step.too_large(self.config, stage)):
                step = prepared.pop(stage.index, None) or self._prepare(stage, pictures)
                if state is None or run.at.stage_step == 0:
                    state = step.enter(state)
                state = self._train_stage(stage, step, pictures, state)
            if stage.index + 1 < len(self.stages):
                self._begin(stage.index + 1)

    def _resume(self) -> InpaintState | None:
        run, wanted = self.run, self.config.result_fields()

        def make_like(meta: dict[str, Any]):
            if set(meta) != {"config", "at"}:
                raise UserError(
                    f"{run.checkpointer.directory} holds checkpoints of something "
                    "else: pass another --run-dir."
                )
            check_same(meta["config"], wanted, f"the run in {self.config.run_dir}")
            stage = self.stages[meta["at"]["stage"]]
            return stage_step.state_shapes(self.config, stage, self.placement)

        found = run.checkpointer.restore_latest(make_like, run.say)
        if found is None:
            run.metrics.truncate_after(-1)
            return None
        _, state, meta = found
        run.at = Progressed(**meta["at"])
        run.metrics.truncate_after(run.at.global_step)
        stage = self.stages[run.at.stage]
        run.say(
            f"resuming at step {run.at.stage_step} of {stage.num_steps} "
            f"of the {stage.resolution} px stage"
        )
        return self.placement.replicate(state)

    def _begin(self, stage: int) -> None:
        self.run.at = dataclasses.replace(
            self.run.at,
            stage=stage,
            stage_step=0,
            stage_done=False,
            plateau={},
            stage_wall_s=0.0,
        )

    def _prepare(self, stage: Stage, pictures: Pictures) -> StageStep:
        feed = Feed(self.config, pictures, stage, self.placement)
        features_fn = self.features_fn
        if stage.resolution < self.config.losses.perceptual_from:
            features_fn = None
        return StageStep(
            self.config, stage, feed, features_fn, self.placement, self.run.say
        )

    def _preflight(self, pictures: Pictures) -> dict[int, StageStep]:
        """Compiles the largest stage that is to come and sees that it fits."""
        stage = self.stages[-1]
        self.run.say(f"compiling the largest stage, {stage.resolution} px")
        with memory.errors(stage_step.too_large(self.config, stage)):
            step = self._prepare(stage, pictures)
            step.compile()
        return {stage.index: step}

    def _train_stage(
        self, stage: Stage, step: StageStep, pictures: Pictures, state: InpaintState
    ) -> InpaintState:
        run = self.run
        with logs.progress_bar(run.console) as bar, run.interrupt.listening():
            task = bar.add_task(
                f"{stage.resolution} px",
                total=stage.num_steps,
                completed=run.at.stage_step,
                examples=(self.config.batch_size, "images"),
            )
            state, _ = loop.fit(
                step,
                state,
                step.feed,
                start=run.at.stage_step,
                stop=stage.num_steps,
                steps_per_call=step.steps_per_call,
                report_every=self.config.log_every,
                on_report=Reporter(run, stage, step, pictures, bar, task),
                interrupt=run.interrupt,
            )
        if run.interrupt.signal is not None:
            run.save(state)
            run.checkpointer.wait()
            raise Stopped(
                run.interrupt.signal,
                f"saved at step {run.at.stage_step} of {stage.num_steps} of the "
                f"{stage.resolution} px stage",
            )
        if used := memory.measured_sentence():
            run.say(f"{stage.resolution} px: {used}")
        return state
