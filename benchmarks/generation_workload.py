"""System 2's generation of views as a workload: encode, sample, decode."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, view_twins, view_workloads
from benchmarks.measure import Sides
from benchmarks.sizes import Sizes
from benchmarks.view_twins import AutoencoderTwin
from benchmarks.view_workloads import LATENT_DIM, NUM_VIEWS
from jaxgrow.multiview import sampling
from jaxgrow.multiview.generator import (
    ViewGenerator,
    decode_views,
    encode_views,
    object_keys,
)
from jaxgrow.multiview.latents import LatentStats
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.multiview.saved_models import SavedAutoencoder, SavedLatentModel
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.nets.score import ScoreConfig


_EVALUATIONS = 12
_AT_ONCE = 512


class _Twin:
    """Encode, sample and decode in PyTorch."""

    def __init__(self, sizes: Sizes, sde: VPSDE):
        self.score = view_workloads.score_twin(sizes, sde)
        self.coder = AutoencoderTwin(LATENT_DIM, sizes.base_channels, "channels_last")

    def complete(self, images: np.ndarray, missing: np.ndarray, start: Any) -> Any:
        """Return uint8 (b, v, h, w, 3); `start` is the draw at time 1, or None."""
        torch, (n, v) = view_twins.torch, missing.shape
        blank = np.where(missing[..., None, None, None], 0, images).astype(np.uint8)
        with torch.inference_mode():
            pictures = self.coder.pictures(blank.reshape(-1, *images.shape[2:]))
            z = self.coder.net[0](pictures).reshape(n, v, -1)
            known = self.score.tensor(missing)
            z = self.score.sample(z, known, start, _EVALUATIONS, "ddim")
            x = self.coder.net[1](z.reshape(n * v, -1))
            x = (x.clamp(0, 1) * 255).round().permute(0, 2, 3, 1).cpu().numpy()
        found = x.reshape(images.shape).astype(np.uint8)
        return np.where(missing[..., None, None, None], found, images)


def generation_sides(sizes: Sizes) -> Sides:
    """Build the generation of three views of every object from the fourth.

    Both sides are compared in float32, because bfloat16 loses more in 12 evaluations
    of random weights than the tolerance allows.
    """
    sde = VPSDE()
    twin = _Twin(sizes, sde)
    model = SavedLatentModel(
        ScoreConfig(width=sizes.score_width, compute_dtype=sizes.compute_dtype),
        view_workloads.on_device(twin.score.params),
        LatentStats(
            np.zeros((NUM_VIEWS, LATENT_DIM), np.float32),
            np.ones((NUM_VIEWS, LATENT_DIM), np.float32),
        ),
        ("front", "back", "right", "left"),
        sde,
        {},
    )
    config = view_workloads.autoencoder_config(sizes)
    saved = SavedAutoencoder(config, view_workloads.on_device(twin.coder.params))
    n = sizes.generated_objects
    at_once = min(n, _AT_ONCE)
    view_generator = ViewGenerator(saved, model, batch_size=at_once)
    exact = ViewGenerator(
        saved._replace(config=dataclasses.replace(config, compute_dtype="float32")),
        model._replace(
            config=dataclasses.replace(model.config, compute_dtype="float32")
        ),
        batch_size=at_once,
    )
    shape = (n, NUM_VIEWS, 64, 64, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    missing = np.ones((n, NUM_VIEWS), bool)
    missing[np.arange(n), np.arange(n) % NUM_VIEWS] = False
    sampler = SamplerConfig(name="ddim", num_steps=_EVALUATIONS)

    def generate() -> np.ndarray:
        return view_generator.generate_views(images, missing, sampler=sampler)[:, 0]

    few = slice(0, min(n, 8))
    start = _starts(sampler, sde, images[few].shape[0])
    theirs = twin.complete(images[few], missing[few], twin.score.tensor(start))
    found = exact.generate_views(images[few], missing[few], sampler=sampler)[:, 0]
    apart = (np.abs(found.astype(int) - theirs.astype(int)) > 1).mean()
    assert apart < measure.tolerance(), (
        f"{apart:.1e} of the values are more than 1 apart"
    )
    return Sides(
        ours=generate,
        twins={"PyTorch": functools.partial(twin.complete, images, missing, None)},
        items=n,
        unit="objects",
        checked="8-bit pictures of the first objects in float32, at most 1 apart",
        program=_program(saved, model, sampler, images[:at_once], missing[:at_once]),
        program_calls=-(-n // at_once),
    )


def _starts(sampler: SamplerConfig, sde: VPSDE, count: int) -> jax.Array:
    """Return the noise at time 1 that the generator draws for the first objects.

    Without noise to remove DDIM only rescales, which shows the draw.
    """
    shape = (count, NUM_VIEWS, LATENT_DIM)
    drawn = sampling.sample_missing(
        lambda x, tau: jnp.zeros_like(x),
        sde,
        sampler,
        object_keys(0, np.arange(count)),
        jnp.zeros(shape),
        jnp.ones(shape[:2], bool),
    )
    return drawn * sde.marginal(jnp.ones(()))[0]


def _program(
    saved: SavedAutoencoder,
    model: SavedLatentModel,
    sampler: SamplerConfig,
    images: np.ndarray,
    missing: np.ndarray,
) -> Any:
    """Compile the parts of a call in a row, without the loop, to count them."""
    eps_fn = model.denoiser.noise_fn(model.params)

    def work(images, missing, z, tau):
        z = encode_views(saved, model.stats, images, missing) + z
        for _ in range(sampler.num_steps):
            z = eps_fn(z, tau)
        return decode_views(saved, model.stats, z)

    z = jnp.zeros((*missing.shape, LATENT_DIM))
    tau = jnp.asarray(missing) * 0.5
    return jax.jit(work).lower(images, missing, z, tau).compile()
