"""The phase `views`: Table I, its baselines, and quality against evaluations."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from rich.progress import Progress

from experiments.nmr_dimvida import panels
from experiments.nmr_dimvida.config import EXPERIMENT, Config
from experiments.nmr_dimvida.objects import Objects
from experiments.nmr_dimvida.phases import NEEDS
from experiments.nmr_dimvida.run import Run, finished
from experiments.report.tables import to_markdown
from experiments.report.views import size_table
from experiments.shared import run_dir as runs
from jaxgrow import viz
from jaxgrow.data.views import Partition, ViewSet
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import SavedClassifier
from jaxgrow.metrics.inception_distance import pixel_features
from jaxgrow.multiview import baselines, saved_models
from jaxgrow.multiview.baselines import CompleteFn
from jaxgrow.multiview.conditioning import sampled_sets
from jaxgrow.multiview.evaluation import views as table
from jaxgrow.multiview.evaluation.views import MetricNets
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.pretrained import networks
from jaxgrow.storage import files
from jaxgrow.storage.provenance import record_provenance
from jaxgrow.training import logs


_PANEL_OBJECTS = 12
_FOLDER = "views"


def evaluate(run: Run, objects: Objects) -> None:
    """Write views/table_1.json, views/curve.json and views/panel.png into the run.

    Raises:
        UserError: The weights of an earlier phase are missing or damaged.
    """
    config, begun = run.config, time.monotonic()
    made_from = _made_from(config, objects)
    view_generator = ViewGenerator.load(config.run_dir)
    path = finished(config, "coherence_classifier")
    classifier = saved_classifiers.load_classifier(path)
    metric_nets = load_metric_nets(run, classifier)
    test = objects.e.views
    if config.table_objects is not None:
        test = panels.spread(test, config.table_objects)
    methods = make_methods(config, view_generator, objects.train)
    if test.azimuths is None:
        run.note("the baselines mirror and copy are left out: they need azimuths")
    _say_cost(run, len(methods), test)
    with logs.progress_bar(run.console) as bar:
        task = bar.add_task("Table I", total=None, unit="sets")
        rows = table.table_one(
            methods,
            test,
            metric_nets,
            view_generator.view_names,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
        points = _curve(run, classifier, objects, bar)
    labels = test.labels[np.nonzero(test.observed)[0]]
    images = test.images[test.observed]
    accuracy = saved_classifiers.accuracy(classifier, images, labels)
    provenance = record_provenance(
        runs.command(EXPERIMENT),
        seeds={"run": config.seed},
        wall_s=time.monotonic() - begun,
    )
    found = files.plain(
        {
            "data": config.data.source,
            "size": test.size,
            "num_objects": len(test),
            "made_from": made_from,
            "num_evaluations": config.sampler.num_evaluations,
            "coherence_classifier_accuracy": accuracy,
            "rows": rows,
            "provenance": provenance,
        }
    )
    folder = config.run_dir / _FOLDER
    files.write_json(folder / "curve.json", points)
    _draw(config, view_generator, objects, folder)
    # The last file, because `is_current` takes it as the sign that all are complete.
    files.write_json(folder / "table_1.json", found)
    run.say(to_markdown(size_table(found)))


def _say_cost(run: Run, num_methods: int, test: ViewSet) -> None:
    num_sets, num_all = len(sampled_sets(test.num_views)), 2**test.num_views - 2
    count = num_methods * num_sets * len(test)
    of_all = f" of {num_all:,}, drawn at random," if num_sets < num_all else ""
    run.note(
        f"Table I: {num_sets} sets{of_all} of conditioning views, for {len(test):,} "
        f"objects and {num_methods} methods, are {count:,} completions of an "
        "object; --table-objects takes fewer"
    )


def load_metric_nets(run: Run, classifier: SavedClassifier) -> MetricNets:
    """Load LPIPS and FID's network if there are weights, and note which there are."""
    lpips, inception = None, None
    path = run.config.pretrained("squeezenet_lpips")
    if path.exists():
        lpips = networks.load_lpips(path)
        run.note(f"{lpips.label} from {path}")
    path = run.config.pretrained("inception_fid")
    if path.exists():
        net = networks.load_inception(path)
        inception = pixel_features(net.features_fn)
        random = ", RANDOM weights" if net.provenance.is_random else ""
        run.note(f"FID from {path}{random}")
    if lpips is None or inception is None:
        run.note(
            "LPIPS and FID need weights: python -m tools.export_weights makes them "
            "where the internet is, see docs/weights.md"
        )
    return MetricNets(classifier, lpips, inception)


def make_methods(
    config: Config, view_generator: ViewGenerator, library: ViewSet
) -> dict[str, CompleteFn]:
    """Return the diffusion model and the baselines, by name.

    Of one evaluation DDIM gives the expectation of the views, not a sample, if the
    network predicts velocities. The error of a network that predicts noise is divided
    by alpha there, which at time 1 is less than 0.01.
    """

    def samples_of(one: ViewGenerator, sampler: SamplerConfig) -> CompleteFn:
        return lambda images, missing: one.generate_views(
            images, missing, sampler=sampler, seed=config.seed
        )[:, 0]

    methods = {"diffusion": samples_of(view_generator, config.sampler)}
    if config.score.prediction == "velocity":
        one_step = SamplerConfig(name="ddim", num_steps=1)
        methods["diffusion, 1 evaluation"] = samples_of(view_generator, one_step)
    if config.score.gaussian_path:
        gaussian = view_generator.gaussian_alone()
        methods["Gaussian path alone"] = samples_of(gaussian, config.sampler)
    return methods | load_methods(config, library)


def load_methods(config: Config, library: ViewSet) -> dict[str, CompleteFn]:
    """Return the baselines of the diffusion model, by name.

    Views without azimuths have neither mirror nor copy.

    Raises:
        UserError: The autoencoder or the regressor is missing or damaged.
    """
    weights = finished(config, "regressor").parent
    saved, regressor = saved_models.load_with_autoencoder(weights, "regressor")
    by_azimuth = {}
    if library.azimuths is not None:
        by_azimuth = {
            "mirror": baselines.make_mirror(library.azimuths),
            "copy": baselines.make_copy(library.azimuths),
        }
    return {
        "mean regressor": baselines.make_regression(saved, regressor),
        "nearest neighbour": baselines.make_nearest_neighbour(library.images),
        **by_azimuth,
        baselines.RECONSTRUCTION: baselines.make_reconstruction(saved, regressor),
    }


def _curve(
    run: Run, classifier: SavedClassifier, objects: Objects, bar: Progress
) -> list[dict[str, Any]]:
    """Quality from one conditioning view, for every sampler and cost."""
    config = run.config
    if config.curve.objects == 0:
        return []
    test, missing = _with_one_view(objects.e, config.curve.objects)
    generator = ViewGenerator.load(config.run_dir, batch_size=min(len(test), 64))
    measure = table.make_measure(MetricNets(classifier))
    points, samplers = [], config.curve.points()
    task = bar.add_task("samplers", total=len(samplers), unit="samplers")
    for sampler in samplers:
        options = {"sampler": sampler, "seed": config.seed}
        generator.generate_views(test.images[:1], missing[:1], **options)  # compiles
        begun = time.monotonic()
        generated = generator.generate_views(test.images, missing, **options)[:, 0]
        wall_s = time.monotonic() - begun
        point = {
            "sampler": sampler.name,
            "steps": sampler.num_steps,
            "evaluations": sampler.num_evaluations,
            "ms_per_object": round(1e3 * wall_s / len(test), 3),
        }
        points.append(point | measure(generated, test, missing & test.observed))
        bar.advance(task)
    return points


def _draw(
    config: Config, generator: ViewGenerator, objects: Objects, folder: Path
) -> None:
    shown, missing = _with_one_view(objects.e, _PANEL_OBJECTS)
    options = {"sampler": config.sampler, "seed": config.seed}
    generated = generator.generate_views(shown.images, missing, **options)[:, 0]
    panel = panels.view_panel(generated, shown.images, missing, generator.view_names)
    viz.save_png(folder / "panel.png", panel)


def _with_one_view(
    part: Partition, count: int
) -> tuple[ViewSet, Bool[np.ndarray, "n v"]]:
    """At most `count` objects, spread over the set, and the mask of all but one."""
    rows = np.linspace(0, len(part) - 1, min(count, len(part))).astype(int)
    missing = np.arange(part.views.num_views) != part.conditioning[rows, None]
    return part.views.take(rows), missing


def is_current(run: Run, objects: Objects) -> bool:
    """Return True if Table I is of these settings, objects and networks.

    Raises:
        UserError: The file of Table I is damaged, or a network is missing.
    """
    path = run.run_dir / _FOLDER / "table_1.json"
    before = files.read_json(path, dict, absent={}).get("made_from")
    return before == _made_from(run.config, objects)


def _made_from(config: Config, objects: Objects) -> dict[str, Any]:
    """Return everything that decides Table I and the curve; content by its hash."""
    names = ("sampler", "table_objects", "curve")
    made = [finished(config, phase) for phase in NEEDS["views"]]
    nets = map(config.pretrained, ("squeezenet_lpips", "inception_fid"))
    return {
        **{name: files.plain(getattr(config, name)) for name in names},
        "objects": [objects.digests[part] for part in ("d", "e")],
        "networks": files.hash_files(made),
        "pretrained": {
            path.stem: files.hash_files([path]) for path in nets if path.exists()
        },
    }
