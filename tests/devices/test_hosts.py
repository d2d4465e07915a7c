"""Who the processes are, and what a process does that is alone."""

import shutil
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxgrow.devices import hosts
from jaxgrow.devices.hosts import HostsConfig
from jaxgrow.errors import UserError
from jaxgrow.multiview import chunked_images
from jaxgrow.training.logs import MetricWriter, read_metrics
from jaxgrow.training.loop import Interrupt
from tests.support.oracles import assert_identical


@pytest.fixture
def second_of_two(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)


@pytest.mark.parametrize(
    "given",
    [
        {"coordinator": "localhost:1"},
        {"num_processes": 2, "process_id": 0},
        {"join": True, "coordinator": "localhost:1", "num_processes": 2},
    ],
)
def test_half_of_who_the_others_are_is_refused(given):
    with pytest.raises(UserError, match=r"give hosts.coordinator.* together"):
        HostsConfig(**given)


@pytest.mark.parametrize("process_id", [-1, 2])
def test_a_process_that_is_none_of_them_is_refused(process_id):
    with pytest.raises(UserError, match="process_id"):
        HostsConfig(coordinator="localhost:1", num_processes=2, process_id=process_id)


def test_a_process_is_alone_unless_it_is_told_otherwise():
    hosts.join(HostsConfig())
    assert not hosts.are_several()
    assert hosts.is_first()
    assert hosts.largest(7) == 7
    tree = {"a": np.arange(3.0)}
    assert_identical(hosts.from_first(tree), tree)
    hosts.leave(2, together=False)  # which would otherwise end the process


@pytest.mark.parametrize("count", [2, 3, 9])
def test_processes_write_the_images_that_one_writes(tmp_path, monkeypatch, count):
    """Seven rows: a share may be of one row, or of none."""
    images = np.random.default_rng(0).integers(0, 256, (7, 2, 3), dtype=np.uint8)
    made, header = [], {"shape": [7, 2, 3], "model": "m"}

    def make_chunk(start, stop):
        made.extend(range(start, stop))
        return images[start:stop]

    def write_as(process, folder):
        monkeypatch.setattr(jax, "process_count", lambda: count)
        monkeypatch.setattr(jax, "process_index", lambda: process)
        chunked_images.write_chunks_together(folder, header, make_chunk, 2)

    chunked_images.write_chunks(tmp_path / "alone", header, make_chunk, 2)
    made.clear()
    monkeypatch.setattr(hosts, "wait", lambda: None)
    monkeypatch.setattr(hosts, "first_says", lambda answers: answers)
    for process in reversed(range(count)):  # the first one joins the shares
        write_as(process, tmp_path / "together")
    assert sorted(made) == list(range(7))
    found, wanted = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("together", "alone")
    )
    assert found == wanted
    for process in range(count):
        write_as(process, tmp_path / "together")
    assert len(made) == 7
    assert {path.name for path in tmp_path.iterdir()} == {"alone", "together"}


def test_a_disk_too_small_for_the_shares_and_the_whole_is_refused_before_all(
    tmp_path, monkeypatch
):
    images = np.arange(42, dtype=np.uint8).reshape(7, 2, 3)
    made, header = [], {"shape": [7, 2, 3]}
    whole, share_0, share_1 = (128 + 6 * rows for rows in (7, 3, 4))

    def make_chunk(start, stop):
        made.extend(range(start, stop))
        return images[start:stop]

    def write_as(process, free):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(jax, "process_index", lambda: process)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        chunked_images.write_chunks_together(tmp_path / "images", header, make_chunk, 2)

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts, "wait", lambda: None)
    monkeypatch.setattr(hosts, "first_says", lambda answers: answers)
    with pytest.raises(UserError, match="free some space or choose another directory"):
        write_as(0, whole + share_0 + share_1 - 1)
    assert made == []
    write_as(1, share_1)  # a kill has left it
    made.clear()
    with pytest.raises(UserError, match="free some space or choose another directory"):
        write_as(0, whole + share_0 - 1)
    assert made == []
    write_as(0, whole + share_0)
    np.testing.assert_array_equal(np.load(tmp_path / "images/images.npy"), images)


def test_only_the_first_process_writes_metrics(tmp_path, second_of_two):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 5}\n')
    writer = MetricWriter(path)
    writer.truncate_after(1)
    writer.write(6, loss=1.0)
    assert [row["step"] for row in read_metrics(path)] == [5]


@pytest.mark.parametrize(("own", "of_all"), [(0, 15), (15, 15), (0, 0), (2, 15)])
def test_all_processes_stop_when_one_is_asked(monkeypatch, second_of_two, own, of_all):
    gave = []
    monkeypatch.setattr(hosts, "largest", lambda n: gave.append(n) or of_all)
    with Interrupt().listening() as interrupt:
        if own:
            signal.raise_signal(own)
        assert interrupt.signal is None
        interrupt.agree()
    assert gave == [own]
    assert interrupt.signal == (signal.Signals(of_all) if of_all else None)
