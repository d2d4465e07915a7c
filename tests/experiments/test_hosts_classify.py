"""Two real processes generate views and train classifiers as one process does."""

import json
import shutil

import numpy as np
import pytest

from jaxgrow.training.logs import read_metrics
from tests.support import dimvida
from tests.support.two_processes import Machine, status_of, wait_for


pytestmark = pytest.mark.slow

_SMALL = (
    *dimvida.TINY,
    *("--data.objects-c", "4", "--data.objects-e", "3", "--table-objects", "1"),
    *("--curve.objects", "0", "--generate.evaluations", "--generate.samples", "1"),
    *("--classify.train-sets", "single", "augmented", "--classify.width", "2"),
    *("--classify.seeds-at-once", "2", "--classify.epochs", "10"),
    *("--classify.log-every", "4", "--classify.checkpoint-every", "8"),
)
_FILES = ("ca", "ea", "ea_unknown")


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return Machine(tmp_path_factory.mktemp("classify"), "nmr_dimvida", *_SMALL)


@pytest.fixture(scope="module")
def alone(machine):
    """All phases in one process with two devices."""
    return machine.finish(machine.folder / "alone")


def copy_without(run, name, *parts):
    """A run that lacks what some of its phases have left."""
    copy = run.with_name(name)
    shutil.copytree(run, copy)
    for part in parts:
        shutil.rmtree(copy / part)
    return copy


def rows_of(run):
    """Step and loss of every row of every training."""
    files = sorted((run / "classify" / "metrics").iterdir())
    return {f.name: [(r["step"], r["loss"]) for r in read_metrics(f)] for f in files}


def files_of(run):
    return {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}


def assert_same_classifiers(run, expected):
    """The same losses at the same steps, the same files, nearly the same answers."""
    found, wanted = rows_of(run), rows_of(expected)
    assert [len(rows) for rows in wanted.values()] == [10, 3]
    assert found.keys() == wanted.keys()
    for name, rows in found.items():
        np.testing.assert_allclose(rows, wanted[name], rtol=1e-3)
    assert files_of(run) == files_of(expected)
    cells, others = (
        json.loads((r / "classify" / "results.json").read_text())["cells"]
        for r in (run, expected)
    )
    for cell, other in zip(cells, others, strict=True):
        assert (cell["train"], cell["test"]) == (other["train"], other["test"])
    # An object that a classifier is torn about may go either way, in several cells.
    right, wanted_right = (
        6 / 100 * np.array([c["accuracy"] for c in results])
        for results in (cells, others)
    )
    assert right.size == 44
    assert np.abs(right - wanted_right).sum() < 8.5  # of 264 answers


def test_two_processes_generate_the_views_and_train_the_classifiers_of_one(
    machine, alone
):
    run = copy_without(alone, "together", "views", "classify", "weights/classify")
    machine.finish_two(run, "--phases", "views", "classify")
    for name in _FILES:
        found, wanted = (
            np.load(r / "views" / name / "images.npy").astype(int) for r in (run, alone)
        )
        difference = np.abs(found - wanted)
        assert difference.max() <= 1  # between two pixels rounding goes either way
        assert (difference > 0).mean() < 1e-2
    assert_same_classifiers(run, alone)


def test_after_the_death_of_a_process_in_classify_both_go_on_to_the_same_rows(
    machine, alone
):
    run = copy_without(alone, "death", "classify", "weights/classify")
    line = ("--phases", "classify")
    processes = machine.start_two(run, *line)
    folder = "resnet18-scratch-augmented-seed_0"
    wait_for(run / "checkpoints" / "classify" / folder / "8", processes)
    processes[1].kill()
    status, err = status_of(processes[0])
    assert status not in (0, None)
    assert "process 0 of 2 has ended because it or another one died" in err
    status_of(processes[1])
    before = {path: path.read_bytes() for path in weights_of(run)}
    assert len(before) == 2  # of both seeds on the set "single"
    machine.finish_two(run, *line)
    assert {path: path.read_bytes() for path in before} == before
    assert_same_classifiers(run, alone)


def weights_of(run):
    return sorted((run / "weights" / "classify").iterdir())
