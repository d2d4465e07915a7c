"""The classifiers of the phase `classify`: which there are, and their training."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.nmr_dimvida.classify_sets import Labelled
from experiments.nmr_dimvida.config import (
    Config,
    Network,
    Start,
    TrainingConfig,
    TrainSet,
)
from experiments.nmr_dimvida.objects import draw_keys, stream_of
from experiments.nmr_dimvida.run import Run
from experiments.nmr_dimvida.training import train
from experiments.nmr_dimvida.training_step import Training
from jaxgrow.data.batches import plan_rows
from jaxgrow.devices import hosts
from jaxgrow.devices.memory import Programs
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import SavedClassifier
from jaxgrow.multiview import classifier_step
from jaxgrow.multiview.batch import ImageData, ViewBatch
from jaxgrow.multiview.classifier_step import several_models
from jaxgrow.nets import classifiers
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.pretrained import networks
from jaxgrow.training.train_state import TrainState
from jaxgrow.typing import Params


@dataclasses.dataclass(frozen=True)
class Cell:
    """One classifier of the tables, in as many trainings as there are seeds.

    Attributes:
        network: Which.
        start: From what.
        train: On what.
        per_class: Objects of each class, in the sweep; None = all.
    """

    network: Network
    start: Start
    train: TrainSet
    per_class: int | None = None

    def name(self, seed: int) -> str:
        """What a training is called in files."""
        words = [self.network, self.start, self.train]
        if self.per_class is not None:
            words.append(f"{self.per_class} a class")
        words.append(f"seed {seed}")
        return "-".join(words).replace(", ", "_").replace(" ", "_")

    def weights_path(self, config: Config, seed: int) -> Path:
        """Where a training leaves its network."""
        return (
            config.run_dir / "weights" / "classify" / f"{self.name(seed)}.safetensors"
        )


def cells_of(config: Config) -> list[Cell]:
    """Every classifier of Tables II and III, then those of the sweep.

    Those that start from weights that are not there are left out.
    """
    chosen = config.classify
    there = hosts.first_says([chosen.weights(n).exists() for n in chosen.networks])
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
    """Steps of a training: "single" in its epochs, the others as long as "augmented".

    Args:
        config: Of the run.
        cell: Which classifier.
        num_single: Images of the whole training set "single".
        num_augmented: Those of "augmented".
    """
    training = config.classify.training
    return training.num_steps(num_single if cell.train == "single" else num_augmented)


class Trainer:
    """Trains cells one after the other; what is trained already is passed over."""

    def __init__(self, run: Run, class_names: Sequence[str]):
        self.run, self.config = run, run.config
        self._class_names = tuple(class_names)
        self._programs: dict[Any, Programs] = {}

    def train(self, cell: Cell, data: Labelled, steps: int) -> None:
        """All seeds of a cell.

        Raises:
            UserError: For weights that do not fit, or a loss that is no longer finite.
            Stopped: After SIGINT or SIGTERM, once the training is saved.
        """
        every = range(self.config.classify.seeds)
        done = hosts.first_says([self._is_done(cell, seed) for seed in every])
        seeds = [seed for seed in every if not done[seed]]
        at_once = self._seeds_at_once()
        for first in range(0, len(seeds), at_once):
            group = seeds[first : first + at_once]
            training = self._training(cell, group, data, steps)
            train(self.run, training)
            hosts.wait()  # till all have closed their checkpoints
            if hosts.is_first():  # the weights are kept
                folder = self.config.run_dir / "checkpoints" / training.label
                shutil.rmtree(folder, ignore_errors=True)

    def _is_done(self, cell: Cell, seed: int) -> bool:
        return cell.weights_path(self.config, seed).exists()

    def _seeds_at_once(self) -> int:
        chosen = self.config.classify
        on_cpu = jax.default_backend() == "cpu"
        return chosen.seeds_at_once or (1 if on_cpu else chosen.seeds)

    def _training(
        self, cell: Cell, seeds: Sequence[int], data: Labelled, steps: int
    ) -> Training:
        config = self.config.classify
        fresh = [self._fresh(cell, seed) for seed in seeds]
        net, _, _ = fresh[0]
        dropout, axis_name = net.arch != "resnet18", self.run.placement.axis_name

        def make_step(tx):
            step = classifier_step.make_classifier_step(
                net,
                tx,
                mirror=config.mirror,
                dropout=dropout,
                ema_decay=config.training.ema_decay,
                axis_name=axis_name,
            )
            return step if len(seeds) == 1 else several_models(step)

        def finish(state: TrainState, info: dict[str, Any]) -> None:
            for i, seed in enumerate(seeds):
                params, stats = _unstack(
                    (state.eval_params, state.stats), i, len(seeds)
                )
                saved = SavedClassifier(net, params, stats, self._class_names)
                path = cell.weights_path(self.config, seed)
                saved_classifiers.save_classifier(path, saved, info | {"seed": seed})

        feed = _Feed(self.run, data, seeds)
        training = _of_steps(config.training, steps)
        decays = training.schedule != "constant" or training.warm_up_steps
        key = (net, len(seeds), steps if decays else None, feed.shapes)
        return Training(
            phase="classify",
            name=cell.name(seeds[0]),
            config=training,
            num_examples=len(data.labels),
            first_step=0,
            params=lambda: _stack([params for _, params, _ in fresh]),
            stats=lambda: _stack([stats for *_, stats in fresh]),
            make_step=make_step,
            data=feed.data,
            plan=feed.plan,
            validate=lambda step, state: {},
            finish=finish,
            result=cell.weights_path(self.config, seeds[-1]),
            num_models=len(seeds),
            programs=self._programs.setdefault(key, Programs()),
        )

    def _fresh(self, cell: Cell, seed: int) -> tuple[ClassifierConfig, Params, Params]:
        config = self.config.classify
        net, num_classes = (
            config.classifier(cell.network, cell.start),
            len(self._class_names),
        )
        stream = _stream(self.config, seed)
        if cell.start == "scratch":
            return net, *classifiers.init_classifier(net, num_classes, stream)
        path = config.weights(cell.network)
        found = networks.load_pretrained_classifier(path, net, num_classes, stream)
        return found.config, found.params, found.stats


class _Feed:
    """Batches of all seeds of a group; on CPU they bring their own images.

    So training sets of every size run the same program, which takes longer to compile
    than to run. Images that batches bring are read for this host alone.
    """

    def __init__(self, run: Run, data: Labelled, seeds: Sequence[int]):
        self._config, self._seeds = run.config, tuple(seeds)
        self._images, self._labels = data.images, data.labels.astype(np.int32)
        fits = data.images.nbytes <= run.config.device_data_mb * 2**20
        self._brings = jax.default_backend() == "cpu" or not fits
        here = (
            ImageData(None)
            if self._brings
            else ImageData(np.asarray(self._images), self._labels)
        )
        self._here, self._placement = here, run.placement
        self._mine = run.placement.host_rows(run.config.classify.training.batch_size)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of what stays on the devices; the step is compiled for them."""
        return tuple(x.shape for x in jax.tree.leaves(self._here))

    def data(self) -> ImageData:
        """What stays on the devices, put there."""
        return self._placement.replicate(self._here)

    def plan(self, step: int) -> ViewBatch:
        """Batch of a step; pure."""
        batches = [self._batch(seed, step) for seed in self._seeds]
        if len(batches) == 1:
            return batches[0]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)

    def _batch(self, seed: int, step: int) -> ViewBatch:
        stream = _stream(self._config, seed)
        size = self._config.classify.training.batch_size
        rows = plan_rows(stream, step, size, len(self._labels))
        keys = draw_keys(stream, step, size)
        if not self._brings:
            return ViewBatch(rows, keys)
        mine = rows[self._mine]
        return ViewBatch(rows, keys, np.asarray(self._images[mine]), self._labels[mine])


def _stream(config: Config, seed: int) -> int:
    """Of one seed's draws; cells differ in their training sets, not in these."""
    return stream_of(config, "classify") + (seed << 32)


def _of_steps(training: TrainingConfig, steps: int) -> TrainingConfig:
    return dataclasses.replace(training, epochs=None, steps=steps)


def _stack(trees: Sequence[Any]) -> Any:
    """A copy in front of another; a step donates what it gets."""
    if len(trees) == 1:
        return jax.tree.map(jnp.copy, trees[0])
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstack(tree: Any, index: int, count: int) -> Any:
    return tree if count == 1 else jax.tree.map(lambda leaf: leaf[index], tree)
