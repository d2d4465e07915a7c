"""Configs of what a run of System 2 measures: views, their curve, classifiers."""

import dataclasses
import math
from typing import Annotated, Any, Literal, TypeAlias, get_args

from jaxgrow.errors import UserError
from jaxgrow.multiview.evaluation.classification import Mode
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.multiview.sampling.config import SamplerName
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.ranges import Checked, Count, Natural, Positive, Range


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
class CurveConfig(Checked):
    """Quality against network evaluations, from the one view of test objects."""

    samplers: tuple[SamplerName, ...] = (
        *("dpm++", "sde_dpm++", "ddim", "heun", "euler_maruyama"),
    )
    """Samplers to compare; heun evaluates the network twice a step."""
    evaluations: tuple[Count, ...] = (1, 2, 4, 8, 12, 20, 50)
    """Network evaluations of each sampler."""
    long: tuple[str, ...] = ("euler_maruyama:250", "repaint:250")
    """Long runs as sampler:steps; repaint takes 2,410 evaluations in 250 steps."""
    objects: Natural = 64
    """Test objects; 0 = no curve."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.points()

    def points(self) -> list[SamplerConfig]:
        """Return every sampler of the curve.

        Raises:
            UserError: A sampler is unknown, or cannot take so few evaluations.
        """
        found = []
        for name in self.samplers:
            for wanted in self.evaluations:
                steps = (wanted + 1) // 2 if name == "heun" else wanted
                found.append(_sampler(name, steps))
        for text in self.long:
            name, _, steps = text.partition(":")
            if not steps.isdecimal() or name not in get_args(SamplerName):
                raise UserError(f"{text!r} must be sampler:steps, like repaint:250.")
            found.append(_sampler(name, int(steps)))
        return found


def _sampler(name: Any, steps: int) -> SamplerConfig:
    is_ode = name in ("dpm++", "sde_dpm++", "ddim", "heun")
    grid = "log_snr" if is_ode else "time"
    return SamplerConfig(name=name, num_steps=steps, grid=grid)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewsConfig(Checked):
    """Generated views of the classifiers' objects, written by the phase views."""

    samples: Annotated[int, Range(1, 10_000)] = 1
    """Samples of every missing view."""
    evaluations: tuple[Count, ...] = ()
    """Network evaluations of a sweep: each generates the test objects' views again, to
    show how accuracy depends on them; () = no sweep."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifyConfig(Checked):
    """Classifiers trained and tested with and without generated views (Tables II, III).

    The lists may grow when a run is resumed; trained classifiers are kept.
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
    augmented: with one sample of its generated views, NMR_ca; single, same steps: NMR_c
    for as many steps as NMR_ca; matched: c and one view of each object of d, which the
    diffusion model has seen. The others take c's views from a control; real views is
    the ceiling."""
    seeds: Count = 3
    """Trainings of every classifier, which differ in weights and order."""
    epochs: Count = 30
    """Passes over the training set, of which the paper says nothing. All sets but
    single take as many steps as augmented."""
    batch_size: Annotated[int, Range(1, 65_536)] = 128
    """Images per step; the paper's."""
    learning_rate: Positive = 1e-5
    """Learning rate of Adam; the paper's."""
    log_every: Count = 100
    """Steps between two rows of a classifier's metrics."""
    checkpoint_every: Count = 1_000
    """Steps between two checkpoints; a multiple of log_every."""
    width: Annotated[int, Range(1, 4096)] = 64
    """Channels of resnet18's first stage."""
    small_stem: bool = False
    """Start at full resolution, when trained from scratch."""
    norm: Literal["torchvision", "timm"] = "torchvision"
    """Batch norms of MobileNetV3 from scratch; timm's suit short trainings."""
    mirror: bool = False
    """Mirror half of the images in training."""
    seeds_at_once: Count | None = None
    """Seeds that one compiled step trains together; None = 1 on CPU, else all."""
    mode: Mode = "softmax"
    """Average of the outputs for an object's images."""
    objects_sweep: tuple[Count, ...] = ()
    """Objects per class of a sweep of the first network, single and augmented, with
    the steps of the whole set; () = no sweep."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("networks", "starts", "train_sets"):
            if not getattr(self, name):
                raise UserError(f"classify.{name} must name something.")
        if self.checkpoint_every % self.log_every:
            raise UserError(
                f"classify.checkpoint_every {self.checkpoint_every} must be a multiple "
                f"of classify.log_every {self.log_every}."
            )

    def num_steps(self, num_images: int) -> int:
        """Return the steps of `epochs` passes over this many images."""
        return math.ceil(self.epochs * num_images / self.batch_size)

    def classifier(self, network: Network, start: Start) -> ClassifierConfig:
        """Return the network; fine-tuned ones have the shape of the weights."""
        if start == "fine-tuned":
            return ClassifierConfig(arch=network)
        if network == "resnet18":
            return ClassifierConfig(width=self.width, small_stem=self.small_stem)
        return ClassifierConfig(
            arch=network, small_stem=self.small_stem, norm=self.norm
        )
