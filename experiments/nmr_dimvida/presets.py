"""The presets of System 2, each as its differences from another."""

from pathlib import Path
from typing import Any

from experiments.nmr_dimvida.config import Config
from experiments.shared.presets import derive
from jaxgrow.data.views import ViewDataConfig


_PAPER = Config(
    run_dir=Path("runs/dimvida_paper"),
    data=ViewDataConfig(source="nmr", path=Path("data/NMR_Dataset.zip")),
)


def _short(
    network: str, steps: int, learning_rate: float, ema_decay: float, every: int
) -> dict[str, Any]:
    """Return the changes for a short training, with a rate that falls to zero."""
    changes = {
        "epochs": None,
        "steps": steps,
        "learning_rate": learning_rate,
        "schedule": "cosine",
        "ema_decay": ema_decay,
        "log_every": every // 4,
        "validate_every": every,
    }
    return {f"{network}_training.{field}": value for field, value in changes.items()}


# Our choices; the fields say what each is for. With them a network needs a tenth of the
# paper's steps.
_OURS = {
    "data.source": "synthetic",
    "data.path": None,
    "autoencoder.latent_dim": 128,
    "autoencoder.linear_path": True,
    "augment": False,
    "score.time_features": "log_snr",
    "score.mask_input": True,
    "score.prediction": "velocity",
    "score.gaussian_path": True,
    "regressor_training.batch_size": 256,
    "sampler.name": "dpm++",
    "sampler.num_steps": 12,
    "sampler.grid": "log_snr",
    "generate.samples": 4,
    # The paper's rate of 1e-5 takes more steps than a short run has.
    "classify.learning_rate": 1e-3,
    "classify.log_every": 50,
    "classify.norm": "timm",
}

_DEMO = derive(
    _PAPER,
    {
        **_OURS,
        "run_dir": Path("runs/dimvida_demo"),
        "data.size": 32,
        "data.objects_d": 600,
        "data.objects_c": 20,
        "data.objects_e": 20,
        "autoencoder.image_size": 32,
        "autoencoder.base_channels": 16,
        **_short("autoencoder", 300, 1e-3, 0.99, 100),
        "score.width": 512,
        "score.time_dim": 256,
        **_short("score", 800, 5e-4, 0.99, 200),
        # On the Gaussian path the gradient is mostly noise: in batches of 64, at a rate
        # of 3e-4, the validation loss was the same after 1,000 and 2,000 steps.
        "score_training.batch_size": 256,
        "score_training.warm_up_steps": 100,
        **_short("regressor", 200, 3e-4, 0.97, 100),
        "coherence_classifier_width": 16,
        **_short("coherence_classifier", 800, 3e-3, 0.0, 200),
        "table_objects": 156,
        "curve.samplers": ("dpm++", "sde_dpm++", "euler_maruyama"),
        "curve.objects": 32,
        "generate.evaluations": (1, 12),
        "classify.networks": ("resnet18", "mobilenet_v3_small"),
        "classify.epochs": 15,
        "classify.batch_size": 64,
        "classify.width": 16,
    },
)

_SMALL_GPU = derive(
    _PAPER,
    {
        **_OURS,
        "run_dir": Path("runs/dimvida_small_gpu"),
        "data.objects_d": 1_000,
        "data.objects_c": 60,
        "data.objects_e": 60,
        "autoencoder.compute_dtype": "bfloat16",
        **_short("autoencoder", 10_000, 1e-3, 0.999, 2_000),
        "score.compute_dtype": "bfloat16",
        # In 2,500 steps the validation loss was 141.0, 134.0, 134.7 and 140.3 after
        # 500, 1,000, 1,500 and 2,500: it overfits. A step of fewer objects is bound by
        # reading and writing the weights.
        **_short("score", 1_000, 5e-4, 0.995, 200),
        "score_training.batch_size": 4_096,
        "score_training.warm_up_steps": 100,
        **_short("regressor", 2_000, 3e-4, 0.995, 500),
        **_short("coherence_classifier", 4_000, 1e-3, 0.0, 1_000),
        "generate.evaluations": (1, 2, 4, 12, 20, 50, 250),
        "classify.epochs": 60,
        "classify.small_stem": True,
        "classify.objects_sweep": (5, 10, 20, 40),
    },
)

_SMOKE = derive(
    _DEMO,
    {
        "run_dir": Path("runs/dimvida_smoke"),
        "data.size": 16,
        "data.objects_d": 4,
        "data.objects_c": 1,
        "data.objects_e": 1,
        "autoencoder.image_size": 16,
        "autoencoder.latent_dim": 8,
        "autoencoder.base_channels": 8,
        **_short("autoencoder", 20, 1e-3, 0.9, 20),
        "score.width": 64,
        "score.time_dim": 32,
        **_short("score", 20, 1e-3, 0.9, 20),
        "score_training.batch_size": 64,
        "score_training.warm_up_steps": 0,
        **_short("regressor", 20, 1e-3, 0.9, 20),
        "regressor_training.batch_size": 64,
        "coherence_classifier_width": 8,
        **_short("coherence_classifier", 20, 1e-3, 0.0, 20),
        "sampler.num_steps": 4,
        "curve.samplers": ("dpm++",),
        "curve.evaluations": (1, 4),
        "curve.long": ("repaint:20",),
        "curve.objects": 8,
        "generate.samples": 2,
        "generate.evaluations": (1,),
        "classify.networks": ("resnet18",),
        "classify.seeds": 2,
        "classify.epochs": 1,
        "classify.batch_size": 8,
        "classify.width": 8,
        "classify.norm": "torchvision",
    },
)

PRESETS: dict[str, tuple[str, Config]] = {
    "demo": ("Synthetic objects of 32 px: under 12 minutes on two CPU cores.", _DEMO),
    "smoke": ("Every phase to the report in a minute; learns nothing.", _SMOKE),
    "small-gpu": (
        "Synthetic objects of 64 px for one GPU; not yet run to its end.",
        _SMALL_GPU,
    ),
    "paper": ("The paper's run on NMR; give it the archive and a GPU.", _PAPER),
}
