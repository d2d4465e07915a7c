"""Memory of compiled steps against the sizes of arrays, and what is measured."""

import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.devices import memory, parallel
from jaxgrow.devices.memory import Programs, StepMemory
from jaxgrow.devices.parallel import Placement
from jaxgrow.errors import UserError


def too_large(amount):
    return UserError(f"it needs {amount}: halve it.")


def ignore(found):
    del found


def step_of(placement):
    """One step of least squares, state (64,), data (128, 64), batch of rows."""

    def step(weights, data, rows):
        def loss(weights):
            return ((jnp.asarray(data)[rows] @ weights - 1.0) ** 2).mean()

        found, grad = jax.value_and_grad(loss)(weights)
        grad = parallel.pmean(grad, placement.axis_name)
        return weights - grad, {"loss": parallel.pmean(found, placement.axis_name)}

    return placement.compile_step(step)


def arguments(placement, batch_size=32):
    weights, data = np.zeros(64, np.float32), np.ones((128, 64), np.float32)
    rows = placement.shard_batch(np.arange(batch_size, dtype=np.int32))
    return *placement.replicate((weights, data)), rows


@pytest.mark.parametrize(
    "placement",
    [Placement(), Placement(2, "pmap"), Placement(2, "mesh")],
    ids=["one", "pmap", "mesh"],
)
def test_a_device_holds_the_arguments_and_its_share_of_the_batch(placement):
    programs, told = Programs(), []
    given = arguments(placement)
    program = programs.compile(
        "step", step_of(placement), *given, too_large=too_large, tell=told.append
    )
    found = programs.memory
    per_device = given[0].nbytes + given[1].nbytes + 4 * 32 // placement.num_devices
    assert found.argument_bytes == per_device
    # The weights are donated: of the results the loss and a table of two pointers add.
    assert found.peak_bytes - per_device - found.temp_bytes == 4 + 2 * 8
    assert told == [found]
    assert programs.get("step") is program
    assert programs.get("other") is None


def test_a_compiled_step_refuses_every_other_shape():
    placement, programs = Placement(), Programs()
    given = arguments(placement)
    program = programs.compile(
        0, step_of(placement), *given, too_large=too_large, tell=ignore
    )
    state, _ = program(*given)
    with pytest.raises(TypeError, match="types for which this computation was comp"):
        program(state, given[1], np.arange(16, dtype=np.int32))


def test_the_largest_program_counts_and_is_told_of_once():
    placement, programs, told = Placement(), Programs(), []
    for size in (32, 128, 64):
        programs.compile(
            size,
            step_of(placement),
            *arguments(placement, size),
            too_large=too_large,
            tell=told.append,
        )
    assert [found.argument_bytes for found in told] == sorted(
        found.argument_bytes for found in told
    )
    assert len(told) == 2
    assert programs.memory == told[-1]


def test_a_program_larger_than_the_device_is_refused_and_not_kept(monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: 2**10)
    programs = Programs()
    with pytest.raises(UserError, match=r"it needs 0 MB where the device has 0 MB: h"):
        programs.compile(
            0,
            step_of(Placement()),
            *arguments(Placement()),
            too_large=too_large,
            tell=ignore,
        )
    assert programs.get(0) is None


def test_a_device_that_runs_out_is_one_sentence_and_other_errors_pass():
    with (
        pytest.raises(UserError, match="it needs more memory than the device has: ha"),
        memory.errors(too_large),
    ):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    with pytest.raises(jax.errors.JaxRuntimeError), memory.errors(too_large):
        raise jax.errors.JaxRuntimeError("INTERNAL: broken")


def test_a_gib_holds_what_the_activations_leave_room_for():
    found = StepMemory(argument_bytes=5, temp_bytes=1 << 20, peak_bytes=7)
    assert memory.examples_per_gib(found, 4) == 4096


def test_a_backend_that_says_nothing_leaves_only_what_is_measured():
    silent = SimpleNamespace(memory_analysis=lambda: None)
    programs = Programs()
    programs.add(0, silent, too_large)
    assert programs.get(0) is silent
    assert programs.memory is None
    assert set(memory.describe(None, 4)) == {"measured_mb", "measured_by"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux counts so")
def test_on_cpu_the_resident_set_is_measured_as_the_kernel_counts_it():
    np.ones(2**24)  # 128 MiB, touched and given back: a peak, not what is held
    found = memory.measured()
    status = Path("/proc/self/status").read_text()
    kernel = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    assert found.by == "process"
    assert found.num_bytes == pytest.approx(kernel, rel=0.02)


def test_macos_counts_the_resident_set_in_bytes(monkeypatch):
    import resource

    usage = SimpleNamespace(ru_maxrss=5 * 2**20)
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.measured().num_bytes == 5 * 2**20
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert memory.measured().num_bytes == 5 * 2**30


def test_devices_that_count_are_asked_and_the_fullest_is_told(monkeypatch):
    stats = [{"peak_bytes_in_use": 3 * 2**20, "bytes_limit": 2**30}, {}]
    stats += [{"peak_bytes_in_use": 7 * 2**20, "bytes_limit": 2**30}, None]
    devices = [SimpleNamespace(memory_stats=lambda s=s: s) for s in stats]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    assert memory.measured() == (7 * 2**20, "device")
    assert memory.device_bytes() == 2**30
    found = memory.describe(StepMemory(2**20, 2**21, 3 * 2**20), batch_size=8)
    assert found == {
        "peak_memory_mb": 3.0,
        "argument_mb": 1.0,
        "examples_per_gib": 4096,
        "measured_mb": 7.0,
        "measured_by": "device",
    }


@pytest.mark.parametrize(
    ("said", "limit"),
    [("max\n", None), (str(2**63 - 4096), None), ("1048576\n", 2**20), (None, None)],
)
def test_on_cpu_a_container_has_no_more_memory_than_its_limit(
    tmp_path, monkeypatch, said, limit
):
    file = tmp_path / "memory.max"
    if said is not None:
        file.write_text(said)
    monkeypatch.setattr(memory, "_CGROUP_LIMITS", (file,))
    physical = 2**12 * 10**6
    sizes = {"SC_PHYS_PAGES": 10**6, "SC_PAGE_SIZE": 2**12}
    monkeypatch.setattr(memory.os, "sysconf", sizes.__getitem__)
    assert memory.device_bytes() == (limit or physical)


def test_the_console_says_all_of_it():
    found = StepMemory(2**21, 2**22, 1_500 * 2**20)
    assert memory.sentence(found, 8, "images") == (
        "a step fits: 1,500 MB, 2 MB of them weights, moments and data; a further GiB "
        "holds 2,048 images"
    )
    said = memory.measured_sentence()
    assert re.fullmatch(
        r"the process \(resident set\) has taken [\d,]+ MB at most so far", said
    )
