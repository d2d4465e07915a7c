"""PyTorch twins of pretrained networks, with the keys of timm, torchvision and lpips.

A state dict of a twin is what those libraries write; `test_bridge` holds the keys and
shapes against the libraries where they are installed.
"""

import re
from typing import Any

import pytest


torch: Any = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional

VGG19_TAPS = (3, 8, 17, 26, 35)
MOBILENET_ROWS = {
    # kernel, expanded, out, squeeze, hard swish, stride; a stage of timm a line
    "large": (
        ((3, 16, 16, 0, 0, 1),),
        ((3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1)),
        ((5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1), (5, 120, 40, 1, 0, 1)),
        (
            *((3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1)),
            *((3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1)),
        ),
        ((3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1)),
        ((5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1), (5, 960, 160, 1, 1, 1)),
    ),
    "small": (
        ((3, 16, 16, 1, 0, 2),),
        ((3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1)),
        ((5, 96, 40, 1, 1, 2), (5, 240, 40, 1, 1, 1), (5, 240, 40, 1, 1, 1)),
        ((5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1)),
        ((5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1), (5, 576, 96, 1, 1, 1)),
    ),
}


def randomise(module, seed):
    """Fresh weights that keep the scale of what passes; no norm stays neutral."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point() and tensor.ndim > 1:
                std = (2.0 / tensor[0].numel()) ** 0.5
                tensor.normal_(0.0, std, generator=generator)
            elif tensor.is_floating_point():
                tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
    return module.eval()


def nchw(x):
    """Images of NumPy as a float64 tensor."""
    return torch.tensor(x.transpose(0, 3, 1, 2)).double()


def nhwc(tensor):
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


def imagenet(x):
    """Colours in [0, 1] as ImageNet's networks take them."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).double()
    return (x - mean[:, None, None]) / std[:, None, None]


class VGG19(nn.Module):
    """The convolutions and the classifier, which stays unused and small."""

    def __init__(self):
        super().__init__()
        layers, features = [], 3
        for width, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
            for _ in range(depth):
                layers += [nn.Conv2d(features, width, 3, padding=1), nn.ReLU()]
                features = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(4, 4))

    def taps(self, x, num_blocks):
        found = []
        for i, layer in enumerate(self.features[: VGG19_TAPS[num_blocks - 1] + 1]):
            x = layer(x)
            found += [x] if i in VGG19_TAPS else []
        return found


class Fire(nn.Module):
    def __init__(self, features, squeezed, expanded):
        super().__init__()
        self.squeeze = nn.Conv2d(features, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


def squeezenet():
    """The feature layers, numbered as torchvision does."""

    def pool():
        return nn.MaxPool2d(3, stride=2, ceil_mode=True)

    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()),
        *(Fire(64, 16, 64), Fire(128, 16, 64), pool()),
        *(Fire(128, 32, 128), Fire(256, 32, 128), pool()),
        *(Fire(256, 48, 192), Fire(384, 48, 192)),
        *(Fire(384, 64, 256), Fire(512, 64, 256)),
    )


class Lpips(nn.Module):
    """LPIPS 0.1 with SqueezeNet, without the dropout of its training."""

    def __init__(self):
        super().__init__()
        layers, ends = squeezenet(), (2, 5, 8, 10, 11, 12, 13)
        self.net = nn.Module()
        for k, (start, end) in enumerate(zip((0, *ends), ends, strict=False), 1):
            part = nn.Sequential()
            for i in range(start, end):
                part.add_module(str(i), layers[i])
            self.net.add_module(f"slice{k}", part)
        for i, width in enumerate((64, 128, 256, 384, 384, 512, 512)):
            model = nn.Sequential(
                nn.Identity(), nn.Conv2d(width, 1, 1, bias=False).requires_grad_(False)
            )
            self.add_module(f"lin{i}", nn.ModuleDict({"model": model}))

    def taps(self, x):
        shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])
        x = (x - shift[:, None, None].double()) / scale[:, None, None].double()
        found = []
        for part in self.net.children():
            x = part(x)
            found.append(x)
        return found

    def forward(self, x, y):
        total = 0.0
        for i, (fx, fy) in enumerate(zip(self.taps(x), self.taps(y), strict=True)):
            fx, fy = (f / (f.square().sum(1, True).sqrt() + 1e-10) for f in (fx, fy))
            head = self.get_submodule(f"lin{i}.model")
            total = total + head((fx - fy).square()).mean(dim=(1, 2, 3))
        return total


class BasicBlock(nn.Module):
    def __init__(self, features, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(features, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(features, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        h = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(h + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        for i, width in enumerate((64, 128, 256, 512)):
            features, stride = (64, 1) if i == 0 else (width // 2, 2)
            blocks = BasicBlock(features, width, stride), BasicBlock(width, width, 1)
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(512, 1000)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


def conv_norm(features, out, kernel, stride=1, groups=1, activation=None, timm=False):
    norm = nn.BatchNorm2d(out) if timm else nn.BatchNorm2d(out, 1e-3, momentum=0.01)
    pad = kernel // 2
    conv = nn.Conv2d(features, out, kernel, stride, pad, groups=groups, bias=False)
    return nn.Sequential(conv, norm, *([activation] if activation else []))


class SqueezeExcite(nn.Module):
    def __init__(self, width):
        super().__init__()
        quarter = width // 4
        squeezed = max(8, (quarter + 4) // 8 * 8)
        squeezed += 8 if squeezed < 0.9 * quarter else 0
        self.fc1 = nn.Conv2d(width, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, width, 1)

    def forward(self, x):
        scale = self.fc2(torch.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * functional.hardsigmoid(scale)


class InvertedResidual(nn.Module):
    def __init__(self, features, row, timm):
        super().__init__()
        kernel, width, out, squeeze, hard_swish, stride = row
        act = nn.Hardswish() if hard_swish else nn.ReLU()
        parts = []
        if width != features:
            parts.append(conv_norm(features, width, 1, 1, 1, act, timm))
        parts.append(conv_norm(width, width, kernel, stride, width, act, timm))
        parts += [SqueezeExcite(width)] if squeeze else []
        parts.append(conv_norm(width, out, 1, timm=timm))
        self.block = nn.Sequential(*parts)
        self.adds = stride == 1 and features == out

    def forward(self, x):
        return self.block(x) + x if self.adds else self.block(x)


class MobileNetV3(nn.Module):
    """torchvision's, or with timm's norms; `timm_state_dict` has timm's keys."""

    def __init__(self, size, timm):
        super().__init__()
        swish, self.size = nn.Hardswish(), size
        layers, features = [conv_norm(3, 16, 3, 2, 1, swish, timm)], 16
        for row in (row for stage in MOBILENET_ROWS[size] for row in stage):
            layers.append(InvertedResidual(features, row, timm))
            features = row[2]
        layers.append(conv_norm(features, 6 * features, 1, 1, 1, swish, timm))
        self.features = nn.Sequential(*layers)
        hidden = 1280 if size == "large" else 1024
        self.classifier = nn.Sequential(
            nn.Linear(6 * features, hidden),
            nn.Hardswish(),
            nn.Identity(),
            nn.Linear(hidden, 1000),
        )

    def forward(self, x):
        return self.classifier(self.features(x).mean(dim=(2, 3)))


def timm_state_dict(twin):
    """A MobileNetV3's tensors under timm's keys; its hidden layer is a 1x1 kernel."""
    stages = MOBILENET_ROWS[twin.size]
    places = [
        f"blocks.{s}.{k}" for s, rows in enumerate(stages) for k in range(len(rows))
    ]
    renamed = {"features.0.0": "conv_stem", "features.0.1": "bn1"}
    for i, place in enumerate(places, 1):
        block, count = twin.features[i].block, 0
        convs = ["conv_dw", "conv_pw"]
        if sum(isinstance(part, nn.Sequential) for part in block) == 3:
            convs = ["conv_pw", "conv_dw", "conv_pwl"]
        for k, part in enumerate(block):
            ours = f"features.{i}.block.{k}"
            if isinstance(part, SqueezeExcite):
                renamed[f"{ours}.fc1"] = f"{place}.se.conv_reduce"
                renamed[f"{ours}.fc2"] = f"{place}.se.conv_expand"
                continue
            renamed[f"{ours}.0"] = f"{place}.{convs[count]}"
            renamed[f"{ours}.1"] = f"{place}.bn{count + 1}"
            count += 1
    last, theirs = f"features.{len(places) + 1}", f"blocks.{len(stages)}.0"
    renamed |= {f"{last}.0": f"{theirs}.conv", f"{last}.1": f"{theirs}.bn1"}
    renamed |= {"classifier.0": "conv_head", "classifier.3": "classifier"}
    state = {}
    for key, tensor in twin.state_dict().items():
        module, name = re.fullmatch(r"(.*)\.(\w+)", key).groups()
        if key == "classifier.0.weight":
            tensor = tensor[:, :, None, None]
        state[f"{renamed[module]}.{name}"] = tensor
    return state
