"""The config of a run of System 2."""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from experiments.nmr_dimvida.evaluation_config import (
    ClassifyConfig,
    CurveConfig,
    Network,
    ViewsConfig,
)
from jaxgrow.data.views import ViewDataConfig
from jaxgrow.devices.hosts import HostsConfig
from jaxgrow.devices.parallel import Kind
from jaxgrow.errors import UserError
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.ranges import (
    Checked,
    Count,
    Decay,
    Natural,
    Positive,
    Range,
    Seed,
    Share,
    Weight,
)
from jaxgrow.storage import files


EXPERIMENT = "nmr_dimvida"

Phase: TypeAlias = Literal[
    "autoencoder", "score", "regressor", "coherence_classifier", "views", "classify"
]
PHASES: tuple[Phase, ...] = get_args(Phase)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(Checked):
    """Training of one network."""

    epochs: Count | None = None
    """Passes over its training data; give this or steps."""
    steps: Count | None = None
    """Updates; give this or epochs."""
    batch_size: Annotated[int, Range(1, 65_536)] = 64
    """Examples per step, over all devices."""
    learning_rate: Positive = 1e-4
    """Learning rate of Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of the rate; cosine falls to zero at the last step."""
    warm_up_steps: Natural = 0
    """Steps over which the rate rises from zero."""
    ema_decay: Decay = 0.0
    """Decay of the average of the weights, which is what is saved; 0 = no average."""
    log_every: Count = 100
    """Steps between two rows of metrics.jsonl."""
    validate_every: Count = 1_000
    """Steps between two validations, each with a panel and a checkpoint; a multiple of
    log_every."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.epochs is None) == (self.steps is None):
            raise UserError("give either epochs or steps of every network, not both.")
        if self.validate_every % self.log_every:
            raise UserError(
                f"validate_every {self.validate_every} must be a multiple of "
                f"log_every {self.log_every}."
            )

    def num_steps(self, num_examples: int) -> int:
        """Return the number of updates for this many training examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * num_examples / self.batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """One run of DiMViDA; see the presets."""

    run_dir: Path
    """Folder for everything that the run writes; an existing run is resumed."""
    phases: tuple[Phase, ...] = PHASES
    """Phases to run, in this order. Each reads the files of those before it."""
    seed: Seed = 0
    """Root of every random draw."""
    devices: Count | None = None
    """Local devices to train on; None = all."""
    parallel: Kind = "pmap"
    """Transformation over several devices; several hosts need mesh."""
    hosts: HostsConfig = dataclasses.field(default_factory=HostsConfig)
    """Several processes that train this run together, see docs/multi_host.md."""
    steps_per_call: Annotated[int, Range(1, 10_000)] | None = None
    """Steps per compiled call; None = 1 on CPU, 25 elsewhere."""
    device_data_mb: Natural = 8_192
    """Largest set of images, in MB, that is kept on the device; larger ones are read
    from memory-mapped files."""
    data: ViewDataConfig = dataclasses.field(default_factory=ViewDataConfig)
    """Objects and views."""
    validation_fraction: Share = 0.05
    """Part of the generative model's objects that is held out to validate on."""
    autoencoder: AutoencoderConfig = dataclasses.field(
        default_factory=AutoencoderConfig
    )
    """The autoencoder."""
    autoencoder_training: TrainingConfig = TrainingConfig(epochs=1_000)
    """Its training."""
    augment: bool = True
    """TrivialAugmentWide for the autoencoder."""
    fill: Share = 1.0
    """Colour in [0, 1] of what augmentation moves into the image; 1 is white."""
    score: ScoreConfig = dataclasses.field(default_factory=ScoreConfig)
    """The score network, and the regressor's shape."""
    score_training: TrainingConfig = TrainingConfig(epochs=1_000, ema_decay=0.999)
    """Its training."""
    sde: ClassVar[VPSDE] = VPSDE()
    """The noise process, the paper's."""
    p_joint: Share = 0.2
    """Probability that a training example has no conditioning view: the paper's d."""
    size_weights: tuple[Weight, ...] | None = None
    """Weights of 1, 2, ... conditioning views in training; None = all sets of views are
    equally likely."""
    regressor_training: TrainingConfig = TrainingConfig(epochs=100, ema_decay=0.999)
    """Training of the mean regressor, a baseline."""
    coherence_classifier_width: Annotated[int, Range(1, 4096)] = 64
    """Channels of the first stage of the ResNet18 that measures coherence."""
    coherence_classifier_training: TrainingConfig = TrainingConfig(
        epochs=30, learning_rate=1e-3, schedule="cosine"
    )
    """Its training."""
    sampler: SamplerConfig = dataclasses.field(default_factory=SamplerConfig)
    """The sampler of Table I, of the panels and of the generated views."""
    generate: ViewsConfig = dataclasses.field(default_factory=ViewsConfig)
    """Generated views of the classifiers' objects, which the phase views writes."""
    table_objects: Count | None = None
    """Test objects of Table I; None = all."""
    weights_dir: Path = Path("weights")
    """Folder of pretrained networks by tools.export_weights: squeezenet_lpips,
    inception_fid, resnet18, mobilenetv3_large, mobilenetv3_small. What needs a network
    that is not there is left out and says so."""
    curve: CurveConfig = dataclasses.field(default_factory=CurveConfig)
    """Quality against network evaluations."""
    classify: ClassifyConfig = dataclasses.field(default_factory=ClassifyConfig)
    """Classification with generated views."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.autoencoder.image_size != self.data.size:
            raise UserError(
                f"autoencoder.image_size {self.autoencoder.image_size} must equal "
                f"data.size {self.data.size}."
            )
        if not self.phases:
            raise UserError(f"--phases must name some of {', '.join(PHASES)}.")

    @property
    def coherence_classifier(self) -> ClassifierConfig:
        """The classifier that measures coherence."""
        return ClassifierConfig(width=self.coherence_classifier_width)

    def pretrained(self, network: str) -> Path:
        """Return the file of a pretrained network, by tools.export_weights' name."""
        return self.weights_dir / f"{network}.safetensors"

    def classifier_weights(self, network: Network) -> Path:
        """Return the file of ImageNet weights that `network` is fine-tuned from."""
        return self.pretrained(network.replace("mobilenet_v3", "mobilenetv3"))

    def result_fields(self, phase: Phase) -> dict[str, Any]:
        """Return the fields that decide the weights of a phase.

        The others may change when a run is resumed. `autoencoder.remat` is among these
        because it may change rounding, and a resumed run is equal to the last bit.
        """
        names = ["seed", "data", "validation_fraction"]
        latent = ["autoencoder", "autoencoder_training", "augment", "fill"]
        subset = ["score", "p_joint", "size_weights"]
        names += {
            "autoencoder": latent,
            "score": [*latent, *subset, "score_training"],
            "regressor": [*latent, *subset, "regressor_training"],
            "coherence_classifier": [
                "coherence_classifier_width",
                "coherence_classifier_training",
            ],
            "views": [],
            "classify": [],
        }[phase]
        plain = files.plain(self)
        chosen = {name: plain[name] for name in names}
        # Neither a place nor the number of objects outside of partition d changes what
        # is learnt from d, whose content is compared too.
        for name in ("path", "cache_dir", "objects_c", "objects_e"):
            chosen["data"].pop(name)
        return chosen
