"""Does the perceptual term sharpen the holes? The same runs with it and without.

    python -m experiments.perceptual_ablation --vgg-weights FILE

Speck et al. (2023), Sec. IV, find the mix of losses sharper than the adversarial one
alone. Every seed trains the demo's networks twice, from the same weights, on the same
batches, and only the perceptual term differs; "on" minus "off" is a paired difference.
The high-frequency bias tells blur (below 0) from detail that is not in the photograph
(above 0); the error is the mean of its size. The same command resumes and collects.
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.places_grow.config import VGG_WEIGHTS, Config
from experiments.places_grow.evaluate import load_generator, weights_of
from experiments.places_grow.prepare import Pictures, validation_set
from experiments.places_grow.presets import PRESETS
from experiments.places_grow.train import train
from experiments.report import tables
from experiments.shared import cli, presets
from jaxgrow.errors import UserError
from jaxgrow.inpainting.evaluation.compare import HARDER, evaluate
from jaxgrow.pretrained import networks
from jaxgrow.ranges import Checked, Count, Seed
from jaxgrow.storage import files
from jaxgrow.storage.provenance import record_provenance


_PROGRAM = "python -m experiments.perceptual_ablation"
_METRICS = {"hf_error": "HF error, dB", "hf_bias": "HF bias, dB"}
_METRICS |= {"psnr_hole": "PSNR hole, dB"}
_EVALUATED = (16, 32)  # px
_OFF_FROM = 1 << 20  # px; a term that begins there is never on


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """The runs to compare."""

    run_dir: Path = Path("runs/perceptual_ablation")
    """Folder of all runs."""
    vgg_weights: Path = VGG_WEIGHTS
    """The perceptual network, vgg19 or hed-vgg16; random weights are named as such."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """One pair of runs each."""
    steps: tuple[Count, Count, Count, Count] = (100, 150, 250, 60)
    """Batches of the stages at 4, 8, 16 and 32 px."""
    batch_size: Count = 32
    """Pictures per step."""
    out: Path | None = None
    """JSON file for the results; None = only print."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.seeds)) < 2:
            raise UserError(f"--seeds takes two seeds or more, not {self.seeds}.")


def run_config(options: Options, seed: int, is_on: bool) -> Config:
    """Return the demo with the term on from 16 px, or off."""
    changes = {
        "run_dir": options.run_dir / f"seed{seed}_{'on' if is_on else 'off'}",
        "seed": seed,
        "batch_size": options.batch_size,
        "vgg_weights": options.vgg_weights,
        "growth.steps": options.steps,
        "losses.perceptual_from": _EVALUATED[0] if is_on else _OFF_FROM,
        "log_every": 50,
        "validate_every": 100,
        "evaluate": False,
    }
    return presets.derive(PRESETS["demo"][1], changes)


def measure(config: Config, pictures: Pictures) -> dict[int, dict[str, float]]:
    """Return resolution -> figures of a run's generator over holes of 10-50 %."""
    found = {}
    for resolution in _EVALUATED:
        methods = {"generator": load_generator(weights_of(config, resolution))}
        result = evaluate(methods, *validation_set(config, pictures, resolution))
        metrics = {name: result.metric("generator", HARDER, name) for name in _METRICS}
        found[resolution] = metrics
    return found


def summarise(
    off: Sequence[dict[str, float]], on: Sequence[dict[str, float]]
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return metric -> (mean, deviation over seeds) of off, on, and on minus off."""
    found = {}
    for name in off[0]:
        sides = {"off": [m[name] for m in off], "on": [m[name] for m in on]}
        changes = zip(sides["on"], sides["off"], strict=True)
        sides["on - off"] = [b - a for b, a in changes]
        found[name] = {
            side: (statistics.mean(values), statistics.stdev(values))
            for side, values in sides.items()
        }
    return found


def to_markdown(summary: dict[int, Any]) -> str:
    """Return a line per resolution and metric; means and deviations over seeds."""
    signs = {"off": "", "on": "", "on - off": "+"}
    rows = [
        [str(resolution), _METRICS[name]]
        + [f"{sides[s][0]:{sign}.2f} ± {sides[s][1]:.2f}" for s, sign in signs.items()]
        for resolution, metrics in summary.items()
        for name, sides in metrics.items()
    ]
    return tables.to_markdown(tables.Table("", ["px", "metric", *signs], rows))


def compare(options: Options, console: Console) -> None:
    """Train what is not trained yet, print the table and write the JSON file.

    Raises:
        UserError: The weights are missing or damaged, or a run cannot go on.
    """
    begun = time.monotonic()
    network = networks.load_perceptual(options.vgg_weights).provenance
    console.print(f"perceptual network: {network.label}", markup=False)
    measured: dict[bool, list[dict[int, dict[str, float]]]] = {False: [], True: []}
    for seed in options.seeds:
        for is_on, results in measured.items():
            config = run_config(options, seed, is_on)
            results.append(measure(config, train(config, console).pictures))
    summary = {
        resolution: summarise(*([m[resolution] for m in measured[s]] for s in measured))
        for resolution in _EVALUATED
    }
    console.print(to_markdown(summary), markup=False, highlight=False)
    if options.out is not None:
        provenance = record_provenance(
            [*_PROGRAM.split(), *sys.argv[1:]],
            seeds={f"run {i}": seed for i, seed in enumerate(options.seeds)},
            wall_s=time.monotonic() - begun,
        )
        found = {
            "provenance": provenance,
            "options": options,
            "perceptual_network": network,
            "runs": {"off": measured[False], "on": measured[True]},
            "summary": summary,
        }
        files.write_json(options.out, found)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; return the exit status."""
    return cli.run_tool(_PROGRAM, __doc__, compare, Options, arguments)


if __name__ == "__main__":
    sys.exit(main())
