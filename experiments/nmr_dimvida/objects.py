"""The run's objects to train on, to validate on and to test on, and their batches."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

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
from jaxgrow.training.feed import Feed, fits


_KEYS = 0x4E15  # a stream of draws that meets no other
_PHASE_STREAM: dict[Phase, int] = {name: 1 + i for i, name in enumerate(PHASES)}
_MAX_VALIDATION = 512


class Objects(NamedTuple):
    """Partition d in its training and validation parts, and partitions c and e.

    `digests` has the hash of each partition.
    """

    train: ViewSet
    validation: ViewSet
    c: Partition
    e: Partition
    digests: dict[str, str]

    def inputs(self) -> dict[str, str | None]:
        """Return what the networks of the generative model are made from."""
        return {"objects": self.digests["d"]}


def load_objects(run: Run) -> Objects:
    """Read, render or map the views, and note what was found; write no file of the run.

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
    if parts.d.azimuths is None and "mirror" in config.classify.train_sets:
        raise UserError(
            "classify.train_sets names mirror, which needs the azimuths of the views: "
            "name their files by sides or degrees, or leave mirror out"
        )
    train, validation = hold_out(parts.d, config.validation_fraction)
    what = "synthetic objects" if config.data.source == "synthetic" else "objects"
    run.note(
        f"{what} of {len(parts.d.class_names)} classes, {parts.d.num_views} views of "
        f"{parts.d.size} px: {len(train)} to train the generative model, "
        f"{len(validation)} to validate it, {len(parts.c)} for classifiers, "
        f"{len(parts.e)} to test"
    )
    return Objects(train, validation, parts.c, parts.e, parts.digests)


def note_conditioning_views(config: Config, objects: Objects) -> None:
    """Write the one view of every object of c and e, for comparisons with this run."""
    if hosts.is_first():
        chosen = {
            name: dict(zip(p.views.object_ids, p.conditioning.tolist(), strict=True))
            for name, p in (("c", objects.c), ("e", objects.e))
        }
        files.write_json(config.run_dir / "conditioning_views.json", chosen)


def _check_gaussian_path(d: ViewSet) -> None:
    gaussian.check_views(d.num_views)
    lacking = int((~d.observed).any(axis=1).sum())
    if lacking:
        raise UserError(
            f"{lacking} of the objects to train on lack views, and the Gaussian path "
            "takes objects with all of them: pass --score.no-gaussian-path."
        )


def hold_out(d: ViewSet, fraction: float) -> tuple[ViewSet, ViewSet]:
    """Return (training, validation) objects, the latter spread evenly over the set."""
    num_held = min(_MAX_VALIDATION, max(1, round(fraction * len(d))))
    held = np.zeros(len(d), bool)
    held[np.linspace(0, len(d) - 1, num_held).astype(int)] = True
    return d.take(np.flatnonzero(~held)), d.take(np.flatnonzero(held))


def image_feed(run: Run, views: ViewSet, phase: Phase, batch_size: int) -> Feed:
    """Return batches of the observed views, each an example of its own."""
    images, stream = _all_images(views), stream_of(run.config, phase)
    rows = _observed_rows(views)
    on_device = fits(images, run.config.device_data_mb)
    labels = np.repeat(views.labels, views.num_views).astype(np.int32)

    chosen = plan_objects(stream, batch_size, len(rows))

    def plan(step: int) -> ViewBatch:
        batch = chosen(step)
        return batch._replace(rows=rows[batch.rows])

    return Feed(
        run.placement,
        batch_size,
        plan,
        ImageData(np.asarray(images) if on_device else None, labels),
        on_host=None if on_device else {"images": images},
    )


def observed_images(views: ViewSet) -> UInt8[np.ndarray, "k h w 3"]:
    """Return all observed views, object by object."""
    return _all_images(views)[views.observed.ravel()]


def spread_images(views: ViewSet, count: int) -> UInt8[np.ndarray, "k h w 3"]:
    """Return at most `count` observed views, spread evenly over the set."""
    rows = _observed_rows(views)
    at = np.linspace(0, len(rows) - 1, min(count, len(rows)))
    return np.asarray(_all_images(views)[rows[at.astype(int)]])


def _all_images(views: ViewSet) -> UInt8[np.ndarray, "nv h w 3"]:
    return views.images.reshape(-1, *views.images.shape[2:])


def _observed_rows(views: ViewSet) -> Int32[np.ndarray, " k"]:
    return np.flatnonzero(views.observed.ravel()).astype(np.int32)


def plan_objects(
    stream: int, batch_size: int, num_objects: int
) -> Callable[[int], ViewBatch]:
    """Build the function from a step to its batch of whole objects."""

    def plan(step: int) -> ViewBatch:
        rows = plan_rows(stream, step, batch_size, num_objects)
        return ViewBatch(rows, draw_keys(stream, step, batch_size))

    return plan


def stream_of(config: Config, phase: Phase) -> int:
    """Return the seed of a phase's draws."""
    return 8 * config.seed + _PHASE_STREAM[phase]


def draw_keys(stream: int, step: int, batch_size: int) -> np.ndarray:
    """Return key data of the examples of one step, (b, 2) uint32."""
    draws = np.random.default_rng((_KEYS, stream, step)).random((batch_size, 2))
    return (draws * 2.0**32).astype(np.uint32)
