"""A run under way: its folder, its console, its devices, and its stop signal."""

import signal
from pathlib import Path

from rich.console import Console

from jaxgrow.devices import hosts
from jaxgrow.devices.parallel import Placement
from jaxgrow.storage import files
from jaxgrow.training.logs import MetricWriter
from jaxgrow.training.loop import Interrupt


class Stopped(Exception):
    """The run was asked to stop and has saved; the same command goes on."""

    def __init__(self, by: signal.Signals, where: str):
        super().__init__(f"{by.name} came: {where}; the same command goes on.")
        self.exit_status = 128 + by


class TrainingRun:
    """State shared by all trainings of one run.

    Of several processes that train one run, only the first prints and writes. Notes are
    written from `begin` on, so that a refused command leaves the run as it was.

    Attributes:
        run_dir: Folder of everything that the run writes.
        console: For progress bars and lines.
        placement: Devices of the run.
        interrupt: Set when the run is asked to stop.
        metrics: Writer of metrics.jsonl.
    """

    def __init__(self, run_dir: Path, console: Console, placement: Placement):
        console.quiet = console.quiet or not hosts.is_first()
        self.run_dir, self.console, self.placement = run_dir, console, placement
        self.interrupt = Interrupt()
        self.metrics = MetricWriter(run_dir / "metrics.jsonl")
        self._notes: list[str] = []
        self._is_begun = False

    def begin(self) -> None:
        """Write the notes up to now, and every later one at once."""
        self._is_begun = True
        self._write_notes()

    def say(self, message: str) -> None:
        """Print a line."""
        self.console.print(message, markup=False, highlight=False)

    def note(self, message: str) -> None:
        """Print a line and keep it in notes.json for the report."""
        self.say(message)
        self._notes.append(message)
        self._write_notes()

    def _write_notes(self) -> None:
        if self._is_begun and hosts.is_first():
            files.write_json(self.run_dir / "notes.json", self._notes)
