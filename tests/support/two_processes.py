"""Runs of the experiments in one real process or in two that meet on this machine."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from jaxgrow.training.logs import read_metrics


ROOT = Path(__file__).parents[2]
PATIENCE_S = 600


class Machine:
    """Starts runs with one compilation cache for all.

    Two processes have a device each. A process of its own takes two of them, so that
    every device computes the same in both and Adam has no rounding to magnify.
    """

    def __init__(self, folder: Path, module: str, *arguments: str):
        self.folder = folder
        self.command = [sys.executable, "-m", f"experiments.{module}", *arguments]
        self.env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    def start(self, run: Path, *more: str, devices: int) -> subprocess.Popen:
        line = ["--run-dir", str(run), "--devices", str(devices), "--parallel", "mesh"]
        return subprocess.Popen(
            [*self.command, *line, *more],
            cwd=self.folder,
            env=self.env | {"JAX_NUM_CPU_DEVICES": str(devices)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_two(self, run: Path, *more: str) -> list[subprocess.Popen]:
        meet = ("--hosts.coordinator", free_address(), "--hosts.num-processes", "2")
        return [
            self.start(run, *more, *meet, "--hosts.process-id", str(i), devices=1)
            for i in range(2)
        ]

    def finish(self, run: Path, *more: str, devices: int = 2) -> Path:
        """Lets a run of one process come to its end."""
        status, err = status_of(self.start(run, *more, devices=devices))
        assert status == 0, err
        return run

    def finish_two(self, run: Path, *more: str) -> Path:
        """Lets a run of two processes come to its end."""
        for process in self.start_two(run, *more):
            status, err = status_of(process)
            assert status == 0, err
        return run


def free_address() -> str:
    """Where the processes may meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def status_of(process: subprocess.Popen, within_s: float = PATIENCE_S):
    """Exit status of a process that ends within this time, and its stderr."""
    _, err = process.communicate(timeout=within_s)
    return process.returncode, err


def wait_for(path: Path, processes: list[subprocess.Popen]) -> None:
    """Until there is `path`, while the processes run."""
    begun = time.monotonic()
    while not path.exists():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < begun + PATIENCE_S, f"{path} never came"
        time.sleep(0.01)


def series(run: Path, *names: str) -> dict[str, list[float]]:
    """The values of some metrics, where a row has them, and the steps of all rows."""
    rows = read_metrics(run / "metrics.jsonl")
    found = {name: [row[name] for row in rows if name in row] for name in names}
    return {"step": [row["step"] for row in rows], **found}
