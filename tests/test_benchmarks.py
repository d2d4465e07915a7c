"""Benchmarks: registry, timing in turns, roofline, collectives, tables in the docs."""

import json
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.errors import UserError


pytest.importorskip("torch")

from benchmarks import (
    __main__,
    gpu_program,
    measure,
    predict,
    roofline,
    scaling,
    table,
    targets,
    workloads,
)
from benchmarks.gpu_program import Kernel
from benchmarks.measure import Sides
from benchmarks.roofline import Cost, Peak
from benchmarks.sizes import CPU, GPU
from experiments.places_grow.config import PRESETS


ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture(scope="module")
def product():
    """A compiled product of (64, 32) and (32, 16)."""
    shapes = jnp.zeros((64, 32)), jnp.zeros((32, 16))
    return jax.jit(jnp.matmul).lower(*shapes).compile()


def found(name="score", ratio=1.5, **more):
    return {
        "workload": name,
        "title": f"the {name}",
        "ms": {"jaxgrow": 10.0, "PyTorch": 10.0 * ratio, "other": 40.0},
        "cpu_ms": {"jaxgrow": 20.0, "PyTorch": 30.0, "other": 80.0},
        "ratio": ratio,
        "cpu_ratio": 1.5,
        "per_s": 6400.0,
        "unit": "images",
        "device": "cpu",
        "cpus": 2,
        "versions": {"jax": "1", "torch": "2"},
        "peak": {"gflops_per_s": 100.0, "gbytes_per_s": 10.0},
        "load_average": 0.5,
        **more,
    }


def test_the_limit_is_the_slower_of_arithmetic_and_memory():
    peak = Peak(100.0, 10.0)
    assert roofline.limit_ms(2e9, 0.0, peak) == pytest.approx(20.0)
    assert roofline.limit_ms(2e9, 5e8, peak) == pytest.approx(50.0)


def test_a_products_cost_is_known_in_closed_form(product):
    cost = roofline.cost_of(product)
    assert cost.flops == 2 * 64 * 32 * 16
    in_and_out = 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert cost.bytes_accessed == in_and_out
    assert cost.argument_bytes == 4 * (64 * 32 + 32 * 16)
    assert cost.peak_bytes >= in_and_out
    assert roofline.cost_of(product, loop_trips=3).flops == 3 * cost.flops


def test_a_gib_holds_what_the_activations_leave_room_for():
    cost = Cost(0.0, 0.0, 5, 5, temp_bytes=1 << 20)
    assert roofline.batch_per_gib(cost, 4) == 4096


def test_sides_take_turns_and_the_median_of_the_rounds_counts():
    order = []

    def side(name, seconds):
        def call():
            order.append(name)
            time.sleep(seconds)

        return call

    times = measure.time_in_turn({"a": side("a", 0.11), "b": side("b", 0.15)}, 3)
    assert order == ["a", "a", "b", "b", "a", "b", "a", "b", "a", "b"]
    assert times["a"].ms >= 110.0
    assert times["b"].ms >= 150.0


def test_short_of_time_one_round_is_run():
    calls = []
    sides = {"a": lambda: calls.append(time.sleep(0.11))}
    measure.time_in_turn(sides, 100, seconds=0.0)
    assert len(calls) == 3  # two before, to warm up and to see how long it takes


def test_a_report_divides_a_call_by_its_steps_and_says_what_was_left_out(product):
    x, y = jnp.ones((64, 32)), jnp.ones((32, 16))

    def fail():
        raise RuntimeError("no compiler\nat all")

    sides = Sides(
        ours=lambda: [product(x, y), time.sleep(0.12)][0],
        twins={"NumPy": lambda: time.sleep(0.03)},
        items=64,
        unit="rows",
        checked="nothing",
        program=product,
        steps_per_call=4,
        batch_size=64,
        make_compiled=fail,
    )
    said = measure.report(sides, Peak(1.0, 1.0), rounds=1, torch_compile=True)
    assert said["ms"]["jaxgrow"] >= 30.0
    assert said["skipped"] == {"torch.compile": "RuntimeError: no compiler"}
    assert said["gflop"] == pytest.approx(2 * 64 * 32 * 16 / 1e9, rel=1e-3)
    assert said["per_s"] == pytest.approx(64e3 / said["ms"]["jaxgrow"], rel=1e-3)


def test_a_loop_of_steps_ends_where_single_steps_do():
    def step(state, data, batch):
        state = state + data * batch
        return state, {"sum": state}

    data, batch = jnp.float32(2.0), np.float32(3.0)
    runs = []
    for count in (1, 3):
        run, _ = measure.stepper(step, jnp.float32(0.0), data, batch, count)
        for _ in range(3 // count):
            metrics = run()
        runs.append(float(jnp.ravel(metrics["sum"])[-1]))
    assert runs == [18.0, 18.0]
    assert measure.first_step(metrics, "sum") == 6.0


def test_the_registry_has_all_that_is_to_be_measured():
    names = set(workloads.WORKLOADS)
    for resolution in (4, 8, 16, 32, 64):
        assert {f"gan-{resolution}", f"gan-{resolution}-perceptual"} <= names
    assert {"score", "autoencoder", "resnet18", "mobilenet-v3-large"} <= names
    assert {"sampling-12", "sampling-250", "generation"} <= names
    assert {"data-jpeg", "data-map", "data-device"} <= names
    assert {"psnr-ssim", "fid-statistics"} <= names
    titles = [w.title for w in workloads.WORKLOADS.values()]
    assert len(set(titles)) == len(titles)


def test_workloads_are_chosen_by_name_or_by_the_beginning_of_it():
    assert workloads.choose(["score"], on_cpu=True) == ["score"]
    assert set(workloads.choose(["data"], on_cpu=True)) == {
        "data-jpeg",
        "data-map",
        "data-device",
    }
    assert workloads.choose(["gan-4"], on_cpu=True) == ["gan-4"]
    assert "gan-64" in workloads.choose(["gan"], on_cpu=True)
    assert "gan-64" not in workloads.choose([], on_cpu=True)
    assert "gan-64" in workloads.choose([], on_cpu=False)
    with pytest.raises(UserError, match="there is no workload scroe"):
        workloads.choose(["scroe"], on_cpu=True)


def test_a_gpus_sizes_are_larger_and_loop_on_the_device():
    assert CPU.steps_per_call == 1 < GPU.steps_per_call
    assert CPU.generated_objects < GPU.generated_objects


def test_the_fastest_other_stands_beside_ours():
    text = table.speed_table([found(gflop=123.4, limit_ms=5.0, share_of_limit=0.5)])
    row = text.splitlines()[-1]
    assert "| the score | 10 | 15 (PyTorch) | 1.50 | 1.50 | 6,400 images | 123 |" in row
    assert row.endswith("| 5 | 50% |")


def test_rows_behind_are_named_worst_first():
    results = [found("a", 0.9), found("b", 0.5), found("c", 1.2)]
    lines = table.behind_list(results).splitlines()
    assert [line.split(":")[0] for line in lines] == ["- the b", "- the a"]
    assert table.behind_list(results[2:]) == "No workload is behind."


def test_a_page_is_rendered_between_its_marks_and_again_to_the_same(tmp_path):
    folder = tmp_path / "cpu-9-cores"
    measure.write_json(folder / "score.json", found())
    (folder / "older.json").write_text(json.dumps({"results": []}))
    page = (
        "before\n\n<!-- speed cpu-9-cores -->\nold\n<!-- end of speed cpu-9-cores -->\n"
        "\nafter\n"
    )
    once = table.render(page, tmp_path)
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "the score" in once
    assert "old" not in once
    assert table.render(once, tmp_path) == once


def test_the_documented_tables_are_those_of_the_result_files():
    assert PAGE.read_text() == table.render(PAGE.read_text(), RESULTS)


def test_the_command_line_runs_a_workload_and_writes_what_it_found(
    tmp_path, monkeypatch, capsys
):
    def build(sizes):
        return Sides(
            ours=lambda: None,
            twins={"NumPy": lambda: None},
            items=sizes.rows,
            unit="rows",
            checked="nothing",
        )

    entry = workloads.Workload("nothing at all", build)
    monkeypatch.setattr(workloads, "WORKLOADS", {"nothing": entry})
    monkeypatch.setattr(roofline, "measure_peak", lambda dtype: Peak(1.0, 1.0))
    monkeypatch.setattr(measure, "forget", lambda: None)
    options = __main__.Options(rounds=1, out=tmp_path, docs=None)
    __main__.main(options)
    said = json.loads((tmp_path / "nothing.json").read_text())
    assert said["title"] == "nothing at all"
    assert said["sizes"]["rows"] == CPU.rows
    __main__.main(__main__.Options(budget_s=0.0, out=tmp_path, docs=None))
    assert "No time was left for nothing" in capsys.readouterr().out


def test_all_reduces_are_read_from_a_compiled_program():
    hlo = """
      %all-reduce.1 = (f32[3,4]{1,0}, bf16[5]{0}) all-reduce(%a, %b), to_apply=%sum
      %all-reduce.2 = f32[] all-reduce(%c), to_apply=%sum
      ROOT %x = f32[3,4]{1,0} add(%all-reduce.1, %d)
    """
    assert scaling.collectives_of(hlo) == (2, 48 + 10 + 4, 0)
    start = "%s = f32[8]{0} all-reduce-start(%c)\n%d = f32[8]{0} all-reduce-done(%s)"
    assert scaling.collectives_of(start) == (1, 32, 1)


def test_a_gradients_all_reduce_is_as_large_as_the_weights():
    devices = 2

    def step(state, data, batch):
        grads = jax.grad(lambda w: jnp.mean((data[batch] @ w) ** 2))(state)
        return state - grads, {"norm": jnp.sum(grads)}

    state, data = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((8, 4), (6, 8)))
    program = scaling.programs.Program(step, state, data, np.zeros(4, np.int32))
    hlo = scaling.compiled_text(program, devices)
    assert scaling.collectives_of(hlo).num_bytes == 4 * 8 * 4
    assert scaling.collectives_of(scaling.compiled_text(program, 1)).count == 0


def test_a_rings_time_is_its_bytes_over_the_link_and_its_hops():
    gigabyte = 1e9
    expected = 2 * 3 / 4 * gigabyte / (scaling.LINK_GBYTES_PER_S * 1e9) * 1e3
    hops = 2 * math.log2(4) * scaling.HOP_US * 1e-3
    assert scaling.all_reduce_ms(gigabyte, 4) == pytest.approx(expected + hops)
    assert scaling.all_reduce_ms(gigabyte, 1) == 0.0


def test_efficiency_on_many_devices_is_of_one_devices_prediction():
    row = {"predicted_ms": 10.0, "kernels": 1000, "batch_size": 128}
    weak = scaling.estimated("step", "weak", row, 1e6)
    assert weak["compute_ms"] == 10.0
    wire = scaling.all_reduce_ms(1e6, scaling.MANY)
    assert weak["efficiency"] == pytest.approx(10.0 / (10.0 + wire), abs=1e-3)
    strong = scaling.estimated("step", "strong", row, 1e6)
    assert strong["compute_ms"] == pytest.approx(2.0 + 8.0 / 128)
    assert strong["batch_per_device"] == 1


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
    assert gpu_program.kernels_of(GPU_PROGRAM) == [
        Kernel(2 * x),
        Kernel(x + k + y, convolution, "f32", 16),
        Kernel(y + k + x, convolution, "f32", 16),
        Kernel(x + y + k, convolution, "f32", 16),
        Kernel(p + q + d, product, "bf16", 512),
        Kernel(p + q + d + 128, product, "bf16", 512),
    ]


def test_a_loop_counts_as_often_as_it_runs_and_no_other():
    loop = "  %w = f32[2,8,8,16]{{0}} while(%x), condition=%no, body=%wrap{}\n  ROOT %o"
    trips = ', backend_config={"known_trip_count":{"n":"3"}}'
    counted = GPU_PROGRAM.replace("  ROOT %o", loop.format(trips))
    once = gpu_program.kernels_of(GPU_PROGRAM)
    assert gpu_program.kernels_of(counted) == [*once, *3 * [Kernel(2 * 4 * 2048)]]
    with pytest.raises(ValueError, match="has a while"):
        gpu_program.kernels_of(GPU_PROGRAM.replace("  ROOT %o", loop.format("")))


def test_a_prediction_is_the_slower_of_products_and_bytes_of_every_kernel():
    reach = predict.Reach(0.1, 0.2, 0.5, 0.5, kernel_us=3.0)
    copy = Kernel(num_bytes=3350_000)
    narrow = Kernel(1, 989e8, "bf16", width=27)
    wide = Kernel(1, 989e8, "bf16", width=64)
    large = Kernel(1, 494e8, "f32", width=512)
    hidden = Kernel(3350_000, 1e6, "bf16", width=27)
    for kernel, ms in [
        (copy, 0.002), (narrow, 1.0), (wide, 0.5), (large, 0.2), (hidden, 0.002)
    ]:  # fmt: skip
        assert predict.time_ms([kernel], reach) == pytest.approx(ms + 0.003)
    both = predict.time_ms([copy, narrow], reach)
    assert both == pytest.approx(0.002 + 1.0 + 2 * 0.003)


def test_predicted_tasks_add_up_their_steps():
    rows = [
        predict.row(name, size, [Kernel(3_350_000_000)])
        for name, size, _ in predict._steps()
    ]
    schedule, *scores, generation = predict.tasks(rows)
    assert schedule["limit_s"] == pytest.approx(107.0)
    assert schedule["fast_s"] < schedule["predicted_s"] < schedule["slow_s"]
    assert [score["limit_s"] for score in scores] == [1.0] * 3
    assert generation["limit_s"] == pytest.approx(0.02)


def of_target(name, ms, **more):
    return found(name, ms={"jaxgrow": ms}, **more)


def test_targets_are_computed_from_the_rows_that_are_there():
    stages = [of_target(f"target-stage-{r}", 5.0) for r in (4, 8, 16, 32)]
    assert targets.targets(stages) == []
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


def test_operations_that_are_known_better_take_the_place_of_xlas_count(product):
    sides = Sides(
        ours=lambda: time.sleep(0.11),
        twins={},
        items=1,
        unit="rows",
        checked="nothing",
        program=product,
        flops=5e9,
    )
    said = measure.report(sides, Peak(1.0, 1.0), rounds=1)
    assert said["gflop"] == 5.0
    assert said["limit_ms"] == pytest.approx(5_000.0)
    assert "ratio" not in said
    row = table.speed_table([found(**said)]).splitlines()[-1]
    assert "PyTorch" not in row
