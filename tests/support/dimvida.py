"""Runs of System 2 that go all the way in seconds, and what they say."""

from pathlib import Path

import safetensors.numpy

from experiments.nmr_dimvida.__main__ import main
from tests.support.places import Said


PHASES = ("autoencoder", "score", "regressor", "coherence_classifier")


def _trainings(steps: int, every: int) -> tuple[str, ...]:
    fields = {
        "steps": steps,
        "batch-size": 8,
        "log-every": every // 2,
        "validate-every": every,
    }
    return tuple(
        text
        for phase in PHASES
        for name, value in fields.items()
        for text in (f"--{phase}-training.{name}", str(value))
    )


TINY = (
    *("smoke", "--devices", "1", "--data.classes", "car", "chair"),
    *("--data.objects-d", "6", "--data.objects-e", "2", "--validation-fraction", "0.3"),
    *("--autoencoder.latent-dim", "4", "--autoencoder.base-channels", "4"),
    *("--score.width", "32", "--score.time-dim", "8"),
    *("--coherence-classifier-width", "4"),
    *("--sampler.num-steps", "2", "--curve.long", "ddim:3", "--curve.objects", "2"),
    *_trainings(8, 4),
)


def run(capsys, *arguments):
    """Runs a command line in this process."""
    capsys.readouterr()
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as exiting:
        status = exiting.code
    return Said(status, *capsys.readouterr())


def tensors_of(run_dir: Path, phase: str) -> dict[str, bytes]:
    """The bits of the weights that a phase has left."""
    return tensors_in(run_dir / "weights" / f"{phase}.safetensors")


def tensors_in(file: Path) -> dict[str, bytes]:
    """The bits of the arrays in a file, without its header, where times stand."""
    tensors = safetensors.numpy.load_file(file)
    return {name: tensor.tobytes() for name, tensor in tensors.items()}
