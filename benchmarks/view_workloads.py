"""System 2's steps, sampling and generation of views as workloads."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, views_step, views_twins
from benchmarks.measure import Sides
from benchmarks.sizes import Sizes
from jaxgrow.multiview import sampling
from jaxgrow.multiview.generator import (
    ViewGenerator,
    decode_views,
    encode_views,
    noise_fn,
    object_keys,
)
from jaxgrow.multiview.latents import LatentStats
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.multiview.saved_models import SavedAutoencoder, SavedLatentModel
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.score import ScoreConfig


_VIEWS, _LATENTS, _EVALUATIONS = 4, 64, 12
_AT_ONCE = 512


def options(sizes: Sizes, **changes: Any) -> views_step.Options:
    """What `views_step` is to measure at these sizes."""
    return views_step.Options(
        **{
            "batch_size": sizes.views_batch,
            "width": sizes.score_width,
            "base_channels": sizes.base_channels,
            "compute_dtype": sizes.compute_dtype,
            "steps_per_call": sizes.steps_per_call,
            **changes,
        }
    )


def sampling_sides(
    name: Literal["ddim", "euler_maruyama"], num_steps: int, sizes: Sizes
) -> Sides:
    """Half of the views of some objects, drawn from the others."""
    return views_step.sampling_sides(
        options(
            sizes,
            batch_size=sizes.sampled_objects,
            sampler=name,
            num_steps=num_steps,
        )
    )


class _Twin:
    """Encode, sample and decode in PyTorch."""

    def __init__(self, sizes: Sizes, sde: VPSDE):
        self.score = views_twins.ScoreTwin(
            _VIEWS, _LATENTS, sizes.score_width, sde, ema_decay=0.999
        )
        self.coder = views_twins.AutoencoderTwin(
            _LATENTS, sizes.base_channels, "channels_last"
        )

    def complete(self, images: np.ndarray, missing: np.ndarray, start: Any) -> Any:
        """uint8 (b, v, h, w, 3); `start` is the draw at time 1, None draws anew."""
        torch, (n, v) = views_twins.torch, missing.shape
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
    """Three views of every object from the fourth: encode, 12 evaluations, decode.

    Both sides are compared in float32: what bfloat16 loses in 12 evaluations of random
    weights is no error.
    """
    sde = VPSDE()
    twin = _Twin(sizes, sde)
    model = SavedLatentModel(
        ScoreConfig(width=sizes.score_width, compute_dtype=sizes.compute_dtype),
        _on_device(twin.score.params),
        LatentStats(
            np.zeros((_VIEWS, _LATENTS), np.float32),
            np.ones((_VIEWS, _LATENTS), np.float32),
        ),
        ("front", "back", "right", "left"),
        sde,
        {},
    )
    config = AutoencoderConfig(
        latent_dim=_LATENTS,
        base_channels=sizes.base_channels,
        compute_dtype=sizes.compute_dtype,
    )
    saved = SavedAutoencoder(config, _on_device(twin.coder.params))
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
    shape = (n, _VIEWS, 64, 64, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    missing = np.ones((n, _VIEWS), bool)
    missing[np.arange(n), np.arange(n) % _VIEWS] = False
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
    """The noise at time 1 that the view_generator draws for the first objects.

    Where there is no noise to remove DDIM only rescales, which shows it.
    """
    shape = (count, _VIEWS, _LATENTS)
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
    """What is counted of a call: its parts in a row, without the sampler's loop."""
    eps_fn = noise_fn(model)

    def work(images, missing, z, tau):
        z = encode_views(saved, model.stats, images, missing) + z
        for _ in range(sampler.num_steps):
            z = eps_fn(z, tau)
        return decode_views(saved, model.stats, z)

    z = jnp.zeros((*missing.shape, _LATENTS))
    tau = jnp.asarray(missing) * 0.5
    return jax.jit(work).lower(images, missing, z, tau).compile()


def _on_device(params: Any) -> Any:
    return jax.tree.map(lambda a: jnp.array(a, jnp.float32), params)
