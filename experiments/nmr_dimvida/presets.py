"""The presets of System 2."""

import dataclasses
from pathlib import Path

from experiments.nmr_dimvida.config import Config, CurveConfig, TrainingConfig
from jaxgrow.data.views import ViewDataConfig
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.sampling import SamplerConfig


_PAPER = Config(
    run_dir=Path("runs/dimvida_paper"),
    data=ViewDataConfig(source="nmr", path=Path("data/NMR_Dataset.zip")),
)


def _short(steps: int, learning_rate: float, ema_decay: float, every: int):
    """A training that is over soon, with a rate that falls to zero."""
    return TrainingConfig(
        steps=steps,
        learning_rate=learning_rate,
        schedule="cosine",
        ema_decay=ema_decay,
        log_every=every // 4,
        validate_every=every,
        checkpoint_every=every,
    )


_DEMO = Config(
    run_dir=Path("runs/dimvida_demo"),
    data=ViewDataConfig(objects_d=100, objects_c=20, objects_e=12),
    autoencoder=AutoencoderConfig(base_channels=16),
    autoencoder_training=_short(800, 2e-3, 0.99, 200),
    augment=False,
    score=ScoreConfig(width=512, time_dim=256),
    score_training=_short(2_000, 1e-3, 0.995, 500),
    regressor_training=_short(500, 1e-3, 0.99, 100),
    judge=ClassifierConfig(width=16),
    judge_training=_short(500, 3e-3, 0.0, 100),
    sampler=SamplerConfig(name="dpm++", num_steps=12, grid="log_snr"),
    curve=CurveConfig(
        samplers=("dpm++", "ddim", "euler_maruyama"),
        long=("euler_maruyama:250", "repaint:250"),
        objects=64,
    ),
)

_SMOKE = dataclasses.replace(
    _DEMO,
    run_dir=Path("runs/dimvida_smoke"),
    data=ViewDataConfig(objects_d=4, objects_c=1, objects_e=1, size=16),
    autoencoder=AutoencoderConfig(image_size=16, latent_dim=8, base_channels=8),
    autoencoder_training=_short(20, 1e-3, 0.9, 20),
    score=ScoreConfig(width=64, time_dim=32),
    score_training=_short(20, 1e-3, 0.9, 20),
    regressor_training=_short(20, 1e-3, 0.9, 20),
    judge=ClassifierConfig(width=8),
    judge_training=_short(20, 1e-3, 0.0, 20),
    sampler=SamplerConfig(name="dpm++", num_steps=4, grid="log_snr"),
    curve=CurveConfig(
        samplers=("dpm++",), evaluations=(1, 4), long=("repaint:20",), objects=8
    ),
)

PRESETS: dict[str, tuple[str, Config]] = {
    "demo": ("Synthetic objects, small networks, two CPU cores.", _DEMO),
    "smoke": ("Every phase to the report in a minute; learns nothing.", _SMOKE),
    "paper": ("The paper's run on NMR; give it the archive and a GPU.", _PAPER),
}
