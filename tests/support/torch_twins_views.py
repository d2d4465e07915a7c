"""PyTorch twins of the networks for views, as PyTorch's users would write them.

Score network, autoencoder `resnet` and ResNet18, with PyTorch's own layers and initial
weights, NCHW features and channels-first flattening: benchmarks train them as they are.
`variables` gives a twin's weights as Flax would hold them; the names of its parts are
Flax's.
"""

from typing import Any

import numpy as np
import pytest


torch: Any = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional


class ScoreBlock(nn.Module):
    def __init__(self, features, width, time_dim, num_groups):
        super().__init__()
        self.time = nn.Linear(time_dim, width)
        self.norm0 = nn.GroupNorm(num_groups, features)
        self.linear0 = nn.Linear(features, width)
        self.norm1 = nn.GroupNorm(num_groups, width)
        self.linear1 = nn.Linear(width, width)
        self.shortcut = nn.Linear(features, width) if features != width else None

    def forward(self, x, time):
        h = self.linear0(functional.silu(self.norm0(x))) + self.time(time)
        h = self.linear1(functional.silu(self.norm1(h)))
        return h + (x if self.shortcut is None else self.shortcut(x))


class ScoreNet(nn.Module):
    """Of (b, v, d) latents and (b, v) times; the output layer starts at zero."""

    def __init__(self, num_views, latent_dim, width=1536, time_dim=512, num_groups=32):
        super().__init__()

        def block(features):
            return ScoreBlock(features, width, time_dim, num_groups)

        features = num_views * latent_dim
        self.in_ = nn.Linear(features, width)
        self.time0 = nn.Linear(num_views, time_dim)
        self.time1 = nn.Linear(time_dim, time_dim)
        self.down0, self.down1 = block(width), block(width)
        self.down0_out, self.down1_out = (nn.Linear(width, width) for _ in range(2))
        self.mid0, self.mid1 = block(width), block(width)
        self.up0, self.up1 = block(2 * width), block(2 * width)
        self.up0_out, self.up1_out = (nn.Linear(width, width) for _ in range(2))
        self.final = block(2 * width)
        self.out_norm = nn.GroupNorm(num_groups, width)
        self.out = nn.Linear(width, features)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x, tau):
        time = functional.silu(self.time1(functional.gelu(self.time0(tau))))
        h = stem = self.in_(x.flatten(1))
        h = skip0 = self.down0(h, time)
        h = skip1 = self.down1(self.down0_out(h), time)
        h = self.mid1(self.mid0(self.down1_out(h), time), time)
        h = self.up0_out(self.up0(torch.cat([h, skip1], dim=1), time))
        h = self.up1_out(self.up1(torch.cat([h, skip0], dim=1), time))
        h = self.final(torch.cat([h, stem], dim=1), time)
        return self.out(functional.silu(self.out_norm(h))).view_as(x)


def _activate(x):
    return functional.leaky_relu(x, 0.2)


class ResnetBlock(nn.Module):
    def __init__(self, features, out_features):
        super().__init__()
        hidden = min(features, out_features)
        self.conv0 = nn.Conv2d(features, hidden, 3, padding=1)
        self.conv1 = nn.Conv2d(hidden, out_features, 3, padding=1)
        self.shortcut = None
        if features != out_features:
            self.shortcut = nn.Conv2d(features, out_features, 1, bias=False)

    def forward(self, x):
        h = self.conv1(_activate(self.conv0(_activate(x))))
        return (x if self.shortcut is None else self.shortcut(x)) + 0.1 * h


class Encoder(nn.Module):
    """(b, 3, 64, 64) to (b, latent_dim)."""

    def __init__(self, latent_dim=64, base=64):
        super().__init__()
        self.conv_in = nn.Conv2d(3, base, 3, padding=1)
        self.block0 = ResnetBlock(base, base)
        self.block1 = ResnetBlock(base, 2 * base)
        self.block2 = ResnetBlock(2 * base, 4 * base)
        self.linear = nn.Linear(4 * base * 16 * 16, latent_dim)
        self.linear.reads = (4 * base, 16, 16)

    def forward(self, x):
        x = self.block0(self.conv_in(x))
        x = self.block1(functional.avg_pool2d(x, 3, stride=2, padding=1))
        x = self.block2(functional.avg_pool2d(x, 3, stride=2, padding=1))
        return self.linear(_activate(x).flatten(1))


class Decoder(nn.Module):
    """(b, latent_dim) to (b, 3, 64, 64)."""

    def __init__(self, latent_dim=64, base=64):
        super().__init__()
        self.linear = nn.Linear(latent_dim, 4 * base * 16 * 16)
        self.linear.makes = (4 * base, 16, 16)
        self.block0 = ResnetBlock(4 * base, 2 * base)
        self.block1 = ResnetBlock(2 * base, base)
        self.block2 = ResnetBlock(base, base)
        self.conv_out = nn.Conv2d(base, 3, 3, padding=1)

    def forward(self, z):
        x = self.block0(self.linear(z).unflatten(1, self.linear.makes))
        x = self.block1(functional.interpolate(x, scale_factor=2, mode="nearest"))
        x = self.block2(functional.interpolate(x, scale_factor=2, mode="nearest"))
        return self.conv_out(_activate(x))


class BasicBlock(nn.Module):
    def __init__(self, features, width, stride):
        super().__init__()
        self.conv0 = nn.Conv2d(features, width, 3, stride, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.shortcut = None
        if stride != 1 or features != width:
            self.shortcut = nn.Conv2d(features, width, 1, stride, bias=False)
            self.shortcut_norm = nn.BatchNorm2d(width)

    def forward(self, x):
        h = functional.relu(self.norm0(self.conv0(x)))
        h = self.norm1(self.conv1(h))
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return functional.relu(x + h)


class ResNet18(nn.Module):
    """Of (b, 3, h, w) images in [0, 1]."""

    def __init__(self, num_classes, width=64, small_stem=False):
        super().__init__()
        k, stride = (3, 1) if small_stem else (7, 2)
        self.stem = nn.Conv2d(3, width, k, stride, padding=k // 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.small_stem = small_stem
        features = width
        for stage in range(4):
            for i in range(2):
                stride = 2 if stage > 0 and i == 0 else 1
                block = BasicBlock(features, width << stage, stride)
                self.add_module(f"stage{stage}_block{i}", block)
                features = width << stage
        self.head = nn.Linear(features, num_classes)
        mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        self.register_buffer("mean", mean[:, None, None], persistent=False)
        self.register_buffer("std", std[:, None, None], persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x):
        x = functional.relu(self.stem_norm(self.stem((x - self.mean) / self.std)))
        if not self.small_stem:
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for name, block in self.named_children():
            x = block(x) if name.startswith("stage") else x
        return self.head(x.mean(dim=(2, 3)))


def variables(twin) -> dict[str, dict]:
    """{"params": ..., "batch_stats": ...} of a twin, in Flax's layout and float32.

    A module that cannot be called what it is in Flax (`in`) ends in an underscore.
    """
    tree: dict[str, dict] = {"params": {}, "batch_stats": {}}
    for path, module in twin.named_modules():
        path = path.rstrip("_")
        tensors = dict(module.named_parameters(recurse=False))
        for name, tensor in tensors.items():
            kind = name
            if name == "weight":
                kind = "kernel" if tensor.ndim > 1 else "scale"
            _put(tree["params"], f"{path}.{kind}", as_flax(module, tensor))
        if isinstance(module, nn.BatchNorm2d):
            _put(
                tree["batch_stats"],
                f"{path}.mean",
                as_flax(module, module.running_mean),
            )
            _put(
                tree["batch_stats"], f"{path}.var", as_flax(module, module.running_var)
            )
    return tree


def as_flax(module, tensor) -> np.ndarray:
    """A tensor of `module` in Flax's layout: outputs last, features (h, w, c)."""
    array = tensor.detach().cpu().numpy().astype(np.float32)
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if (chw := getattr(module, "reads", None)) and array.ndim == 2:
        return array.reshape(-1, *chw).transpose(2, 3, 1, 0).reshape(-1, len(array))
    if chw := getattr(module, "makes", None):
        rows = array.reshape(*chw, -1).transpose(1, 2, 0, 3)
        array = rows.reshape(array.shape)
    return array.T


def _put(tree: dict, path: str, array: np.ndarray) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[name] = array
