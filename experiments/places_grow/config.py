"""The config of a run."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from jaxgrow.data.masks import MaskConfig
from jaxgrow.data.sources import DataConfig
from jaxgrow.devices.hosts import HostsConfig
from jaxgrow.devices.parallel import Kind
from jaxgrow.errors import UserError
from jaxgrow.inpainting.losses import LossConfig
from jaxgrow.inpainting.stages import GrowthConfig, OptimizerConfig, check_rates
from jaxgrow.nets.growing import NetConfig
from jaxgrow.ranges import Checked, Count, Natural, Range, Seed
from jaxgrow.storage import files


EXPERIMENT = "places_grow"
VGG_WEIGHTS = Path("weights/vgg19_blocks12.safetensors")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """One run of progressive-growing inpainting."""

    run_dir: Path
    """Folder for everything that the run writes; an existing run is resumed."""
    seed: Seed = 0
    """Root of every random draw."""
    batch_size: Annotated[int, Range(1, 65_536)] = 128
    """Pictures per step, over all devices."""
    devices: Count | None = None
    """Local devices to train on; None = all."""
    parallel: Kind = "pmap"
    """Transformation over several devices; several hosts need mesh."""
    hosts: HostsConfig = dataclasses.field(default_factory=HostsConfig)
    """Several processes that train this run together, see docs/multi_host.md."""
    steps_per_call: Annotated[int, Range(1, 10_000)] | None = None
    """Steps per compiled call; None = 1 on CPU, and elsewhere a divisor of log_every,
    at most 100 at 4 px, 10 at 64 px and 5 above."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """Pictures."""
    augment: Literal["flip", "all"] = "flip"
    """flip: left to right, for half of the pictures; all: the 8 symmetries of the
    square and the 6 orders of the colours, for small sets."""
    masks: MaskConfig = dataclasses.field(default_factory=MaskConfig)
    """Holes."""
    num_masks: Annotated[int, Range(1, 1_000_000)] = 16_384
    """Holes drawn per stage; each is turned and mirrored at random when used."""
    device_data_mb: Natural = 8_192
    """Largest set of pictures, in MB, that is kept on the device; larger ones are read
    from memory-mapped files."""
    net: NetConfig = dataclasses.field(default_factory=NetConfig)
    """Networks."""
    growth: GrowthConfig = dataclasses.field(default_factory=GrowthConfig)
    """Stages."""
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    """Optimisers."""
    losses: LossConfig = dataclasses.field(default_factory=LossConfig)
    """Losses."""
    vgg_weights: Path | None = VGG_WEIGHTS
    """VGG19 weights of the perceptual term. It is off if this is None, or if it is the
    default and that file is not there."""
    log_every: Count = 100
    """Steps between two rows of metrics.jsonl."""
    validate_every: Count = 500
    """Steps between two validations, each with a panel of samples and a checkpoint; a
    multiple of log_every."""
    evaluate: bool = True
    """Evaluate against the baselines at the end."""
    weights_dir: Path = Path("weights")
    """Folder of the networks of LPIPS and FID by tools.export_weights, squeezenet_lpips
    and inception_fid; what is not there is left out and says so."""
    unet_steps: Natural | None = None
    """Steps of the U-Net baseline of the evaluation; None = as many as the stage
    took, 0 = no U-Net."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rates(self.optimizer, self.growth)
        if self.validate_every % self.log_every:
            raise UserError(
                f"validate_every {self.validate_every} must be a multiple of log_every "
                f"{self.log_every}."
            )

    def pretrained(self, network: str) -> Path:
        """Return the file of a pretrained network, by tools.export_weights' name."""
        return self.weights_dir / f"{network}.safetensors"

    def result_fields(self) -> dict[str, Any]:
        """Return the fields that decide the weights.

        The others may change when a run is resumed. So may paths, because the content
        behind them is compared, see `prepare.Inputs.digests`.
        """
        plain = files.plain(self)
        for name in (
            *("run_dir", "devices", "parallel", "hosts", "steps_per_call"),
            *("device_data_mb", "evaluate", "weights_dir", "unet_steps", "vgg_weights"),
        ):
            del plain[name]
        for name in ("path", "val_path", "cache_dir"):
            del plain["data"][name]
        del plain["masks"]["folder_path"]
        return plain
