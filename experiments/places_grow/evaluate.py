"""Evaluation of a run's generators against the baselines."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from experiments.places_grow.config import EXPERIMENT, Config
from experiments.places_grow.prepare import (
    Pictures,
    load_pictures,
    stage_masks,
    stage_plan,
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
from jaxgrow.storage import files, lock
from jaxgrow.storage.provenance import record_provenance
from jaxgrow.training import logs


_SHIPPED = "shipped weights"
_SMALLEST = 16  # px; below, a hole is a few pixels and the metrics mean little


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

    Stages of 16 px and more are evaluated, or the last one of a run without such. None
    as `unet_steps` means the config's, or those of the stage.

    Raises:
        UserError: The run has no trained stage, its pictures are not where they were,
            or another process evaluates it.
    """
    config = runs.read_config(run_dir, EXPERIMENT, Config)
    if unet_steps is not None:
        config = dataclasses.replace(config, unet_steps=unet_steps)
    config = dataclasses.replace(config, run_dir=run_dir)
    _stages(config)
    for path in (config.data.path, config.data.val_path, config.masks.folder_path):
        if path is not None and not path.exists():
            raise UserError(
                f"{path}, with pictures or masks of the run {run_dir}, is not there: "
                "give the training command again with the place where they are now."
            )
    say = functools.partial(console.print, markup=False, highlight=False)
    evaluate(config, load_pictures(config, say), console)


def is_current(config: Config, pictures: Pictures) -> bool:
    """Return True if the run has results of its weights, pictures and networks.

    Raises:
        UserError: Results of before are damaged, or no stage is finished.
    """
    path = config.run_dir / "evaluation" / "results.json"
    before = files.read_json(path, dict, absent={}).get("made_from")
    return before == _made_from(config, pictures, _stages(config))


def _stages(config: Config) -> list[Stage]:
    """Return the stages to evaluate, with the steps that they took."""
    steps = {e["resolution"]: e["steps"] for e in read_stages(config.run_dir)}
    if not steps:
        raise UserError(
            f"{config.run_dir} has no finished stage yet: train it further first."
        )
    stages = [
        stage._replace(num_steps=steps[stage.resolution])
        for stage in plan_stages(config.growth)
        if stage.resolution in steps
    ]
    return [s for s in stages if s.resolution >= _SMALLEST] or stages[-1:]


def _made_from(
    config: Config, pictures: Pictures, stages: Sequence[Stage]
) -> dict[str, Any]:
    """Return everything that decides the results; content by its hash."""
    nets = ("squeezenet_lpips", "inception_fid")
    there = [path for path in map(config.pretrained, nets) if path.exists()]
    there += [path for s in stages if (path := _shipped(s.resolution)) is not None]
    return {
        "unet_steps": config.unet_steps,
        "pictures": pictures.digests,
        "networks": {path.stem: files.hash_files([path]) for path in there},
        "stages": {
            str(stage.resolution): files.hash_files(
                [weights_of(config, stage.resolution)]
            )
            for stage in stages
        },
    }


def evaluate(config: Config, pictures: Pictures, console: Console) -> None:
    """Write the results of a run whose pictures are loaded; see `evaluate_run`."""
    with lock.held(config.run_dir / "evaluation", runs.command(EXPERIMENT)):
        begun, stages = time.monotonic(), _stages(config)
        made_from, nets = _made_from(config, pictures, stages), load_nets(config)
        results = [_measure(config, pictures, nets, s, console) for s in stages]
        provenance = record_provenance(
            runs.command(EXPERIMENT),
            seeds={"run": config.seed, "bootstrap": 0},
            wall_s=time.monotonic() - begun,
        )
        write_results(config.run_dir / "evaluation", results, provenance, made_from)
    text = to_markdown(results, provenance)
    console.print(text, markup=False, highlight=False)


def _measure(
    config: Config,
    pictures: Pictures,
    nets: FeatureNets,
    stage: Stage,
    console: Console,
) -> compare.EvalResult:
    resolution, wanted = stage.resolution, config.unet_steps
    methods = {"generator": load_generator(weights_of(config, resolution))}
    if (shipped := _shipped(resolution)) is not None:
        methods[_SHIPPED] = load_generator(shipped)
    methods |= BASELINES
    num_steps = stage.num_steps if wanted is None else wanted
    with logs.progress_bar(console) as bar:
        if num_steps > 0:
            name = f"U-Net, L1, {num_steps} steps"
            methods[name] = _train_unet(config, pictures, stage, num_steps, bar)
        task = bar.add_task(f"evaluating {resolution} px", total=None, unit="sets")
        return compare.evaluate(
            methods,
            *validation_set(config, pictures, resolution),
            nets=nets,
            on_progress=functools.partial(_advance, bar, task),
        )


def _advance(bar: Progress, task: TaskID, done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


def weights_of(config: Config, resolution: int) -> Path:
    """Return the file of a stage's generator."""
    return config.run_dir / "weights" / saved_models.file_name(resolution)


def _shipped(resolution: int) -> Path | None:
    """Return the package's own weights for a resolution, if there are any."""
    path = saved_models.SHIPPED / saved_models.file_name(resolution)
    return path if path.exists() else None


def load_generator(path: Path) -> FillFn:
    """Load a generator as a fill function.

    Raises:
        UserError: The file is missing or damaged.
    """
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
    masks = stage_masks(config, pictures, stage)
    trained = stage._replace(num_steps=num_steps)
    return unet_baseline.train_unet(
        pictures.train.images[stage.resolution],
        masks,
        stage_plan(config, pictures, stage, len(masks)),
        num_steps=num_steps,
        learning_rate=learning_rate(config.optimizer, "generator", trained),
        hole_weight=config.losses.hole_weight,
        seed=config.seed + stage.resolution,
        on_progress=functools.partial(_advance, bar, task),
    )
