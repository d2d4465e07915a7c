"""Rendering in other processes: the same views, in order, and nothing left behind."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from jaxgrow.data.procedural import CLASSES, render_object, render_objects, workers


ITEMS = [(name, index) for index in range(2) for name in CLASSES[::4]]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_views_do_not_depend_on_the_number_of_workers(num_workers):
    options = {"seed": 3, "azimuths": (15, 200), "size": 24}
    here = list(render_objects(ITEMS, num_workers=0, **options))
    found = render_objects(ITEMS, num_workers=num_workers, **options)
    for item, view, expected in zip(ITEMS, found, here, strict=True):
        np.testing.assert_array_equal(view, expected)
        alone = render_object(*item, **options)
        np.testing.assert_array_equal(view, alone)


def test_few_objects_are_rendered_without_workers(monkeypatch):
    monkeypatch.setattr(workers, "_Worker", None)
    assert len(list(render_objects(ITEMS[:2], seed=0, azimuths=[0], size=8))) == 2


def test_many_objects_are_rendered_with_workers(monkeypatch):
    monkeypatch.setattr(workers, "_MIN_VIEWS", len(ITEMS))
    monkeypatch.setattr(workers, "available_cores", lambda: 2)
    monkeypatch.setattr(workers, "render_object", None)
    assert len(list(render_objects(ITEMS, seed=0, azimuths=[0], size=8))) == len(ITEMS)


def test_no_objects_are_no_views():
    for num_workers in (None, 0, 2):
        found = render_objects([], seed=0, azimuths=[0], num_workers=num_workers)
        assert list(found) == []


def test_a_reader_that_stops_early_leaves_no_process_and_no_thread(monkeypatch):
    started = []

    class Recorded(workers._Worker):
        def __init__(self):
            super().__init__()
            started.append(self._process)

    monkeypatch.setattr(workers, "_Worker", Recorded)
    threads = threading.active_count()
    items = [("chair", i) for i in range(200)]
    found = render_objects(items, seed=0, azimuths=[0], size=8, num_workers=2)
    next(found)
    found.close()
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)
    assert threading.active_count() == threads


def test_the_death_of_a_worker_is_an_error(monkeypatch):
    monkeypatch.setattr(workers, "_PROGRAM", "jaxgrow.errors")
    found = render_objects(ITEMS, seed=0, azimuths=[0], num_workers=1)
    with pytest.raises(RuntimeError, match="ended with status 0"):
        next(found)


def test_a_program_from_stdin_without_a_guard_can_use_workers_which_load_no_jax():
    program = """
from jaxgrow.data.procedural import render_objects
import sys
items = [("sofa", i) for i in range(3)]
print(sum(v.shape[0] for v in render_objects(
    items, seed=0, azimuths=[0, 90], size=8, num_workers=2)), "jax" in sys.modules)
"""
    ran = subprocess.run(
        [sys.executable, "-"],
        input=program,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["6", "False"]
    assert ran.stderr == ""


def test_a_negative_number_of_workers_is_refused():
    with pytest.raises(ValueError, match="num_workers -1"):
        render_objects(ITEMS, seed=0, azimuths=[0], num_workers=-1)
