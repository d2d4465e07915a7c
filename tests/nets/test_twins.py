"""Layers, blocks and networks against PyTorch twins with the same weights.

Training steps side by side, then an evaluation. Outputs, input gradients, singular
vectors and running statistics agree to 1e-5 of each array's scale, and parameter
gradients to 1e-5 of the largest among them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.nets import growing, weight_norm
from jaxgrow.nets.blocks import DownBlock, SubBlock, UpBlock
from jaxgrow.nets.growing import Discriminator, Generator, NetConfig
from jaxgrow.nets.layers import ConvLayer
from tests.support.oracles import assert_close, quick_jit


twins: Any = pytest.importorskip("tests.torch_twins")
torch: Any = twins.torch

NORMS = ["spectral", "weight", "batch", "instance", "none"]


@dataclasses.dataclass
class Case:
    """A part of a network, its twin and the shape of their input."""

    module: nn.Module
    twin: Any
    shape: tuple[int, ...]
    config: NetConfig

    def init(self):
        key, x = jax.random.key(0), jnp.zeros(self.shape)
        return self.module.init(key, x, update=False)

    def run(self, params, stats, x, *, train: bool):
        return weight_norm.apply_normed(
            self.module,
            {"params": params, **stats},
            x,
            norm=self.config.norm,
            is_updated=lambda path: train,
            update=train,
        )

    def run_twin(self, x, *, train: bool):
        return self.twin.train(train)(x)


@dataclasses.dataclass
class NetworkCase(Case):
    """A network, which has stages as well."""

    update_from: int = 0
    fade: float | None = None

    def init(self):
        return self.module.init(
            jax.random.key(0), jnp.zeros(self.shape), fade=self.fade
        )

    def run(self, params, stats, x, *, train: bool):
        assert isinstance(self.module, Generator | Discriminator)
        stages = {"update_from": self.update_from, "fade": self.fade}
        return growing.apply(self.module, params, stats, x, train=train, **stages)

    def run_twin(self, x, *, train: bool):
        self.twin.train(train)
        if train:
            self.twin.train_from(self.update_from)
        return self.twin(x, self.fade)


def layer(config, shape, k, *, up=False, **options):
    module = ConvLayer(7, k, config, transposed=up, **options)
    twin = twins.Layer(shape[-1], 7, k, config, up=up, **options)
    return Case(module, twin, shape, config)


def sub_block(config, shape):
    module = SubBlock(config.kernel_sizes, config)
    return Case(module, twins.SubBlock(shape[-1], config), shape, config)


def block(config, shape, module, twin):
    module = module(config.width, config.kernel_sizes, config.num_sub_blocks, config)
    return Case(module, twin(shape[-1], config), shape, config)


def network(config, module, channels, resolution=4, **stages):
    fading, shape = "fade" in stages, (2, resolution, resolution, channels)
    twin = getattr(twins, module.__name__)(config, resolution, channels, fading=fading)
    return NetworkCase(module(config, resolution), twin, shape, config, **stages)


def growing_network(config, module):
    """With skips, fading in, and with its 4 px stage frozen."""
    config = dataclasses.replace(config, skip="add")
    return network(config, module, 4, resolution=8, update_from=8, fade=0.3)


# Pictures of 4x4 and 2x2 take another path than larger and oblong ones.
CASES: dict[str, tuple[Callable[[NetConfig], Case], list[str]]] = {
    "layer": (lambda c: layer(c, (3, 4, 6, 5), 5), NORMS),
    "layer of a tiny picture": (lambda c: layer(c, (3, 4, 4, 5), 5), ["none"]),
    "strided layer": (lambda c: layer(c, (3, 4, 6, 5), 3, stride=2), ["spectral"]),
    "transposed layer": (
        lambda c: layer(c, (3, 4, 6, 5), 3, up=True),
        ["spectral", "weight"],
    ),
    "linear layer": (lambda c: layer(c, (3, 4, 6, 5), 3, linear=True), ["batch"]),
    "sub-block": (lambda c: sub_block(c, (3, 6, 5, 7)), NORMS),
    "sub-block of a tiny picture": (lambda c: sub_block(c, (3, 2, 2, 7)), ["none"]),
    "down block": (lambda c: block(c, (3, 8, 8, 5), DownBlock, twins.DownBlock), NORMS),
    "up block": (lambda c: block(c, (3, 4, 4, 5), UpBlock, twins.UpBlock), NORMS),
    "generator": (lambda c: network(c, Generator, 4), ["spectral"]),
    "discriminator": (lambda c: network(c, Discriminator, 3), ["spectral", "batch"]),
    "growing generator": (lambda c: growing_network(c, Generator), NORMS),
    "growing discriminator": (lambda c: growing_network(c, Discriminator), NORMS),
}


def as_torch(x):
    """NCHW float64; logits stay as they are."""
    x = torch.from_numpy(np.asarray(x, np.float64))
    return x.movedim(-1, 1) if x.ndim == 4 else x


def as_flax(y):
    y = y.detach()
    return (y.movedim(1, -1) if y.ndim == 4 else y).numpy()


def differentiate(case: Case):
    """Compiled outputs, gradients of <outputs, cotangents>, and stats afterwards."""

    def objective(params, x, stats, cotangents, train):
        outputs, stats = case.run(params, stats, x, train=train)
        products = jax.tree.map(lambda y, c: jnp.sum(y * c), outputs, cotangents)
        return sum(jax.tree.leaves(products)), (outputs, stats)

    gradient = jax.grad(objective, argnums=(0, 1), has_aux=True)
    return quick_jit(gradient, static_argnums=4)


def compare(case: Case, run_flax, params, stats, rng, *, train: bool):
    """Runs both sides on one random batch; returns Flax's collections afterwards."""
    x = rng.normal(size=case.shape).astype(np.float32)
    x_twin = as_torch(x).requires_grad_()
    twin_outputs = case.run_twin(x_twin, train=train)
    expected = jax.tree.map(as_flax, twin_outputs)
    cotangents = jax.tree.map(
        lambda y: rng.normal(size=y.shape).astype(np.float32), expected
    )
    case.twin.zero_grad()
    torch.autograd.backward(twin_outputs, jax.tree.map(as_torch, cotangents))

    (d_params, dx), (outputs, stats) = run_flax(params, x, stats, cotangents, train)
    assert_close(outputs, expected)
    assert_close(dx, as_flax(x_twin.grad))
    expected = twins.variables(case.twin, lambda tensor: tensor.grad)["params"]
    largest = max(np.max(np.abs(g)) for g in jax.tree.leaves(expected))
    assert_close(d_params, expected, scale=largest)
    assert_close({"params": params, **stats}, twins.variables(case.twin))
    return stats


def check(case: Case, num_steps: int = 3):
    """The weights move between steps; each side keeps statistics of its own."""
    rng = np.random.default_rng(0)
    case.twin.double()
    variables = twins.variables(case.twin)
    fresh = weight_norm.init_normed(jax.eval_shape(case.init), case.config.norm, (0,))
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, fresh)

    run_flax = differentiate(case)
    stats = {name: tree for name, tree in variables.items() if name != "params"}
    for _ in range(num_steps):
        twins.move_weights(case.twin)
        params = twins.variables(case.twin)["params"]
        stats = compare(case, run_flax, params, stats, rng, train=True)
    # Without statistics training and evaluation are one: see test_growing.py.
    if stats and not getattr(case, "fade", None):
        compare(case, run_flax, params, stats, rng, train=False)


def row(name, norm):
    # The blocks of the slow ones are quick to compile, and under the same norms.
    is_slow = name.startswith("growing") and norm not in ("spectral", "batch")
    marks = [pytest.mark.slow] if is_slow else []
    return pytest.param(name, norm, marks=marks, id=f"{name}, {norm}")


@pytest.mark.parametrize(
    ("name", "norm"), [row(name, norm) for name in CASES for norm in CASES[name][1]]
)
def test_it_computes_and_differentiates_as_pytorch_does(name, norm):
    torch.manual_seed(0)
    make_case, _ = CASES[name]
    check(make_case(NetConfig(norm=norm, width=7, num_sub_blocks=1)))


@pytest.mark.slow
@pytest.mark.parametrize(("module", "channels"), [(Generator, 4), (Discriminator, 3)])
def test_so_do_the_networks_at_full_width(module, channels):
    torch.manual_seed(0)
    check(network(NetConfig(), module, channels, resolution=64), num_steps=1)
