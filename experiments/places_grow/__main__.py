"""Grow an inpainting GAN on pictures, evaluate it, and tell of it in report.html.

Without a name the demo runs:

    python -m experiments.places_grow

Every field of a preset can be changed, and the same command resumes:

    python -m experiments.places_grow better --data.source folder --data.path photos

A preset's --help lists the fields.
"""

import dataclasses
import sys
from pathlib import Path

from rich.console import Console

from experiments import report
from experiments.places_grow import evaluate as evaluation
from experiments.places_grow.config import PRESETS, Config
from experiments.places_grow.train import train
from experiments.shared import cli
from jaxgrow.devices import hosts


_PROGRAM = "python -m experiments.places_grow"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Compare a run's generators with the baselines on its validation pictures."""

    run: Path
    """Run directory."""
    unet_steps: int | None = None
    """Steps of the U-Net baseline; None = as the run's config says."""


def parse(arguments: list[str]) -> Config | Evaluate:
    """The command line as a config; exits by itself on --help and unknown fields.

    Raises:
        UserError: For an unknown preset or a field with a value out of range.
    """
    return cli.parse(
        arguments,
        program=_PROGRAM,
        about=__doc__,
        presets=PRESETS,
        default="demo",
        commands={"evaluate": Evaluate},
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns the exit status."""

    def body(console: Console) -> None:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        if isinstance(command, Evaluate):
            evaluation.evaluate_run(command.run, command.unet_steps, console)
            run_dir = command.run
        else:
            train(command, console)
            run_dir = command.run_dir
            if not hosts.is_first():
                return
            if command.evaluate and not evaluation.is_current(run_dir):
                evaluation.evaluate_run(run_dir, None, console)
        path = report.write_report(run_dir)
        console.print(f"report: {path}", markup=False, highlight=False)

    return cli.run(body)


if __name__ == "__main__":
    sys.exit(main())
