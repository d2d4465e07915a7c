"""A run of System 2: its config, its devices, and the files between its phases."""

from pathlib import Path

from rich.console import Console

from experiments.nmr_dimvida.config import Config, Phase
from jaxgrow.devices import parallel
from jaxgrow.errors import UserError
from jaxgrow.training.run import TrainingRun


class Run(TrainingRun):
    """A run under way, with its config."""

    def __init__(self, config: Config, console: Console):
        placement = parallel.place(
            config.parallel,
            config.devices,
            config.autoencoder_training.batch_size,
            config.score_training.batch_size,
            config.regressor_training.batch_size,
            config.coherence_classifier_training.batch_size,
            config.classify.batch_size,
        )
        super().__init__(config.run_dir, console, placement)
        self.config = config


def weights_path(config: Config, phase: Phase) -> Path:
    """Return the file of the network that a phase trains."""
    return config.run_dir / "weights" / f"{phase}.safetensors"


def finished(config: Config, phase: Phase) -> Path:
    """Return `weights_path` of a phase that must be done.

    Raises:
        UserError: It is not.
    """
    path = weights_path(config, phase)
    if not path.exists():
        raise UserError(
            f"the phase {phase} has not left {path} yet: add it to --phases."
        )
    return path
