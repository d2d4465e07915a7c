"""System 2's training steps and samplers in eager PyTorch, with Adam and float32."""

import itertools
from typing import Any, Literal

import numpy as np

from benchmarks.measure import num_cpus
from jaxgrow.multiview.losses import LAPLACE_SCALE
from jaxgrow.multiview.sde import VPSDE
from tests.support import torch_twins_views as twins


torch: Any = twins.torch

_FORMATS = {"contiguous": "contiguous_format", "channels_last": "channels_last"}


class ScoreTwin:
    """Score network with its training step and its samplers."""

    def __init__(
        self, num_views: int, dim: int, width: int, sde: VPSDE, ema_decay: float
    ):
        torch.manual_seed(0)
        torch.set_num_threads(num_cpus())
        self.net = twins.ScoreNet(num_views, dim, width)
        with torch.no_grad():  # an output that is zero at the start would hide errors
            self.net.out.weight.normal_(std=0.02)
        self.params = twins.variables(self.net)["params"]
        averages = torch.optim.swa_utils
        self.ema = averages.AveragedModel(
            self.net, multi_avg_fn=averages.get_ema_multi_avg_fn(ema_decay)
        )
        self.tx = torch.optim.Adam(self.net.parameters(), lr=1e-4)
        self.sde = sde

    @staticmethod
    def tensor(array: Any) -> Any:
        return torch.tensor(np.array(array))

    def marginal(self, t):
        """Return signal and noise (alpha, sigma) of the VP-SDE."""
        slope = self.sde.beta_max - self.sde.beta_min
        integral = self.sde.beta_min * t + 0.5 * slope * t**2
        return torch.exp(-0.5 * integral), torch.sqrt(-torch.expm1(-integral))

    def loss(self, x, eps, tau, missing):
        weight = missing.shape[1] / missing.sum(1)
        errors = missing[..., None] * (self.net(x, tau) + eps) ** 2
        return (weight * errors.sum((1, 2))).mean()

    def step(self, z) -> None:
        b, v, _ = z.shape
        missing = torch.rand(b, v) < 0.5
        missing |= ~missing.any(1, keepdim=True)
        tau = missing * torch.rand(b, 1)
        alpha, sigma = self.marginal(tau)
        eps = torch.randn_like(z)
        x = alpha[..., None] * z + sigma[..., None] * eps
        self.tx.zero_grad()
        self.loss(x, eps, tau, missing).backward()
        self.tx.step()
        self.ema.update_parameters(self.net)

    @torch.inference_mode()
    def sample(
        self, z, missing, start, num_steps: int, name: Literal["ddim", "euler_maruyama"]
    ):
        """Fill the missing views; `start` is the draw at time 1, None draws anew."""
        drawn, ones = missing[..., None], torch.ones(len(z), 1)
        x = torch.where(drawn, torch.randn_like(z) if start is None else start, z)
        times = torch.linspace(1.0, 0.0, num_steps + 1)
        for t, s in itertools.pairwise(times):
            eps = -self.net(x, t * ones * missing)
            (alpha, sigma), (alpha_s, sigma_s) = self.marginal(t), self.marginal(s)
            if name == "ddim":
                moved = alpha_s / alpha * (x - sigma * eps) + sigma_s * eps
            else:
                slope = self.sde.beta_max - self.sde.beta_min
                beta, dt = self.sde.beta_min + slope * t, t - s
                moved = x + dt * beta * (0.5 * x - eps / sigma)
                if s > 0.0:
                    moved = moved + torch.sqrt(beta * dt) * torch.randn_like(x)
            x = torch.where(drawn, moved, z)
        return x


class AutoencoderTwin:
    """Autoencoder `resnet` of 64 px with its training step."""

    def __init__(
        self,
        latent_dim: int,
        base_channels: int,
        layout: Literal["contiguous", "channels_last"],
    ):
        torch.manual_seed(0)
        torch.set_num_threads(num_cpus())
        parts = {
            "encoder": twins.Encoder(latent_dim, base_channels),
            "decoder": twins.Decoder(latent_dim, base_channels),
        }
        self.params = {n: twins.variables(p)["params"] for n, p in parts.items()}
        self.format = getattr(torch, _FORMATS[layout])
        self.net = torch.nn.Sequential(*parts.values()).to(memory_format=self.format)
        self.tx = torch.optim.Adam(self.net.parameters(), lr=1e-3)

    def pictures(self, images: np.ndarray) -> Any:
        """Convert uint8 NHWC to [0, 1] NCHW in the network's layout."""
        pictures = torch.tensor(images).permute(0, 3, 1, 2) / 255.0
        return pictures.contiguous(memory_format=self.format)

    def loss(self, x):
        constant = float(np.log(2.0 * LAPLACE_SCALE)) * x[0].numel()
        errors = (self.net(x) - x).abs() / LAPLACE_SCALE
        return errors.sum((1, 2, 3)).mean() + constant

    def step(self, x) -> None:
        self.tx.zero_grad()
        self.loss(x).backward()
        self.tx.step()
