"""The trained phases of a run, in their order."""

from collections.abc import Callable

from experiments.nmr_dimvida.autoencoder_phase import autoencoder_training
from experiments.nmr_dimvida.coherence_phase import coherence_classifier_training
from experiments.nmr_dimvida.config import Config, Phase, TrainingConfig
from experiments.nmr_dimvida.generate import file_names, generated_folder
from experiments.nmr_dimvida.latent_phases import regressor_training, score_training
from experiments.nmr_dimvida.objects import Objects
from experiments.nmr_dimvida.run import Run, finished
from experiments.shared import run_dir as runs
from jaxgrow.multiview.generated_set import open_generated
from jaxgrow.training.task import TrainingTask


TRAINED: dict[Phase, Callable[[Run, Objects, int], TrainingTask]] = {
    "autoencoder": autoencoder_training,
    "score": score_training,
    "regressor": regressor_training,
    "coherence_classifier": coherence_classifier_training,
}
"""Phase -> (run, objects, first step) -> its training."""


def num_steps(config: Config, objects: Objects, phase: Phase) -> int:
    """Return the steps that a trained phase takes in all."""
    training: TrainingConfig = getattr(config, f"{phase}_training")
    of_images = phase in ("autoencoder", "coherence_classifier")
    train = objects.train
    return training.num_steps(int(train.observed.sum()) if of_images else len(train))


NEEDS: dict[Phase, tuple[Phase, ...]] = {
    "score": ("autoencoder",),
    "regressor": ("autoencoder",),
    "views": ("autoencoder", "score", "regressor", "coherence_classifier"),
    "classify": ("autoencoder", "regressor"),
}
"""Phase -> the networks that it reads."""


def check(config: Config) -> None:
    """See that every phase finds what it needs of phases that are not run now.

    Raises:
        UserError: One does not, or the folder of pretrained networks is absent.
    """
    runs.check_weights_dir(config.weights_dir)
    for phase in config.phases:
        for needed in NEEDS.get(phase, ()):
            if needed not in config.phases:
                finished(config, needed)
    if "classify" in config.phases and "views" not in config.phases:
        for name in file_names(config):
            open_generated(generated_folder(config, name))
