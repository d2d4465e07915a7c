"""What all stages of a run share: where it stands, its log and its checkpoints."""

import dataclasses
import json
import signal
import sys
import time
from typing import Any, NoReturn

import jax
import numpy as np
from rich.console import Console

from experiments.places_grow.config import EXPERIMENT, Config, to_plain
from jaxgrow import files, logs, loop, runtime
from jaxgrow.checkpoint import Checkpointer
from jaxgrow.errors import UserError
from jaxgrow.inpainting import InpaintState


class Stopped(Exception):
    """The run was asked to stop and has saved; the same command goes on."""

    def __init__(self, by: signal.Signals, where: str):
        super().__init__(f"{by.name} came: {where}; the same command goes on.")
        self.exit_status = 128 + by


@dataclasses.dataclass
class Progressed:
    """Where a run stands besides its arrays; the JSON that every checkpoint carries."""

    stage: int = 0
    stage_step: int = 0
    stage_done: bool = False
    global_step: int = 0
    fade: float = 1.0
    plateau: dict[str, Any] = dataclasses.field(default_factory=dict)
    wall_s: float = 0.0
    stage_wall_s: float = 0.0
    stages: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Run:
    """A run under way.

    Attributes:
        at: Where it stands.
        interrupt: Whether it has been asked to stop.
    """

    def __init__(self, config: Config, console: Console, checkpointer: Checkpointer):
        self.config, self.console = config, console
        self.checkpointer = checkpointer
        self.metrics = logs.MetricWriter(config.run_dir / "metrics.jsonl")
        self.interrupt = loop.Interrupt()
        self.at = Progressed()
        self._notes: list[str] = []
        self._clock = time.monotonic()

    def say(self, message: str) -> None:
        """Prints a line."""
        self.console.print(message, markup=False, highlight=False)

    def note(self, message: str) -> None:
        """Prints a line that the report shows too."""
        self.say(message)
        self._notes.append(message)
        files.write_json(self.config.run_dir / "notes.json", self._notes)

    def save(self, state: InpaintState) -> None:
        """Starts to write a checkpoint; one that is there already stays as it is."""
        leaves = jax.device_get(jax.tree.leaves(state))
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            self.refuse_not_finite("a weight or moment", self.at.stage_step)
        meta = {"config": self.config.result_fields(), "at": vars(self.at)}
        self.checkpointer.save(self.at.global_step, state, meta)

    def refuse_not_finite(self, name: str, step: int) -> NoReturn:
        """Ends the run: `name` is NaN or infinite at `step` of the stage."""
        resolution = self.config.growth.resolutions[self.at.stage]
        latest = self.checkpointer.latest_meta()
        kept = "no checkpoint had been saved"
        if latest is not None:
            kept = (
                f"the last good checkpoint, of step {latest[0]} of the run, is kept in "
                f"{self.checkpointer.directory}"
            )
        raise UserError(
            f"{name} is not finite at step {step} of the {resolution} px stage; "
            f"{kept}: lower the learning rates and give another --run-dir."
        )

    def lap(self) -> float:
        """Seconds since the last lap; the first began with the run."""
        now = time.monotonic()
        lap, self._clock = now - self._clock, now
        return lap


def claim(config: Config) -> None:
    """Makes the run directory, or refuses one that belongs to something else."""
    folder, path = config.run_dir, config.run_dir / "config.json"
    # A kill may have left a hidden temporary file, which belongs to nobody.
    there = folder.is_dir() and any(p.name[0] != "." for p in folder.iterdir())
    if not there:
        describe(config)
        return
    try:
        saved = json.loads(path.read_text())
        owner = saved.get("experiment") if isinstance(saved, dict) else None
    except (OSError, ValueError):
        owner = None
    if owner != EXPERIMENT:
        held = "other files" if owner is None else f"a run of {owner}"
        raise UserError(
            f"{folder} holds {held} and no run of {EXPERIMENT}: pass another --run-dir."
        )


def describe(config: Config) -> None:
    """Writes config.json and versions.json."""
    described = {"experiment": EXPERIMENT, "config": to_plain(config)}
    files.write_json(config.run_dir / "config.json", described)
    versions = {
        **runtime.versions(),
        "device": jax.devices()[0].device_kind,
        "command": command(),
    }
    files.write_json(config.run_dir / "versions.json", versions)


def command() -> list[str]:
    """The command line that this process was started with."""
    return ["python", "-m", f"experiments.{EXPERIMENT}", *sys.argv[1:]]
