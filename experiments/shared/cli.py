"""Command lines of presets: parsing, the short help, and errors in one sentence."""

import contextlib
import dataclasses
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tyro
from rich.console import Console

from experiments.shared import short_help
from jaxgrow.cli.flags import spell_flags
from jaxgrow.cli.start import expand_home, print_any_name
from jaxgrow.devices import hosts, runtime
from jaxgrow.errors import UserError
from jaxgrow.training.run import Stopped


_LONG_STEPS = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """An entry point that runs presets, and commands besides.

    Attributes:
        name: How it is called, say "python -m experiments.places_grow".
        about: What it does, for the help.
        presets: Name -> what it is good for, and the config. One is "paper".
        shown: Dotted names of the fields that people set -> a line of help.
        without_data: Flags that take the data that comes along in place of a
            preset's own.
        default: The preset that runs without a name.
        commands: Name -> dataclass of its fields.
    """

    name: str
    about: str | None
    presets: Mapping[str, tuple[str, Any]]
    shown: Mapping[str, str]
    without_data: str
    default: str = "demo"
    commands: Mapping[str, type] = dataclasses.field(default_factory=dict)

    def parse(self, arguments: list[str]) -> Any:
        """Return the command line as a config; exits by itself on --help.

        Args:
            arguments: A preset or command and its fields; without a name, `default`.

        Raises:
            UserError: For an unknown name, a field with a value out of range, or a
                preset whose data is not there.
        """
        if arguments and arguments[0] in ("-h", "--help", "--help-all"):
            commands = {name: kind.__doc__ for name, kind in self.commands.items()}
            print(short_help.of_program(self.name, self.about, self.presets, commands))
            raise SystemExit(0)
        if not arguments or arguments[0].startswith("-"):
            arguments = [self.default, *arguments]
        name, *fields = arguments
        if name in self.commands:
            return _parse(self.commands[name], fields, prog=f"{self.name} {name}")
        if name not in self.presets:
            known = ", ".join([*self.presets, *self.commands])
            raise UserError(f"there is no preset {name!r}: choose from {known}.")
        return self._parse_preset(name, fields)

    def _parse_preset(self, name: str, fields: list[str]) -> Any:
        about, preset = self.presets[name]
        program = f"{self.name} {name}"
        if {"-h", "--help"} & set(fields):
            base = None if name == "paper" else self.presets["paper"][1]
            print(short_help.of_preset(program, about, preset, base, self.shown))
            raise SystemExit(0)
        fields = ["--help" if field == "--help-all" else field for field in fields]
        config = _parse(
            type(preset), fields, default=preset, prog=program, description=about
        )
        before, data = preset.data, config.data
        is_own = (data.source, data.path) == (before.source, before.path)
        if is_own and data.path is not None and not data.path.exists():
            raise UserError(
                f"{data.path}, the data of the preset {name}, is not there: name yours "
                f"by --data.source and --data.path, or pass {self.without_data}."
            )
        return config


def _parse(kind: type, fields: list[str], **options: Any) -> Any:
    with _own_errors():
        return expand_home(tyro.cli(kind, args=fields, **options))


@contextlib.contextmanager
def _own_errors() -> Iterator[None]:
    """Raise a config's own `UserError` in place of the box that tyro makes of it."""
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


def start(config: hosts.HostsConfig, *, num_steps: int) -> None:
    """Meet the other processes and choose how programs are compiled.

    A long training convolves with oneDNN on CPU. A short one is mostly compilation and
    stores its programs instead, which oneDNN does not allow.

    Raises:
        UserError: The others did not come, or there is no device to run on.
    """
    runtime.configure(onednn=num_steps >= _LONG_STEPS)
    hosts.join(config)
    runtime.find_devices()
    runtime.keep_compiled()


class _Terminated(KeyboardInterrupt):
    """SIGTERM came outside of a training, which would have saved and stopped."""


class _OutputEnded(Exception):
    """Standard output takes no more text."""


class _Console(Console):
    """A console that says why it cannot print, where Rich's ends the process."""

    def print(self, *objects: Any, **options: Any) -> None:
        with _output():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


@contextlib.contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # else Python tries once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _OutputEnded(error.strerror) from error


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: Any) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_tool(
    program: str,
    about: str | None,
    body: Callable[[Any, Console], int | None],
    kind: type,
    arguments: list[str] | None,
) -> int:
    """Run `body(config, console)` with the fields on a command line, see `run`.

    Args:
        program: How it is called, say "python -m tools.inpaint".
        about: What it does, for the help.
        body: It returns the exit status, or None for 0.
        kind: Dataclass of its fields.
        arguments: The command line; None = that of this process.
    """

    def parsed(console: Console) -> int | None:
        line = sys.argv[1:] if arguments is None else arguments
        flags = (tyro.conf.FlagCreatePairsOff,)
        options = {"prog": program, "description": about, "config": flags}
        return body(_parse(kind, line, **options), console)

    return run(parsed, kind)


def run(body: Callable[[Console], int | None], config: type) -> int:
    """Run `body` and return the exit status; errors and stops are told in a line.

    Where an error names a field of the dataclass `config`, it is spelled as a flag.
    """
    runtime.configure()
    print_any_name()
    status, sentence, together = 0, None, False
    try:
        with _sigterm_raises():
            try:
                status = body(_Console(soft_wrap=True)) or 0
            finally:
                with _output():
                    print(end="", flush=True)
        together = True
    except UserError as error:
        status, sentence = 2, f"error: {spell_flags(str(error), config)}"
    except Stopped as stopped:
        status, sentence, together = stopped.exit_status, f"stopped: {stopped}", True
    except _OutputEnded as ended:
        status = 128 + signal.SIGPIPE
        sentence = f"stopped: the output takes no more text ({ended})."
    except KeyboardInterrupt as interrupt:
        number, came = signal.SIGINT, ""
        if isinstance(interrupt, _Terminated):
            number, came = signal.SIGTERM, "SIGTERM came: "
        status = 128 + number
        sentence = f"stopped: {came}nothing is lost; the same command goes on."
    except Exception:
        if not hosts.are_several():
            raise
        traceback.print_exc()
        status = 1
    if sentence is not None:
        print(sentence, file=sys.stderr)
    hosts.leave(status, together=together)
    return status
