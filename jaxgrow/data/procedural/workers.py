"""Rendering with all cores.

The workers are separate programs connected by pipes. `multiprocessing` does not suit:
a fork is unsafe once JAX runs threads, and a spawned process imports the caller's main
module again, which breaks scripts without a guard and programs read from stdin.
"""

import collections
import contextlib
import json
import os
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.files import available_cores
from jaxgrow.data.procedural.objects import check_request, render_object
from jaxgrow.data.procedural.paints import Number


Item: TypeAlias = tuple[str, int]
_PROGRAM = "jaxgrow.data.procedural.worker"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_MIN_VIEWS = 1000  # below this, starting workers costs more than they save
_CHUNK = 16  # objects per request to a worker
_AHEAD = 3  # chunks per worker rendered ahead of the reader


def render_objects(
    items: Sequence[Item],
    *,
    seed: int,
    azimuths: Sequence[Number],
    size: int = 64,
    num_workers: int | None = None,
) -> Iterator[UInt8[np.ndarray, "v size size 3"]]:
    """Render views of many objects (class name, index), in their order.

    The arguments are those of `render_object` and the number of worker processes: 0 to
    render in this one, None to choose by the machine and the work. The views do not
    depend on it.

    Raises:
        UserError: An item cannot be rendered; raised before the first view.
    """
    check_request(items, seed=seed, azimuths=azimuths, size=size)
    if num_workers is not None and num_workers < 0:
        raise ValueError(f"num_workers {num_workers} is negative")
    if num_workers is None:
        cores = available_cores()
        worthwhile = cores > 1 and len(items) * len(azimuths) >= _MIN_VIEWS
        num_workers = cores if worthwhile else 0
    # JSON takes no NumPy scalars.
    items = [(name, int(index)) for name, index in items]
    angles = [float(azimuth) for azimuth in azimuths]
    if num_workers > 0:
        return _in_workers(items, (int(seed), angles, int(size)), num_workers)
    return (
        render_object(name, index, seed=seed, azimuths=angles, size=size)
        for name, index in items
    )


class _Worker:
    """A worker process."""

    def __init__(self) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path} | _ONE_THREAD,
        )

    def render(
        self, items: Sequence[Item], seed: int, azimuths: list[float], size: int
    ) -> UInt8[np.ndarray, "n v h w 3"]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        shape = (len(items), len(azimuths), size, size, 3)
        job = json.dumps([list(items), seed, azimuths, size])
        data, wanted = b"", int(np.prod(shape))
        with contextlib.suppress(BrokenPipeError):
            stdin.write(job.encode() + b"\n")
            stdin.flush()
            data = stdout.read(wanted)
        if len(data) < wanted:
            status = self._process.wait()
            raise RuntimeError(f"a rendering process ended with status {status}")
        return np.frombuffer(data, np.uint8).reshape(shape)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Close the pipes of a killed worker."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


def _in_workers(
    items: Sequence[Item], options: tuple[int, list[float], int], num_workers: int
) -> Iterator[np.ndarray]:
    chunk = max(1, min(_CHUNK, -(-len(items) // num_workers)))
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    count = min(num_workers, len(chunks))
    workers: list[_Worker] = []
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def render(part: Sequence[Item]) -> np.ndarray:
        worker = idle.get()
        try:
            return worker.render(part, *options)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(max(1, count))
    waiting: collections.deque[Future[np.ndarray]] = collections.deque()
    try:
        for _ in range(count):
            workers.append(_Worker())
            idle.put(workers[-1])
        for part in chunks:
            waiting.append(pool.submit(render, part))
            if len(waiting) >= _AHEAD * count:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for worker in workers:  # which ends the output that threads may be reading
            worker.kill()
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.close()
