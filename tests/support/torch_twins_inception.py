"""A PyTorch twin of FID's Inception, with the keys of the usual PyTorch programs."""

from typing import Any

import pytest


torch: Any = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional


class BasicConv2d(nn.Module):
    def __init__(self, features, out, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(features, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Named branches, each a chain of convolutions."""

    def __init__(self, features, **branches):
        super().__init__()
        for name, layers in branches.items():
            width = features
            for i, (out, kernel, *options) in enumerate(layers, 1):
                stride = options[0] if options else 1
                sides = (kernel, kernel) if isinstance(kernel, int) else kernel
                padding = tuple(side // 2 for side in sides) if stride == 1 else 0
                suffix = f"_{i}" if len(layers) > 1 else ""
                conv = BasicConv2d(width, out, sides, stride, padding)
                self.add_module(f"branch{name}{suffix}", conv)
                width = out

    def run(self, x, name):
        for layer, module in self.named_children():
            if layer in (name, *(f"{name}_{i}" for i in range(1, 6))):
                x = module(x)
        return x


def mean_pool(x):
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class A(Block):
    def __init__(self, features, pooled):
        double = [(64, 1), (96, 3), (96, 3)]
        branches = {"1x1": [(64, 1)], "5x5": [(48, 1), (64, 5)], "3x3dbl": double}
        super().__init__(features, **branches, _pool=[(pooled, 1)])

    def forward(self, x):
        parts = [self.run(x, f"branch{name}") for name in ("1x1", "5x5", "3x3dbl")]
        return torch.cat([*parts, self.branch_pool(mean_pool(x))], 1)


class B(Block):
    def __init__(self):
        double = [(64, 1), (96, 3), (96, 3, 2)]
        super().__init__(288, **{"3x3": [(384, 3, 2)], "3x3dbl": double})

    def forward(self, x):
        parts = [self.branch3x3(x), self.run(x, "branch3x3dbl")]
        return torch.cat([*parts, functional.max_pool2d(x, 3, stride=2)], 1)


class C(Block):
    def __init__(self, width):
        row, column = (1, 7), (7, 1)
        single = [(width, 1), (width, row), (192, column)]
        double = [(width, 1), (width, column), (width, row)]
        double += [(width, column), (192, row)]
        branches = {"1x1": [(192, 1)], "7x7": single, "7x7dbl": double}
        super().__init__(768, **branches, _pool=[(192, 1)])

    def forward(self, x):
        parts = [self.run(x, f"branch{name}") for name in ("1x1", "7x7", "7x7dbl")]
        return torch.cat([*parts, self.branch_pool(mean_pool(x))], 1)


class D(Block):
    def __init__(self):
        wide = [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)]
        super().__init__(768, **{"3x3": [(192, 1), (320, 3, 2)], "7x7x3": wide})

    def forward(self, x):
        parts = [self.run(x, f"branch{name}") for name in ("3x3", "7x7x3")]
        return torch.cat([*parts, functional.max_pool2d(x, 3, stride=2)], 1)


class E(nn.Module):
    def __init__(self, features, pool):
        super().__init__()
        row, column = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
        self.branch1x1 = BasicConv2d(features, 320, 1)
        self.branch3x3_1 = BasicConv2d(features, 384, 1)
        self.branch3x3_2a = BasicConv2d(384, 384, *row)
        self.branch3x3_2b = BasicConv2d(384, 384, *column)
        self.branch3x3dbl_1 = BasicConv2d(features, 448, 1)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, 3, 1, 1)
        self.branch3x3dbl_3a = BasicConv2d(384, 384, *row)
        self.branch3x3dbl_3b = BasicConv2d(384, 384, *column)
        self.branch_pool = BasicConv2d(features, 192, 1)
        self.pool = pool

    def forward(self, x):
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [
            self.branch1x1(x),
            *(self.branch3x3_2a(single), self.branch3x3_2b(single)),
            *(self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)),
            self.branch_pool(self.pool(x)),
        ]
        return torch.cat(parts, 1)


def max_pool_same(x):
    return functional.max_pool2d(x, 3, stride=1, padding=1)


class FidInception(nn.Module):
    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, 3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, 1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(192, 32), A(256, 64), A(288, 64)
        self.Mixed_6a = B()
        self.Mixed_6b, self.Mixed_6c = C(128), C(160)
        self.Mixed_6d, self.Mixed_6e = C(160), C(192)
        self.Mixed_7a = D()
        self.Mixed_7b, self.Mixed_7c = E(1280, mean_pool), E(2048, max_pool_same)
        self.fc = nn.Linear(2048, 1008)

    def blocks(self, x):
        """Output of every block by the name of `InceptionFeatures`."""
        found, pools = {}, {"Conv2d_2b_3x3": "pool1", "Conv2d_4a_3x3": "pool2"}
        for name, module in self.named_children():
            if name == "fc":
                break
            x = module(x)
            if name in pools:
                x = found[pools[name]] = functional.max_pool2d(x, 3, stride=2)
            elif name.startswith("Mixed"):
                found[name] = x
        return found | {"pool3": x.mean(dim=(2, 3))[:, :, None, None]}
