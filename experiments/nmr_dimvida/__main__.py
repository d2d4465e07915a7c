"""Generate the missing views of objects, and measure how well.

Without a name the demo runs, on synthetic objects that it renders itself:

    python -m experiments.nmr_dimvida

Every field of a preset can be changed, and the same command resumes:

    python -m experiments.nmr_dimvida paper --data.path NMR_Dataset.zip

A preset's --help shows what it changes and the fields people set, --help-all all
fields.
"""

import sys

import jax
from rich.console import Console

from experiments import report
from experiments.nmr_dimvida import evaluate as evaluation
from experiments.nmr_dimvida import phases
from experiments.nmr_dimvida.classify import classify
from experiments.nmr_dimvida.config import EXPERIMENT, Config
from experiments.nmr_dimvida.generate import generate_views
from experiments.nmr_dimvida.objects import (
    Objects,
    load_objects,
    note_conditioning_views,
)
from experiments.nmr_dimvida.presets import PRESETS
from experiments.nmr_dimvida.run import Run
from experiments.shared import cli
from experiments.shared import run_dir as runs
from jaxgrow.devices import hosts
from jaxgrow.training.trainer import Trainer, preflight


_PROGRAM = cli.Program(
    name="python -m experiments.nmr_dimvida",
    about=__doc__,
    presets=PRESETS,
    without_data="--data.source synthetic --data.path None for synthetic objects",
    shown={
        "run_dir": "folder of the run; one that is there is resumed",
        "phases": "phases to run, in this order",
        "seed": "root of every random draw",
        "data.source": "synthetic, nmr, softras or folder",
        "data.path": "archive or folder of the data",
        "data.size": "pixels along a side",
        "autoencoder.latent_dim": "numbers that stand for one view",
        "score.width": "features of the score network",
        "score_training.batch_size": "objects per step, over all devices",
        "sampler.num_steps": "steps of the sampler",
        "classify.seeds": "trainings of every classifier",
        "devices": "local devices to train on; None = all",
    },
)


def parse(arguments: list[str]) -> Config:
    """Return the command line as a config; see `cli.Program.parse`."""
    return _PROGRAM.parse(arguments)


def do_phases(config: Config, console: Console) -> None:
    """Run every phase that is asked for and not done yet."""
    # Epochs are only counted once the objects are loaded; runs of epochs are long.
    trainings = config.autoencoder_training, config.score_training
    num_steps = sum(t.steps or 1_000 * (t.epochs or 0) for t in trainings)
    cli.start(config.hosts, num_steps=num_steps)
    with runs.claimed(config.run_dir, EXPERIMENT):
        run = Run(config, console)
        objects, trainers = _accept(run)
        runs.describe(config.run_dir, EXPERIMENT, config)
        run.begin()
        note_conditioning_views(config, objects)
        while trainers:
            trainers.pop(0).train()  # its data is freed
        if "views" in config.phases:
            generate_views(run, objects)
            if hosts.is_first():
                _evaluate(run, objects)
            hosts.wait()
        if "classify" in config.phases:
            classify(run, objects)


def _accept(run: Run) -> tuple[Objects, list[Trainer]]:
    """Return the objects and trainings; write nothing, because it may refuse them.

    Raises:
        UserError: The data has a mistake, a phase lacks an earlier one, the run has
            other settings, or a step does not fit into memory.
    """
    config, trainers, first_step = run.config, [], 0
    phases.check(config)
    objects = load_objects(run)
    for phase, make_training in phases.TRAINED.items():
        if phase in config.phases:
            Trainer(run, make_training(run, objects, first_step)).check()
            # What the check has read may be trained anew before this phase begins.
            trainers.append(Trainer(run, make_training(run, objects, first_step)))
        first_step += phases.num_steps(config, objects, phase)
    # Most of a short run on CPU is compilation, which would all come before any step.
    if jax.default_backend() != "cpu":
        preflight(trainers)
    return objects, trainers


def _evaluate(run: Run, objects: Objects) -> None:
    if evaluation.is_current(run, objects):
        run.say("the views are evaluated already")
    else:
        evaluation.evaluate(run, objects)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return the exit status."""

    def body(console: Console) -> None:
        config = parse(sys.argv[1:] if arguments is None else arguments)
        do_phases(config, console)
        if hosts.is_first():
            path = report.write_report(config.run_dir)
            console.print(f"report: {path}", markup=False, highlight=False)

    return cli.run(body, Config)


if __name__ == "__main__":
    sys.exit(main())
