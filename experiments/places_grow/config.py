"""The config of a run."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from jaxgrow.data.masks import MaskConfig
from jaxgrow.data.sources import DataConfig
from jaxgrow.devices.hosts import HostsConfig
from jaxgrow.devices.parallel import Kind
from jaxgrow.errors import UserError
from jaxgrow.inpainting.losses import LossConfig
from jaxgrow.inpainting.stages import GrowthConfig, OptimizerConfig, check_rates
from jaxgrow.nets.growing import NetConfig
from jaxgrow.storage import files


EXPERIMENT = "places_grow"
VGG_WEIGHTS = Path("weights/vgg19_blocks12.safetensors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One run of progressive-growing inpainting."""

    run_dir: Path
    """Everything the run writes goes here; a run that is there already is resumed."""
    seed: int = 0
    """Root of every random draw."""
    batch_size: int = 128
    """Pictures per step, over all devices."""
    devices: int | None = None
    """Local devices to train on; None = all."""
    parallel: Kind = "pmap"
    """How several devices are driven; over several hosts it takes mesh."""
    hosts: HostsConfig = dataclasses.field(default_factory=HostsConfig)
    """Several processes that train this run together, see docs/multi_host.md."""
    steps_per_call: int | None = None
    """Steps per compiled call; None = 1 on CPU, elsewhere a divisor of log_every, from
    100 at 4 px to 10 at 64 px and 5 above, so give log_every many of them."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """Pictures."""
    augment: Literal["flip", "all"] = "flip"
    """flip: left to right, for half of the pictures; all: the 8 symmetries of the
    square and the 6 orders of the colours, for small sets."""
    masks: MaskConfig = dataclasses.field(default_factory=MaskConfig)
    """Holes."""
    num_masks: int = 16_384
    """Holes drawn per stage; each is turned and mirrored at random when used."""
    device_data_mb: int = 8_192
    """Largest set of pictures, in MB, that is kept on the device; a larger one is fed
    from memory-mapped files."""
    net: NetConfig = dataclasses.field(default_factory=NetConfig)
    """Networks."""
    growth: GrowthConfig = dataclasses.field(default_factory=GrowthConfig)
    """Stages."""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    """Optimisers."""
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    """Losses."""
    vgg_weights: Path = VGG_WEIGHTS
    """VGG19 weights of the perceptual term; without the file the term is off."""
    log_every: int = 100
    """Steps between two rows of metrics.jsonl."""
    validate_every: int = 500
    """Steps between two validations, each with a panel of samples; a multiple of
    log_every."""
    checkpoint_every: int = 500
    """Steps between two checkpoints; a multiple of log_every."""
    evaluate: bool = True
    """Whether to evaluate against the baselines at the end."""
    lpips_weights: Path = Path("weights/squeezenet_lpips.safetensors")
    """Weights of LPIPS; without the file the evaluation says how to get them."""
    inception_weights: Path = Path("weights/inception_fid.safetensors")
    """Weights of FID's Inception; without the file the evaluation says how to get
    them."""
    unet_steps: int | None = None
    """Steps of the U-Net baseline of the evaluation; None = as many as the stage
    took, 0 = no U-Net."""

    def __post_init__(self) -> None:
        check_rates(self.optimizer, self.growth)
        for name in (
            *("batch_size", "steps_per_call", "num_masks", "log_every"),
            *("validate_every", "checkpoint_every"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{_flag(name)} must be 1 or more, not {value}.")
        if self.seed < 0:
            raise UserError(f"--seed must be 0 or more, not {self.seed}.")
        for name in ("validate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value % self.log_every:
                raise UserError(
                    f"{_flag(name)} {value} must be a multiple of --log-every "
                    f"{self.log_every}."
                )

    def result_fields(self) -> dict[str, Any]:
        """The fields that decide the run's weights; the others may change on resume."""
        plain = files.plain(self)
        for name in (
            *("run_dir", "devices", "parallel", "hosts", "steps_per_call"),
            *("device_data_mb", "checkpoint_every", "evaluate", "unet_steps"),
            *("lpips_weights", "inception_weights"),
        ):
            del plain[name]
        del plain["data"]["cache_dir"]
        return plain


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
