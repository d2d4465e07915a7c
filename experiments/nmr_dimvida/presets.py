"""The presets of System 2."""

import dataclasses
from pathlib import Path

from experiments.nmr_dimvida.config import (
    ClassifyConfig,
    Config,
    CurveConfig,
    TrainingConfig,
    ViewsConfig,
)
from jaxgrow.data.views import ViewDataConfig
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.score import ScoreConfig


_PAPER = Config(
    run_dir=Path("runs/dimvida_paper"),
    data=ViewDataConfig(source="nmr", path=Path("data/NMR_Dataset.zip")),
)


def _short(
    steps: int,
    learning_rate: float,
    ema_decay: float,
    every: int,
    batch_size: int = 64,
):
    """A training that is over soon, with a rate that falls to zero."""
    return TrainingConfig(
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule="cosine",
        ema_decay=ema_decay,
        log_every=every // 4,
        validate_every=every,
        checkpoint_every=every,
    )


def _short_classifier(epochs: int, batch_size: int = 64) -> TrainingConfig:
    """The paper's rate of 1e-5 takes more steps than a short run has."""
    return TrainingConfig(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=1e-3,
        log_every=50,
        validate_every=1_000,
        checkpoint_every=1_000,
    )


# Our choices: what they are for is said where they are defined. With them a network
# needs a tenth of the paper's steps.
_SCORE = ScoreConfig(
    time_features="log_snr", mask_input=True, prediction="velocity", gaussian_path=True
)
_SAMPLER = SamplerConfig(name="dpm++", num_steps=12, grid="log_snr")

_DEMO = Config(
    run_dir=Path("runs/dimvida_demo"),
    data=ViewDataConfig(objects_d=600, objects_c=20, objects_e=20, size=32),
    autoencoder=AutoencoderConfig(
        image_size=32, latent_dim=128, base_channels=16, linear_path=True
    ),
    autoencoder_training=_short(300, 1e-3, 0.99, 100),
    augment=False,
    score=dataclasses.replace(_SCORE, width=512, time_dim=256),
    # On the Gaussian path the gradient is mostly noise: in batches of 64, at a rate of
    # 3e-4, the validation loss was the same after 1,000 and 2,000 steps.
    score_training=dataclasses.replace(
        _short(800, 5e-4, 0.99, 200, batch_size=256), warm_up_steps=100
    ),
    regressor_training=_short(200, 3e-4, 0.97, 100, batch_size=256),
    coherence_classifier=ClassifierConfig(width=16),
    coherence_classifier_training=_short(800, 3e-3, 0.0, 200),
    sampler=_SAMPLER,
    table_objects=156,
    curve=CurveConfig(samplers=("dpm++", "sde_dpm++", "euler_maruyama"), objects=32),
    generate=ViewsConfig(samples=4, evaluations=(1, 12)),
    classify=ClassifyConfig(
        networks=("resnet18", "mobilenet_v3_small"),
        training=_short_classifier(15),
        width=16,
        norm="timm",
    ),
)

_SMALL_GPU = Config(
    run_dir=Path("runs/dimvida_small_gpu"),
    data=ViewDataConfig(objects_d=1_000, objects_c=60, objects_e=60),
    autoencoder=AutoencoderConfig(
        latent_dim=128, linear_path=True, compute_dtype="bfloat16"
    ),
    autoencoder_training=_short(10_000, 1e-3, 0.999, 2_000),
    augment=False,
    score=dataclasses.replace(_SCORE, compute_dtype="bfloat16"),
    # In 2,500 steps the validation loss was 141.0, 134.0, 134.7 and 140.3 after 500,
    # 1,000, 1,500 and 2,500: it learns the training objects by heart. A step of fewer
    # objects is bound by reading and writing the weights.
    score_training=dataclasses.replace(
        _short(1_000, 5e-4, 0.995, 200, batch_size=4_096), warm_up_steps=100
    ),
    regressor_training=_short(2_000, 3e-4, 0.995, 500, batch_size=256),
    coherence_classifier_training=_short(4_000, 1e-3, 0.0, 1_000),
    sampler=_SAMPLER,
    generate=ViewsConfig(samples=4, evaluations=(1, 2, 4, 12, 20, 50, 250)),
    classify=ClassifyConfig(
        training=_short_classifier(60, 128),
        small_stem=True,
        norm="timm",
        objects_sweep=(5, 10, 20, 40),
    ),
)

_SMOKE = dataclasses.replace(
    _DEMO,
    run_dir=Path("runs/dimvida_smoke"),
    data=ViewDataConfig(objects_d=4, objects_c=1, objects_e=1, size=16),
    autoencoder=AutoencoderConfig(
        image_size=16, latent_dim=8, base_channels=8, linear_path=True
    ),
    autoencoder_training=_short(20, 1e-3, 0.9, 20),
    score=dataclasses.replace(_SCORE, width=64, time_dim=32),
    score_training=_short(20, 1e-3, 0.9, 20),
    regressor_training=_short(20, 1e-3, 0.9, 20),
    coherence_classifier=ClassifierConfig(width=8),
    coherence_classifier_training=_short(20, 1e-3, 0.0, 20),
    sampler=SamplerConfig(name="dpm++", num_steps=4, grid="log_snr"),
    curve=CurveConfig(
        samplers=("dpm++",), evaluations=(1, 4), long=("repaint:20",), objects=8
    ),
    generate=ViewsConfig(samples=2, evaluations=(1,)),
    classify=ClassifyConfig(
        networks=("resnet18",), seeds=2, training=_short_classifier(1, 8), width=8
    ),
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
