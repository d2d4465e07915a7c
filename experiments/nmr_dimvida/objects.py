"""The run's objects: what trains, what validates, what tests."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from experiments.nmr_dimvida.config import PHASES, Config, Phase
from experiments.nmr_dimvida.run import Run
from jaxgrow.data.batches import plan_rows
from jaxgrow.data.views import Partition, ViewSet, open_partitions
from jaxgrow.devices import hosts
from jaxgrow.errors import UserError
from jaxgrow.multiview import gaussian
from jaxgrow.multiview.batch import ImageData, ViewBatch
from jaxgrow.storage import files
from jaxgrow.training import logs


_KEYS = 0x4E15  # a stream of draws that meets no other
_PHASE_STREAM: dict[Phase, int] = {name: 1 + i for i, name in enumerate(PHASES)}
_MAX_VALIDATION = 512


class Objects(NamedTuple):
    """Partition d without its held-out part, that part, and partition e."""

    train: ViewSet
    validation: ViewSet
    c: Partition
    e: Partition


def load_objects(run: Run) -> Objects:
    """Reads, renders or maps the views; says what it found.

    Raises:
        UserError: The data has a mistake, or its cache cannot be written.
    """
    config = run.config
    with logs.progress_bar(run.console) as bar:
        task = None

        def on_progress(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task("objects", total=total, unit="objects")
            bar.update(task, completed=done)

        parts = open_partitions(config.data, config.seed, on_progress)
    for note in parts.notes:
        run.note(note)
    if config.score.gaussian_path:
        _check_gaussian_path(parts.d)
    train, validation = hold_out(parts.d, config.validation_fraction)
    what = "synthetic objects" if config.data.source == "synthetic" else "objects"
    run.note(
        f"{what} of {len(parts.d.class_names)} classes, {parts.d.num_views} views of "
        f"{parts.d.size} px: {len(train)} to train the generative model, "
        f"{len(validation)} to validate it, {len(parts.c)} for classifiers, "
        f"{len(parts.e)} to test"
    )
    given = {"c": _given_views(parts.c), "e": _given_views(parts.e)}
    if hosts.is_first():
        files.write_json(config.run_dir / "given_views.json", given)
    return Objects(train, validation, parts.c, parts.e)


def _check_gaussian_path(d: ViewSet) -> None:
    gaussian.check_views(d.num_views)
    lacking = int((~d.observed).any(axis=1).sum())
    if lacking:
        raise UserError(
            f"{lacking} of the objects to train on lack views, and the Gaussian path "
            "takes objects with all of them: pass --score.no-gaussian-path."
        )


def _given_views(part: Partition) -> dict[str, int]:
    """Object -> slot of its one view, for whoever compares with this run."""
    return dict(zip(part.views.object_ids, part.known.tolist(), strict=True))


def hold_out(d: ViewSet, fraction: float) -> tuple[ViewSet, ViewSet]:
    """Training and validation objects, the latter spread evenly over the set."""
    num_held = min(_MAX_VALIDATION, max(1, round(fraction * len(d))))
    held = np.zeros(len(d), bool)
    held[np.linspace(0, len(d) - 1, num_held).astype(int)] = True
    return d.take(np.flatnonzero(~held)), d.take(np.flatnonzero(held))


class ImageFeed:
    """Observed views of a set, each an example of its own.

    Attributes:
        num_examples: Observed views.
    """

    def __init__(self, run: Run, views: ViewSet, phase: Phase):
        self._stream = stream_of(run.config, phase)
        self._views = views
        self._rows = np.flatnonzero(views.observed.ravel()).astype(np.int32)
        self.num_examples = len(self._rows)
        fits = views.images.nbytes <= run.config.device_data_mb * 2**20
        flat = self._flat()
        labels = np.repeat(views.labels, views.num_views).astype(np.int32)
        self._on_host = None if fits else flat
        self._data = ImageData(np.asarray(flat) if fits else None, labels)
        self._placement = run.placement

    def data(self) -> ImageData:
        """What stays on the devices, put there."""
        return self._placement.replicate(self._data)

    def data_like(self) -> ImageData:
        """Shapes and types of `data`."""
        return self._placement.like(self._data)

    def _flat(self) -> UInt8[np.ndarray, "nv h w 3"]:
        images = self._views.images
        return images.reshape(-1, *images.shape[2:])

    def spread(self, count: int) -> UInt8[np.ndarray, "k h w 3"]:
        """At most `count` images, spread evenly over the set."""
        at = np.linspace(0, self.num_examples - 1, min(count, self.num_examples))
        return np.asarray(self._flat()[self._rows[at.astype(int)]])

    def planner(self, batch_size: int) -> Callable[[int], ViewBatch]:
        """Batch of a step, as a pure function of the seed and the step.

        Images that do not stay on the devices are read for this host alone.
        """
        mine = self._placement.host_rows(batch_size)

        def plan(step: int) -> ViewBatch:
            chosen = plan_rows(self._stream, step, batch_size, self.num_examples)
            rows = self._rows[chosen]
            images = None if self._on_host is None else self._on_host[rows[mine]]
            return ViewBatch(rows, draw_keys(self._stream, step, batch_size), images)

        return plan


def plan_objects(stream: int, batch_size: int, num_objects: int):
    """Step -> batch of whole objects."""

    def plan(step: int) -> ViewBatch:
        rows = plan_rows(stream, step, batch_size, num_objects)
        return ViewBatch(rows, draw_keys(stream, step, batch_size))

    return plan


def stream_of(config: Config, phase: Phase) -> int:
    """Seed of a phase's draws."""
    return 8 * config.seed + _PHASE_STREAM[phase]


def draw_keys(stream: int, step: int, batch_size: int) -> np.ndarray:
    """Key data of the examples of one step, (b, 2) uint32."""
    draws = np.random.default_rng((_KEYS, stream, step)).random((batch_size, 2))
    return (draws * 2.0**32).astype(np.uint32)
