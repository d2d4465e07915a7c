import errno
import io
import json
import math
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jaxgrow.errors import UserError
from jaxgrow.storage import files
from jaxgrow.training.logs import MetricWriter, progress_bar, read_metrics


def test_rows_come_back_in_order_and_are_on_disk_at_once(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    writer = MetricWriter(path)
    writer.write(1, stage=4, phase="grow", **{"g/loss": jnp.float32(0.5)})
    assert len(read_metrics(path)) == 1
    writer.write(2, stage=np.int64(4), **{"g/loss": np.float32(0.1)})
    assert read_metrics(path) == [
        {"step": 1, "stage": 4, "phase": "grow", "g/loss": 0.5},
        {"step": 2, "stage": 4, "g/loss": float(np.float32(0.1))},
    ]


@given(value=st.floats(allow_nan=False))
def test_every_float_comes_back_to_the_last_bit(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    MetricWriter(path).write(0, value=value)
    assert read_metrics(path)[0]["value"] == value


def test_numbers_that_are_not_finite_are_null_in_the_file_and_come_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricWriter(path).write(3, a=math.nan, b=-math.inf, c=1.0)
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "step": 3,
        "a": None,
        "b": None,
        "c": 1.0,
        "not_finite": {"a": "nan", "b": "-inf"},
    }
    (row,) = read_metrics(path)
    assert math.isnan(row["a"])
    assert row["b"] == -math.inf
    assert set(row) == {"step", "a", "b", "c"}


def test_resuming_drops_later_rows_and_a_line_cut_short(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricWriter(path)
    for step in range(1, 6):
        writer.write(step, loss=step / 10)
    expected = path.read_text().splitlines()[:3]
    with path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert len(read_metrics(path)) == 5
    writer.truncate_after(3)
    assert path.read_text().splitlines() == expected
    writer.write(4, loss=0.0)
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3, 4]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_file_that_is_not_there_has_no_rows(tmp_path):
    MetricWriter(tmp_path / "metrics.jsonl").truncate_after(3)
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_json_is_replaced_in_one_move_and_reads_back(tmp_path):
    path = tmp_path / "deep" / "config.json"
    files.write_json(path, {"path": Path("a/b"), "sizes": (1, 3), "psnr": math.inf})
    files.write_json(path, {"x": np.float64(0.1), "n": np.arange(2)})
    assert json.loads(path.read_text()) == {"x": 0.1, "n": [0, 1]}
    with pytest.raises(TypeError, match="object has no form in JSON"):
        files.write_json(path, {"x": object()})
    assert [p.name for p in path.parent.iterdir()] == ["config.json"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_one_sentence_and_the_old_file_stays(
    tmp_path, monkeypatch, code
):
    path = tmp_path / "config.json"
    files.write_json(path, {"x": 1})

    def refuse(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError) as error:
        files.write_json(path, {"x": 2})
    assert str(error.value).startswith(
        f"cannot write {path}: {os.strerror(code)[:2]}"[:-2]
    )
    assert "\n" not in str(error.value)
    assert json.loads(path.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_metrics_on_a_full_disk_are_one_sentence():
    with pytest.raises(UserError, match="cannot write /dev/full: no space left"):
        MetricWriter(Path("/dev/full")).write(1, loss=0.5)


def test_a_full_disk_is_known_inside_an_exception_of_a_library():
    for error in (
        ValueError("OUT_OF_RANGE: Failed to write: No space left on device [28]"),
        RuntimeError("Read-only file system"),
    ):
        with pytest.raises(UserError), files.disk_errors(Path("a")):
            raise error


def test_other_errors_pass_unchanged():
    for error in (ValueError("shape"), FileNotFoundError(2, "none"), UserError("a")):
        with pytest.raises(type(error)) as caught, files.disk_errors(Path("a")):
            raise error
        assert caught.value is error


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_without_a_terminal_there_is_a_plain_line_every_ten_seconds():
    out, clock = io.StringIO(), Clock()
    with progress_bar(Console(file=out, width=200)) as progress:
        progress.get_time = clock
        task = progress.add_task("stage 8 px", total=100, completed=10)
        for step in range(11, 101):
            clock.now += 0.5
            progress.update(task, completed=step)
    lines = out.getvalue().splitlines()
    assert lines[0] == "stage 8 px 10/100"
    assert lines[1] == ("stage 8 px 30/100, 2 steps/s, 0:00:10 elapsed, 0:00:35 left")
    assert lines[-1] == "stage 8 px 100/100, 2 steps/s, 0:00:45 elapsed"
    assert len(lines) == 6


def test_a_line_says_what_it_counts_and_the_rate_of_its_examples():
    out, clock = io.StringIO(), Clock()
    with progress_bar(Console(file=out, width=200)) as progress:
        progress.get_time = clock
        training = progress.add_task("score", total=40, examples=(64, "objects"))
        decoding = progress.add_task("objects", total=40, unit="objects")
        for _ in range(40):
            clock.now += 0.5
            progress.advance(training)
            progress.advance(decoding)
    lines = out.getvalue().splitlines()
    assert lines[-2:] == [
        "score 40/40, 2 steps/s, 128 objects/s, 0:00:20 elapsed",
        "objects 40/40, 2 objects/s, 0:00:20 elapsed",
    ]


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with progress_bar(console) as progress:
        task = progress.add_task("stage 8 px", total=4)
        progress.advance(task, 4)
    assert "4/4" in out.getvalue()
    assert "steps/s" in out.getvalue()
    assert "ETA" in out.getvalue()
