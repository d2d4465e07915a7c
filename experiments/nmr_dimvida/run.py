"""What all phases of a run share: its config, its devices, and what it says."""

from rich.console import Console

from experiments.nmr_dimvida.config import Config
from experiments.shared.run_dir import RunLog
from jaxgrow.devices import parallel
from jaxgrow.training import loop


class Run(RunLog):
    """A run under way: its config, its devices, and what it says."""

    def __init__(self, config: Config, console: Console):
        super().__init__(config.run_dir, console)
        self.config = config
        self.interrupt = loop.Interrupt()
        self.placement = parallel.place(
            config.parallel,
            config.devices,
            config.autoencoder_training.batch_size,
            config.score_training.batch_size,
            config.regressor_training.batch_size,
            config.coherence_classifier_training.batch_size,
            config.classify.training.batch_size,
        )
