"""Two real processes train one run: the same numbers, a death, a stop, a resume."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support import dimvida, places
from tests.support.two_processes import (
    ROOT,
    Machine,
    free_address,
    series,
    status_of,
    wait_for,
)


pytestmark = pytest.mark.slow

_LONG = {"steps": 40, "log-every": 4, "validate-every": 8}
_VIEWS = (
    *dimvida.TINY,
    *("--phases", "autoencoder", "score"),
    *(t for k, v in _LONG.items() for t in (f"--autoencoder-training.{k}", str(v))),
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return Machine(tmp_path_factory.mktemp("views"), "nmr_dimvida", *_VIEWS)


@pytest.fixture(scope="module")
def alone(machine):
    """The run of one process that all others must equal."""
    return machine.finish(machine.folder / "alone")


def assert_same_run(run, expected):
    """Every row once, with the same losses, and the weights of all networks."""
    names = ("loss", "grad_norm", "validation/loss", "validation/psnr")
    found, wanted = series(run, *names), series(expected, *names)
    assert found["step"] == wanted["step"]
    for name in names:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5)
    assert {p.name for p in run.iterdir()} == {p.name for p in expected.iterdir()}


def test_two_processes_train_as_one(machine, alone):
    run = machine.finish_two(machine.folder / "together")
    assert_same_run(run, alone)


@pytest.mark.parametrize("victim", [0, 1])
def test_the_death_of_one_process_ends_the_other_and_the_run_goes_on(
    machine, alone, victim
):
    run = machine.folder / f"death_of_{victim}"
    processes = machine.start_two(run)
    wait_for(run / "checkpoints" / "autoencoder" / "8", processes)
    processes[victim].kill()
    begun = time.monotonic()
    status, err = status_of(processes[1 - victim])
    assert time.monotonic() - begun < 60
    assert status not in (0, None)
    ending = f"process {1 - victim} of 2 has ended because it or another one died"
    assert ending in err
    assert "goes on from its last checkpoint" in err
    status_of(processes[victim])
    again = machine.finish_two if victim else machine.finish
    assert_same_run(again(run), alone)


def test_a_signal_to_one_process_stops_both_at_one_step(machine, alone):
    run = machine.folder / "stopped"
    processes = machine.start_two(run)
    wait_for(run / "checkpoints" / "autoencoder" / "8", processes)
    processes[1].send_signal(signal.SIGTERM)
    said = [status_of(process) for process in processes]
    assert [status for status, _ in said] == [128 + signal.SIGTERM] * 2
    stops = [err[err.index("SIGTERM came: saved at step") :] for _, err in said]
    assert stops[0] == stops[1]
    before, copy = series(run, "loss"), machine.folder / "on_one_device"
    shutil.copytree(run, copy)
    assert_same_run(machine.finish(run), alone)
    # One device sums otherwise than two, which Adam magnifies: what was done stays.
    again, done = series(machine.finish(copy, devices=1), "loss"), len(before["loss"])
    assert again["step"] == series(alone, "loss")["step"]
    assert done >= 2
    assert again["loss"][:done] == before["loss"]


_MEETS = """
import sys, time
from jaxgrow.devices import hosts, runtime
runtime.configure()
_, address, me = sys.argv
hosts.join(hosts.HostsConfig(coordinator=address, num_processes=2, process_id=int(me)))
hosts.wait()
own = [me == "0", me == "1", True]
print("met", own, hosts.first_says(own), flush=True)
if me == "1":
    time.sleep(600)
hosts.wait()
"""


def test_both_take_the_first_one_s_answers_and_a_signal_while_one_waits_ends_both():
    address = free_address()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MEETS, address, str(me)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(2)
    ]
    firsts = [True, False, True]
    for process, own in zip(processes, (firsts, [False, True, True]), strict=True):
        # Gloo may have spoken before.
        said = next(line for line in process.stdout if line.startswith("met"))
        assert said == f"met {own} {firsts}\n"
    processes[1].send_signal(signal.SIGTERM)
    status, _ = status_of(processes[1], within_s=60)
    assert status == -signal.SIGTERM
    status, err = status_of(processes[0], within_s=60)
    assert status not in (0, None)
    assert "process 0 of 2 has ended because it or another one died" in err


def test_the_two_network_step_grows_on_two_processes_as_on_one(tmp_path):
    """Each process reads its own pictures; a stage starts from the one before."""
    machine = Machine(
        tmp_path,
        "places_grow",
        *(*places.TINY, "--no-evaluate", "--device-data-mb", "0"),
        *("--growth.resolutions", "4", "8", "--growth.steps", "6", "6"),
        *("--data.path", str(places.write_pictures(tmp_path / "pictures"))),
    )
    alone = machine.finish(tmp_path / "alone")
    together = machine.finish_two(tmp_path / "together")
    names = ("d/loss", "g/reconstruction", "g/grad_norm", "validation/hole_error")
    found, expected = series(together, *names), series(alone, *names)
    assert found["step"] == expected["step"]
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)
    assert {p.name for p in together.iterdir()} == {p.name for p in alone.iterdir()}
