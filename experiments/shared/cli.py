"""Command lines of presets, and the one sentence that a mistake ends with."""

import contextlib
import io
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import tyro
from rich.console import Console

from experiments.shared.run_dir import Stopped
from jaxgrow.devices import hosts, runtime
from jaxgrow.errors import UserError


Presets = Mapping[str, tuple[str, Any]]
"""Name -> what it is good for, and the config."""


def parse(
    arguments: list[str],
    *,
    program: str,
    about: str | None,
    presets: Presets,
    default: str,
    commands: Mapping[str, type],
) -> Any:
    """The command line as a config; exits by itself on --help and unknown fields.

    Args:
        arguments: A preset or command and its fields; without a name, `default`.
        program: What the help calls it.
        about: What the help says of it.
        presets: Configs, each of whose fields can be changed.
        default: The preset that runs without a name.
        commands: Name -> dataclass of what can be done besides.

    Raises:
        UserError: For an unknown name or a field with a value out of range.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        kinds: Any = _every_command(presets, commands)
        return tyro.cli(kinds, args=["--help"], prog=program, description=about)
    if not arguments or arguments[0].startswith("-"):
        arguments = [default, *arguments]
    name, *fields = arguments
    with _own_errors():
        if name in commands:
            return tyro.cli(commands[name], args=fields, prog=f"{program} {name}")
        if name in presets:
            about_preset, preset = presets[name]
            return tyro.cli(
                type(preset),
                default=preset,
                args=fields,
                prog=f"{program} {name}",
                description=about_preset,
            )
    known = ", ".join([*presets, *commands])
    raise UserError(f"there is no preset {name!r}: choose from {known}.")


def _every_command(presets: Presets, commands: Mapping[str, type]) -> Any:
    """A type whose help lists all presets."""
    kinds: list[Any] = [
        Annotated[
            type(preset),
            tyro.conf.subcommand(name, default=preset, description=about),
        ]
        for name, (about, preset) in presets.items()
    ]
    kinds += [
        Annotated[kind, tyro.conf.subcommand(name, description=kind.__doc__)]
        for name, kind in commands.items()
    ]
    union = kinds[0]
    for kind in kinds[1:]:
        union |= kind
    return union


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


def run(body: Callable[[Console], None]) -> int:
    """Runs `body`; returns the exit status, its mistakes and stops told in a line."""
    runtime.configure()
    runtime.keep_compiled()
    console = Console(soft_wrap=True)
    status, together = 0, False
    try:
        body(console)
        together = True
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except Stopped as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        status, together = stopped.exit_status, True
    except KeyboardInterrupt:
        print("stopped: nothing is lost; the same command goes on.", file=sys.stderr)
        status = 128 + signal.SIGINT
    except Exception:
        if not hosts.are_several():
            raise
        traceback.print_exc()
        status = 1
    hosts.leave(status, together=together)
    return status
