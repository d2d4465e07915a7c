"""Real processes of a real run of System 2, killed and stopped, go on as if never."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxgrow.logs import read_metrics
from tests import dimvida


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PATIENCE_S = 600
NETWORKS = ("--phases", *dimvida.PHASES)


class Machine:
    """Starts runs with one compilation cache and one cache of views for all."""

    def __init__(self, folder):
        self.folder, self.rng = folder, random.Random(0)
        self.env = os.environ | {
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }

    def start(self, run, *more, **env):
        command = [sys.executable, "-m", "experiments.nmr_dimvida", *dimvida.TINY]
        return subprocess.Popen(
            [*command, *NETWORKS, "--run-dir", str(run), *more],
            cwd=self.folder,
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, run, *more, **env):
        process = self.start(run, *more, **env)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, out + err
        return run

    def strike(self, run, number, num_rows):
        """Sends a signal soon after the log has `num_rows` rows; status and stderr."""
        process, begun = self.start(run), time.time()
        while len(rows_of(run)) < num_rows and process.poll() is None:
            assert time.time() < begun + PATIENCE_S, "that moment never came"
            time.sleep(1e-3)
        time.sleep(self.rng.uniform(0.0, 0.1))
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENCE_S)
        return process.returncode, err


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def unbroken(machine):
    return machine.finish(machine.folder / "unbroken")


def rows_of(run):
    rows = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "steps_per_s"} for row in rows]


def assert_same(run, unbroken):
    for phase in dimvida.PHASES:
        assert dimvida.tensors_of(run, phase) == dimvida.tensors_of(unbroken, phase)


def test_a_run_killed_in_every_phase_ends_as_the_unbroken_one(machine, unbroken):
    run, num_killed = machine.folder / "killed", 0
    for num_rows in (0, 1, 3, 5, 8, 10, 13, 15):
        status, _ = machine.strike(run, signal.SIGKILL, num_rows)
        assert status in (-signal.SIGKILL, 0)
        num_killed += status != 0
    assert num_killed >= 5
    machine.finish(run)
    assert_same(run, unbroken)
    assert rows_of(run) == rows_of(unbroken)


def test_a_run_that_is_asked_to_stop_saves_and_says_so(machine, unbroken):
    run = machine.folder / "stopped"
    status, err = machine.strike(run, signal.SIGTERM, 1)
    if status != 0:  # it may have been between two phases
        assert status == 128 + signal.SIGTERM
        assert err.splitlines()[-1].endswith("the same command goes on.")
    machine.finish(run)
    assert_same(run, unbroken)


def test_two_devices_train_as_one(machine, unbroken):
    two = "--xla_force_host_platform_device_count=2"
    run = machine.finish(machine.folder / "two", "--devices", "2", XLA_FLAGS=two)
    for row, expected in zip(rows_of(run), rows_of(unbroken), strict=True):
        np.testing.assert_allclose(row["loss"], expected["loss"], rtol=2e-3)
