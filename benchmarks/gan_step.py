"""System 1's training step against a PyTorch twin of it, and what freezing saves.

    python -m benchmarks.gan_step --resolutions 8 16 32

Both sides start from the same weights and see the same batch; the losses of the first
step must agree before anything is timed. Rounds alternate between the two, so that a
noisy machine disturbs both alike; the ratio of the medians is the figure to read.
"""

import dataclasses
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from jaxgrow.devices import runtime


runtime.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from benchmarks import roofline  # noqa: E402
from jaxgrow.data.batches import PictureBatch  # noqa: E402
from jaxgrow.devices.parallel import Placement  # noqa: E402
from jaxgrow.inpainting import gan_step, networks  # noqa: E402
from jaxgrow.inpainting.batch import Data  # noqa: E402
from jaxgrow.inpainting.losses import DueTerms, LossConfig  # noqa: E402
from jaxgrow.inpainting.networks import InpaintState  # noqa: E402
from jaxgrow.inpainting.stages import GrowthConfig, OptimizerConfig, Stage  # noqa: E402
from jaxgrow.nets.growing import NetConfig  # noqa: E402
from jaxgrow.typing import FeaturesFn  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure."""

    resolutions: tuple[int, ...] = (8, 16, 32)
    """Sides of the pictures in pixels."""
    batch_size: int = 64
    """Pictures per step."""
    rounds: int = 7
    """Timed rounds of each side; the median counts."""
    steps: int = 3
    """Steps per round."""
    adversarial_weight: float = 0.01
    """0 leaves D out on both sides."""
    out: Path | None = None
    """JSON file for the results; None = only print."""


def build(
    stage: Stage,
    freeze: Any,
    losses: LossConfig,
    features_fn: FeaturesFn | None = None,
    due: DueTerms = DueTerms(),  # noqa: B008
    net: NetConfig = NetConfig(skip="add"),  # noqa: B008
):
    """(state, compiled step) of a stage; what is not given is the preset `paper`'s."""
    growth_config = GrowthConfig(freeze=freeze)
    nets = networks.make_networks(
        stage, net, growth_config, OptimizerConfig(), d_sees_mask=False, axis_name=None
    )
    state = networks.enter_stage(nets, stage, 0, keep_ema=False, before=None)
    step = gan_step.make_gan_step(nets, losses, ema_decay=0.0, features_fn=features_fn)
    return state, Placement().compile_step(lambda *args: step(*args, due))


def make_batch(resolution: int, size: int) -> tuple[Data, PictureBatch]:
    rng = np.random.default_rng(0)
    shape = (size, resolution, resolution)
    images = rng.integers(0, 256, (*shape, 3), np.uint8)
    masks = (rng.random((*shape, 1)) < 0.3).astype(np.uint8)
    rows = np.arange(size, dtype=np.int32)
    zeros = np.zeros(size, np.int32)
    batch = PictureBatch(rows, zeros.astype(bool), rows, zeros)
    return Data(jnp.asarray(images), jnp.asarray(masks)), batch


class TorchTwin:
    """The same step in eager PyTorch, channels last, Adam, float32.

    Args:
        resolution: Side of the pictures.
        data: One batch, in order.
        adversarial_weight: 0 leaves D out.
        perceptual: (output, real) -> a further term of G's loss, or None.
    """

    def __init__(
        self,
        resolution: int,
        data: Data,
        adversarial_weight: float,
        perceptual: Callable[[Any, Any], Any] | None = None,
    ):
        from tests.support import torch_twins

        self.torch = torch = torch_twins.torch
        torch.manual_seed(0)
        torch.set_num_threads(len(os_cpus()))
        net = NetConfig(skip="add")
        self.g = torch_twins.Generator(net, resolution, 4, fading=False)
        self.d = torch_twins.Discriminator(net, resolution, 3, fading=False)
        self.start = (torch_twins.variables(self.g), torch_twins.variables(self.d))
        for twin in (self.g, self.d):
            twin.float().to(memory_format=torch.channels_last)
            twin.train_from(0)
        real = torch.tensor(np.array(data.images)).permute(0, 3, 1, 2) / 127.5 - 1.0
        mask = torch.tensor(np.array(data.masks)).permute(0, 3, 1, 2).float()
        last = {"memory_format": torch.channels_last}
        self.real, self.mask = real.to(**last), mask.to(**last)
        self.weight, self.perceptual = adversarial_weight, perceptual
        self.g_tx = torch.optim.Adam(self.g.parameters(), lr=1e-3)
        self.d_tx = torch.optim.Adam(self.d.parameters(), lr=1e-4)

    def step(self) -> dict[str, Any]:
        torch, softplus = self.torch, self.torch.nn.functional.softplus
        output = self.g(torch.cat([self.real * (1 - self.mask), self.mask], 1))
        metrics, loss = {}, ((output - self.real) ** 2).mean()
        metrics["g/reconstruction"] = loss
        if self.perceptual is not None:
            metrics["g/perceptual"] = self.perceptual(output, self.real)
            loss = loss + metrics["g/perceptual"]
        if self.weight > 0:
            fake = torch.where(self.mask > 0.5, output, self.real)
            self.d.train_from(0)
            on_real, on_fake = self.d(torch.cat([self.real, fake.detach()])).chunk(2)
            d_loss = softplus(-on_real).mean() + softplus(on_fake).mean()
            self.d_tx.zero_grad()
            d_loss.backward()
            self.d_tx.step()
            self.d.eval()
            adversarial = softplus(-self.d(fake)).mean()
            metrics |= {"d/loss": d_loss, "g/adversarial": adversarial}
            loss = loss + self.weight * adversarial
        self.g_tx.zero_grad()
        loss.backward()
        self.g_tx.step()
        return metrics


def os_cpus() -> list[int]:
    """The CPUs that this process may use."""
    import os

    return sorted(os.sched_getaffinity(0))


def with_weights(state: InpaintState, start: tuple[dict, dict]) -> InpaintState:
    """`state` with the twin's weights and singular vectors."""
    networks = []
    for train_state, variables in zip(
        (state.generator, state.discriminator), start, strict=True
    ):
        arrays = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
        params = arrays.pop("params")
        networks.append(train_state.replace(params=params, stats=arrays))
    return state.replace(generator=networks[0], discriminator=networks[1])


def timed(call, steps: int) -> float:
    begun = time.perf_counter()
    for _ in range(steps):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - begun) / steps * 1e3


def compare(resolution: int, options: Options) -> dict[str, Any]:
    """Times of one resolution, in ms per step, and the ratio to PyTorch."""
    stage = Stage(0, resolution, 4, 1000, 0)
    data, batch = make_batch(resolution, options.batch_size)
    twin = TorchTwin(resolution, data, options.adversarial_weight)
    losses = LossConfig(adversarial_weight=options.adversarial_weight)
    state, step = build(stage, "none", losses)
    state = with_weights(state, twin.start)
    state, ours = step(state, data, batch)
    for name, value in twin.step().items():
        np.testing.assert_allclose(ours[name], value.item(), rtol=1e-4, err_msg=name)
    box = [state]

    def one():
        box[0], metrics = step(box[0], data, batch)
        return metrics

    one()
    twin.step()
    times: dict[str, list[float]] = {"jax": [], "torch": []}
    for _ in range(options.rounds):
        times["jax"].append(timed(one, options.steps))
        times["torch"].append(timed(lambda: twin.step() and None, options.steps))
    ms = {name: statistics.median(t) for name, t in times.items()}
    return {
        "resolution": resolution,
        "jax_ms": round(ms["jax"], 2),
        "torch_ms": round(ms["torch"], 2),
        "torch_over_jax": round(ms["torch"] / ms["jax"], 2),
        "gflops": freezing(resolution, losses, data, batch),
    }


def freezing(resolution: int, losses: LossConfig, data, batch) -> dict[str, float]:
    """GFLOP of a step by freeze policy, from the compiled program's cost analysis."""
    gflops = {}
    for freeze in ("none", "generator", "all"):
        stage = Stage(1, resolution, resolution, 1000, 0)
        state, step = build(stage, freeze, losses)
        cost = roofline.cost_of(step.lower(state, data, batch).compile())
        gflops[freeze] = round(cost.flops / 1e9, 2)
    return gflops


def write(results: list[dict[str, Any]], options: Any) -> None:
    """Prints what was measured on what, and writes it to `options.out` if it is set."""
    found = {
        "options": {k: str(v) for k, v in vars(options).items() if k != "out"},
        "device": f"{jax.devices()[0].device_kind}, {len(os_cpus())} CPUs",
        "machine": platform.processor() or platform.machine(),
        "versions": runtime.versions(),
        "results": results,
    }
    print(json.dumps(found, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n")


def main(options: Options) -> None:
    write([compare(r, options) for r in options.resolutions], options)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
