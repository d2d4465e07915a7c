"""The phase `classify`: Tables II and III, their controls, sweeps and verdicts."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

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
from experiments.nmr_dimvida.phases import NEEDS
from experiments.nmr_dimvida.run import Run, finished
from experiments.shared import run_dir as runs
from jaxgrow.devices import hosts
from jaxgrow.errors import UserError
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import logits_of
from jaxgrow.evaluation.figures import NEEDS_WEIGHTS
from jaxgrow.multiview.evaluation import classification as stats
from jaxgrow.multiview.evaluation.classification import MODES, CellKey
from jaxgrow.pretrained import networks
from jaxgrow.storage import files
from jaxgrow.storage.provenance import record_provenance
from jaxgrow.training import logs


_FOLDER = "classify"
_PAPER_TRAINS, _PAPER_TESTS = ("single", "augmented"), ("single", "generated")
_EXPORTED: dict[str, networks.Network] = {
    arch: network for network, arch in networks.ARCHITECTURES.items()
}


def classify(run: Run, objects: Objects) -> None:
    """Train every classifier that is not trained yet and write classify/results.json.

    Of several processes all train, and the first one measures and writes.

    Raises:
        UserError: An earlier phase has not left what is needed, the training's settings
            are not those of the classifiers in the run, or the disk refuses.
        Stopped: After SIGINT or SIGTERM during steps, once the training is saved.
    """
    config, begun = run.config, time.monotonic()
    sets = Sets(config, objects)
    if hosts.is_first():
        _claim(config, sets, objects)
    hosts.wait()
    cells, missing = cells_of(config), _missing_weights(run)
    path = config.run_dir / _FOLDER / "results.json"

    def is_current() -> bool:
        """Return True if the results are of these settings, objects and networks."""
        before = files.read_json(path, dict, absent={}).get("made_from")
        return before is not None and before == _made_from(config, sets, objects, cells)

    if all(hosts.first_says([hosts.is_first() and is_current()])):
        run.say("the classifiers are trained and tested already")
        return
    trainer = CellTrainer(run, objects.c.views.class_names)
    steps = _train(trainer, sets, cells, objects)
    if not hosts.is_first():
        return
    found = _measure(run, cells, sets, objects)
    result = {
        "data": config.data.source,
        "num_train": len(objects.c),
        "num_test": len(objects.e),
        "num_classes": len(objects.c.views.class_names),
        "seeds": list(range(config.classify.seeds)),
        "made_from": _made_from(config, sets, objects, cells),
        "provenance": record_provenance(
            runs.command(EXPERIMENT),
            seeds={"run": config.seed},
            wall_s=time.monotonic() - begun,
        ),
        "missing": missing,
        **_tables(config, objects, found, steps),
    }
    files.write_json(path, result)
    for verdict in result["verdicts"]:
        place = (verdict[name] for name in ("network", "start", "train"))
        run.say(f"{', '.join(place)}: {verdict['text']}")


def _train(
    trainer: CellTrainer, sets: Sets, cells: Sequence[Cell], objects: Objects
) -> dict[Cell, int]:
    """Train all cells and return the steps of each."""
    num_augmented = int(np.prod(sets.augmented.shape[:3]))
    load = functools.lru_cache(maxsize=2)(sets.train)
    steps = {}
    for cell in cells:
        steps[cell] = num_steps(trainer.config, cell, len(objects.c), num_augmented)
        data: Labelled = load(cell.train)
        if cell.per_class is not None:
            chosen = first_of_class(objects.c.views.labels, cell.per_class)
            data = data.of_objects(chosen)
        trainer.train(cell, data, steps[cell])
    return steps


def first_of_class(labels: Int[np.ndarray, " n"], count: int) -> Bool[np.ndarray, " n"]:
    """True for the first `count` objects of every class, so that sizes are nested."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[:count]] = True
    return chosen


class _Answers(NamedTuple):
    """Correctness of every seed for every object; the logits too if they are needed."""

    correct: Bool[np.ndarray, "s n"]
    logits: Float[np.ndarray, "s n m k"] | None


_Found: TypeAlias = dict[tuple[Cell, str | int], _Answers]
"""By classifier and test set; a number is that of a sweep of network evaluations."""


def _measure(run: Run, cells: Sequence[Cell], sets: Sets, objects: Objects) -> _Found:
    """Test every cell on the test sets that it is meant for."""
    config, found, labels = run.config, {}, np.asarray(objects.e.views.labels)
    tests: dict[str | int, Callable[[], UInt8[np.ndarray, "n m h w 3"]]]
    tests = {**sets.tests()}
    for number in config.generate.evaluations:
        tests[number] = functools.partial(sets.generated, f"ea_steps_{number}")
    with logs.progress_bar(run.console) as bar:
        task = bar.add_task("test sets", total=len(tests), unit="test sets")
        for test, make in tests.items():
            images = make()
            for cell in (cell for cell in cells if _is_tested(cell, test)):
                logits = _logits(config, cell, images)
                right = stats.correct(logits, labels, config.classify.mode)
                is_kept = cell.per_class is None and test in _PAPER_TESTS
                found[cell, test] = _Answers(right, logits if is_kept else None)
            bar.advance(task)
    return found


def _is_tested(cell: Cell, test: str | int) -> bool:
    if cell.per_class is not None:
        return test in _PAPER_TESTS
    return isinstance(test, str) or cell.train in _PAPER_TRAINS


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


def _tables(
    config: Config, objects: Objects, found: _Found, steps: Mapping[Cell, int]
) -> dict[str, Any]:
    """The entries of results.json that come from the test sets."""
    labels, mode = np.asarray(objects.e.views.labels), config.classify.mode
    logits = {key: v.logits for key, v in found.items() if v.logits is not None}
    pairs = [
        (cell, logits[cell, "single"][:, :, 0], logits[cell, "generated"])
        for cell in dict.fromkeys(cell for cell, _ in logits)
    ]
    return {
        **stats.summarise(
            {
                CellKey(*_place(cell), test): answers.correct
                for (cell, test), answers in found.items()
                if cell.per_class is None and isinstance(test, str)
            },
            {_place(cell): n for cell, n in steps.items() if cell.per_class is None},
        ),
        "modes": [
            _named(cell, mode=m, accuracy=100.0 * float(right.mean()))
            for cell, _, generated in pairs
            for m in MODES
            for right in [stats.correct(generated, labels, m)]
        ],
        "gate": [
            _named(cell, points=stats.gate_curve(single, generated, labels, mode))
            for cell, single, generated in pairs
            if cell.train in _PAPER_TRAINS
        ],
        "objects_sweep": _objects_sweep(found, objects),
        "evaluations_sweep": [
            _named(cell, evaluations=test, accuracy=accuracy, low=low, high=high)
            for (cell, test), answers in found.items()
            if isinstance(test, int)
            for accuracy, low, high in [stats.bootstrap_mean(answers.correct)]
        ],
    }


def _objects_sweep(found: _Found, objects: Objects) -> list[dict[str, Any]]:
    """Accuracies of the sweep, and of the same classifiers on the whole set."""
    most_per_class = int(np.bincount(objects.c.views.labels).max())
    swept = {(cell, test) for cell, test in found if cell.per_class}
    swept |= {(dataclasses.replace(cell, per_class=None), t) for cell, t in swept}
    return [
        _named(
            cell,
            objects_per_class=cell.per_class or most_per_class,
            test=test,
            accuracy=(100.0 * answers.correct.mean(axis=1)).tolist(),
        )
        for (cell, test), answers in found.items()
        if (cell, test) in swept
    ]


def _made_from(
    config: Config, sets: Sets, objects: Objects, cells: Sequence[Cell]
) -> dict[str, Any] | None:
    """Return everything that decides the results; None before all is trained."""
    weights = [
        cell.weights_path(config, seed)
        for cell in cells
        for seed in range(config.classify.seeds)
    ]
    if not all(path.exists() for path in weights):
        return None
    makers = [finished(config, phase) for phase in NEEDS["classify"]]
    plain = files.plain({"classify": config.classify, "generate": config.generate})
    return plain | {
        "model": sets.ca.header["model"],
        "objects": [objects.digests[part] for part in ("d", "c", "e")],
        "networks": files.hash_files([*weights, *makers]),
    }


def _claim(config: Config, sets: Sets, objects: Objects) -> None:
    """Write down the settings of the trainings, or refuse others than before."""
    chosen = files.plain(config.classify)
    names = ("epochs", "batch_size", "learning_rate", "width", "small_stem")
    names += ("norm", "mirror")
    fields = {name: chosen[name] for name in names}
    made = ("model", "sampler", "seed", "object_ids")
    ca = {name: sets.ca.header[name] for name in made}
    fields |= {"seed": config.seed, "samples": sets.augmented.shape[1], "ca": ca}
    fields["objects"] = objects.digests["c"]
    fields = files.plain(fields)
    path = config.run_dir / _FOLDER / "settings.json"
    before = files.read_json(path, dict, absent={})
    if not before:
        files.write_json(path, fields)
        return
    changed = [name for name in fields if before.get(name) != fields[name]]
    if changed:
        what = {"ca": "the generated views"}.get(changed[0], changed[0])
        raise UserError(
            f"the classifiers in {config.run_dir} were trained otherwise, the first "
            f"difference being {what}: pass another --run-dir, or delete "
            f"{path.parent} and {config.run_dir / 'weights' / _FOLDER} to train anew."
        )


def _missing_weights(run: Run) -> dict[str, str]:
    """Network -> how to get the weights that fine-tuning lacks; note random ones."""
    chosen, missing = run.config.classify, {}
    if "fine-tuned" not in chosen.starts:
        return missing
    for network in chosen.networks:
        path = run.config.classifier_weights(network)
        if not path.exists():
            missing[network] = NEEDS_WEIGHTS.format(_EXPORTED[network], path)
            run.note(f"fine-tuning {network} {missing[network]}")
        elif networks.load_features(path, _EXPORTED[network]).provenance.is_random:
            run.note(f"fine-tuning {network} starts from RANDOM weights, {path}")
    return missing


def _place(cell: Cell) -> tuple[str, str, str]:
    return cell.network, cell.start, cell.train


def _named(cell: Cell, **entries: Any) -> dict[str, Any]:
    return dict(network=cell.network, start=cell.start, train=cell.train) | entries
