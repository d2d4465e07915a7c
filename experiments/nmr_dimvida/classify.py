"""The phase `classify`: Tables II and III, their controls, sweeps and verdicts."""

import dataclasses
import functools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from experiments.nmr_dimvida.classify_sets import Labelled, Sets
from experiments.nmr_dimvida.classify_train import (
    Cell,
    CellTrainer,
    cells_of,
    num_steps,
)
from experiments.nmr_dimvida.config import EXPERIMENT, Config
from experiments.nmr_dimvida.objects import Objects
from experiments.nmr_dimvida.run import Run
from experiments.shared import run_dir as runs
from jaxgrow.devices import hosts
from jaxgrow.errors import UserError
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import logits_of
from jaxgrow.multiview.evaluation import classification as stats
from jaxgrow.multiview.evaluation.classification import MODES, CellKey
from jaxgrow.pretrained import networks
from jaxgrow.storage import files
from jaxgrow.storage.provenance import record_provenance
from jaxgrow.training import logs


_FOLDER = "classify"
_EXPORTED: dict[str, networks.Network] = {
    arch: network for network, arch in networks.ARCHITECTURES.items()
}


def classify(run: Run, objects: Objects) -> None:
    """Trains every classifier that is not there yet and writes classify/results.json.

    Of several processes all train, and the first one measures and writes.

    Raises:
        UserError: An earlier phase has not left what is needed, the training's settings
            are not those of the classifiers in the run, or the disk refuses.
        Stopped: After SIGINT or SIGTERM during steps, once the training is saved.
    """
    config, begun = run.config, time.monotonic()
    sets = Sets(config, objects)
    if hosts.is_first():
        _claim(config, sets)
    hosts.wait()
    cells, missing = cells_of(config), _missing_weights(run)
    path = config.run_dir / _FOLDER / "results.json"
    if all(hosts.first_says([_is_current(config, path, cells)])):
        run.say("the classifiers are trained and tested already")
        return
    trainer = CellTrainer(run, objects.c.views.class_names)
    steps = _train(trainer, sets, cells, objects)
    if not hosts.is_first():
        return
    found = _measure(run, sets, cells, objects)
    result = {
        "data": config.data.source,
        "num_train": len(objects.c),
        "num_test": len(objects.e),
        "num_classes": len(objects.c.views.class_names),
        "seeds": list(range(config.classify.seeds)),
        "settings": _settings(config),
        "provenance": record_provenance(
            runs.command(EXPERIMENT),
            seeds={"run": config.seed},
            wall_s=time.monotonic() - begun,
        ),
        "missing": missing,
        **found.tables(config, steps),
    }
    files.write_json(path, result)
    for verdict in result["verdicts"]:
        place = (verdict[name] for name in ("network", "start", "train"))
        run.say(f"{', '.join(place)}: {verdict['text']}")


def _train(
    trainer: CellTrainer, sets: Sets, cells: Sequence[Cell], objects: Objects
) -> dict[Cell, int]:
    """Trains all cells, and returns the steps of each."""
    num_augmented = int(np.prod(sets.augmented.shape[:3]))
    load = functools.lru_cache(maxsize=2)(sets.train)
    steps = {}
    for cell in cells:
        steps[cell] = num_steps(trainer.config, cell, len(objects.c), num_augmented)
        data: Labelled = load(cell.train)
        if cell.per_class is not None:
            data = data.of_objects(
                first_of_class(objects.c.views.labels, cell.per_class)
            )
        trainer.train(cell, data, steps[cell])
    return steps


def first_of_class(labels: Int[np.ndarray, " n"], count: int) -> Bool[np.ndarray, " n"]:
    """True for the first `count` objects of every class, so that sizes are nested."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[:count]] = True
    return chosen


class _Found:
    """Outcomes of the cells on the test sets.

    Attributes:
        labels: Classes of the test objects.
        most_per_class: Objects of the largest class to train on.
        correct: (cell, test set) -> correctness (s, n).
        logits: (cell, "single" or "generated") -> logits (s, n, m, k).
        sweep: (cell, evaluations) -> correctness.
    """

    def __init__(self, labels: Int[np.ndarray, " n"], most_per_class: int):
        self.labels, self.most_per_class = labels, most_per_class
        self.correct: dict[tuple[Cell, str], Bool[np.ndarray, "s n"]] = {}
        self.logits: dict[tuple[Cell, str], Float[np.ndarray, "s n m k"]] = {}
        self.sweep: dict[tuple[Cell, int], Bool[np.ndarray, "s n"]] = {}

    def tables(self, config: Config, steps: Mapping[Cell, int]) -> dict[str, Any]:
        """What results.json holds of them."""
        whole = {key: v for key, v in self.correct.items() if key[0].per_class is None}
        summary = stats.summarise(
            {CellKey(*_place(cell), test): v for (cell, test), v in whole.items()},
            {
                _place(cell): count
                for cell, count in steps.items()
                if not cell.per_class
            },
        )
        return summary | {
            "modes": self._modes(),
            "gate": self._gate(config),
            "objects_sweep": self._objects_sweep(config),
            "evaluations_sweep": self._evaluations_sweep(),
        }

    def _whole(self) -> list[Cell]:
        cells = dict.fromkeys(cell for cell, _ in self.correct)
        return [cell for cell in cells if cell.per_class is None]

    def _modes(self) -> list[dict[str, Any]]:
        return [
            _named(cell)
            | {
                "mode": mode,
                "accuracy": _percent(
                    stats.correct(self.logits[cell, "generated"], self.labels, mode)
                ),
            }
            for cell in self._whole()
            for mode in MODES
        ]

    def _gate(self, config: Config) -> list[dict[str, Any]]:
        return [
            _named(cell)
            | {
                "points": stats.gate_curve(
                    self.logits[cell, "single"][:, :, 0],
                    self.logits[cell, "generated"],
                    self.labels,
                    config.classify.mode,
                )
            }
            for cell in self._whole()
            if cell.train in ("single", "augmented")
        ]

    def _objects_sweep(self, config: Config) -> list[dict[str, Any]]:
        if not config.classify.objects_sweep:
            return []
        swept = {(cell, test) for cell, test in self.correct if cell.per_class}
        whole = {(dataclasses.replace(cell, per_class=None), t) for cell, t in swept}
        return [
            _named(cell)
            | {
                "objects_per_class": cell.per_class or self.most_per_class,
                "test": test,
                "accuracy": (100.0 * right.mean(axis=1)).tolist(),
            }
            for (cell, test), right in self.correct.items()
            if (cell, test) in swept | whole
        ]

    def _evaluations_sweep(self) -> list[dict[str, Any]]:
        found = []
        for (cell, evaluations), right in self.sweep.items():
            accuracy, low, high = stats.bootstrap_mean(right)
            place = _named(cell) | {"evaluations": evaluations}
            found.append(place | {"accuracy": accuracy, "low": low, "high": high})
        return found


def _measure(run: Run, sets: Sets, cells: Sequence[Cell], objects: Objects) -> _Found:
    """Every cell on every test set; those of the sweep on two."""
    config = run.config
    most_per_class = int(np.bincount(objects.c.views.labels).max())
    found = _Found(np.asarray(objects.e.views.labels), most_per_class)
    tests = sets.tests()
    evaluations = config.generate.evaluations
    with logs.progress_bar(run.console) as bar:
        task = bar.add_task(
            "test sets", total=len(tests) + len(evaluations), unit="test sets"
        )
        for test, make in tests.items():
            images = make()
            for cell in cells:
                if cell.per_class is not None and test not in ("single", "generated"):
                    continue
                logits = _logits(config, cell, images)
                right = stats.correct(logits, found.labels, config.classify.mode)
                found.correct[cell, test] = right
                if cell.per_class is None and test in ("single", "generated"):
                    found.logits[cell, test] = logits
            bar.advance(task)
        for number in evaluations:
            images = sets.sweep(number)
            for cell in cells:
                if cell.per_class is None and cell.train in ("single", "augmented"):
                    logits = _logits(config, cell, images)
                    right = stats.correct(logits, found.labels, config.classify.mode)
                    found.sweep[cell, number] = right
            bar.advance(task)
    return found


def _logits(
    config: Config, cell: Cell, images: UInt8[np.ndarray, "n m h w 3"]
) -> Float[np.ndarray, "s n m k"]:
    """Outputs of every seed for every image of every object."""
    n, m, *pixels = images.shape
    rows = images.reshape(n * m, *pixels)
    found = []
    for seed in range(config.classify.seeds):
        saved = saved_classifiers.load_classifier(cell.weights_path(config, seed))
        found.append(logits_of(saved, rows).reshape(n, m, -1))
    return np.stack(found)


def _settings(config: Config) -> dict[str, Any]:
    """What decides the results beside the trained classifiers."""
    return files.plain({"classify": config.classify, "generate": config.generate})


def _is_current(config: Config, path: Path, cells: Sequence[Cell]) -> bool:
    """Whether the results are there, of these settings and all these classifiers."""
    if not path.exists():
        return False
    weights = [
        cell.weights_path(config, seed)
        for cell in cells
        for seed in range(config.classify.seeds)
    ]
    made = path.stat().st_mtime
    settings = json.loads(json.dumps(_settings(config)))
    return json.loads(path.read_text()).get("settings") == settings and all(
        file.exists() and file.stat().st_mtime <= made for file in weights
    )


def _claim(config: Config, sets: Sets) -> None:
    """Notes with what the run's classifiers are trained, or refuses another way."""
    chosen = files.plain(config.classify)
    names = ("training", "width", "small_stem", "norm", "mirror")
    fields = {name: chosen[name] for name in names}
    fields["training"].pop("checkpoint_every")
    made = ("model", "sampler", "seed", "object_ids")
    ca = {name: sets.ca.header[name] for name in made}
    fields |= {"seed": config.seed, "samples": sets.augmented.shape[1], "ca": ca}
    fields = json.loads(json.dumps(files.plain(fields)))
    path = config.run_dir / _FOLDER / "settings.json"
    if not path.exists():
        files.write_json(path, fields)
        return
    before = json.loads(path.read_text())
    changed = [name for name in fields if before.get(name) != fields[name]]
    if changed:
        what = "the generated views" if changed == ["ca"] else changed[0]
        raise UserError(
            f"the classifiers in {config.run_dir} were trained otherwise, the first "
            f"difference being {what}: pass another --run-dir, or delete "
            f"{path.parent} and {config.run_dir / 'weights' / _FOLDER} to train anew."
        )


def _missing_weights(run: Run) -> dict[str, str]:
    """Network -> how to get the weights that fine-tuning lacks; notes random ones."""
    chosen, missing = run.config.classify, {}
    if "fine-tuned" not in chosen.starts:
        return missing
    for network in chosen.networks:
        path = chosen.weights(network)
        if not path.exists():
            command = (
                f"python -m tools.export_weights {_EXPORTED[network]} --out {path}"
            )
            missing[network] = f"needs weights: {command}"
            run.note(f"fine-tuning {network} {missing[network]}")
        elif networks.load_features(path, _EXPORTED[network]).provenance.is_random:
            run.note(f"fine-tuning {network} starts from RANDOM weights, {path}")
    return missing


def _place(cell: Cell) -> tuple[str, str, str]:
    return cell.network, cell.start, cell.train


def _named(cell: Cell) -> dict[str, Any]:
    return dict(zip(("network", "start", "train"), _place(cell), strict=True))


def _percent(correct: Bool[np.ndarray, "s n"]) -> float:
    return 100.0 * float(correct.mean())
