"""What the perceptual term costs System 1's step, here and in a PyTorch twin.

    python -m benchmarks.perceptual_step --resolutions 8 16 32

VGG19's first two blocks with the same random weights on both sides; the losses of the
first step must agree before anything is timed. Rounds alternate between all variants,
so that a noisy machine disturbs them alike: the ratios are the figures to read.
"""

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from jaxgrow.devices import runtime


runtime.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from benchmarks import gan_step, roofline  # noqa: E402
from jaxgrow.inpainting.losses import DueTerms, LossConfig  # noqa: E402
from jaxgrow.inpainting.stages import Stage  # noqa: E402
from jaxgrow.nets.vgg19 import (  # noqa: E402
    IMAGENET_MEAN,
    IMAGENET_STD,
    VGG19Features,
    make_features_fn,
)
from jaxgrow.typing import Params  # noqa: E402


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure."""

    resolutions: tuple[int, ...] = (8, 16, 32)
    """Sides of the pictures in pixels."""
    batch_size: int = 64
    """Pictures per step."""
    rounds: int = 5
    """Timed rounds of each variant; the median counts."""
    every: int = 4
    """Steps of a round, and between two terms of the variant that has it rarely."""
    adversarial_weight: float = 0.01
    """0 leaves D out on both sides."""
    out: Path | None = None
    """JSON file for the results; None = only print."""


class TorchPerceptual:
    """Eq. 1 of Speck et al. (2023) in PyTorch, with the weights of `params`."""

    def __init__(self, params: Params):
        from tests.support.torch_twins import torch

        self.torch = torch
        self.mean, self.std = (
            torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.layers = {}
        for name, layer in params.items():
            kernel = torch.tensor(np.array(layer["kernel"])).permute(3, 2, 0, 1)
            kernel = kernel.contiguous(memory_format=torch.channels_last)
            self.layers[name] = kernel, torch.tensor(np.array(layer["bias"]))

    def taps(self, x: Any) -> list[Any]:
        functional, found = self.torch.nn.functional, []
        x = ((x + 1.0) / 2.0 - self.mean) / self.std
        for block in (1, 2):
            x = functional.max_pool2d(x, 2) if block > 1 else x
            for layer in (1, 2):
                kernel, bias = self.layers[f"conv{block}_{layer}"]
                x = self.torch.relu(functional.conv2d(x, kernel, bias, padding=1))
            found.append(x)
        return found

    def __call__(self, output: Any, real: Any) -> Any:
        with self.torch.no_grad():
            targets = self.taps(real)
        pairs = zip(self.taps(output), targets, strict=True)
        return sum(
            (x - y).flatten(1).norm(dim=1).mean() / x[0].numel() for x, y in pairs
        )


def compare(resolution: int, options: Options) -> dict[str, Any]:
    """Times of one resolution in ms per step, by variant, and their ratios."""
    data, batch = gan_step.make_batch(resolution, options.batch_size)
    image = jnp.zeros((1, 8, 8, 3))
    params = jax.jit(VGG19Features().init)(jax.random.key(0), image)["params"]
    weight = options.adversarial_weight
    perceptual = TorchPerceptual(params)
    twins = {
        "off": gan_step.TorchTwin(resolution, data, weight),
        "on": gan_step.TorchTwin(resolution, data, weight, perceptual),
    }
    stage = Stage(0, resolution, 4, 1000, 0)
    features_fn = make_features_fn(params)
    losses = LossConfig(adversarial_weight=weight)
    rare = dataclasses.replace(losses, perceptual_every=options.every)
    rest = DueTerms(perceptual=False)
    built = {
        "off": gan_step.build(stage, "none", losses),
        "on": gan_step.build(stage, "none", losses, features_fn),
        "rare": gan_step.build(stage, "none", rare, features_fn),
        "rest": gan_step.build(stage, "none", rare, features_fn, rest),
    }
    steps, gflops = {}, {}
    for name, (state, step) in built.items():
        steps[name] = step.lower(state, data, batch).compile()
        gflops[name] = round(roofline.cost_of(steps[name]).flops / 1e9, 2)
    state = gan_step.with_weights(built["on"][0], twins["on"].start)
    state = state.replace(perceptual_weight=jnp.ones(()))
    state, ours = steps["on"](state, data, batch)
    for name, value in twins["on"].step().items():
        np.testing.assert_allclose(ours[name], value.item(), rtol=1e-4, err_msg=name)
    box = [state]

    def run(*names: str) -> None:
        for name in names:
            box[0], metrics = steps[name](box[0], data, batch)
        jax.block_until_ready(metrics)

    n = options.every
    rounds = {
        "off": lambda: run(*["off"] * n),
        "on": lambda: run(*["on"] * n),
        f"once in {n} steps": lambda: run("rare", *["rest"] * (n - 1)),
        "PyTorch, off": lambda: [twins["off"].step() for _ in range(n)] and None,
        "PyTorch, on": lambda: [twins["on"].step() for _ in range(n)] and None,
    }
    times: dict[str, list[float]] = {name: [] for name in rounds}
    for number in range(options.rounds + 1):
        for name, call in rounds.items():
            took = gan_step.timed(call, 1) / n
            times[name] += [took] if number else []  # the first warms up
    ms = {name: statistics.median(t) for name, t in times.items()}
    return {
        "resolution": resolution,
        "ms": {name: round(value, 2) for name, value in ms.items()},
        "gflops": {name: gflops[name] for name in ("off", "on")},
        "on_over_off": round(ms["on"] / ms["off"], 2),
        "rare_over_off": round(ms[f"once in {n} steps"] / ms["off"], 2),
        "torch_on_over_off": round(ms["PyTorch, on"] / ms["PyTorch, off"], 2),
        "torch_over_jax_on": round(ms["PyTorch, on"] / ms["on"], 2),
    }


def main(options: Options) -> None:
    gan_step.write([compare(r, options) for r in options.resolutions], options)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
