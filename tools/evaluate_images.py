"""Measure generated images against real ones, folder against folder.

    python -m tools.evaluate_images --real photos --fake filled --masks masks

Images of the same name are a pair: a/b.jpg and a/b.png. Pairs give PSNR, SSIM, L1 and
LPIPS, with masks also in the holes, and P-IDS and U-IDS. The two sets give FID, and
with --classifier the same distance on a classifier's features. Metrics without weights
for their network print how to get them. The exit status is 0 if all was measured, 2 if
nothing could be.
"""

import dataclasses
import math
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from experiments.shared import cli
from jaxgrow.data.files import list_images
from jaxgrow.devices import runtime
from jaxgrow.errors import UserError
from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation import folders, pairs
from jaxgrow.evaluation.figures import (
    NEEDS_WEIGHTS,
    Figure,
    distance_figures,
    paired_figures,
)
from jaxgrow.evaluation.folders import FolderComparison
from jaxgrow.metrics.frechet import FrechetDistance
from jaxgrow.metrics.inception_distance import RESIZING
from jaxgrow.pretrained import networks
from jaxgrow.ranges import Checked
from jaxgrow.storage import files
from jaxgrow.storage.provenance import record_provenance
from jaxgrow.training.logs import progress_bar


FEWEST = 2
_DIGITS = {"psnr": 2, "ssim": 4, "l1": 4, "lpips": 4, "fid": 3, "p_ids": 2, "u_ids": 2}
_DIGITS |= {"classifier_distance": 4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """Two folders to compare."""

    real: Path
    """Folder of the original images."""
    fake: Path
    """Folder of the generated images, named as their originals."""
    masks: Path | None = None
    """Folder of masks named as the images, or one mask for all; white (128 and above)
    is the hole. None measures over all pixels only."""
    invert: bool = False
    """Read masks that are black where the hole is."""
    unpaired: bool = False
    """Ignore names: measure only FID and the classifier's distance."""
    weights_inception: Path | None = None
    """FID's network, written by tools.export_weights inception_fid."""
    weights_lpips: Path | None = None
    """LPIPS's network, written by tools.export_weights squeezenet_lpips."""
    classifier: Path | None = None
    """A classifier of this project, such as the file coherence_classifier.safetensors
    of a run: the Frechet distance on its features, which is not FID."""
    out: Path | None = None
    """JSON file for the figures, including those of each pair."""
    force: bool = False
    """Replace the JSON file if it exists."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The figures of two folders, for the table and the file."""

    num_real: int
    num_fake: int
    figures: list[Figure]
    notes: list[str]
    real_sha256: str | None
    fake_sha256: str | None
    weights: dict[str, networks.WeightsProvenance]
    per_image: dict[str, dict[str, float]]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write the figures; return the exit status."""
    return cli.run_tool(
        "python -m tools.evaluate_images", __doc__, _measure, Config, arguments
    )


def _measure(config: Config, console: Console) -> None:
    runtime.keep_compiled()
    start = time.perf_counter()
    _check(config)
    found = evaluate(config, console)
    _show(found, console)
    if config.out is not None:
        command = ["python", "-m", "tools.evaluate_images", *sys.argv[1:]]
        wall_s = time.perf_counter() - start
        origin = record_provenance(command, seeds={}, wall_s=wall_s)
        content = {"provenance": origin, "config": config, **vars(found)}
        content["resizing"] = RESIZING
        files.write_json(config.out, content)
        _say(console, f"Wrote {config.out}.")


def evaluate(config: Config, console: Console) -> Evaluation:
    """Compute all figures for which there are weights.

    Raises:
        UserError: Folders, files or weights cannot be used, see `pair_folders`.
    """
    notes: dict[str, None] = {}  # in order, each once

    def note(sentence: str) -> None:
        notes[sentence] = None

    nets, lpips, inception, distance = {}, None, None, None
    if config.weights_inception is not None:
        inception = networks.load_inception(config.weights_inception)
        nets["inception"] = inception.provenance
    if config.weights_lpips is not None:
        lpips = networks.load_lpips(config.weights_lpips)
        loaded = networks.load_features(config.weights_lpips, "squeezenet_lpips")
        nets["lpips"] = loaded.provenance
    features_fn = None if inception is None else inception.features_fn
    for folder in (config.real, config.fake, config.masks):
        if folder is not None and folder.is_dir():
            for sentence in list_images(folder).remarks(folder):
                note(sentence)
    with progress_bar(console) as bar:
        if config.unpaired:
            found = _measure_sets(config, features_fn, bar)
        else:
            found = _measure_pairs(config, features_fn, lpips, note, bar)
        if config.classifier is not None:
            distance = _classifier_distance(config, bar)
    figures = [] if config.unpaired else paired_figures(found.per_image, lpips)
    distances, remarks = distance_figures(
        found.features,
        is_paired=not config.unpaired,
        is_random=inception is not None and inception.provenance.is_random,
    )
    if distance is not None:
        figure = Figure(
            metric="classifier_distance", title=distance.name, value=distance.value
        )
        distances, remarks = [*distances, figure], (*remarks, *distance.notes)
    notes |= dict.fromkeys(remarks)
    per_image = {
        name: {metric: float(v[i]) for metric, v in found.per_image.items()}
        for i, name in enumerate(found.names)
    }
    return Evaluation(
        num_real=found.num_images[0],
        num_fake=found.num_images[1],
        figures=figures + distances,
        notes=list(notes),
        real_sha256=found.sha256[0],
        fake_sha256=found.sha256[1],
        weights=nets,
        per_image=per_image,
    )


def _measure_pairs(
    config: Config, features_fn, lpips, note, bar: Progress
) -> FolderComparison:
    found = pairs.pair_folders(config.real, config.fake, config.masks)
    _check_counts(config, len(found), len(found))
    task = bar.add_task("pairs", total=len(found), unit="pairs")
    return folders.measure_pairs(
        found,
        lpips=lpips,
        features_fn=features_fn,
        invert=config.invert,
        note=note,
        on_progress=lambda: bar.advance(task),
    )


def _classifier_distance(config: Config, bar: Progress) -> FrechetDistance:
    """Compute the distance of all images of both folders, which must have one size."""
    assert config.classifier is not None
    classifier = saved_classifiers.load_classifier(config.classifier)
    sets = pairs.files_by_name(config.real), pairs.files_by_name(config.fake)
    task = bar.add_task("classifier", total=sum(map(len, sets)), unit="images")
    return folders.classifier_distance(classifier, *sets, lambda: bar.advance(task))


def _measure_sets(config: Config, features_fn, bar: Progress) -> FolderComparison:
    if features_fn is None and config.classifier is None:
        raise UserError(
            "--unpaired measures FID alone and takes --weights-inception or "
            f"--classifier: "
            f"{NEEDS_WEIGHTS.format('inception_fid', 'FILE')}."
        )
    sets = pairs.files_by_name(config.real), pairs.files_by_name(config.fake)
    _check_counts(config, *map(len, sets))
    task = bar.add_task("images", total=sum(map(len, sets)), unit="images")
    return folders.measure_sets(*sets, features_fn, lambda: bar.advance(task))


def _show(found: Evaluation, console: Console) -> None:
    table = Table(title=f"{found.num_fake} generated, {found.num_real} real images")
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right")
    table.add_column("±, 95 %", justify="right")
    for figure in found.figures:
        if figure.value is None:
            table.add_row(figure.title, str(figure.needs).partition(":")[0], "")
            continue
        digits = _DIGITS[figure.metric.removesuffix("_hole")]
        half = figure.half_width
        width = "" if half is None or math.isnan(half) else f"{half:.{digits}f}"
        table.add_row(figure.title, f"{figure.value:.{digits}f}", width)
    console.print(table)
    for figure in found.figures:
        if figure.needs is not None:
            _say(console, f"{figure.title}: {figure.needs}")
    for sentence in found.notes:
        _say(console, f"note: {sentence}.")


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _check(config: Config) -> None:
    if config.unpaired and config.masks is not None:
        raise UserError("--unpaired measures no holes: leave --masks out.")
    if config.invert and config.masks is None:
        raise UserError("--invert is about --masks: name them too, or leave it out.")
    if config.out is not None and config.out.is_dir():
        raise UserError(f"{config.out} is a folder: name a JSON file.")
    if config.out is not None and config.out.exists() and not config.force:
        raise UserError(f"{config.out} exists: add --force to replace it.")
    same = config.real.exists() and config.fake.exists()
    if same and config.real.samefile(config.fake):
        raise UserError(f"real and fake are both {config.real}: name two folders.")


def _check_counts(config: Config, num_real: int, num_fake: int) -> None:
    if config.weights_inception is not None and min(num_real, num_fake) < FEWEST:
        raise UserError(
            f"FID takes {FEWEST} images or more on either side, not {num_real} and "
            f"{num_fake}: add images, or leave --weights-inception out."
        )


if __name__ == "__main__":
    sys.exit(main())
