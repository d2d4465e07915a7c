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
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import tyro

from benchmarks import views_twins
from jaxgrow import runtime


runtime.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

from jaxgrow import multiview, parallel, sampling  # noqa: E402
from jaxgrow.multiview import Batch, Diffusion, ImageData, LatentData  # noqa: E402
from jaxgrow.nets import score  # noqa: E402
from jaxgrow.nets.autoencoder import AutoencoderConfig  # noqa: E402
from jaxgrow.nets.score import ScoreConfig  # noqa: E402
from jaxgrow.sampling import SamplerConfig  # noqa: E402
from jaxgrow.sde import VPSDE  # noqa: E402
from jaxgrow.train_state import TrainState  # noqa: E402


Call: TypeAlias = Callable[[], Any]
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
    num_steps: int = 250
    """Euler-Maruyama steps of a sampling run."""
    rounds: int = 7
    """Timed rounds of each side; the median counts."""
    steps: int = 2
    """Training steps per round; a sampling run is a round."""
    out: Path | None = None
    """JSON file for the results; None = only print."""


def score_sides(options: Options) -> dict[str, Call]:
    """A training step of the score network with its moving average."""
    twin = views_twins.ScoreTwin(
        _VIEWS, options.latent_dim, options.width, _SDE, _EMA_DECAY
    )
    config = ScoreConfig(width=options.width)
    diffusion, tx = Diffusion(_SDE, "uniform", 0.2), optax.adam(1e-4)
    state = TrainState.create(_on_device(twin.params), {}, tx, keep_ema=True)
    shape = (options.batch_size, _VIEWS, options.latent_dim)
    z = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    data = LatentData(jnp.asarray(z), jnp.ones(shape[:2], bool))
    batch = _whole_batch(options.batch_size)
    step = multiview.make_score_step(config, diffusion, tx, ema_decay=_EMA_DECAY)

    drawn = jax.jit(functools.partial(multiview.diffuse, diffusion))(
        batch.keys(), data.z, data.observed
    )
    run = _stepper(parallel.compile_step(step, 1), state, data, batch)
    loss = twin.loss(*(twin.tensor(a) for a in drawn)).item()
    np.testing.assert_allclose(run()["loss"], loss, rtol=1e-4)
    return {"jax": run, "torch": functools.partial(twin.step, twin.tensor(z))}


def sampling_sides(options: Options) -> dict[str, Call]:
    """Every other view of all objects, drawn from the views between them."""
    twin = views_twins.ScoreTwin(
        _VIEWS, options.latent_dim, options.width, _SDE, _EMA_DECAY
    )
    config, params = ScoreConfig(width=options.width), _on_device(twin.params)
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
    theirs = twin.sample(*map(twin.tensor, (z, missing, start)), 10, "ddim").numpy()
    error = np.abs(sampler(ddim)() - theirs).max() / np.abs(theirs).max()
    assert error < 1e-3, f"the samplers differ by {error:.1e}"

    name, num_steps = "euler_maruyama", options.num_steps
    arguments = (twin.tensor(z), twin.tensor(missing), None, num_steps, name)
    return {
        "jax": sampler(SamplerConfig(name=name, num_steps=num_steps)),
        "torch": functools.partial(twin.sample, *arguments),
    }


def autoencoder_sides(options: Options) -> dict[str, Call]:
    """A training step of the autoencoder; PyTorch in both of its layouts."""
    twins = {
        f"torch_{layout}": views_twins.AutoencoderTwin(
            options.latent_dim, options.base_channels, layout
        )
        for layout in ("contiguous", "channels_last")
    }
    images = np.random.default_rng(0).integers(
        0, 256, (options.batch_size, 64, 64, 3), np.uint8
    )
    config = AutoencoderConfig(
        latent_dim=options.latent_dim, base_channels=options.base_channels
    )
    tx = optax.adam(1e-3)
    params = _on_device(twins["torch_contiguous"].params)
    state = TrainState.create(params, {}, tx, keep_ema=False)
    step = multiview.make_autoencoder_step(config, tx, augment=False, fill=1.0)
    data, batch = ImageData(jnp.asarray(images)), _whole_batch(len(images))
    run = _stepper(parallel.compile_step(step, 1), state, data, batch)
    loss, sides = run()["loss"], {"jax": run}
    for name, twin in twins.items():
        pictures = twin.pictures(images)
        np.testing.assert_allclose(loss, twin.loss(pictures).item(), rtol=1e-4)
        sides[name] = functools.partial(twin.step, pictures)
    return sides


SIDES: dict[Part, Callable[[Options], dict[str, Call]]] = {
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


def _stepper(step, state: TrainState, data, batch: Batch) -> Call:
    """Steps again and again; gives the step's metrics."""
    box = [state]

    def run():
        box[0], metrics = step(box[0], data, batch)
        return metrics

    return run


def compare(part: Part, options: Options) -> dict[str, Any]:
    """Wall and CPU times in ms of both sides, and their ratios."""
    sides = SIDES[part](options)
    repeats = 1 if part == "sampling" else options.steps
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for call in sides.values():
        jax.block_until_ready(call())
    for _ in range(options.rounds):
        for name, call in sides.items():
            begun, busy = time.perf_counter(), time.process_time()
            for _ in range(repeats):
                result = call()
            jax.block_until_ready(result)
            wall[name].append((time.perf_counter() - begun) / repeats * 1e3)
            cpu[name].append((time.process_time() - busy) / repeats * 1e3)
    found: dict[str, Any] = {"part": part}
    for kind, times in (("ms", wall), ("cpu_ms", cpu)):
        medians = {name: statistics.median(t) for name, t in times.items()}
        found |= {f"{name}_{kind}": round(ms, 1) for name, ms in medians.items()}
        ours = medians.pop("jax")
        # The faster layout of PyTorch counts.
        ratio = "torch_over_jax" if kind == "ms" else "torch_over_jax_cpu"
        found[ratio] = round(min(medians.values()) / ours, 2)
    return found


def main(options: Options) -> None:
    found: dict[str, Any] = {
        "options": {k: str(v) for k, v in vars(options).items() if k != "out"},
        "device": f"{jax.devices()[0].device_kind}, {views_twins.num_cpus()} CPUs",
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
