"""Grow an inpainting GAN on pictures, evaluate it, and tell of it in report.html.

Without a name the demo runs:

    python -m experiments.places_grow

Every field of a preset can be changed, and the same command resumes:

    python -m experiments.places_grow better --data.source folder --data.path photos

A preset's --help lists the fields.
"""

import contextlib
import dataclasses
import io
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from experiments.places_grow import evaluate as evaluation
from experiments.places_grow.config import PRESETS, Config
from experiments.places_grow.run import Stopped
from experiments.places_grow.train import train
from jaxgrow import report, runtime
from jaxgrow.errors import UserError


_PROGRAM = "python -m experiments.places_grow"
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
    if arguments and arguments[0] in ("-h", "--help"):
        return tyro.cli(
            _every_command(), args=["--help"], prog=_PROGRAM, description=__doc__
        )
    if not arguments or arguments[0].startswith("-"):
        arguments = [_DEFAULT, *arguments]
    name, *fields = arguments
    with _own_errors():
        if name == "evaluate":
            return tyro.cli(Evaluate, args=fields, prog=f"{_PROGRAM} {name}")
        if name in PRESETS:
            about, preset = PRESETS[name]
            return tyro.cli(
                Config,
                default=preset,
                args=fields,
                prog=f"{_PROGRAM} {name}",
                description=about,
            )
    known = ", ".join([*PRESETS, "evaluate"])
    raise UserError(f"there is no preset {name!r}: choose from {known}.")


def _every_command() -> Any:
    """A type whose help lists all presets."""
    kinds: Any = Annotated[
        Evaluate, tyro.conf.subcommand("evaluate", description=Evaluate.__doc__)
    ]
    for name, (about, preset) in PRESETS.items():
        kinds |= Annotated[
            Config, tyro.conf.subcommand(name, default=preset, description=about)
        ]
    return kinds


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raises a config's own `UserError` in place of the box that tyro makes of it."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as exiting:
        error: BaseException | None = exiting
        while error is not None:
            if isinstance(error, UserError):
                raise error from None
            error = error.__context__
        print(said.getvalue(), end="", file=sys.stderr)
        raise


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
        return stopped.exit_status
    except KeyboardInterrupt:
        print("stopped: nothing is lost; the same command goes on.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
