"""Real processes of a real run, killed and stopped at any moment, go on as if never."""

import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from experiments.places_grow.__main__ import parse
from experiments.places_grow.stage import state_shapes
from jaxgrow.devices.parallel import Placement
from jaxgrow.inpainting.stages import plan_stages
from jaxgrow.training.checkpoint import Checkpointer
from jaxgrow.training.logs import read_metrics
from tests.support import places
from tests.support.machine import ROOT, Machine, rows_of


pytestmark = pytest.mark.slow

NUM_STEPS = (20, 24)
NUM_FADE_STEPS = 12


def where(run):
    """The last row of the log as (stage, step of the stage)."""
    rows = read_metrics(run / "metrics.jsonl")
    return (rows[-1]["stage"], rows[-1]["stage_step"]) if rows else (0, 0)


def before_the_first_step(run, begun):
    return (run / "versions.json").exists()


def inside_the_first_stage(run, begun):
    return where(run) >= (4, 4)


def during_a_save(run, begun):
    unfinished = (run / "checkpoints").glob("*/*tmp*")
    return any(age(path) >= begun for path in unfinished)


def between_the_stages(run, begun):
    return (run / "weights" / "generator_r4.safetensors").exists()


def inside_the_fade(run, begun):
    return where(run) >= (8, 2)


def after_the_fade(run, begun):
    return where(run) > (8, NUM_FADE_STEPS)


def whenever_it_moves(run, begun):
    """As soon as there is a new row; the random while after it does the rest."""
    log = run / "metrics.jsonl"
    return log.exists() and age(log) >= begun and where(run)[1] % 4 == 0


def age(path):
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machine")
    pictures = places.write_pictures(folder / "pictures")
    fields = [
        *(*places.TINY, "--no-evaluate", "--growth.resolutions", "4", "8"),
        *("--growth.steps", *map(str, NUM_STEPS), "--growth.fade", "0.5"),
        *("--data.path", str(pictures)),
    ]
    return Machine(folder, "places_grow", fields)


@pytest.fixture(scope="module")
def unbroken(machine):
    return machine.finish(machine.folder / "unbroken")


def last_state(machine, run):
    """Arrays of the newest checkpoint, and where it says that the run stands."""
    config = parse(machine.line(run))
    stages = plan_stages(config.growth)
    folder = max((run / "checkpoints").glob("stage_*/[0-9]*")).parent
    stage = stages[int(folder.name.removeprefix("stage_"))]
    checkpointer = Checkpointer(folder)

    def make_like(meta):
        return Placement().like(state_shapes(config, stage))

    step, state, meta = checkpointer.restore_latest(make_like, pytest.fail)
    checkpointer.close()
    leaves, structure = jax.tree.flatten(state)
    meta["progress"].pop("wall_s")
    return step, meta, structure, [np.asarray(leaf).tobytes() for leaf in leaves]


def assert_same_weights(machine, run, unbroken):
    for resolution in (4, 8):
        weights = places.tensors_of(run, resolution)
        assert weights == places.tensors_of(unbroken, resolution)
    assert last_state(machine, run) == last_state(machine, unbroken)


def test_a_run_killed_at_many_moments_ends_as_the_unbroken_one(machine, unbroken):
    run = machine.folder / "killed"
    moments = [
        *(before_the_first_step, inside_the_first_stage, during_a_save),
        *(between_the_stages, inside_the_fade, during_a_save, after_the_fade),
        *(whenever_it_moves, whenever_it_moves),
    ]
    num_killed = 0
    for moment in moments:
        status, _ = machine.strike(run, signal.SIGKILL, moment)
        assert status in (-signal.SIGKILL, 0)
        num_killed += status != 0
    assert num_killed >= 6
    machine.finish(run)
    assert_same_weights(machine, run, unbroken)
    assert rows_of(run) == rows_of(unbroken)


def test_a_run_that_is_asked_to_stop_saves_and_says_so(machine, unbroken):
    run = machine.folder / "stopped"
    status, err = machine.strike(run, signal.SIGTERM, inside_the_first_stage)
    assert status == 128 + signal.SIGTERM
    stage, step = where(run)
    assert err.splitlines()[-1] == (
        f"stopped: SIGTERM came: saved at step {step} of {NUM_STEPS[0]} of the "
        f"{stage} px stage; the same command goes on."
    )
    assert last_state(machine, run)[0] == step
    status, err = machine.strike(run, signal.SIGINT, inside_the_fade)
    assert status == 128 + signal.SIGINT
    assert err.splitlines()[-1].startswith("stopped: SIGINT came: saved at step")
    machine.finish(run)
    assert_same_weights(machine, run, unbroken)
    steps = [row["step"] for row in rows_of(run)]
    assert steps == sorted(set(steps))
    assert set(steps) >= {row["step"] for row in rows_of(unbroken)}


def test_two_devices_train_as_one(machine, unbroken):
    two = "--xla_force_host_platform_device_count=2"
    run = machine.finish(machine.folder / "two", "--devices", "2", XLA_FLAGS=two)
    name = "g/reconstruction"
    of_one = [row[name] for row in rows_of(unbroken)]
    of_two = [row[name] for row in rows_of(run)]
    np.testing.assert_allclose(of_two[:3], of_one[:3], rtol=1e-4)
    np.testing.assert_allclose(of_two, of_one, rtol=0.05)


def test_importing_the_experiment_touches_no_device():
    code = """
import experiments.places_grow.__main__, jax
jax.config.update("jax_num_cpu_devices", 3)  # refused once devices are known
assert jax.device_count() == 3
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
