"""Grow an inpainting GAN on pictures, evaluate it, and write report.html.

Without a name the demo runs:

    python -m experiments.places_grow

Every field of a preset can be changed, and the same command resumes:

    python -m experiments.places_grow better --data.source folder --data.path photos

A preset's --help shows what it changes and the fields people set, --help-all all
fields.
"""

import dataclasses
import sys
from pathlib import Path

from rich.console import Console

from experiments import report
from experiments.places_grow import evaluate as evaluation
from experiments.places_grow.config import Config
from experiments.places_grow.presets import PRESETS
from experiments.places_grow.train import train
from experiments.shared import cli
from jaxgrow.devices import hosts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Compare a run's generators with the baselines on its validation pictures."""

    run: Path
    """Run directory."""
    unet_steps: int | None = None
    """Steps of the U-Net baseline; None = as the run's config says."""


_PROGRAM = cli.Program(
    name="python -m experiments.places_grow",
    about=__doc__,
    presets=PRESETS,
    commands={"evaluate": Evaluate},
    without_data="--data.source photos for the photographs that come along",
    shown={
        "run_dir": "folder of the run; one that is there is resumed",
        "seed": "root of every random draw",
        "data.source": "photos, folder, places365, tfds, idx or digits",
        "data.path": "folder or .tar of the pictures",
        "masks.folder_path": "folder of own masks, white = hole, and",
        "masks.folder": "their weight beside masks.rectangle and masks.stroke",
        "batch_size": "pictures per step, over all devices",
        "growth.resolutions": "side of the pictures in pixels, stage by stage",
        "growth.steps": "batches of each stage",
        "growth.freeze": "older stages: all, generator, slow or none",
        "devices": "local devices to train on; None = all",
        "vgg_weights": "perceptual network; None or no default file = off",
    },
)


def parse(arguments: list[str]) -> Config | Evaluate:
    """Return the command line as a config; see `cli.Program.parse`."""
    return _PROGRAM.parse(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return the exit status."""

    def body(console: Console) -> None:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        if isinstance(command, Evaluate):
            cli.start(hosts.HostsConfig(), num_steps=0)
            evaluation.evaluate_run(command.run, command.unet_steps, console)
            run_dir = command.run
        else:
            pictures = train(command, console).pictures
            run_dir = command.run_dir
            if not hosts.is_first():
                return
            if command.evaluate and not evaluation.is_current(command, pictures):
                evaluation.evaluate(command, pictures, console)
        path = report.write_report(run_dir)
        console.print(f"report: {path}", markup=False, highlight=False)

    return cli.run(body, Config)


if __name__ == "__main__":
    sys.exit(main())
