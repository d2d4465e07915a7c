"""The phase `views`: Table I, its baselines, and quality against evaluations."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from experiments.nmr_dimvida import panels
from experiments.nmr_dimvida.config import EXPERIMENT, Config
from experiments.nmr_dimvida.objects import Objects
from experiments.nmr_dimvida.run import Run, finished
from experiments.shared import run_dir as runs
from jaxgrow import viz
from jaxgrow.data.views import ViewSet
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation.classifiers import SavedClassifier
from jaxgrow.metrics.inception_distance import pixel_features
from jaxgrow.multiview import baselines, saved_models
from jaxgrow.multiview.baselines import CompleteFn
from jaxgrow.multiview.evaluation import views as table
from jaxgrow.multiview.evaluation.views import MetricNets
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.pretrained import networks
from jaxgrow.storage import files
from jaxgrow.storage.provenance import record_provenance
from jaxgrow.training import logs


DIFFUSION = "diffusion"
MEAN = "diffusion, 1 evaluation"
GAUSSIAN = "Gaussian path alone"
_PANEL_OBJECTS = 12
_FOLDER = "views"


def evaluate(run: Run, objects: Objects) -> None:
    """Writes views/table_1.json, views/curve.json and panels into the run.

    Raises:
        UserError: The weights of an earlier phase are missing or damaged.
    """
    config, begun = run.config, time.monotonic()
    view_generator = ViewGenerator.load(config.run_dir)
    classifier = saved_classifiers.load_classifier(
        finished(config, "coherence_classifier")
    )
    metric_nets = load_metric_nets(run, classifier)
    test = objects.e.views
    if config.table_objects is not None:
        test = panels.spread(test, config.table_objects)
    methods = make_methods(config, view_generator, objects.train)
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
    flat = test.images.reshape(-1, *test.images.shape[2:])[test.observed.ravel()]
    labels = np.repeat(test.labels, test.num_views)[test.observed.ravel()]
    ceiling = saved_classifiers.accuracy(classifier, flat, labels)
    provenance = record_provenance(
        runs.command(EXPERIMENT),
        seeds={"run": config.seed},
        wall_s=time.monotonic() - begun,
    )
    folder = config.run_dir / _FOLDER
    found = {
        "data": config.data.source,
        "num_objects": len(test),
        "settings": _settings(config),
        "num_evaluations": config.sampler.num_evaluations,
        "coherence_classifier_accuracy": ceiling,
        "rows": rows,
        "provenance": provenance,
    }
    files.write_json(folder / "curve.json", points)
    _draw(config, view_generator, objects, folder / "panel.png")
    # Last, for `is_current` takes it as the sign that all is there.
    files.write_json(folder / "table_1.json", found)
    run.say(to_markdown(json.loads((folder / "table_1.json").read_text())))


def load_metric_nets(run: Run, classifier: SavedClassifier) -> MetricNets:
    """Load the coherence classifier, and LPIPS and FID where weights are there."""
    config = run.config
    lpips, inception = None, None
    if config.lpips_weights.exists():
        lpips = networks.load_lpips(config.lpips_weights)
        run.note(f"{lpips.label} from {config.lpips_weights}")
    if config.inception_weights.exists():
        net = networks.load_inception(config.inception_weights)
        inception = pixel_features(net.features_fn)
        random = ", RANDOM weights" if net.provenance.is_random else ""
        run.note(f"FID from {config.inception_weights}{random}")
    if lpips is None or inception is None:
        run.note(
            "LPIPS and FID need weights: python -m tools.export_weights makes them "
            "where the internet is, see docs/weights.md"
        )
    return MetricNets(classifier, lpips, inception)


def make_methods(
    config: Config, view_generator: ViewGenerator, library: ViewSet
) -> dict[str, CompleteFn]:
    """The diffusion model and what it has to beat, by name.

    Of one evaluation DDIM gives no sample, but what a network that predicts velocities
    expects of the views. One that predicts noise has its error divided by alpha there,
    which at time 1 is less than 0.01.
    """

    def samples_of(one: ViewGenerator, sampler: SamplerConfig) -> CompleteFn:
        def complete(images, missing):
            return one.generate_views(
                images, missing, sampler=sampler, seed=config.seed
            )[:, 0]

        return complete

    methods = {DIFFUSION: samples_of(view_generator, config.sampler)}
    if config.score.prediction == "velocity":
        methods[MEAN] = samples_of(
            view_generator, SamplerConfig(name="ddim", num_steps=1)
        )
    if config.score.gaussian_path:
        methods[GAUSSIAN] = samples_of(view_generator.gaussian_alone(), config.sampler)
    return methods | load_methods(config, library)


def load_methods(config: Config, library: ViewSet) -> dict[str, CompleteFn]:
    """What the diffusion model has to beat, by name.

    Raises:
        UserError: The autoencoder or the regressor is missing or damaged.
    """
    saved = saved_models.load_autoencoder(finished(config, "autoencoder"))
    regressor = saved_models.load_latent_model(
        finished(config, "regressor"), "regressor"
    )
    azimuths = library.azimuths or np.linspace(
        0, 360, library.num_views, endpoint=False
    )
    return {
        "mean regressor": baselines.make_regression(saved, regressor),
        "nearest neighbour": baselines.make_nearest_neighbour(library.images),
        "mirror": baselines.make_mirror(tuple(azimuths)),
        "copy": baselines.make_copy(tuple(azimuths)),
        baselines.RECONSTRUCTION: baselines.make_reconstruction(saved, regressor),
    }


def _curve(
    run: Run,
    classifier: SavedClassifier,
    objects: Objects,
    bar: Progress,
) -> list[dict[str, Any]]:
    """Quality of every sampler from the one known view, at every cost."""
    config = run.config
    if config.curve.objects == 0:
        return []
    count = min(config.curve.objects, len(objects.e))
    rows = np.linspace(0, len(objects.e) - 1, count).astype(int)
    test, known = objects.e.views.take(rows), objects.e.known[rows]
    missing = np.ones((count, test.num_views), bool)
    missing[np.arange(count), known] = False
    view_generator = ViewGenerator.load(config.run_dir, batch_size=min(count, 64))
    measure = table.make_measure(MetricNets(classifier))
    points = []
    samplers = config.curve.points()
    task = bar.add_task("samplers", total=len(samplers), unit="samplers")
    for sampler in samplers:
        options = {"sampler": sampler, "seed": config.seed}
        view_generator.generate_views(
            test.images[:1], missing[:1], **options
        )  # compiles
        begun = time.monotonic()
        generated = view_generator.generate_views(test.images, missing, **options)[:, 0]
        seconds = time.monotonic() - begun
        metrics = measure(generated, test, missing & test.observed)
        points.append(
            {
                "sampler": sampler.name,
                "steps": sampler.num_steps,
                "evaluations": sampler.num_evaluations,
                "ms_per_object": round(1e3 * seconds / count, 3),
                **metrics,
            }
        )
        bar.advance(task)
    return points


def _draw(
    config: Config, view_generator: ViewGenerator, objects: Objects, path: Path
) -> None:
    rows = np.linspace(0, len(objects.e) - 1, min(_PANEL_OBJECTS, len(objects.e)))
    shown = objects.e.views.take(rows.astype(int))
    known = objects.e.known[rows.astype(int)]
    missing = np.ones((len(shown), shown.num_views), bool)
    missing[np.arange(len(shown)), known] = False
    generated = view_generator.generate_views(
        shown.images, missing, sampler=config.sampler, seed=config.seed
    )[:, 0]
    panel = panels.view_panel(
        generated, shown.images, missing, view_generator.view_names
    )
    viz.save_png(path, panel)


def is_current(config: Config) -> bool:
    """Whether Table I was made as the config says, after every network it measures."""
    path = config.run_dir / _FOLDER / "table_1.json"
    if not path.exists():
        return False
    weights = (config.run_dir / "weights").glob("*.safetensors")
    made = path.stat().st_mtime
    return json.loads(path.read_text()).get("settings") == _settings(config) and all(
        made >= w.stat().st_mtime for w in weights
    )


def _settings(config: Config) -> dict[str, Any]:
    """What decides Table I and the curve besides the networks."""
    names = ("sampler", "table_objects", "curve", "lpips_weights", "inception_weights")
    return {name: files.plain(getattr(config, name)) for name in names}


def to_markdown(found: dict[str, Any]) -> str:
    """Table I as Markdown, by the number of given views."""
    means = [row for row in found["rows"] if not row["conditioning"]]
    sizes = sorted({row["num_conditioning"] for row in means})
    names = [n for n in ("psnr", "ssim", "coherence") if n in means[0]["metrics"]]
    head = ["method", *(f"{name} {size}" for name in names for size in sizes)]
    lines = [head, ["---"] * len(head)]
    for method in dict.fromkeys(row["method"] for row in means):
        of = {
            r["num_conditioning"]: r["metrics"] for r in means if r["method"] == method
        }
        cells = [f"{of[size][name]:.2f}" for name in names for size in sizes]
        lines.append([method, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
