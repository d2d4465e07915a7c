"""Real processes of a run, and signals that come at any moment."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxgrow.training.logs import read_metrics


ROOT = Path(__file__).parents[2]
_PATIENCE_S = 600


class Machine:
    """Starts runs of one experiment, with one compilation and data cache for all."""

    def __init__(self, folder: Path, experiment: str, fields: Sequence[str]):
        self.folder, self._rng = folder, random.Random(0)
        self._experiment, self._fields = experiment, fields
        self._env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }

    def line(self, run: Path) -> list[str]:
        """The command line of a run."""
        return [*self._fields, "--run-dir", str(run)]

    def start(self, run: Path, *more: str, **env: str) -> subprocess.Popen[str]:
        """Starts a run."""
        module = f"experiments.{self._experiment}"
        return subprocess.Popen(
            [sys.executable, "-m", module, *self.line(run), *more],
            cwd=self.folder,
            env=self._env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, run: Path, *more: str, **env: str) -> Path:
        """Lets a run come to its end."""
        process = self.start(run, *more, **env)
        out, err = process.communicate(timeout=_PATIENCE_S)
        assert process.returncode == 0, out + err
        return run

    def strike(
        self,
        run: Path,
        number: signal.Signals,
        moment: Callable[[Path, float], bool],
        delay_s: float = 0.05,
    ) -> tuple[int, str]:
        """Sends a signal up to `delay_s` after `moment(run, time of the start)`.

        Returns the exit status, 0 if the run has been faster, and what came on stderr.
        """
        process = self.start(run)
        begun = time.time()
        while not moment(run, begun) and process.poll() is None:
            assert time.time() < begun + _PATIENCE_S, "that moment never came"
            time.sleep(1e-3)
        time.sleep(self._rng.uniform(0.0, delay_s))
        process.send_signal(number)
        out, err = process.communicate(timeout=_PATIENCE_S)
        print(f"{moment.__name__}: {rows_of(run)[-1:]}\n{out}{err}")
        return process.returncode, err


def rows_of(run: Path) -> list[dict]:
    """The rows of the log, without what a clock has measured."""
    rows = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "steps_per_s"} for row in rows]
