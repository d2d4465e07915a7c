"""System 1's training step in eager PyTorch: channels last, Adam, float32."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import num_cpus
from jaxgrow.inpainting.batch import Data
from jaxgrow.nets.growing import NetConfig
from jaxgrow.nets.vgg19 import IMAGENET_MEAN, IMAGENET_STD
from jaxgrow.typing import Params
from tests.support import torch_twins


torch: Any = torch_twins.torch

_CHANNELS_LAST: dict[str, Any] = {"memory_format": torch.channels_last}


class GanTwin:
    """Both networks of one resolution and their training step.

    Args:
        resolution: Side of the pictures.
        data: One batch, in order.
        adversarial_weight: Weight of the adversarial term in G's loss.
        perceptual: (output, real) -> a further term of G's loss, or None.

    Attributes:
        start: Initial variables of G and of D, as the Flax modules take them.
    """

    def __init__(
        self,
        resolution: int,
        data: Data,
        adversarial_weight: float,
        perceptual: Callable[[Any, Any], Any] | None = None,
    ):
        torch.manual_seed(0)
        torch.set_num_threads(num_cpus())
        net = NetConfig(skip="add")
        self.g = torch_twins.Generator(net, resolution, 4, fading=False)
        self.d = torch_twins.Discriminator(net, resolution, 3, fading=False)
        self.start = (torch_twins.variables(self.g), torch_twins.variables(self.d))
        for twin in (self.g, self.d):
            twin.float().to(**_CHANNELS_LAST)
            twin.train_from(0)
        real = torch.tensor(np.array(data.images)).permute(0, 3, 1, 2) / 127.5 - 1.0
        mask = torch.tensor(np.array(data.masks)).permute(0, 3, 1, 2).float()
        self.real, self.mask = real.to(**_CHANNELS_LAST), mask.to(**_CHANNELS_LAST)
        self.weight, self.perceptual = adversarial_weight, perceptual
        self.g_tx = torch.optim.Adam(self.g.parameters(), lr=1e-3)
        self.d_tx = torch.optim.Adam(self.d.parameters(), lr=1e-4)

    def step(self) -> dict[str, Any]:
        """Update D, then G; return the losses by the names that jaxgrow logs."""
        softplus = torch.nn.functional.softplus
        output = self.g(torch.cat([self.real * (1 - self.mask), self.mask], 1))
        reconstruction = ((output - self.real) ** 2).mean()
        metrics, loss = {"g/reconstruction": reconstruction}, reconstruction
        if self.perceptual is not None:
            metrics["g/perceptual"] = self.perceptual(output, self.real)
            loss = loss + metrics["g/perceptual"]
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


class PerceptualTwin:
    """Eq. 1 of Speck et al. (2023), with VGG19's weights in `params`."""

    def __init__(self, params: Params):
        self.mean, self.std = (
            torch.tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD)
        )
        self.layers = {}
        for name, layer in params.items():
            kernel = torch.tensor(np.array(layer["kernel"])).permute(3, 2, 0, 1)
            kernel = kernel.contiguous(**_CHANNELS_LAST)
            self.layers[name] = kernel, torch.tensor(np.array(layer["bias"]))

    def features(self, x: Any) -> list[Any]:
        """Return the last activations of the first two blocks."""
        functional, found = torch.nn.functional, []
        x = ((x + 1.0) / 2.0 - self.mean) / self.std
        for block in (1, 2):
            x = functional.max_pool2d(x, 2) if block > 1 else x
            for layer in (1, 2):
                kernel, bias = self.layers[f"conv{block}_{layer}"]
                x = torch.relu(functional.conv2d(x, kernel, bias, padding=1))
            found.append(x)
        return found

    def __call__(self, output: Any, real: Any) -> Any:
        with torch.no_grad():
            targets = self.features(real)
        pairs = zip(self.features(output), targets, strict=True)
        return sum(
            (x - y).flatten(1).norm(dim=1).mean() / x[0].numel() for x, y in pairs
        )
