"""System 2's training steps and samplers as workloads."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import measure
from benchmarks.measure import Sides
from benchmarks.sizes import Sizes
from benchmarks.view_twins import AutoencoderTwin, ScoreTwin
from jaxgrow.multiview import sampling, steps
from jaxgrow.multiview.batch import ImageData, LatentData, ViewBatch
from jaxgrow.multiview.conditioning import ConditioningDistribution
from jaxgrow.multiview.denoiser import Denoiser, diffuse
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.multiview.sde import VPSDE
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.score import ScoreConfig
from jaxgrow.training.train_state import TrainState


NUM_VIEWS, LATENT_DIM = 4, 64
EMA_DECAY = 0.999
_SDE = VPSDE()


def score_twin(sizes: Sizes, sde: VPSDE = _SDE) -> ScoreTwin:
    """Build the twin of the score network."""
    return ScoreTwin(NUM_VIEWS, LATENT_DIM, sizes.score_width, sde, EMA_DECAY)


def score_sides(sizes: Sizes) -> Sides:
    """Build a training step of the score network with its moving average."""
    twin = score_twin(sizes)
    distribution, tx = ConditioningDistribution(), optax.adam(1e-4)
    state = TrainState.create(on_device(twin.params), {}, tx, keep_ema=True)
    z = _latents(sizes.views_batch)
    data = LatentData(jnp.asarray(z), jnp.ones(z.shape[:2], bool))
    batch = _whole_batch(len(z))
    model = Denoiser(_config(sizes), _SDE)
    step = steps.make_latent_step(model, distribution, tx, ema_decay=EMA_DECAY)

    drawn = jax.jit(functools.partial(diffuse, _SDE, distribution))(
        batch.keys(), data.z, data.observed
    )
    run, program = measure.stepper(step, state, data, batch, sizes.steps_per_call)
    loss = twin.loss(*(twin.tensor(a) for a in drawn)).item()
    close = measure.tolerance(sizes.compute_dtype)
    np.testing.assert_allclose(measure.first_step(run(), "loss"), loss, rtol=close)

    def compiled():
        other = score_twin(sizes)
        other.net.compile()
        return functools.partial(other.step, other.tensor(z))

    return Sides(
        ours=run,
        twins={"PyTorch": functools.partial(twin.step, twin.tensor(z))},
        items=len(z),
        unit="objects",
        checked=f"loss of the first step, {close:.0e}",
        program=program,
        steps_per_call=sizes.steps_per_call,
        batch_size=len(z),
        make_compiled=compiled,
    )


def sampling_sides(
    name: Literal["ddim", "euler_maruyama"], num_steps: int, sizes: Sizes
) -> Sides:
    """Build the sampling of every other view from the views between them."""
    twin = score_twin(sizes)
    config, params = _config(sizes), on_device(twin.params)
    z = _latents(sizes.sampled_objects)
    missing = np.zeros(z.shape[:2], bool)
    missing[:, ::2] = True
    keys = jax.random.split(jax.random.key(0), len(z))

    def sampler(sampler_config: SamplerConfig, eps_fn=None):
        def draw(params, keys, z, missing):
            eps = eps_fn or Denoiser(config, _SDE).noise_fn(params)
            return sampling.sample_missing(eps, _SDE, sampler_config, keys, z, missing)

        return functools.partial(jax.jit(draw), params, keys, z, missing)

    ddim = SamplerConfig(name="ddim", num_steps=10)
    # Without noise to remove DDIM only rescales, which shows the draw at time 1.
    start = sampler(ddim, lambda x, tau: jnp.zeros_like(x))()
    start = start * _SDE.marginal(jnp.ones(()))[0]
    theirs = twin.sample(*map(twin.tensor, (z, missing, start)), 10, "ddim").cpu()
    theirs, close = theirs.numpy(), 10 * measure.tolerance(sizes.compute_dtype)
    error = np.abs(sampler(ddim)() - theirs).max() / np.abs(theirs).max()
    assert error < close, f"the samplers differ by {error:.1e}"

    arguments = (twin.tensor(z), twin.tensor(missing), None, num_steps, name)
    draw = sampler(SamplerConfig(name=name, num_steps=num_steps))
    program = draw.func.lower(*draw.args).compile()
    inputs = jax.device_put(draw.args)
    return Sides(
        ours=functools.partial(program, *inputs),
        twins={"PyTorch": functools.partial(twin.sample, *arguments)},
        items=len(z),
        unit="objects",
        checked=f"samples of DDIM without noise, {close:.0e} of their scale",
        program=program,
        loop_trips=num_steps,
    )


def autoencoder_sides(sizes: Sizes) -> Sides:
    """Build a training step of the autoencoder; PyTorch in both of its layouts."""
    make_twin = functools.partial(AutoencoderTwin, LATENT_DIM, sizes.base_channels)
    twins = {
        "PyTorch, contiguous": make_twin("contiguous"),
        "PyTorch, channels_last": make_twin("channels_last"),
    }
    images = np.random.default_rng(0).integers(
        0, 256, (sizes.views_batch, 64, 64, 3), np.uint8
    )
    tx = optax.adam(1e-3)
    params = on_device(twins["PyTorch, contiguous"].params)
    state = TrainState.create(params, {}, tx, keep_ema=False)
    config = autoencoder_config(sizes)
    step = steps.make_autoencoder_step(config, tx, augment=False, fill=1.0)
    data, batch = ImageData(jnp.asarray(images)), _whole_batch(len(images))
    run, program = measure.stepper(step, state, data, batch, sizes.steps_per_call)
    loss, calls = measure.first_step(run(), "loss"), {}
    close = measure.tolerance(sizes.compute_dtype)
    for name, twin in twins.items():
        pictures = twin.pictures(images)
        np.testing.assert_allclose(loss, twin.loss(pictures).item(), rtol=close)
        calls[name] = functools.partial(twin.step, pictures)

    def compiled():
        other = make_twin("channels_last")
        other.net.compile()
        return functools.partial(other.step, other.pictures(images))

    return Sides(
        ours=run,
        twins=calls,
        items=len(images),
        unit="images",
        checked=f"loss of the first step, {close:.0e}",
        program=program,
        steps_per_call=sizes.steps_per_call,
        batch_size=len(images),
        make_compiled=compiled,
    )


def autoencoder_config(sizes: Sizes) -> AutoencoderConfig:
    """Return the autoencoder's configuration at these sizes."""
    return AutoencoderConfig(
        latent_dim=LATENT_DIM,
        base_channels=sizes.base_channels,
        compute_dtype=sizes.compute_dtype,
    )


def on_device(params: Any) -> Any:
    """Return `params` as float32 arrays of JAX."""
    return jax.tree.map(lambda a: jnp.array(a, jnp.float32), params)


def _config(sizes: Sizes) -> ScoreConfig:
    return ScoreConfig(width=sizes.score_width, compute_dtype=sizes.compute_dtype)


def _latents(count: int) -> np.ndarray:
    shape = (count, NUM_VIEWS, LATENT_DIM)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _whole_batch(size: int) -> ViewBatch:
    """All rows of the data, each with a key."""
    keys = jax.random.split(jax.random.key(1), size)
    return ViewBatch(
        np.arange(size, dtype=np.int32), np.asarray(jax.random.key_data(keys))
    )
