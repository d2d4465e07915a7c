"""Networks trained by others, in files that `tools.export_weights` writes.

A file names its network, the source and licence of its weights, and the format of the
network's input. The label of random weights says that they are random.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
from jaxtyping import Array, PyTree

from jaxgrow.errors import UserError
from jaxgrow.metrics.lpips import Lpips
from jaxgrow.nets import classifiers, inception, squeezenet, vgg19
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.initial import shapes_of
from jaxgrow.nets.modules import ComputeDtype
from jaxgrow.storage import configs, tensor_file
from jaxgrow.typing import FeaturesFn, Params


Network: TypeAlias = Literal[
    "vgg19",
    "hed-vgg16",
    "squeezenet_lpips",
    "inception_fid",
    "resnet18",
    "mobilenetv3_large",
    "mobilenetv3_small",
]
PERCEPTUAL: tuple[Network, ...] = ("vgg19", "hed-vgg16")
ARCHITECTURES: dict[Network, str] = {
    "resnet18": "resnet18",
    "mobilenetv3_large": "mobilenet_v3_large",
    "mobilenetv3_small": "mobilenet_v3_small",
}
"""Classifiers and their names in `ClassifierConfig`."""

_FORMAT = "jaxgrow pretrained 1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputFormat:
    """The input of a network: (colours in `range` - mean) / std, in this `order`."""

    range: tuple[float, ...] = (0.0, 1.0)
    mean: tuple[float, ...] = vgg19.IMAGENET_MEAN
    std: tuple[float, ...] = vgg19.IMAGENET_STD
    order: str = "RGB"


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightsProvenance:
    """The network and origin of the weights in a file.

    Attributes:
        network: The network.
        source: Name of a model or of a file, or the random seed.
        licence: Licence of the source; "not stated" if unknown.
        source_sha256: Hash of the checkpoint file, or of the arrays in the order of
            their names if they come from a library; None for random weights.
        is_random: True if the weights are not trained.
        input: Format of the network's input.
        num_blocks: vgg19, hed-vgg16: number of blocks from the first.
        num_classes: Classifiers: outputs of the head.
        norm: Classifiers: `ClassifierConfig.norm`.
    """

    network: Network
    source: str
    licence: str
    source_sha256: str | None
    is_random: bool
    input: InputFormat
    num_blocks: int | None = None
    num_classes: int | None = None
    norm: str | None = None

    @property
    def label(self) -> str:
        """Name of the weights in logs, tables and reports."""
        return f"{self.network} with RANDOM weights" if self.is_random else self.network


class Pretrained(NamedTuple):
    """The variables of a file: `params`, and `batch_stats` for classifiers."""

    variables: dict[str, PyTree]
    provenance: WeightsProvenance


class FeatureNet(NamedTuple):
    """A fixed network, and the provenance of its weights."""

    features_fn: Callable[[Array], Any]
    provenance: WeightsProvenance


class PretrainedClassifier(NamedTuple):
    """The start of a fine-tuning; `new_head` is True if the head is untrained."""

    config: ClassifierConfig
    params: Params
    stats: PyTree
    provenance: WeightsProvenance
    new_head: bool


def input_format(network: Network) -> InputFormat:
    """Return the format of the input of `network`."""
    if network == "hed-vgg16":
        # Caffe's BGR means, reversed, because the export reorders the kernel to RGB.
        mean = tuple(m / 255.0 for m in (122.679, 116.669, 104.007))
        return InputFormat(mean=mean, std=(1.0 / 255.0,) * 3)
    if network == "squeezenet_lpips":
        shift, scale = squeezenet.SHIFT, squeezenet.SCALE
        return InputFormat(range=(-1.0, 1.0), mean=shift, std=scale)
    if network == "inception_fid":
        return InputFormat(mean=(0.5,) * 3, std=(0.5,) * 3)
    return InputFormat()


def network_shapes(provenance: WeightsProvenance) -> dict[str, PyTree]:
    """Return shapes and types of the variables of a file with this provenance."""
    if provenance.network in ARCHITECTURES:
        config, num_classes = _classifier_config(provenance), provenance.num_classes
        params, stats = classifiers.classifier_shapes(config, num_classes or 0)
        return {"params": params, "batch_stats": stats}
    return _feature_shapes(provenance.network, provenance.num_blocks or 0)


def save(path: Path, pretrained: Pretrained) -> None:
    """Write variables and provenance to one .safetensors file atomically.

    Raises:
        ValueError: The arrays do not fit the network.
        UserError: The disk is full, read-only or forbidden.
    """
    variables, provenance = pretrained
    wanted = network_shapes(provenance)
    if (difference := tensor_file.difference(variables, wanted)) is not None:
        raise ValueError(f"not the arrays of {provenance.network}: {difference}")
    tensor_file.save_tensors(path, _FORMAT, {"provenance": provenance}, variables)


def load_features(path: Path, *networks: Network) -> Pretrained:
    """Read the variables in a file of `tools.export_weights`, bit for bit.

    Raises:
        UserError: The file is missing, damaged, of another version or network, or its
            arrays do not fit its network.
    """
    mend = f"write it with `python -m tools.export_weights {networks[0]}`"
    try:
        header, variables = tensor_file.load_tensors(path, _FORMAT)
        provenance = configs.from_plain(WeightsProvenance, header["provenance"])
    except (tensor_file.Unreadable, KeyError, TypeError) as error:
        raise UserError(
            f"{path} holds no weights that this version of jaxgrow reads ({error}): "
            f"{mend}."
        ) from error
    if provenance.network not in networks:
        raise UserError(
            f"{path} holds weights of {provenance.network}, not of "
            f"{' or '.join(networks)}: name another file, or {mend}."
        )
    if provenance.input != input_format(provenance.network):
        raise UserError(
            f"{path} holds a {provenance.network} for other inputs, "
            f"{provenance.input}: {mend}."
        )
    difference = tensor_file.difference(variables, network_shapes(provenance))
    if difference is not None:
        raise UserError(
            f"the arrays in {path} are not those of {provenance.network}: "
            f"{difference}; {mend}."
        )
    return Pretrained(variables, provenance)


def load_perceptual(
    path: Path, num_blocks: int = 2, compute_dtype: ComputeDtype = "float32"
) -> FeatureNet:
    """Load a network that gives the last relu of each of the first blocks.

    It takes pictures in [-1, 1].

    The file is of vgg19 or hed-vgg16; Eq. 1 takes 2 blocks, up to relu2_2.

    Raises:
        UserError: See `load_features`; or the file has fewer blocks.
    """
    variables, provenance = load_features(path, *PERCEPTUAL)
    if num_blocks > (provenance.num_blocks or 0):
        raise UserError(
            f"{path} holds {provenance.num_blocks} blocks of {provenance.network}, not "
            f"{num_blocks}: export all of them, or ask for fewer."
        )
    features_fn: FeaturesFn = vgg19.make_features_fn(
        vgg19.first_blocks(variables["params"], num_blocks),
        mean=provenance.input.mean,
        std=provenance.input.std,
        compute_dtype=compute_dtype,
    )
    return FeatureNet(features_fn, provenance)


def load_lpips(path: Path) -> Lpips:
    """Load LPIPS with SqueezeNet; raises `UserError` as `load_features` does."""
    variables, provenance = load_features(path, "squeezenet_lpips")
    params, net = variables["params"], squeezenet.SqueezeNetFeatures()
    heads = [params["heads"][f"head{i}"] for i in range(len(params["heads"]))]
    return Lpips(
        lambda x: net.apply({"params": params["net"]}, x),  # pyright: ignore
        heads,
        "LPIPS (SqueezeNet" + (", RANDOM weights)" if provenance.is_random else ")"),
    )


def load_inception(path: Path) -> FeatureNet:
    """Load FID's Inception; raises `UserError` as `load_features` does."""
    variables, provenance = load_features(path, "inception_fid")
    params = variables["params"]
    return FeatureNet(lambda x: inception.inception_features(params, x), provenance)


def load_pretrained_classifier(
    path: Path,
    config: ClassifierConfig,
    num_classes: int | None = None,
    seed: int | Sequence[int] = 0,
) -> PretrainedClassifier:
    """Load the weights from which a classifier is fine-tuned.

    The norm of `config` is replaced by the file's. A `num_classes` other than the
    file's gives a new head, drawn from `seed`.

    Raises:
        UserError: See `load_features`; or the config is of another shape.
    """
    (network,) = [n for n, arch in ARCHITECTURES.items() if arch == config.arch]
    variables, provenance = load_features(path, network)  # pyright: ignore
    given = _classifier_config(provenance)
    other_stem = config.arch == "resnet18" and config.small_stem
    if config.width != given.width or other_stem:
        raise UserError(
            f"the {network} in {path} has width {given.width} and a large stem: set "
            f"width to {given.width} and small_stem to False to start from it."
        )
    config = dataclasses.replace(config, norm=given.norm)
    params, stats = variables["params"], variables["batch_stats"]
    new_head = num_classes not in (None, provenance.num_classes)
    if new_head:
        fresh, _ = classifiers.init_classifier(config, num_classes or 0, seed)
        params = {**params, "head": fresh["head"]}
    return PretrainedClassifier(config, params, stats, provenance, new_head)


def _classifier_config(provenance: WeightsProvenance) -> ClassifierConfig:
    arch: Any = ARCHITECTURES[provenance.network]
    norm: Any = provenance.norm or "torchvision"
    return ClassifierConfig(arch=arch, norm=norm)


@functools.cache
def _feature_shapes(network: Network, num_blocks: int) -> dict[str, PyTree]:
    net = squeezenet.SqueezeNetFeatures()
    if network in PERCEPTUAL:
        net = vgg19.VGG19Features(num_blocks)
    elif network == "inception_fid":
        net = inception.InceptionFeatures()
    image = jax.ShapeDtypeStruct((1, 96, 96, 3), "float32")
    taps = shapes_of(net, image)["params"]
    if network != "squeezenet_lpips":
        return {"params": taps}
    heads = {
        f"head{i}": jax.ShapeDtypeStruct((channels,), "float32")
        for i, channels in enumerate(squeezenet.TAP_CHANNELS)
    }
    return {"params": {"net": taps, "heads": heads}}
