"""What a run is: one frozen dataclass and its presets."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from jaxgrow.data.views import ViewDataConfig
from jaxgrow.devices.hosts import HostsConfig
from jaxgrow.devices.parallel import Kind
from jaxgrow.errors import UserError
from jaxgrow.multiview.evaluation.classification import Mode
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.storage import files


EXPERIMENT = "nmr_dimvida"

Phase: TypeAlias = Literal[
    "autoencoder", "score", "regressor", "coherence_classifier", "views", "classify"
]
PHASES: tuple[Phase, ...] = get_args(Phase)
Network: TypeAlias = Literal["resnet18", "mobilenet_v3_large", "mobilenet_v3_small"]
Start: TypeAlias = Literal["scratch", "fine-tuned"]
TrainSet: TypeAlias = Literal[
    "single",
    "single, same steps",
    "augmented",
    "matched",
    "reconstructed",
    "mirror",
    "nearest neighbour",
    "mean regressor",
    "real views",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How one network is trained."""

    epochs: int | None = None
    """Passes over its training data; give this or steps."""
    steps: int | None = None
    """Updates; give this or epochs."""
    batch_size: int = 64
    """Examples per step, over all devices."""
    learning_rate: float = 1e-4
    """Of Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: falls to zero at the last step."""
    warm_up_steps: int = 0
    """Steps over which the rate rises to its height."""
    ema_decay: float = 0.0
    """Of the average of the weights, which is what is kept; 0 = none."""
    log_every: int = 100
    """Steps between two rows of metrics.jsonl."""
    validate_every: int = 1_000
    """Steps between two validations with a panel; a multiple of log_every."""
    checkpoint_every: int = 1_000
    """Steps between two checkpoints; a multiple of log_every."""

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise UserError("give either epochs or steps of every network, not both.")
        for name in ("epochs", "steps", "batch_size", "log_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be 1 or more, not {value}.")
        for name in ("validate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value < 1 or value % self.log_every:
                raise UserError(
                    f"{name} {value} must be a multiple of log_every {self.log_every}."
                )
        if not self.learning_rate > 0 or not 0 <= self.ema_decay < 1:
            raise UserError(
                f"learning_rate {self.learning_rate} must be positive and ema_decay "
                f"{self.ema_decay} in [0, 1)."
            )

    def num_steps(self, num_examples: int) -> int:
        """Updates, for this many training examples."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * num_examples / self.batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveConfig:
    """Quality against network evaluations, from the one known view of test objects."""

    samplers: tuple[str, ...] = ("dpm++", "sde_dpm++", "ddim", "heun", "euler_maruyama")
    """Samplers to compare; heun evaluates twice a step."""
    evaluations: tuple[int, ...] = (1, 2, 4, 8, 12, 20, 50)
    """Network evaluations of each."""
    long: tuple[str, ...] = ("euler_maruyama:250", "repaint:250")
    """Long runs as sampler:steps; repaint takes 2,410 evaluations in 250 steps."""
    objects: int = 64
    """Test objects; 0 = no curve."""

    def __post_init__(self) -> None:
        self.points()

    def points(self) -> list[SamplerConfig]:
        """Every run of the curve.

        Raises:
            UserError: An unknown sampler, or a number of evaluations it cannot take.
        """
        found = []
        for name in self.samplers:
            for wanted in self.evaluations:
                steps = (wanted + 1) // 2 if name == "heun" else wanted
                found.append(_sampler(name, steps))
        for text in self.long:
            name, _, steps = text.partition(":")
            if not steps.isdigit():
                raise UserError(f"{text!r} must be sampler:steps, like repaint:250.")
            found.append(_sampler(name, int(steps)))
        return found


def _sampler(name: str, steps: int) -> SamplerConfig:
    is_ode = name in ("dpm++", "sde_dpm++", "ddim", "heun")
    grid = "log_snr" if is_ode else "time"
    return SamplerConfig(name=name, num_steps=steps, grid=grid)  # pyright: ignore


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """The generated views of the classifiers' objects, written once."""

    samples: int = 1
    """Samples of every missing view."""
    evaluations: tuple[int, ...] = ()
    """Network evaluations of a sweep: the test objects' views once more with each, to
    see how accuracy depends on them; () = no sweep."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(
                f"--generate.samples must be 1 or more, not {self.samples}."
            )
        if min(self.evaluations, default=1) < 1:
            raise UserError("--generate.evaluations must all be 1 or more.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifyConfig:
    """Classifiers trained and tested with and without generated views (Tables II, III).

    The lists may grow when a run is resumed; what is trained already is kept.
    """

    networks: tuple[Network, ...] = ("resnet18", "mobilenet_v3_large")
    """Classifiers to train."""
    starts: tuple[Start, ...] = ("scratch", "fine-tuned")
    """scratch: Table II; fine-tuned, from ImageNet: Table III, where there are
    weights."""
    train_sets: tuple[TrainSet, ...] = (
        "single",
        "single, same steps",
        "augmented",
        "matched",
    )
    """single: the one view of every object of partition c, the paper's NMR_c;
    augmented: with its generated views, NMR_ca; single, same steps: NMR_c for as many
    steps as NMR_ca; matched: c and one view of each object of d, which the diffusion
    model has seen. The others are c's views as controls make them; real views is the
    ceiling."""
    train_samples: int | None = 1
    """Samples of every generated view to train on, of those that --generate.samples
    makes; at test all of them are averaged. None = all."""
    seeds: int = 3
    """Trainings of every classifier, which differ in weights and order."""
    training: TrainingConfig = TrainingConfig(
        epochs=30, batch_size=128, learning_rate=1e-5
    )
    """Of single; all others but single take as many steps as augmented does in these
    epochs. Rate and batch size are the paper's, which is silent on epochs."""
    width: int = 64
    """resnet18: channels of its first stage."""
    small_stem: bool = False
    """From scratch, start at full resolution; see ClassifierConfig."""
    norm: Literal["torchvision", "timm"] = "torchvision"
    """MobileNetV3 from scratch; timm's statistics follow short trainings faster."""
    mirror: bool = False
    """Mirror half of the images in training."""
    seeds_at_once: int | None = None
    """Seeds that one compiled step trains together; None = 1 on CPU, else all."""
    mode: Mode = "softmax"
    """How the outputs for an object's images become one."""
    objects_sweep: tuple[int, ...] = ()
    """Objects per class of a sweep of the first network, single and augmented, with
    the steps of the whole set; () = no sweep."""
    resnet18_weights: Path = Path("weights/resnet18.safetensors")
    """ImageNet weights to fine-tune from, by tools.export_weights."""
    mobilenet_v3_large_weights: Path = Path("weights/mobilenetv3_large.safetensors")
    """The same for mobilenet_v3_large."""
    mobilenet_v3_small_weights: Path = Path("weights/mobilenetv3_small.safetensors")
    """The same for mobilenet_v3_small."""

    def __post_init__(self) -> None:
        for name in ("networks", "starts", "train_sets"):
            if not getattr(self, name):
                raise UserError(
                    f"--classify.{name.replace('_', '-')} must name something."
                )
        if self.seeds < 1 or (self.seeds_at_once or 1) < 1:
            raise UserError(
                "--classify.seeds and --classify.seeds-at-once must be 1 or more."
            )
        if (self.train_samples or 1) < 1:
            raise UserError("--classify.train-samples must be 1 or more.")
        if min(self.objects_sweep, default=1) < 1:
            raise UserError("--classify.objects-sweep must all be 1 or more.")

    def classifier(self, network: Network, start: Start) -> ClassifierConfig:
        """The network; fine-tuned ones have the shape that the weights come in."""
        if start == "fine-tuned":
            return ClassifierConfig(arch=network)
        if network == "resnet18":
            return ClassifierConfig(width=self.width, small_stem=self.small_stem)
        return ClassifierConfig(
            arch=network, small_stem=self.small_stem, norm=self.norm
        )

    def weights(self, network: Network) -> Path:
        """What `network` is fine-tuned from."""
        return getattr(self, f"{network}_weights")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One run of DiMViDA; see the presets."""

    run_dir: Path
    """Everything the run writes goes here; a run that is there already is resumed."""
    phases: tuple[Phase, ...] = PHASES
    """Phases to run, in this order: autoencoder, score, regressor,
    coherence_classifier, views, classify. Each reads the files of those before it."""
    seed: int = 0
    """Root of every random draw."""
    devices: int | None = None
    """Local devices to train on; None = all."""
    parallel: Kind = "pmap"
    """How several devices are driven; over several hosts it takes mesh."""
    hosts: HostsConfig = dataclasses.field(default_factory=HostsConfig)
    """Several processes that train this run together, see docs/multi_host.md."""
    steps_per_call: int | None = None
    """Steps per compiled call; None = 1 on CPU, 25 elsewhere."""
    device_data_mb: int = 8_192
    """Largest set of images, in MB, that is kept on the device; a larger one is fed
    from memory-mapped files."""
    data: ViewDataConfig = dataclasses.field(default_factory=ViewDataConfig)
    """Objects and views."""
    validation_fraction: float = 0.05
    """Part of the generative model's objects that is held out to validate on."""
    autoencoder: AutoencoderConfig = dataclasses.field(
        default_factory=AutoencoderConfig
    )
    """The autoencoder."""
    autoencoder_training: TrainingConfig = TrainingConfig(epochs=1_000)
    """Its training."""
    augment: bool = True
    """TrivialAugmentWide for the autoencoder."""
    fill: float = 1.0
    """Colour in [0, 1] that augmentation brings in from outside: white for renders."""
    score: ScoreConfig = dataclasses.field(default_factory=ScoreConfig)
    """The score network, and the regressor's shape."""
    score_training: TrainingConfig = TrainingConfig(epochs=1_000, ema_decay=0.999)
    """Its training."""
    sde: VPSDE = dataclasses.field(default_factory=VPSDE)
    """The noise process."""
    p_joint: float = 0.2
    """Probability that a training example has no given view: the paper's d."""
    size_weights: tuple[float, ...] | None = None
    """Weights of 1, 2, ... given views in training; None = all sets as likely."""
    regressor_training: TrainingConfig = TrainingConfig(epochs=100, ema_decay=0.999)
    """Training of the mean regressor, a baseline."""
    coherence_classifier: ClassifierConfig = dataclasses.field(
        default_factory=ClassifierConfig
    )
    """The classifier that measures coherence."""
    coherence_classifier_training: TrainingConfig = TrainingConfig(
        epochs=30, learning_rate=1e-3, schedule="cosine"
    )
    """Its training."""
    sampler: SamplerConfig = dataclasses.field(default_factory=SamplerConfig)
    """The sampler of Table I, of the panels and of the generated views."""
    generate: ViewsConfig = ViewsConfig()
    """Generated views of the classifiers' objects, which the phase views writes."""
    table_objects: int | None = None
    """Test objects of Table I; None = all."""
    lpips_weights: Path = Path("weights/squeezenet_lpips.safetensors")
    """Weights of LPIPS; without the file its column says so."""
    inception_weights: Path = Path("weights/inception_fid.safetensors")
    """Weights of FID's Inception; without the file its column says so."""
    curve: CurveConfig = dataclasses.field(default_factory=CurveConfig)
    """Quality against network evaluations."""
    classify: ClassifyConfig = dataclasses.field(default_factory=ClassifyConfig)
    """Classification with generated views."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"--seed must be 0 or more, not {self.seed}.")
        if self.autoencoder.image_size != self.data.size:
            raise UserError(
                f"--autoencoder.image-size {self.autoencoder.image_size} must equal "
                f"--data.size {self.data.size}."
            )
        for name in ("validation_fraction", "p_joint", "fill"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"--{name.replace('_', '-')} must lie in [0, 1], not "
                    f"{getattr(self, name)}."
                )
        if (self.classify.train_samples or 1) > self.generate.samples:
            raise UserError(
                f"--classify.train-samples {self.classify.train_samples} must not be "
                f"more than --generate.samples {self.generate.samples}."
            )
        if not self.phases:
            raise UserError(f"--phases must name some of {', '.join(PHASES)}.")

    def result_fields(self, phase: Phase) -> dict[str, Any]:
        """The fields that decide what a phase leaves behind.

        The others may change when a run is resumed. `autoencoder.remat` is among these,
        for it may change rounding, and a resumed run is the same to the last bit.
        """
        names = ["seed", "data", "validation_fraction"]
        latent = ["autoencoder", "autoencoder_training", "augment", "fill"]
        subset = ["score", "p_joint", "size_weights"]
        names += {
            "autoencoder": latent,
            "score": [*latent, *subset, "score_training", "sde"],
            "regressor": [*latent, *subset, "regressor_training"],
            "coherence_classifier": [
                "coherence_classifier",
                "coherence_classifier_training",
            ],
            "views": [],
            "classify": [],
        }[phase]
        plain = files.plain(self)
        chosen = {name: plain[name] for name in names}
        # Neither where the cache lies nor how many objects there are beside partition d
        # changes what is learnt from d.
        for name in ("cache_dir", "objects_c", "objects_e"):
            chosen["data"].pop(name)
        for name in names:
            if name.endswith("_training"):
                chosen[name].pop("checkpoint_every")
        return chosen
