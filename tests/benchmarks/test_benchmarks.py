"""Benchmarks: registry, timing in turns, roofline, tables in the docs."""

import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.errors import UserError
from jaxgrow.ops import conv2d


pytest.importorskip("torch")

from benchmarks import __main__, measure, roofline, table, workloads
from benchmarks.measure import Sides
from benchmarks.roofline import Peak
from benchmarks.sizes import CPU, GPU


ROOT = Path(__file__).parents[2]
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


def sides_of(ours, **more):
    """Without twins, of one row."""
    fields = {"twins": {}, "items": 1, "unit": "rows", "checked": "nothing"}
    return Sides(ours=ours, **(fields | more))


def test_the_limit_is_the_slower_of_arithmetic_and_memory():
    peak = Peak(100.0, 10.0)
    assert roofline.limit_ms(2e9, 0.0, peak) == pytest.approx(20.0)
    assert roofline.limit_ms(2e9, 5e8, peak) == pytest.approx(50.0)


def test_a_products_cost_is_known_in_closed_form(product):
    cost = roofline.cost_of(product)
    assert cost.flops == 2 * 64 * 32 * 16
    in_and_out = 4 * (64 * 32 + 32 * 16 + 64 * 16)
    assert cost.bytes_accessed == in_and_out
    assert roofline.cost_of(product, loop_trips=3).flops == 3 * cost.flops


@pytest.mark.usefixtures("onednn")
def test_a_convolutions_cost_is_known_in_closed_form():
    x, kernel = jnp.ones((2, 8, 8, 16)), jnp.ones((3, 3, 16, 32))

    def gradients(x, kernel):
        return jax.grad(lambda *a: conv2d(*a).sum(), argnums=(0, 1))(x, kernel)

    forward, backward = (
        roofline.cost_of(jax.jit(f).lower(x, kernel).compile())
        for f in (conv2d, gradients)
    )
    once = 2 * (2 * 8 * 8 * 32) * (3 * 3 * 16)
    assert forward.flops == pytest.approx(once, abs=10)
    in_and_out = 4 * (2 * 8 * 8 * (16 + 32) + 3 * 3 * 16 * 32)
    assert forward.bytes_accessed == pytest.approx(in_and_out, abs=10)
    assert backward.flops == pytest.approx(2 * once, rel=0.01)


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

    sides = sides_of(
        lambda: [product(x, y), time.sleep(0.12)][0],
        twins={"NumPy": lambda: time.sleep(0.03)},
        items=64,
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


def test_a_program_that_cannot_be_counted_keeps_its_time_and_its_memory(
    product, monkeypatch
):
    def fail(program, **more):
        raise ValueError("the program has a conditional")

    monkeypatch.setattr(roofline, "cost_of", fail)
    x, y = jnp.ones((64, 32)), jnp.ones((32, 16))
    sides = sides_of(lambda: product(x, y), program=product, batch_size=64)
    said = measure.report(sides, Peak(1.0, 1.0), rounds=1)
    assert said["skipped"] == {"cost": "the program has a conditional"}
    assert said["arguments_mib"] == round(4 * (64 * 32 + 32 * 16) / 2**20, 1)
    assert "batch_per_gib" in said
    assert "gflop" not in said


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
        return sides_of(lambda: None, twins={"NumPy": lambda: None}, items=sizes.rows)

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


def test_operations_that_are_known_better_take_the_place_of_xlas_count(product):
    sides = sides_of(lambda: time.sleep(0.11), program=product, flops=5e9)
    said = measure.report(sides, Peak(1.0, 1.0), rounds=1)
    assert said["gflop"] == 5.0
    assert said["limit_ms"] == pytest.approx(5_000.0)
    assert "ratio" not in said
    row = table.speed_table([found(**said)]).splitlines()[-1]
    assert "PyTorch" not in row
