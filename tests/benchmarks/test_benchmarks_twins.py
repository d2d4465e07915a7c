"""Every workload's two sides compute the same, at tiny sizes."""

import dataclasses

import jax
import pytest


pytest.importorskip("torch")

from benchmarks import gan_twins, measure, roofline, view_twins
from benchmarks.sizes import TINY
from benchmarks.workloads import WORKLOADS


QUICK = ["data-jpeg", "data-map", "data-device", "psnr-ssim", "fid-statistics"]
SLOW = [
    *("score", "autoencoder", "sampling-12", "generation", "gan-4"),
    *("resnet18-demo", "mobilenet-v3-small-demo", "gan-4-perceptual"),
]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """PyTorch's second thread would only spin where other tests run beside this."""
    monkeypatch.setattr(measure, "num_cpus", lambda: 1)
    monkeypatch.setattr(view_twins, "num_cpus", lambda: 1)
    monkeypatch.setattr(gan_twins, "num_cpus", lambda: 1)


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_both_sides_of_a_workload_agree(name):
    sides = WORKLOADS[name].build(TINY)  # which fails where they do not
    assert sides.checked
    assert sides.twins
    for call in (sides.ours, *sides.twins.values()):
        jax.block_until_ready(call())
    sides.close()
    if sides.program is not None:
        assert roofline.cost_of(sides.program).bytes_accessed > 0


@pytest.mark.slow
def test_a_loop_of_steps_begins_where_the_twin_does():
    sides = WORKLOADS["score"].build(dataclasses.replace(TINY, steps_per_call=2))
    assert sides.steps_per_call == 2
    jax.block_until_ready(sides.ours())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["target-stage-4", "target-score", "target-generation"]
)
def test_a_target_runs_and_has_no_twin(name):
    sizes = dataclasses.replace(TINY, steps_per_call=2)
    sides = WORKLOADS[name].build(sizes)
    assert not sides.twins
    jax.block_until_ready(sides.ours())


@pytest.mark.slow
def test_the_score_networks_operations_are_six_per_weight_and_object():
    """But for the update and the norms, which fall behind as the batch grows."""
    sizes = dataclasses.replace(TINY, target_score_batch=512)
    sides = WORKLOADS["target-score"].build(sizes)
    counted = roofline.cost_of(sides.program).flops
    assert sides.flops == pytest.approx(counted, rel=0.1)
