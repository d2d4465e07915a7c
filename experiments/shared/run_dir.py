"""A run's directory: whose it is, what it was made with, and what the run says."""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

import jax
from rich.console import Console

from jaxgrow.devices import hosts, runtime
from jaxgrow.errors import UserError
from jaxgrow.storage import configs, files
from jaxgrow.training import logs


Config = TypeVar("Config")


class Stopped(Exception):
    """The run was asked to stop and has saved; the same command goes on."""

    def __init__(self, by: signal.Signals, where: str):
        super().__init__(f"{by.name} came: {where}; the same command goes on.")
        self.exit_status = 128 + by


class RunLog:
    """Lines on the console, notes for the report, metrics.jsonl, and a clock.

    Of several processes that train one run, the first speaks and writes.
    """

    def __init__(self, run_dir: Path, console: Console):
        console.quiet = console.quiet or not hosts.is_first()
        self.run_dir, self.console = run_dir, console
        self.metrics = logs.MetricWriter(run_dir / "metrics.jsonl")
        self._notes: list[str] = []
        self._clock = time.monotonic()

    def say(self, message: str) -> None:
        """Prints a line."""
        self.console.print(message, markup=False, highlight=False)

    def note(self, message: str) -> None:
        """Prints a line that the report shows too."""
        self.say(message)
        self._notes.append(message)
        if hosts.is_first():
            files.write_json(self.run_dir / "notes.json", self._notes)

    def lap(self) -> float:
        """Seconds since the last lap; the first began with the run."""
        now = time.monotonic()
        lap, self._clock = now - self._clock, now
        return lap


def claim(run_dir: Path, experiment: str, config: Any) -> None:
    """Makes the run directory, or refuses one that belongs to something else."""
    if hosts.is_first():
        _claim(run_dir, experiment, config)
    hosts.wait()


def _claim(run_dir: Path, experiment: str, config: Any) -> None:
    path = run_dir / "config.json"
    # A kill may have left a hidden temporary file, which belongs to nobody.
    there = run_dir.is_dir() and any(p.name[0] != "." for p in run_dir.iterdir())
    if not there:
        describe(run_dir, experiment, config)
        return
    try:
        saved = json.loads(path.read_text())
        owner = saved.get("experiment") if isinstance(saved, dict) else None
    except (OSError, ValueError):
        owner = None
    if owner != experiment:
        held = "other files" if owner is None else f"a run of {owner}"
        raise UserError(
            f"{run_dir} holds {held} and no run of {experiment}: pass another "
            "--run-dir."
        )


def describe(run_dir: Path, experiment: str, config: Any) -> None:
    """Writes config.json and versions.json."""
    if not hosts.is_first():
        return
    described = {"experiment": experiment, "config": config}
    files.write_json(run_dir / "config.json", described)
    versions = {
        **runtime.versions(),
        "device": jax.devices()[0].device_kind,
        "command": command(experiment),
    }
    files.write_json(run_dir / "versions.json", versions)


def read_config(run_dir: Path, experiment: str, kind: type[Config]) -> Config:
    """The config that a run was started with.

    Raises:
        UserError: If the folder is no run of this experiment and version.
    """
    try:
        saved = json.loads((run_dir / "config.json").read_text())
        if saved["experiment"] != experiment:
            raise ValueError(f"it is one of {saved['experiment']}")
        return configs.from_plain(kind, saved["config"])
    except FileNotFoundError:
        reason = "it has no config.json" if run_dir.is_dir() else "no such folder"
    except KeyError as error:
        reason = f"its config.json has no {error}"
    except (OSError, TypeError, ValueError) as error:
        reason = str(error)
    raise UserError(
        f"{run_dir} is no run of {experiment} of this version ({reason}): name the "
        "--run-dir of one."
    )


def command(experiment: str) -> list[str]:
    """The command line that this process was started with."""
    return ["python", "-m", f"experiments.{experiment}", *sys.argv[1:]]
