"""Real processes of a real run of System 2, killed and stopped, go on as if never."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.support import dimvida
from tests.support.machine import Machine, rows_of


pytestmark = pytest.mark.slow

NETWORKS = ("--phases", *dimvida.PHASES)


def after_rows(count):
    """The moment when the log has that many rows."""

    def moment(run, begun):
        return len(rows_of(run)) >= count

    return moment


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    fields = [*dimvida.TINY, *NETWORKS]
    return Machine(tmp_path_factory.mktemp("machine"), "nmr_dimvida", fields)


@pytest.fixture(scope="module")
def unbroken(machine):
    return machine.finish(machine.folder / "unbroken")


def assert_same(run, unbroken):
    for phase in dimvida.PHASES:
        assert dimvida.tensors_of(run, phase) == dimvida.tensors_of(unbroken, phase)


def test_a_run_killed_in_every_phase_ends_as_the_unbroken_one(machine, unbroken):
    run, num_killed = machine.folder / "killed", 0
    for num_rows in (0, 1, 3, 5, 8, 10, 13, 15):
        status, _ = machine.strike(run, signal.SIGKILL, after_rows(num_rows), 0.1)
        assert status in (-signal.SIGKILL, 0)
        num_killed += status != 0
    assert num_killed >= 5
    machine.finish(run)
    assert_same(run, unbroken)
    assert rows_of(run) == rows_of(unbroken)


def test_a_run_that_is_asked_to_stop_saves_and_says_so(machine, unbroken):
    run = machine.folder / "stopped"
    status, err = machine.strike(run, signal.SIGTERM, after_rows(1), 0.1)
    if status != 0:  # it may have been between two phases
        assert status == 128 + signal.SIGTERM
        assert err.splitlines()[-1].endswith("the same command goes on.")
    machine.finish(run)
    assert_same(run, unbroken)


def test_classification_killed_at_any_moment_ends_as_the_unbroken_one(
    machine, unbroken
):
    fields = [*dimvida.TINY, "--phases", "views", "classify"]
    fields += ["--classify.train-sets", "single", "augmented"]
    machine = Machine(machine.folder, "nmr_dimvida", fields)
    whole, run = (machine.folder / name for name in ("whole", "struck"))
    for copy in (whole, run):
        shutil.copytree(unbroken, copy)
    machine.finish(whole)
    num_killed = 0
    for wanted in ("views/ea", "views/table_1.json", *_trainings(whole)):
        status, _ = machine.strike(run, signal.SIGKILL, when_there(wanted), 0.1)
        num_killed += status == -signal.SIGKILL
    assert num_killed >= 4
    machine.finish(run)
    for pattern, bits in (
        ("views/*/images.npy", Path.read_bytes),
        ("weights/classify/*", dimvida.tensors_in),
    ):
        files = sorted(path.relative_to(whole) for path in whole.glob(pattern))
        assert len(files) >= 4
        for file in files:
            assert bits(run / file) == bits(whole / file)
    cells = [
        json.loads((folder / "classify" / "results.json").read_text())["cells"]
        for folder in (whole, run)
    ]
    assert cells[0] == cells[1]


def _trainings(run):
    folder = run / "classify" / "metrics"
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    return [str(file.relative_to(run)) for file in files]


def when_there(name):
    """The moment when the run has that file or folder."""

    def moment(run, begun):
        return (run / name).exists()

    return moment


def test_two_devices_train_as_one(machine, unbroken):
    two = "--xla_force_host_platform_device_count=2"
    run = machine.finish(machine.folder / "two", "--devices", "2", XLA_FLAGS=two)
    for row, expected in zip(rows_of(run), rows_of(unbroken), strict=True):
        np.testing.assert_allclose(row["loss"], expected["loss"], rtol=2e-3)
