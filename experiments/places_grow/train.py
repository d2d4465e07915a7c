"""The training of every stage in turn, resumable at any moment."""

from collections.abc import Sequence

from rich.console import Console

from experiments.places_grow.config import EXPERIMENT, Config
from experiments.places_grow.prepare import Inputs
from experiments.places_grow.stage import StageTraining
from experiments.shared import cli
from experiments.shared import run_dir as runs
from jaxgrow.devices import hosts, parallel
from jaxgrow.errors import UserError
from jaxgrow.inpainting.stages import plan_stages
from jaxgrow.training.run import TrainingRun
from jaxgrow.training.trainer import Trainer


def train(config: Config, console: Console) -> Inputs:
    """Train every stage that is not trained yet, and return what was trained on.

    Raises:
        UserError: For a mistake of the user's, or a loss that is not finite.
        Stopped: After SIGINT or SIGTERM during steps, once the run is saved.
    """
    cli.start(config.hosts, num_steps=sum(config.growth.steps))
    placement = parallel.place(config.parallel, config.devices, config.batch_size)
    with runs.claimed(config.run_dir, EXPERIMENT):
        run, inputs = TrainingRun(config.run_dir, console, placement), Inputs()
        stages = plan_stages(config.growth)
        trainings = [StageTraining(run, config, stage, inputs) for stage in stages]
        newest = _newest(run, trainings)
        inputs.load(config, run.note)
        trainer = Trainer(run, newest.task())
        trainer.check()
        is_last = newest is trainings[-1]
        if not (is_last and trainer.is_done()):
            run.say(f"compiling the largest stage, {stages[-1].resolution} px")
            Trainer(run, trainings[-1].task()).compile()
        trainer.resume()
        # The whole command is accepted: only from here on is anything new written.
        runs.describe(config.run_dir, EXPERIMENT, config)
        run.begin()
        if is_last and trainer.has_ended():
            run.say(f"training is complete: {config.run_dir}")
            return inputs
        for training in trainings[newest.stage.index + 1 :]:
            training.before = trainer.train()
            trainer = Trainer(run, training.task())
        trainer.train()
        return inputs


def _newest(run: TrainingRun, trainings: Sequence[StageTraining]) -> StageTraining:
    """Return the last stage that has a checkpoint, or the first stage."""
    folder = run.run_dir / "checkpoints"
    if any(child.name.isdigit() for child in folder.glob("*")):
        raise UserError(
            f"{folder} holds checkpoints of an earlier version: set another run_dir."
        )
    begun = hosts.first_says(
        [
            any(child.name.isdigit() for child in (folder / training.name).glob("*"))
            for training in trainings
        ]
    )
    return trainings[max((i for i, has in enumerate(begun) if has), default=0)]
