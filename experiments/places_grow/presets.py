"""The presets of System 1, each as its differences from another."""

from pathlib import Path

from experiments.places_grow.config import Config
from experiments.shared.presets import derive
from jaxgrow.data.sources import DataConfig
from jaxgrow.inpainting.gan_step import LossConfig
from jaxgrow.nets.growing import NetConfig


# The paper's numbers. bfloat16 products over float32 weights are ours, for speed alone.
_PAPER = Config(
    run_dir=Path("runs/places_paper"),
    data=DataConfig(source="places365", path=Path("data/places365")),
    net=NetConfig(compute_dtype="bfloat16"),
    losses=LossConfig(perceptual_dtype="bfloat16"),
)

_BETTER = derive(
    _PAPER,
    {
        "run_dir": Path("runs/places_better"),
        "masks.stroke": 1.0,
        "masks.max_area": 0.5,
        "net.skip": "add",
        "net.fill": "harmonic",
        # Units of leaky ReLU die while they unlearn the first noise on the fill.
        "net.activation": "gelu",
        "growth.freeze": "slow",
        "growth.fade": 0.5,
        "optimizer.schedule": "cosine",
        "optimizer.ema_decay": 0.999,
        "losses.perceptual": "rms",
        "losses.perceptual_from": 16,
        "losses.hole_weight": 6.0,
        "losses.r1_gamma": 0.1,
    },
)

_DEMO = derive(
    _BETTER,
    {
        "run_dir": Path("runs/places_demo"),
        "data.source": "photos",
        "data.path": None,
        "batch_size": 32,
        "num_masks": 4_096,
        # CPUs have no fast bfloat16.
        "net.compute_dtype": "float32",
        "losses.perceptual_dtype": "float32",
        # R1 needs a second program per stage, and most of the time is compilation.
        "losses.r1_gamma": 0.0,
        "growth.resolutions": (4, 8, 16, 32),
        "growth.steps": (50, 100, 250, 150),
        "growth.fade": 0.3,
        "optimizer.g_learning_rate": (2e-3,),
        "optimizer.warm_up": 25,
        "optimizer.ema_decay": 0.98,
        "log_every": 25,
        "validate_every": 50,
        "unet_steps": 100,
    },
)

_SMOKE = derive(
    _DEMO,
    {
        "run_dir": Path("runs/places_smoke"),
        "data.crops_per_image": 16,
        "data.val_crops_per_image": 1,
        "batch_size": 8,
        "num_masks": 256,
        "growth.resolutions": (4, 8),
        "growth.steps": (20, 20),
        "growth.freeze": "all",
        "growth.fade": 0.5,
        "optimizer.warm_up": 0,
        "log_every": 5,
        "validate_every": 10,
        "unet_steps": 10,
    },
)

_MNIST = derive(
    _DEMO,
    {
        "run_dir": Path("runs/places_mnist"),
        "data.source": "idx",
        "data.path": Path("data/mnist"),
        "growth.steps": (500, 1_000, 1_000, 1_000),
        "growth.freeze": "all",
        "growth.fade": 0.0,
    },
)

PRESETS: dict[str, tuple[str, Config]] = {
    "demo": (
        "Embedded photographs, 4 to 32 px: about ten minutes on two CPU cores.",
        _DEMO,
    ),
    "smoke": ("The same way to the report in under a minute; learns nothing.", _SMOKE),
    "paper": ("The paper's run to 64 px; give it real data and a GPU.", _PAPER),
    "better": (
        "To 64 px with our choices at the same size; real data and a GPU.",
        _BETTER,
    ),
    "mnist": ("The paper's prototyping data; idx files in data/mnist.", _MNIST),
}
