"""The classifiers of the phase `classify`, and their training."""

import dataclasses
import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.nmr_dimvida.classify_sets import Labelled
from experiments.nmr_dimvida.config import Config, TrainingConfig
from experiments.nmr_dimvida.evaluation_config import Network, Start, TrainSet
from experiments.nmr_dimvida.objects import draw_keys, stream_of
from experiments.nmr_dimvida.run import Run
from experiments.nmr_dimvida.tasks import make_task
from jaxgrow.data.batches import plan_rows
from jaxgrow.devices import hosts
from jaxgrow.devices.memory import Programs
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import SavedClassifier
from jaxgrow.multiview import classifier_step
from jaxgrow.multiview.batch import ImageData, ViewBatch
from jaxgrow.nets import classifiers
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.pretrained import networks
from jaxgrow.training.feed import Feed, fits
from jaxgrow.training.task import TrainingTask
from jaxgrow.training.train_state import TrainState
from jaxgrow.training.trainer import Trainer
from jaxgrow.typing import Params


@dataclasses.dataclass(frozen=True)
class Cell:
    """One classifier of the tables, trained once for every seed.

    Attributes:
        network: Its architecture.
        start: The weights that it starts from.
        train: Its training set.
        per_class: Objects of each class, in the sweep; None = all.
    """

    network: Network
    start: Start
    train: TrainSet
    per_class: int | None = None

    def name(self, seed: int) -> str:
        """Return the name of a training in files."""
        words = [self.network, self.start, self.train]
        if self.per_class is not None:
            words.append(f"{self.per_class} a class")
        words.append(f"seed {seed}")
        return "-".join(words).replace(", ", "_").replace(" ", "_")

    def weights_path(self, config: Config, seed: int) -> Path:
        """Return the file of the trained network."""
        folder = config.run_dir / "weights" / "classify"
        return folder / f"{self.name(seed)}.safetensors"


def cells_of(config: Config) -> list[Cell]:
    """Return every classifier of Tables II and III, then those of the sweep.

    Those that start from absent weights are left out.
    """
    chosen = config.classify
    paths = [config.classifier_weights(network) for network in chosen.networks]
    there = hosts.first_says([path.exists() for path in paths])
    found = [
        Cell(network, start, name)
        for network, has_weights in zip(chosen.networks, there, strict=True)
        for start in chosen.starts
        if start == "scratch" or has_weights
        for name in chosen.train_sets
    ]
    sweep_sets: tuple[TrainSet, ...] = ("single", "augmented")
    sweep = [
        Cell(chosen.networks[0], "scratch", name, per_class)
        for per_class in sorted(set(chosen.objects_sweep))
        for name in sweep_sets
    ]
    return found + sweep


def num_steps(config: Config, cell: Cell, num_single: int, num_augmented: int) -> int:
    """Return the steps of a training.

    "single" takes those of its epochs, all others take as many as "augmented". The
    numbers of images are those of the whole training sets.
    """
    num_images = num_single if cell.train == "single" else num_augmented
    return config.classify.num_steps(num_images)


class CellTrainer:
    """Trains cells one after the other, but those that are trained already."""

    def __init__(self, run: Run, class_names: Sequence[str]):
        self.run, self.config = run, run.config
        self._class_names = tuple(class_names)
        self._programs: dict[Any, Programs] = {}

    def train(self, cell: Cell, data: Labelled, steps: int) -> None:
        """Train all seeds of a cell.

        Raises:
            UserError: For weights that do not fit, or a loss that is not finite.
            Stopped: After SIGINT or SIGTERM, once the training is saved.
        """
        every = range(self.config.classify.seeds)
        paths = [cell.weights_path(self.config, seed) for seed in every]
        done = hosts.first_says([path.exists() for path in paths])
        seeds = [seed for seed in every if not done[seed]]
        at_once = self._seeds_at_once()
        for first in range(0, len(seeds), at_once):
            task = self._task(cell, seeds[first : first + at_once], data, steps)
            Trainer(self.run, task).train()
            if hosts.is_first():  # the weights are kept
                folder = self.config.run_dir / "checkpoints" / task.name
                shutil.rmtree(folder, ignore_errors=True)

    def _seeds_at_once(self) -> int:
        chosen = self.config.classify
        on_cpu = jax.default_backend() == "cpu"
        return chosen.seeds_at_once or (1 if on_cpu else chosen.seeds)

    def _task(
        self, cell: Cell, seeds: Sequence[int], data: Labelled, steps: int
    ) -> TrainingTask:
        config, run = self.config.classify, self.run
        fresh = [self._fresh(cell, seed) for seed in seeds]
        net, _, _ = fresh[0]

        make_step = functools.partial(
            classifier_step.make_classifier_step,
            net,
            mirror=config.mirror,
            dropout=net.arch != "resnet18",
        )

        def save(state: TrainState, info: dict[str, Any]) -> None:
            variables = state.eval_params, state.stats
            for i, seed in enumerate(seeds):
                params, stats = _unstack(variables, i, len(seeds))
                saved = SavedClassifier(net, params, stats, self._class_names)
                path = cell.weights_path(self.config, seed)
                saved_classifiers.save_classifier(path, saved, info | {"seed": seed})

        training = TrainingConfig(
            steps=steps,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            log_every=config.log_every,
            validate_every=config.checkpoint_every,
        )
        feed = _feed(run, data, seeds)
        shapes = tuple(x.shape for x in jax.tree.leaves(feed.like()))
        return make_task(
            run,
            "classify",
            training,
            num_examples=len(data.labels),
            first_step=0,
            feed=feed,
            variables=lambda: _stack([variables for _, *variables in fresh]),
            make_step=make_step,
            validate=lambda step, state: {},
            save=save,
            result=cell.weights_path(self.config, seeds[-1]),
            name=cell.name(seeds[0]),
            num_models=len(seeds),
            programs=self._programs.setdefault((net, len(seeds), shapes), Programs()),
        )

    def _fresh(self, cell: Cell, seed: int) -> tuple[ClassifierConfig, Params, Params]:
        config = self.config.classify
        net = config.classifier(cell.network, cell.start)
        num_classes, stream = len(self._class_names), _stream(self.config, seed)
        if cell.start == "scratch":
            return net, *classifiers.init_classifier(net, num_classes, stream)
        path = self.config.classifier_weights(cell.network)
        found = networks.load_pretrained_classifier(path, net, num_classes, stream)
        return found.config, found.params, found.stats


def _feed(run: Run, data: Labelled, seeds: Sequence[int]) -> Feed:
    """Return batches of all seeds of a group; on CPU they bring their own images.

    Training sets of every size then run the same program, which takes longer to compile
    than to run.
    """
    size = run.config.classify.batch_size
    labels = data.labels.astype(np.int32)
    on_cpu = jax.default_backend() == "cpu"
    on_device = fits(data.images, run.config.device_data_mb) and not on_cpu

    def plan_one(stream: int, step: int) -> ViewBatch:
        rows = plan_rows(stream, step, size, len(labels))
        return ViewBatch(rows, draw_keys(stream, step, size))

    def plan(step: int) -> ViewBatch:
        batches = [plan_one(_stream(run.config, seed), step) for seed in seeds]
        if len(batches) == 1:
            return batches[0]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)

    if on_device:
        data_here = ImageData(np.asarray(data.images), labels)
        return Feed(run.placement, size, plan, data_here)
    on_host = {"images": data.images, "labels": labels}
    return Feed(run.placement, size, plan, ImageData(None), on_host=on_host)


def _stream(config: Config, seed: int) -> int:
    """Return the stream of one seed's draws, which is the same for all cells."""
    return stream_of(config, "classify") + (seed << 32)


def _stack(trees: Sequence[Any]) -> Any:
    """Stack trees in front; a copy even of a single one, as a step donates it."""
    if len(trees) == 1:
        return jax.tree.map(jnp.copy, trees[0])
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstack(tree: Any, index: int, count: int) -> Any:
    return tree if count == 1 else jax.tree.map(lambda leaf: leaf[index], tree)
