"""Networks that others trained, in files that `tools.export_weights` writes.

A file names its network, the source and licence of its weights, and what the network
takes for input. Random weights say so wherever their label is shown.
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
from jaxgrow.nets import (
    classifiers,
    inception,
    squeezenet,
    vgg19,
)
from jaxgrow.nets.classifiers import ClassifierConfig
from jaxgrow.nets.initial import shapes_of
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
"""Classifiers, and what `ClassifierConfig` calls them."""

_FORMAT = "jaxgrow pretrained 1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputLaw:
    """What a network takes: (colours in `range` - mean) / std, in this `order`."""

    range: tuple[float, ...] = (0.0, 1.0)
    mean: tuple[float, ...] = vgg19.IMAGENET_MEAN
    std: tuple[float, ...] = vgg19.IMAGENET_STD
    order: str = "RGB"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the weights of a file are and where they come from.

    Attributes:
        network: Whose weights.
        source: A model's name, a file's, or the random seed.
        licence: Of the source; "not stated" if nobody said.
        source_sha256: Of the checkpoint file, or of the arrays in the order of their
            names where a library handed them over; None for random weights.
        is_random: Whether nothing trained them.
        input: What the network takes for input.
        num_blocks: vgg19, hed-vgg16: how many blocks from the first.
        num_classes: Classifiers: outputs of their head.
        norm: Classifiers: `ClassifierConfig.norm`.
    """

    network: Network
    source: str
    licence: str
    source_sha256: str | None
    is_random: bool
    input: InputLaw
    num_blocks: int | None = None
    num_classes: int | None = None
    norm: str | None = None

    @property
    def label(self) -> str:
        """How to name the weights in logs, tables and reports."""
        return f"{self.network} with RANDOM weights" if self.is_random else self.network


class Pretrained(NamedTuple):
    """A file's variables: `params`, and `batch_stats` for the classifiers."""

    variables: dict[str, PyTree]
    provenance: Provenance


class FeatureNet(NamedTuple):
    """A fixed network, and whose weights it has."""

    features_fn: Callable[[Array], Any]
    provenance: Provenance


class PretrainedClassifier(NamedTuple):
    """Where a fine-tuning starts; `new_head` if the head is fresh."""

    config: ClassifierConfig
    params: Params
    stats: PyTree
    provenance: Provenance
    new_head: bool


def input_law(network: Network) -> InputLaw:
    """What `network` takes for input."""
    if network == "hed-vgg16":
        # Caffe's BGR means; the export turns the first kernel round to RGB.
        mean = tuple(m / 255.0 for m in (122.679, 116.669, 104.007))
        return InputLaw(mean=mean, std=(1.0 / 255.0,) * 3)
    if network == "squeezenet_lpips":
        shift, scale = squeezenet.SHIFT, squeezenet.SCALE
        return InputLaw(range=(-1.0, 1.0), mean=shift, std=scale)
    if network == "inception_fid":
        return InputLaw(mean=(0.5,) * 3, std=(0.5,) * 3)
    return InputLaw()


def variable_shapes(provenance: Provenance) -> dict[str, PyTree]:
    """Shapes and types of the variables that such a file holds."""
    if provenance.network in ARCHITECTURES:
        classes = provenance.num_classes or 0
        return _classifier_shapes(_classifier_config(provenance), classes)
    return _feature_shapes(provenance.network, provenance.num_blocks or 0)


def save(path: Path, pretrained: Pretrained) -> None:
    """Writes variables and provenance to one .safetensors file, in one move.

    Raises:
        ValueError: The arrays are not those of the network.
        UserError: The disk is full, read-only or forbidden.
    """
    variables, provenance = pretrained
    wanted = variable_shapes(provenance)
    if (difference := tensor_file.difference(variables, wanted)) is not None:
        raise ValueError(f"not the arrays of {provenance.network}: {difference}")
    tensor_file.write(path, _FORMAT, {"provenance": provenance}, variables)


def load_features(path: Path, *networks: Network) -> Pretrained:
    """The variables in a file of `tools.export_weights`, bit for bit.

    Args:
        path: The file.
        *networks: Those that will do.

    Raises:
        UserError: The file is missing, damaged, of another version or network, or its
            arrays are not those of its network.
    """
    mend = f"write it with `python -m tools.export_weights {networks[0]} --out FILE`"
    try:
        header, variables = tensor_file.read(path, _FORMAT)
        provenance = configs.from_plain(Provenance, header["provenance"])
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
    if provenance.input != input_law(provenance.network):
        raise UserError(
            f"{path} holds a {provenance.network} for other inputs, "
            f"{provenance.input}: {mend}."
        )
    difference = tensor_file.difference(variables, variable_shapes(provenance))
    if difference is not None:
        raise UserError(
            f"the arrays in {path} are not those of {provenance.network}: "
            f"{difference}; {mend}."
        )
    return Pretrained(variables, provenance)


def load_perceptual(
    path: Path,
    num_blocks: int = 2,
    compute_dtype: Literal["float32", "bfloat16"] = "float32",
) -> FeatureNet:
    """The last relu of each of the first blocks, of pictures in [-1, 1].

    Args:
        path: A file of vgg19 or hed-vgg16.
        num_blocks: How many blocks; relu1_2 and relu2_2 by default, as Eq. 1 has it.
        compute_dtype: Type of the products' operands.

    Raises:
        UserError: See `load_features`; or the file has fewer blocks.
    """
    variables, provenance = load_features(path, *PERCEPTUAL)
    if num_blocks > (provenance.num_blocks or 0):
        raise UserError(
            f"{path} holds {provenance.num_blocks} blocks of {provenance.network}, not "
            f"{num_blocks}: export it without --prefix, or ask for fewer."
        )
    features_fn: FeaturesFn = vgg19.make_features_fn(
        vgg19.first_blocks(variables["params"], num_blocks),
        mean=provenance.input.mean,
        std=provenance.input.std,
        compute_dtype=compute_dtype,
    )
    return FeatureNet(features_fn, provenance)


def load_lpips(path: Path) -> Lpips:
    """LPIPS with SqueezeNet; raises `UserError` as `load_features` does."""
    variables, provenance = load_features(path, "squeezenet_lpips")
    params, net = variables["params"], squeezenet.SqueezeNetFeatures()
    heads = [params["heads"][f"head{i}"] for i in range(len(params["heads"]))]
    return Lpips(
        lambda x: net.apply({"params": params["net"]}, x),  # pyright: ignore
        heads,
        "LPIPS (SqueezeNet" + (", RANDOM weights)" if provenance.is_random else ")"),
    )


def load_inception(path: Path) -> FeatureNet:
    """`inception.inception_features`; raises `UserError` as `load_features` does."""
    variables, provenance = load_features(path, "inception_fid")
    params = variables["params"]
    return FeatureNet(lambda x: inception.inception_features(params, x), provenance)


def load_classifier(
    path: Path,
    config: ClassifierConfig,
    num_classes: int | None = None,
    seed: int | Sequence[int] = 0,
) -> PretrainedClassifier:
    """The weights that a classifier is fine-tuned from.

    Args:
        path: A file of a classifier.
        config: The classifier wanted; its `norm` becomes the file's.
        num_classes: Outputs; a number other than the file's brings a fresh head.
        seed: Of the fresh head.

    Raises:
        UserError: See `load_features`; or the config is of another shape.
    """
    (network,) = [n for n, arch in ARCHITECTURES.items() if arch == config.arch]
    variables, provenance = load_features(path, network)  # pyright: ignore
    given = _classifier_config(provenance)
    other_stem = config.arch == "resnet18" and config.small_stem
    if config.width != given.width or other_stem:
        raise UserError(
            f"the {network} in {path} has width {given.width} and a large stem: use "
            f"--width {given.width} and no --small-stem to start from it."
        )
    config = dataclasses.replace(config, norm=given.norm)
    params, stats = variables["params"], variables["batch_stats"]
    new_head = num_classes not in (None, provenance.num_classes)
    if new_head:
        fresh, _ = classifiers.init_classifier(config, num_classes or 0, seed)
        params = {**params, "head": fresh["head"]}
    return PretrainedClassifier(config, params, stats, provenance, new_head)


def _classifier_config(provenance: Provenance) -> ClassifierConfig:
    arch: Any = ARCHITECTURES[provenance.network]
    norm: Any = provenance.norm or "torchvision"
    return ClassifierConfig(arch=arch, norm=norm)


@functools.cache
def _classifier_shapes(config: ClassifierConfig, num_classes: int) -> dict[str, PyTree]:
    params, stats = jax.eval_shape(
        lambda: classifiers.init_classifier(config, num_classes, 0)
    )
    return {"params": params, "batch_stats": stats}


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
