"""What a run is: one frozen dataclass and its presets."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal, TypeAlias

from jaxgrow import files
from jaxgrow.data.views import ViewDataConfig
from jaxgrow.errors import UserError
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.sampling import SamplerConfig
from jaxgrow.sde import VPSDE, TimeSampling


EXPERIMENT = "nmr_dimvida"

Phase: TypeAlias = Literal["autoencoder", "score", "regressor", "judge", "views"]
PHASES: tuple[Phase, ...] = ("autoencoder", "score", "regressor", "judge", "views")


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
class Config:
    """One run of DiMViDA; see the presets."""

    run_dir: Path
    """Everything the run writes goes here; a run that is there already is resumed."""
    phases: tuple[Phase, ...] = PHASES
    """What to do, always in the order autoencoder, score, regressor, judge, views; each
    takes what those before it have left in the run directory."""
    seed: int = 0
    """Root of every random draw."""
    devices: int | None = None
    """Local devices to train on, by pmap; None = all."""
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
    times: TimeSampling = "uniform"
    """How diffusion times are drawn in training."""
    p_joint: float = 0.2
    """Probability that a training example has no given view: the paper's d."""
    size_weights: tuple[float, ...] | None = None
    """Weights of 1, 2, ... given views in training; None = all sets as likely."""
    regressor_training: TrainingConfig = TrainingConfig(epochs=100, ema_decay=0.999)
    """Training of the mean regressor, a baseline."""
    judge: ClassifierConfig = dataclasses.field(default_factory=ClassifierConfig)
    """The classifier that measures coherence."""
    judge_training: TrainingConfig = TrainingConfig(
        epochs=30, learning_rate=1e-3, schedule="cosine"
    )
    """Its training."""
    sampler: SamplerConfig = dataclasses.field(default_factory=SamplerConfig)
    """The sampler of Table I and of the panels."""
    table_objects: int | None = None
    """Test objects of Table I; None = all."""
    lpips_weights: Path = Path("weights/squeezenet_lpips.safetensors")
    """Weights of LPIPS; without the file its column says so."""
    inception_weights: Path = Path("weights/inception_fid.safetensors")
    """Weights of FID's Inception; without the file its column says so."""
    curve: CurveConfig = dataclasses.field(default_factory=CurveConfig)
    """Quality against network evaluations."""

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
        if not self.phases:
            raise UserError(f"--phases must name some of {', '.join(PHASES)}.")

    def result_fields(self, phase: Phase) -> dict[str, Any]:
        """The fields that decide what a phase leaves behind.

        The others may change when a run is resumed.
        """
        names = ["seed", "data", "validation_fraction"]
        latent = ["autoencoder", "autoencoder_training", "augment", "fill"]
        subset = ["score", "p_joint", "size_weights"]
        names += {
            "autoencoder": latent,
            "score": [*latent, *subset, "score_training", "sde", "times"],
            "regressor": [*latent, *subset, "regressor_training"],
            "judge": ["judge", "judge_training"],
            "views": [],
        }[phase]
        plain = files.plain(self)
        chosen = {name: plain[name] for name in names}
        chosen["data"].pop("cache_dir")
        for name in names:
            if name.endswith("_training"):
                chosen[name].pop("checkpoint_every")
        return chosen
