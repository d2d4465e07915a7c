"""Training steps of classifiers as workloads."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import measure
from benchmarks.measure import Call, Sides
from benchmarks.sizes import Sizes
from benchmarks.view_twins import torch
from jaxgrow.multiview import classifier_step
from jaxgrow.multiview.batch import ImageData, ViewBatch
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.vgg19 import IMAGENET_MEAN, IMAGENET_STD
from jaxgrow.pretrained.networks import (
    ARCHITECTURES,
    Network,
    WeightsProvenance,
    input_format,
)
from jaxgrow.training.train_state import TrainState
from tests.support import torch_twins_features, torch_twins_views
from tools.bridge import convert


_CLASSES = 1000  # of PyTorch's networks


class Case(NamedTuple):
    """A network and the shape of its batch."""

    arch: Literal["resnet18", "mobilenet_v3_large", "mobilenet_v3_small"]
    side: int = 64
    batch_size: int = 128
    width: int = 64


class Twin:
    """A classifier of torchvision with its training step."""

    def __init__(self, case: Case, layout: Literal["contiguous", "channels_last"]):
        torch.manual_seed(0)
        torch.set_num_threads(measure.num_cpus())
        if case.arch == "resnet18":
            self.net = torch_twins_views.ResNet18(_CLASSES, case.width)
        else:
            size = case.arch.removeprefix("mobilenet_v3_")
            self.net = torch_twins_features.MobileNetV3(size, timm=False)
        self.is_resnet = case.arch == "resnet18"
        self.start = _variables(case, self.net)
        names = {"contiguous": "contiguous_format", "channels_last": "channels_last"}
        self.format = getattr(torch, names[layout])
        self.net.train().to(memory_format=self.format)
        self.tx = torch.optim.Adam(self.net.parameters(), lr=1e-4)

    def pictures(self, images: np.ndarray) -> Any:
        """Convert uint8 NHWC to the network's input."""
        x = torch.tensor(images).permute(0, 3, 1, 2) / 255.0
        if not self.is_resnet:  # ResNet18 normalises its input itself
            mean, std = (
                torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD)
            )
            x = (x - mean) / std
        return x.contiguous(memory_format=self.format)

    def step(self, x: Any, labels: Any) -> Any:
        self.tx.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.net(x), labels)
        loss.backward()
        self.tx.step()
        return loss.detach()


def _variables(case: Case, net: Any) -> dict[str, Any]:
    if case.arch == "resnet18":
        return torch_twins_views.variables(net)
    archs = ARCHITECTURES.items()
    network: Network = next(name for name, arch in archs if arch == case.arch)
    provenance = WeightsProvenance(
        network=network,
        source="a twin",
        licence="not stated",
        source_sha256=None,
        is_random=True,
        input=input_format(network),
        num_classes=_CLASSES,
        norm="torchvision",
    )
    state = {key: t.cpu().numpy() for key, t in net.state_dict().items()}
    return convert.from_state_dict(provenance, state, "a twin")


def classifier_sides(case: Case, sizes: Sizes) -> Sides:
    """Build one step with Adam, without mirroring and dropout."""
    rng = np.random.default_rng(0)
    shape = (case.batch_size, case.side, case.side, 3)
    images = rng.integers(0, 256, shape, np.uint8)
    labels = rng.integers(0, _CLASSES, case.batch_size)
    twins = {
        "PyTorch, contiguous": Twin(case, "contiguous"),
        "PyTorch, channels_last": Twin(case, "channels_last"),
    }
    start = jax.tree.map(jnp.array, twins["PyTorch, contiguous"].start)
    config = ClassifierConfig(
        arch=case.arch, width=case.width, compute_dtype=sizes.compute_dtype
    )
    tx = optax.adam(1e-4)
    state = TrainState.create(start["params"], start["batch_stats"], tx, keep_ema=False)
    step = classifier_step.make_classifier_step(config, tx, mirror=False)
    data = ImageData(jnp.asarray(images), jnp.asarray(labels))
    keys = jax.random.key_data(jax.random.split(jax.random.key(0), len(images)))
    batch = ViewBatch(np.arange(len(images), dtype=np.int32), np.asarray(keys))
    run, program = measure.stepper(step, state, data, batch, sizes.steps_per_call)

    loss, close = measure.first_step(run(), "loss"), _tolerance(sizes)

    def step_of(twin: Twin) -> Call:
        return functools.partial(twin.step, twin.pictures(images), torch.tensor(labels))

    calls = {}
    for name, twin in twins.items():
        call = step_of(twin)
        np.testing.assert_allclose(loss, call().item(), rtol=close, err_msg=name)
        calls[name] = call

    def compiled():
        other = Twin(case, "channels_last")
        other.net.compile()
        return step_of(other)

    return Sides(
        ours=run,
        twins=calls,
        items=case.batch_size,
        unit="images",
        checked=f"loss of the first step, {close:.0e}",
        program=program,
        steps_per_call=sizes.steps_per_call,
        batch_size=case.batch_size,
        make_compiled=compiled,
    )


def _tolerance(sizes: Sizes) -> float:
    """Batch statistics of few values magnify rounding, so it is wider."""
    return 5 * measure.tolerance(sizes.compute_dtype)
