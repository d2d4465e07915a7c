"""One GPU: its programs' kernels and its goals."""

from types import SimpleNamespace

import jax
import pytest


pytest.importorskip("torch")

from benchmarks import (
    hlo_kernels,
    kernel_times,
    programs,
    roofline,
    table,
    targets,
    training_steps,
    workloads,
)
from benchmarks.hlo_kernels import Kernel
from benchmarks.sizes import TINY
from experiments.places_grow.presets import PRESETS
from jaxgrow.errors import UserError


# One kernel of each kind; names, layouts and attributes as XLA prints them.
GPU_PROGRAM = """
HloModule jit_step, is_scheduled=true

%inner (p: bf16[64,512], q: bf16[512,1024]) -> bf16[64,1024] {
  %p = bf16[64,512]{1,0} parameter(0)
  %q = bf16[512,1024]{1,0} parameter(1)
  ROOT %d = bf16[64,1024]{1,0} dot(%p, %q), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%wrap (p: f32[2,8,8,16]) -> f32[2,8,8,16] {
  %p = f32[2,8,8,16]{3,2,1,0} parameter(0)
  ROOT %n = f32[2,8,8,16]{3,2,1,0} negate(%p)
}

ENTRY %main (x: f32[2,8,8,16], k: f32[32,3,3,16], p: bf16[64,512], q: bf16[512,1024]) -> f32[2,8,8,16] {
  %x = f32[2,8,8,16]{3,2,1,0} parameter(0)
  %k = f32[32,3,3,16]{3,2,1,0} parameter(1)
  %p = bf16[64,512]{1,0} parameter(2)
  %q = bf16[512,1024]{1,0} parameter(3)
  %n = f32[2,8,8,16]{3,2,1,0} fusion(%x), kind=kLoop, calls=%wrap, metadata={op_name="n"}
  %c = (f32[2,4,4,32]{3,2,1,0}, /*index=1*/u8[0]{0}) custom-call(%n, %k), window={size=3x3 stride=2x2}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward", backend_config={}
  %g = f32[2,4,4,32]{3,2,1,0} get-tuple-element(%c), index=0
  %i = (f32[2,8,8,16]{3,2,1,0}, u8[0]{0}) custom-call(%g, %k), window={size=3x3 stride=2x2}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput", backend_config={}
  %f = (f32[32,3,3,16]{3,2,1,0}, u8[0]{0}) custom-call(%n, %g), window={size=3x3 stride=2x2}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter", backend_config={}
  %d = bf16[64,1024]{1,0} fusion(%p, %q), kind=kCustom, calls=%inner, backend_config={}
  %b = (bf16[64,1024]{1,0}, s8[128]{0}) custom-call(%p, %q), custom_call_target="__cublas$gemm", backend_config={"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}
  ROOT %o = f32[2,8,8,16]{3,2,1,0} get-tuple-element(%i), index=0
}
"""  # noqa: E501


def test_a_gpus_kernels_are_counted_one_by_one():
    x, k, y = 4 * 2 * 8 * 8 * 16, 4 * 32 * 9 * 16, 4 * 2 * 4 * 4 * 32
    convolution = 2.0 * (2 * 4 * 4 * 32) * 9 * 16  # its gradients take as many
    p, q, d = 2 * 64 * 512, 2 * 512 * 1024, 2 * 64 * 1024
    product = 2.0 * 64 * 512 * 1024
    assert hlo_kernels.kernels_of(GPU_PROGRAM) == [
        Kernel(2 * x),
        Kernel(x + k + y, convolution),
        Kernel(y + k + x, convolution),
        Kernel(x + y + k, convolution),
        Kernel(p + q + d, product),
        Kernel(p + q + d + 128, product),
    ]


def test_a_loop_counts_as_often_as_it_runs_and_no_other():
    loop = "  %w = f32[2,8,8,16]{{0}} while(%x), condition=%no, body=%wrap{}\n  ROOT %o"
    trips = ', backend_config={"known_trip_count":{"n":"3"}}'
    counted = GPU_PROGRAM.replace("  ROOT %o", loop.format(trips))
    once = hlo_kernels.kernels_of(GPU_PROGRAM)
    assert hlo_kernels.kernels_of(counted) == [*once, *3 * [Kernel(2 * 4 * 2048)]]
    with pytest.raises(ValueError, match="has a while"):
        hlo_kernels.kernels_of(GPU_PROGRAM.replace("  ROOT %o", loop.format("")))


def test_an_instruction_says_what_it_makes_of_what():
    shapes = hlo_kernels.shapes_of(GPU_PROGRAM)
    assert shapes["d"] == "bf16[64,1024] <- bf16[64,512], bf16[512,1024]"
    assert shapes["c"] == "(f32[2,4,4,32], u8[0]) <- f32[2,8,8,16], f32[32,3,3,16]"


def test_times_are_summed_by_operation_and_shared_by_the_steps():
    def event(name, us, **more):
        return {"ph": "X", "dur": us, "args": {"hlo_op": name}, **more}

    events = [
        *(event("conv.1", 3_000.0), event("add", 1_000.0), event("conv.1", 5_000.0)),
        {"ph": "X", "dur": 9_000.0, "args": {}},  # the host's
        event("add", 9_000.0, ph="M"),
    ]
    found = kernel_times.by_operation(events, steps=2)
    assert found == [("conv.1", 4.0, 1.0), ("add", 0.5, 0.5)]
    said = kernel_times.table(found, {"conv.1": "f32[2] <- f32[3]"}, top=1)
    assert said.splitlines() == [
        "    4.500 ms in all",
        "    4.000 ms conv",
        "    0.500 ms add",
        "    4.000 ms    1.0 kernels conv.1: f32[2] <- f32[3]",
    ]


@pytest.mark.slow
def test_a_workloads_operations_are_timed_and_named():
    found, shapes = kernel_times.measured(workloads.WORKLOADS["score"].build, TINY)
    assert sum(one.ms for one in found) > 0
    products = [one.name for one in found if one.name.startswith("dot")]
    assert products
    assert all("<- f32[" in shapes[name] for name in products)
    with pytest.raises(UserError, match="not one compiled program"):
        kernel_times.measured(workloads.WORKLOADS["data-jpeg"].build, TINY)


def test_what_is_called_counts_where_it_is_called():
    call = "  %w = f32[2,8,8,16]{0} call(%x), to_apply=%wrap\n  ROOT %o"
    found = hlo_kernels.kernels_of(GPU_PROGRAM.replace("  ROOT %o", call))
    assert found == [*hlo_kernels.kernels_of(GPU_PROGRAM), Kernel(2 * 4 * 2048)]


def test_on_a_gpu_a_step_is_its_share_of_the_loop(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = SimpleNamespace(as_text=lambda: GPU_PROGRAM)
    kernels = hlo_kernels.kernels_of(GPU_PROGRAM)
    cost = roofline.cost_of(program, loop_trips=5, steps=2)
    assert cost.flops == sum(k.flops for k in kernels) / 2
    assert cost.bytes_accessed == sum(k.num_bytes for k in kernels) / 2


@pytest.mark.slow
def test_programs_are_counted_without_being_run(capsys):
    step = training_steps.resnet18_step(2)
    assert not any(isinstance(x, jax.Array) for x in jax.tree.leaves(step))
    programs.main(programs.Options(only=("gan-4",)))
    row = capsys.readouterr().out.splitlines()[-1]
    name, _, gflop, gbytes = row.strip("| ").split(" | ")
    assert name == "gan-4"
    assert float(gflop) > 0
    assert float(gbytes) > 0


def test_a_program_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="there is no program gan-5"):
        programs.main(programs.Options(only=("gan-5",)))


def of_target(name, ms, **more):
    return {"workload": name, "ms": {"jaxgrow": ms}, **more}


def test_targets_are_computed_from_the_rows_that_are_there():
    stages = [of_target(f"target-stage-{r}", 5.0) for r in (4, 8, 16, 32)]
    uncounted = of_target("target-score", 10.0)
    assert targets.targets([*stages, uncounted]) == []
    last = of_target("target-stage-64", 10.0)
    peak = {"gflops_per_s": 700e3, "gbytes_per_s": 3e3}
    score = of_target("target-score", 10.0, gflop=3_150.0, peak=peak, items=4096)
    generation = of_target("target-generation", 1_000.0, items=500)
    reached = targets.targets([*stages, last, score, generation])
    # 47,000 steps of 5 ms and 60,000 of 10; 315 of 700 TFLOP/s; 2 ms an object.
    assert [t.measured for t in reached] == ["835 s", "45%", "20.0 s"]
    assert [t.is_reached for t in reached] == [True, False, False]
    table_rows = table.targets_table(reached).splitlines()[2:]
    assert [row.split(" | ")[-1].strip(" |") for row in table_rows] == [
        *("yes", "no", "no")
    ]


def test_the_targets_steps_are_those_of_the_preset():
    growth = PRESETS["paper"][1].growth
    assert dict(zip(growth.resolutions, growth.steps, strict=True)) == targets.SCHEDULE
    names = workloads.choose([], on_cpu=False)
    wanted = [f"target-stage-{r}" for r in targets.SCHEDULE]
    assert names[:7] == [*wanted, "target-score", "target-generation"]
    assert not any(n.startswith("target") for n in workloads.choose([], on_cpu=True))
