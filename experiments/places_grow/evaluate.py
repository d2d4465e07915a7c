"""Evaluation of a run's generators against the baselines."""

import functools
import json
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TaskID

from experiments.places_grow.config import EXPERIMENT, Config
from experiments.places_grow.prepare import (
    Pictures,
    load_pictures,
    stage_masks,
    validation_set,
)
from experiments.places_grow.stage import read_stages
from experiments.shared import run_dir as runs
from jaxgrow.errors import UserError
from jaxgrow.evaluation.figures import NEEDS_WEIGHTS
from jaxgrow.inpainting import fill, saved_models
from jaxgrow.inpainting.baselines import BASELINES, FillFn
from jaxgrow.inpainting.evaluation import compare, unet_baseline
from jaxgrow.inpainting.evaluation.results import to_markdown, write_results
from jaxgrow.inpainting.stages import Stage, learning_rate, plan_stages
from jaxgrow.nets.growing import Generator
from jaxgrow.pretrained import networks
from jaxgrow.pretrained.feature_metrics import FeatureNets
from jaxgrow.storage.provenance import record_provenance
from jaxgrow.training import logs


_SMALLEST = 16  # px; below, a hole is a few pixels and the metrics mean little


def is_current(run_dir: Path) -> bool:
    """True if every finished stage is evaluated, with every feature network at hand."""
    path, stages = run_dir / "evaluation" / "results.json", run_dir / "stages.json"
    if not path.exists() or not stages.exists():
        return False
    config = runs.read_config(run_dir, EXPERIMENT, Config)
    nets = {
        "lpips": config.pretrained("squeezenet_lpips"),
        "fid": config.pretrained("inception_fid"),
    }
    at_hand = {metric: file for metric, file in nets.items() if file.exists()}
    results = json.loads(path.read_text())["results"]
    return all(
        path.stat().st_mtime >= file.stat().st_mtime
        for file in (stages, *at_hand.values())
    ) and all(at_hand.keys() <= result.get("labels", {}).keys() for result in results)


def load_nets(config: Config) -> FeatureNets:
    """Load the networks of LPIPS and FID whose weights are there.

    Raises:
        UserError: A file is damaged, or of another network.
    """
    lpips = config.pretrained("squeezenet_lpips")
    inception = config.pretrained("inception_fid")
    return FeatureNets(
        networks.load_lpips(lpips) if lpips.exists() else None,
        networks.load_inception(inception) if inception.exists() else None,
        {
            "lpips": NEEDS_WEIGHTS.format("squeezenet_lpips", lpips),
            "fid": NEEDS_WEIGHTS.format("inception_fid", inception),
        },
    )


def evaluate_run(run_dir: Path, unet_steps: int | None, console: Console) -> None:
    """Write evaluation/results.json, results.md and panels into the run.

    Stages of 16 px and more are evaluated, or the last one of a run without such.

    Args:
        run_dir: Of the run.
        unet_steps: Steps of the U-Net; None = the config's, or those of the stage.
        console: For progress and tables.

    Raises:
        UserError: If the run has no trained stage.
    """
    config = runs.read_config(run_dir, EXPERIMENT, Config)
    entries = read_stages(run_dir)
    if not entries:
        raise UserError(f"{run_dir} has no finished stage yet: train it further first.")
    steps = {entry["resolution"]: entry["steps"] for entry in entries}
    wanted = config.unet_steps if unet_steps is None else unet_steps
    begun = time.monotonic()
    say = functools.partial(console.print, markup=False, highlight=False)
    nets, pictures = load_nets(config), load_pictures(config, say)
    stages = [s for s in plan_stages(config.growth) if s.resolution in steps]
    stages = [s for s in stages if s.resolution >= _SMALLEST] or stages[-1:]
    results = []
    for stage in stages:
        methods = {"generator": _load_generator(run_dir, stage), **BASELINES}
        num_steps = steps[stage.resolution] if wanted is None else wanted
        test = validation_set(config, pictures, stage.resolution)
        with logs.progress_bar(console) as bar:
            if num_steps > 0:
                name = f"U-Net, L1, {num_steps} steps"
                methods[name] = _train_unet(config, pictures, stage, num_steps, bar)
            task = bar.add_task(
                f"evaluating {stage.resolution} px", total=None, unit="sets"
            )
            result = compare.evaluate(
                methods,
                test.images,
                test.masks_by_bin,
                test.photo,
                test.names,
                nets=nets,
                on_progress=functools.partial(_advance, bar, task),
            )
        results.append(result)
    provenance = record_provenance(
        runs.command(EXPERIMENT),
        seeds={"run": config.seed, "bootstrap": 0},
        wall_s=time.monotonic() - begun,
    )
    write_results(run_dir / "evaluation", results, provenance)
    say(to_markdown(results, provenance))


def _advance(bar: Progress, task: TaskID, done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


def _load_generator(run_dir: Path, stage: Stage) -> FillFn:
    path = run_dir / "weights" / saved_models.file_name(stage.resolution)
    saved = saved_models.load_generator(path)
    paint = functools.partial(fill.paint, Generator(saved.config, saved.resolution))
    return unet_baseline.as_fill(paint, (saved.params, saved.stats))


def _train_unet(
    config: Config, pictures: Pictures, stage: Stage, num_steps: int, bar: Progress
) -> FillFn:
    task = bar.add_task(
        f"U-Net, {stage.resolution} px",
        total=num_steps,
        examples=(config.batch_size, "images"),
    )
    return unet_baseline.train_unet(
        pictures.train.images[stage.resolution],
        stage_masks(config, pictures, stage),
        resolution=stage.resolution,
        num_steps=num_steps,
        batch_size=config.batch_size,
        learning_rate=learning_rate(
            config.optimizer, "generator", stage._replace(num_steps=num_steps)
        ),
        hole_weight=config.losses.hole_weight,
        augment=config.augment == "all",
        is_paired=pictures.paired_masks is not None,
        seed=config.seed + stage.resolution,
        on_progress=functools.partial(_advance, bar, task),
    )
