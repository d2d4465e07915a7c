"""Command line of System 1.

python -m experiments.places_grow                      # the demo: embedded photographs
python -m experiments.places_grow better --data.source folder --data.path photos
python -m experiments.places_grow evaluate --run runs/places_better
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from experiments.places_grow import evaluate as evaluation
from experiments.places_grow.config import PRESETS, Config
from experiments.places_grow.train import Stopped, train
from jaxgrow import report, runtime
from jaxgrow.errors import UserError


_DEFAULT = "demo"


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
    commands = [*PRESETS, "evaluate"]
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in _HELP):
        arguments = [_DEFAULT, *arguments]
    elif arguments[0] not in commands and arguments[0] not in _HELP:
        raise UserError(
            f"there is no preset {arguments[0]!r}: choose from {', '.join(commands)}"
        )
    kinds: Any = Annotated[
        Evaluate, tyro.conf.subcommand("evaluate", description=Evaluate.__doc__)
    ]
    for name, (description, preset) in PRESETS.items():
        kinds |= Annotated[
            Config,
            tyro.conf.subcommand(name, default=preset, description=description),
        ]
    return tyro.cli(
        kinds,
        args=arguments,
        prog="python -m experiments.places_grow",
        description=__doc__,
        config=(tyro.conf.AvoidSubcommands,),
    )


_HELP = ("-h", "--help")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line; returns the exit status."""
    runtime.configure()
    console = Console(soft_wrap=True)
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        if isinstance(command, Evaluate):
            evaluation.evaluate_run(command.run, command.unet_steps, console)
            run_dir = command.run
        else:
            train(command, console)
            run_dir = command.run_dir
            if command.evaluate and not evaluation.is_current(run_dir):
                evaluation.evaluate_run(run_dir, None, console)
        path = report.write_report(run_dir)
        console.print(f"report: {path}", markup=False, highlight=False)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
