"""System 2's training steps and its sampler against PyTorch twins of them.

    GOMP_SPINCOUNT=0 python -m benchmarks.views_step

Both sides have the same weights and see the same data; the first losses, and a sampling
run without noise, must agree before anything is timed. Rounds alternate between the
two, so that a noisy machine disturbs both alike; the ratio of the medians is the figure
to read. GOMP_SPINCOUNT=0 keeps PyTorch's idle threads from spinning: on busy cores it
is several times slower without. CPU times are those of all threads together, which
other processes disturb less; a thread that spins counts as busy.
"""

import dataclasses
import functools
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import tyro

from jaxgrow.devices import runtime


runtime.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

from benchmarks import measure, views_twins  # noqa: E402
from benchmarks.measure import OURS, Sides  # noqa: E402
from jaxgrow.multiview import sampling, steps  # noqa: E402
from jaxgrow.multiview.sampling import SamplerConfig  # noqa: E402
from jaxgrow.multiview.sde import VPSDE  # noqa: E402
from jaxgrow.multiview.steps import (  # noqa: E402
    Batch,
    Diffusion,
    ImageData,
    LatentData,
)
from jaxgrow.nets import score  # noqa: E402
from jaxgrow.nets.autoencoder import AutoencoderConfig  # noqa: E402
from jaxgrow.nets.score import ScoreConfig  # noqa: E402
from jaxgrow.training.train_state import TrainState  # noqa: E402


Part: TypeAlias = Literal["score", "sampling", "autoencoder"]

_VIEWS = 4
_EMA_DECAY = 0.999
_SDE = VPSDE()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure; the sizes are the paper's."""

    parts: tuple[Part, ...] = ("score", "sampling", "autoencoder")
    """Which of the three."""
    batch_size: int = 64
    """Objects or images of a step, objects of a sampling run."""
    width: int = 1536
    """Of the score network. Below 256 its norms have groups so small that they
    amplify rounding, and the check of equal samples fails."""
    latent_dim: int = 64
    """Numbers that stand for one view."""
    base_channels: int = 64
    """Of the autoencoder, for images of 64 px."""
    sampler: Literal["ddim", "euler_maruyama"] = "euler_maruyama"
    """Of a sampling run."""
    num_steps: int = 250
    """Evaluations of a sampling run."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of our networks' products; the twins have float32."""
    steps_per_call: int = 1
    """Of ours, in one loop on the device."""
    rounds: int = 7
    """Timed rounds of each side; the median counts."""
    out: Path | None = None
    """JSON file for the results; None = only print."""


def score_sides(options: Options) -> Sides:
    """A training step of the score network with its moving average."""
    make_twin = functools.partial(
        views_twins.ScoreTwin,
        *(_VIEWS, options.latent_dim, options.width, _SDE, _EMA_DECAY),
    )
    twin = make_twin()
    config = _score_config(options)
    diffusion, tx = Diffusion(_SDE, "uniform", 0.2), optax.adam(1e-4)
    state = TrainState.create(_on_device(twin.params), {}, tx, keep_ema=True)
    shape = (options.batch_size, _VIEWS, options.latent_dim)
    z = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    data = LatentData(jnp.asarray(z), jnp.ones(shape[:2], bool))
    batch = _whole_batch(options.batch_size)
    step = steps.make_score_step(config, diffusion, tx, ema_decay=_EMA_DECAY)

    drawn = jax.jit(functools.partial(steps.diffuse, diffusion))(
        batch.keys(), data.z, data.observed
    )
    run, program = measure.stepper(step, state, data, batch, options.steps_per_call)
    loss = twin.loss(*(twin.tensor(a) for a in drawn)).item()
    close = measure.tolerance(options.compute_dtype)
    np.testing.assert_allclose(measure.first_step(run(), "loss"), loss, rtol=close)

    def compiled():
        other = make_twin()
        other.net.compile()
        return functools.partial(other.step, other.tensor(z))

    return Sides(
        ours=run,
        twins={"PyTorch": functools.partial(twin.step, twin.tensor(z))},
        items=options.batch_size,
        unit="objects",
        checked=f"loss of the first step, {close:.0e}",
        program=program,
        steps_per_call=options.steps_per_call,
        batch_size=options.batch_size,
        make_compiled=compiled,
    )


def sampling_sides(options: Options) -> Sides:
    """Every other view of all objects, drawn from the views between them."""
    twin = views_twins.ScoreTwin(
        _VIEWS, options.latent_dim, options.width, _SDE, _EMA_DECAY
    )
    config, params = _score_config(options), _on_device(twin.params)
    shape = (options.batch_size, _VIEWS, options.latent_dim)
    z = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    missing = np.zeros(shape[:2], bool)
    missing[:, ::2] = True
    keys = jax.random.split(jax.random.key(0), options.batch_size)

    def sampler(sampler_config: SamplerConfig, eps_fn=None):
        def draw(params, keys, z, missing):
            def network(x, tau):
                return -score.apply_score(config, params, x, tau)

            eps = eps_fn or network
            return sampling.sample_missing(eps, _SDE, sampler_config, keys, z, missing)

        return functools.partial(jax.jit(draw), params, keys, z, missing)

    ddim = SamplerConfig(name="ddim", num_steps=10)
    # Where there is no noise to remove DDIM only rescales: it shows the draw at time 1.
    start = sampler(ddim, lambda x, tau: jnp.zeros_like(x))()
    start = start * _SDE.marginal(jnp.ones(()))[0]
    theirs = twin.sample(*map(twin.tensor, (z, missing, start)), 10, "ddim").cpu()
    theirs, close = theirs.numpy(), 10 * measure.tolerance(options.compute_dtype)
    error = np.abs(sampler(ddim)() - theirs).max() / np.abs(theirs).max()
    assert error < close, f"the samplers differ by {error:.1e}"

    name, num_steps = options.sampler, options.num_steps
    arguments = (twin.tensor(z), twin.tensor(missing), None, num_steps, name)
    draw = sampler(SamplerConfig(name=name, num_steps=num_steps))
    program = draw.func.lower(*draw.args).compile()
    inputs = jax.device_put(draw.args)
    return Sides(
        ours=functools.partial(program, *inputs),
        twins={"PyTorch": functools.partial(twin.sample, *arguments)},
        items=options.batch_size,
        unit="objects",
        checked=f"samples of DDIM without noise, {close:.0e} of their scale",
        program=program,
        loop_trips=num_steps,
    )


def autoencoder_sides(options: Options) -> Sides:
    """A training step of the autoencoder; PyTorch in both of its layouts."""
    make_twin = functools.partial(
        views_twins.AutoencoderTwin, options.latent_dim, options.base_channels
    )
    twins = {
        "PyTorch, contiguous": make_twin("contiguous"),
        "PyTorch, channels_last": make_twin("channels_last"),
    }
    images = np.random.default_rng(0).integers(
        0, 256, (options.batch_size, 64, 64, 3), np.uint8
    )
    config = AutoencoderConfig(
        latent_dim=options.latent_dim,
        base_channels=options.base_channels,
        compute_dtype=options.compute_dtype,
    )
    tx = optax.adam(1e-3)
    params = _on_device(twins["PyTorch, contiguous"].params)
    state = TrainState.create(params, {}, tx, keep_ema=False)
    step = steps.make_autoencoder_step(config, tx, augment=False, fill=1.0)
    data, batch = ImageData(jnp.asarray(images)), _whole_batch(len(images))
    run, program = measure.stepper(step, state, data, batch, options.steps_per_call)
    loss, sides = measure.first_step(run(), "loss"), {}
    close = measure.tolerance(options.compute_dtype)
    for name, twin in twins.items():
        pictures = twin.pictures(images)
        np.testing.assert_allclose(loss, twin.loss(pictures).item(), rtol=close)
        sides[name] = functools.partial(twin.step, pictures)

    def compiled():
        other = make_twin("channels_last")
        other.net.compile()
        return functools.partial(other.step, other.pictures(images))

    return Sides(
        ours=run,
        twins=sides,
        items=options.batch_size,
        unit="images",
        checked=f"loss of the first step, {close:.0e}",
        program=program,
        steps_per_call=options.steps_per_call,
        batch_size=options.batch_size,
        make_compiled=compiled,
    )


def _score_config(options: Options) -> ScoreConfig:
    return ScoreConfig(width=options.width, compute_dtype=options.compute_dtype)


SIDES: dict[Part, Callable[[Options], Sides]] = {
    "score": score_sides,
    "sampling": sampling_sides,
    "autoencoder": autoencoder_sides,
}


def _on_device(params: Any) -> Any:
    return jax.tree.map(lambda a: jnp.array(a, jnp.float32), params)


def _whole_batch(size: int) -> Batch:
    """All rows of the data, each with a key."""
    keys = jax.random.split(jax.random.key(1), size)
    return Batch(np.arange(size, dtype=np.int32), np.asarray(jax.random.key_data(keys)))


def compare(part: Part, options: Options) -> dict[str, Any]:
    """Wall and CPU times in ms of both sides, and their ratios."""
    sides = SIDES[part](options)
    times = measure.time_in_turn({OURS: sides.ours, **sides.twins}, options.rounds)
    ours, others = times.pop(OURS), list(times.values())
    ms = {name: t.ms for name, t in times.items()} | {OURS: ours.ms}
    cpu_ms = {name: t.cpu_ms for name, t in times.items()} | {OURS: ours.cpu_ms}
    return {
        "part": part,
        "ms": {name: round(value, 1) for name, value in ms.items()},
        "cpu_ms": {name: round(value, 1) for name, value in cpu_ms.items()},
        # The faster layout of PyTorch counts.
        "torch_over_jax": round(min(t.ms for t in others) / ours.ms, 2),
        "torch_over_jax_cpu": round(min(t.cpu_ms for t in others) / ours.cpu_ms, 2),
    }


def main(options: Options) -> None:
    found: dict[str, Any] = {
        "options": {k: str(v) for k, v in vars(options).items() if k != "out"},
        "device": f"{jax.devices()[0].device_kind}, {measure.num_cpus()} CPUs",
        "machine": platform.processor() or platform.machine(),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT", "not set"),
        "versions": runtime.versions() | {"torch": views_twins.torch.__version__},
        "results": [],
    }
    for part in options.parts:
        found["results"].append(compare(part, options))
        print(json.dumps(found["results"][-1]), flush=True)
        if options.out is not None:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
