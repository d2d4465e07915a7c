"""PyTorch twins of the networks, written from the paper and the specification.

A twin has PyTorch's own convolutions, weight parametrisations and norms, NCHW features
and one convolution per branch. It runs in float64, so that it is exact to the eye of
float32. `variables` gives its weights, or their gradients, as Flax would hold them.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from jaxgrow.nets.growing import NetConfig, resolutions_up_to
from jaxgrow.nets.layers import LayerConfig


torch: Any = pytest.importorskip("torch")
nn, parametrizations = torch.nn, torch.nn.utils.parametrizations
torch.set_num_threads(1)  # the twins are small: threads would only wait


def make_activation(config: LayerConfig):
    modules = {"relu": nn.ReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU}
    if config.activation == "leaky_relu":
        return nn.LeakyReLU(config.slope)
    return modules[config.activation]()


def normalise_weight(module, config: NetConfig):
    """`module` under PyTorch's own parametrisation, over its output channels."""
    if config.norm == "spectral":
        return parametrizations.spectral_norm(module)
    if config.norm == "weight":
        out_axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        return parametrizations.weight_norm(module, dim=out_axis)
    return module


class BatchNorm2d(nn.BatchNorm2d):
    """Starts with random statistics and keeps the biased variance, as Flax does.

    PyTorch normalises by the biased variance of n values but averages the unbiased
    one, n / (n - 1) times as large.
    """

    def __init__(self, channels):
        super().__init__(channels)
        nn.init.uniform_(self.bias, -0.5, 0.5)
        nn.init.uniform_(self.running_mean, -0.5, 0.5)
        nn.init.uniform_(self.running_var, 0.5, 1.5)

    def forward(self, x):
        before = self.running_var.clone()
        y = super().forward(x)
        if self.training:
            n = x.numel() // x.shape[1]
            change = self.running_var - (1 - self.momentum) * before
            self.running_var = self.running_var - change / n
        return y


class Layer(nn.Module):
    def __init__(
        self, in_channels, out_channels, k, config, *, stride=1, up=False, linear=False
    ):
        super().__init__()
        channels, options = (in_channels, out_channels), {"padding": k // 2}
        if up:
            options |= {"stride": 2, "output_padding": 1}
            conv = nn.ConvTranspose2d(*channels, k, bias=False, **options)
        else:
            conv = nn.Conv2d(*channels, k, stride=stride, bias=False, **options)
        self.conv = normalise_weight(conv, config)
        norms = {"batch": BatchNorm2d, "instance": nn.InstanceNorm2d}
        norm = nn.Identity if linear else norms.get(config.norm, nn.Identity)
        self.norm = norm(out_channels)
        self.activation = nn.Identity() if linear else make_activation(config)

    def forward(self, x):
        return self.activation(self.norm(self.conv(x)))

    def slots(self):
        yield from (slot.inside("conv") for slot in weight_slots(self.conv))
        yield from norm_slots(self.norm)


class SubBlock(nn.Module):
    """The branches side by side, each a layer of its own."""

    def __init__(self, channels, config):
        super().__init__()
        sides = config.kernel_sizes
        widths = [len(part) for part in np.array_split(np.arange(channels), len(sides))]
        self.branches = nn.ModuleList(
            Layer(channels, width, k, config)
            for k, width in zip(sides, widths, strict=True)
        )

    def forward(self, x):
        return x + torch.cat([branch(x) for branch in self.branches], dim=1)

    def slots(self):
        for branch in self.branches:
            k = branch.conv.kernel_size[0]
            for slot in weight_slots(branch.conv):
                yield slot.inside(f"conv_{k}x{k}")
            yield from norm_slots(branch.norm)


class Parts(nn.ModuleDict):
    """Named parts; the names are Flax's."""

    def slots(self):
        for name, part in self.items():
            yield from (slot.inside(name) for slot in part.slots())


class _Block(Parts):
    def __init__(self, in_channels, config):
        super().__init__({"in": Layer(in_channels, config.width, 1, config)})
        for i in range(config.num_sub_blocks):
            self[f"sub{i}"] = SubBlock(config.width, config)

    def enter(self, x):
        for name, part in self.items():
            x = part(x) if name not in ("down", "up") else x
        return x


class DownBlock(_Block):
    def __init__(self, in_channels, config):
        super().__init__(in_channels, config)
        self["down"] = Layer(config.width, config.width, 3, config, stride=2)

    def forward(self, x):
        x = self.enter(x)
        return x, self["down"](x)


class UpBlock(_Block):
    def __init__(self, in_channels, config):
        super().__init__(in_channels, config)
        self["up"] = Layer(config.width, config.width, 3, config, up=True)

    def forward(self, x):
        return self["up"](self.enter(x))


class _Growing(Parts):
    """Down blocks behind a 1x1 convolution; with `fading` also the older heads."""

    def __init__(self, config, resolution, in_channels, *, fading):
        super().__init__()
        self.config, self.resolution = config, resolution
        self.heads = [resolution, resolution // 2] if fading else [resolution]
        for r in self.heads:
            self[f"r{r}_from_rgb"] = Layer(in_channels, config.width, 1, config)
        for r in resolutions_up_to(resolution):
            self[f"r{r}_down"] = DownBlock(config.width, config)

    def descend(self, x, fade):
        features = {}
        r = self.resolution
        h = self[f"r{r}_from_rgb"](x)
        while r >= 4:
            features[r], h = self[f"r{r}_down"](h)
            if r == self.resolution and fade is not None:
                small = nn.functional.interpolate(x, scale_factor=0.5, mode="area")
                h = fade * h + (1 - fade) * self[f"r{r // 2}_from_rgb"](small)
            r //= 2
        return features, h

    def train_from(self, update_from):
        """Training mode, but for the parts of stages below `update_from`."""
        for name, part in self.items():
            part.train(int(name.split("_")[0][1:]) >= update_from)


class Generator(_Growing):
    def __init__(self, config, resolution, in_channels, *, fading):
        super().__init__(config, resolution, in_channels, fading=fading)
        for r in resolutions_up_to(resolution):
            self[f"r{r}_up"] = UpBlock(config.width, config)
        for r in self.heads:
            self[f"r{r}_to_rgb"] = Layer(config.width, 3, 3, config, linear=True)

    def forward(self, x, fade=None):
        features, h = self.descend(x, fade)
        pictures = {}
        for r in resolutions_up_to(self.resolution):
            h = self[f"r{r}_up"](h)
            if self.config.skip == "add":
                h = h + features[r]
            if r in self.heads:
                pictures[r] = self[f"r{r}_to_rgb"](h)
        new = pictures[self.resolution]
        if fade is None:
            return new
        old = pictures[self.resolution // 2]
        old = nn.functional.interpolate(old, scale_factor=2, mode="nearest")
        return fade * new + (1 - fade) * old


class DenseHead(nn.Module):
    def __init__(self, config):
        super().__init__()
        n = 2 * 2 * config.width
        self.hidden = normalise_weight(nn.Linear(n, n, bias=False), config)
        self.logit = normalise_weight(nn.Linear(n, 1, bias=False), config)
        self.activation = make_activation(config)

    def forward(self, x):
        return self.logit(self.activation(self.hidden(x)))[:, 0]

    def slots(self):
        yield from (slot.inside("hidden") for slot in weight_slots(self.hidden))
        yield from (slot.inside("logit") for slot in weight_slots(self.logit))


class Discriminator(_Growing):
    def __init__(self, config, resolution, in_channels, *, fading):
        super().__init__(config, resolution, in_channels, fading=fading)
        self[f"r{resolution}_head"] = DenseHead(config)

    def forward(self, x, fade=None):
        _, h = self.descend(x, fade)
        h = h.permute(0, 2, 3, 1).flatten(1)  # channels last, as in Flax
        return self[f"r{self.resolution}_head"](h)


@dataclasses.dataclass(frozen=True)
class Slot:
    """One tensor of a twin, its place among Flax's variables and its layout there."""

    collection: str
    path: tuple[str, ...]
    tensor: Any
    to_flax: Callable[[np.ndarray], np.ndarray]

    def inside(self, name: str) -> "Slot":
        return dataclasses.replace(self, path=(name, *self.path))


def weight_slots(module) -> Iterator[Slot]:
    """The weight of a convolution or dense layer and what its norm adds."""

    def as_kernel(weight):
        if isinstance(module, nn.ConvTranspose2d):  # (i, o, k, k), turned by 180
            return weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
        return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T

    def as_right_vector(v):  # over all axes of the weight but the output channels
        shape = list(module.parametrizations.weight.original.shape)
        shape[1 if isinstance(module, nn.ConvTranspose2d) else 0] = 1
        return as_kernel(v.reshape(shape)).ravel()

    if not hasattr(module, "parametrizations"):
        yield Slot("params", ("kernel",), module.weight, as_kernel)
        return
    weight = module.parametrizations.weight
    if hasattr(weight, "original1"):
        yield Slot("params", ("scale",), weight.original0, np.ravel)
        yield Slot("params", ("kernel",), weight.original1, as_kernel)
    else:
        spectral = weight[0]
        yield Slot("params", ("kernel",), weight.original, as_kernel)
        yield Slot("spectral", ("u",), spectral._u, np.ravel)
        yield Slot("spectral", ("v",), spectral._v, as_right_vector)


def norm_slots(norm) -> Iterator[Slot]:
    if isinstance(norm, nn.BatchNorm2d):
        path = ("norm", "batch_norm")
        yield Slot("params", (*path, "scale"), norm.weight, np.ravel)
        yield Slot("params", (*path, "bias"), norm.bias, np.ravel)
        yield Slot("batch_stats", (*path, "mean"), norm.running_mean, np.ravel)
        yield Slot("batch_stats", (*path, "var"), norm.running_var, np.ravel)


def variables(twin, value: Callable[[Any], Any] = lambda tensor: tensor) -> dict:
    """Flax's variables with `value` of each tensor; branches of a norm are joined."""
    tree: dict = {}
    for slot in twin.slots():
        if (tensor := value(slot.tensor)) is None:
            continue
        array = slot.to_flax(tensor.detach().cpu().numpy()).astype(np.float32)
        node = tree.setdefault(slot.collection, {})
        for name in slot.path[:-1]:
            node = node.setdefault(name, {})
        previous = [node[slot.path[-1]]] if slot.path[-1] in node else []
        node[slot.path[-1]] = np.concatenate([*previous, array], axis=-1)
    return tree


def move_weights(twin) -> None:
    """Multiplies every weight by its own factor; they stay float32 numbers."""
    with torch.no_grad():
        for weight in twin.parameters():
            weight *= 0.75 + 0.5 * torch.rand_like(weight)
            weight.copy_(weight.float())
