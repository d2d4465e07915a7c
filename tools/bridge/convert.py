"""Conversion of state dicts to Flax's layout, and random weights for tests."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, PyTree

from jaxgrow.errors import UserError
from jaxgrow.pretrained import networks
from jaxgrow.pretrained.networks import Network, WeightsProvenance
from jaxgrow.storage import tensor_file
from tools.bridge import names


StateDict = dict[str, np.ndarray]

# Keys of a whole checkpoint that are not read.
_UNUSED = {
    "vgg19": r"(features\.\d+|classifier\.\d|pre_logits\.fc\d|head\.fc)\.(weight|bias)",
    "squeezenet_lpips": r"(classifier|lins|scaling_layer)\..*",
    "inception_fid": r"fc\..*|.*\.num_batches_tracked",
}
_COUNTS = r".*\.num_batches_tracked"
_NORM = ("weight", "bias", "running_mean", "running_var")
_INCEPTION_EPSILON = 1e-3
_INCEPTION_CLASSES = 1008


def num_classes(network: Network, state: StateDict) -> int | None:
    """Return the outputs of a classifier's head; None for other networks."""
    for key in ("fc.bias", "classifier.bias", "classifier.3.bias"):
        if network in networks.ARCHITECTURES and key in state:
            return len(state[key])
    return None


def norm(network: Network, state: StateDict) -> str | None:
    """Return the library whose batch norms a classifier has; None without a head."""
    if network not in networks.ARCHITECTURES:
        return None
    return "timm" if "conv_stem.weight" in state else "torchvision"


def from_state_dict(
    provenance: WeightsProvenance, state: StateDict, where: str
) -> dict[str, PyTree]:
    """Convert a state dict of PyTorch's layout to the variables of a network.

    Kernels (o, i, h, w) become (h, w, i, o), matrices (o, i) become (i, o); a 1x1
    kernel becomes a matrix where the network has a dense layer. Inception's batch norms
    are folded into the kernels before them, in float64.

    Args:
        provenance: The network and the number of its blocks.
        state: Arrays by key.
        where: Name of the source in messages.

    Raises:
        UserError: A key is missing, unknown or of another shape, or a value is not
            finite.
    """
    network = provenance.network
    state = _renamed(network, state)
    if network == "inception_fid":
        _refuse_other_inception(state, where)
        state = _folded(state)
    shapes = tensor_file.flatten(networks.network_shapes(provenance))
    table = _table(provenance, list(shapes))
    _refuse_unknown(network, state, set(table.values()), where)
    variables = {}
    for path, leaf in shapes.items():
        key = table[path]
        if key not in state:
            raise UserError(
                f"{where} is no state dict of {network}: it has no {key!r}; name a "
                "checkpoint of the network itself."
            )
        array = _turned(np.asarray(state[key]), leaf.shape)
        if array.shape != leaf.shape:
            raise UserError(
                f"{where} has {key!r} of shape {state[key].shape}, which does not give "
                f"the {leaf.shape} of {network}: name a checkpoint of the network "
                "itself."
            )
        if not np.isfinite(array).all():
            raise UserError(
                f"{where} holds NaN or infinity in {key!r}: download it again."
            )
        variables[path] = np.ascontiguousarray(array, np.float32)
    return unflatten_dict(variables, sep="/")


def random_variables(provenance: WeightsProvenance, seed: int) -> dict[str, PyTree]:
    """Draw untrained weights that keep the scale of pictures.

    Kernels are normal with variance 2 / fan_in, biases small. Norms and heads differ
    from their neutral values, so that a test detects if they are ignored.
    """
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> Array:
        noise = rng.standard_normal(leaf.shape, np.float32)
        name = path[-1].key
        if name == "kernel":
            values = noise * math.sqrt(2.0 / math.prod(leaf.shape[:-1]))
        elif name in ("bias", "mean"):
            values = 0.1 * noise
        else:
            values = np.exp(0.2 * noise)
        return jnp.asarray(values, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, networks.network_shapes(provenance))


def _table(provenance: WeightsProvenance, paths: list[str]) -> names.Names:
    network = provenance.network
    if network in networks.PERCEPTUAL:
        return names.vgg19(provenance.num_blocks or 0)
    if network == "squeezenet_lpips":
        return names.squeezenet_lpips()
    if network == "inception_fid":
        layers = [path.split("/")[1] for path in paths if path.endswith("kernel")]
        return names.inception_fid(layers)
    if network == "resnet18":
        return names.resnet18()
    size = "large" if network == "mobilenetv3_large" else "small"
    library = "timm" if provenance.norm == "timm" else "torchvision"
    return names.mobilenetv3(size, library)


def _renamed(network: Network, state: StateDict) -> StateDict:
    """Remove the prefixes that data parallelism and lpips add to the keys."""
    if network == "squeezenet_lpips":
        state = {
            re.sub(r"^net\.slice\d\.", "features.", key): array
            for key, array in state.items()
        }
    return {key.removeprefix("module."): array for key, array in state.items()}


def _folded(state: StateDict) -> StateDict:
    """Fold each batch norm X.bn into the kernel and bias of X.conv."""
    folded = {key: array for key, array in state.items() if ".bn." not in key}
    for key in state:
        name = key.removesuffix(".conv.weight")
        parts = [state.get(f"{name}.bn.{part}") for part in _NORM]
        if name == key or any(array is None for array in parts):
            continue
        scale, shift, mean, var = (np.asarray(a, np.float64) for a in parts)
        scale = scale / np.sqrt(var + _INCEPTION_EPSILON)
        kernel = np.asarray(state[key], np.float64)
        folded[key] = kernel * scale[:, None, None, None]
        folded[f"{name}.conv.bias"] = shift - mean * scale
    return folded


def _refuse_other_inception(state: StateDict, where: str) -> None:
    """Refuse torchvision's Inception v3, which has the same keys but another head."""
    head = state.get("fc.bias")
    if head is not None and len(head) != _INCEPTION_CLASSES:
        raise UserError(
            f"{where} is an Inception v3 of {len(head)} classes, FID's is the one of "
            f"{_INCEPTION_CLASSES} classes of December 2015: name its checkpoint."
        )


def _refuse_unknown(
    network: Network, state: StateDict, known: set[str], where: str
) -> None:
    unused = re.compile(_UNUSED.get(network, _COUNTS))
    for key in state:
        if key not in known and not unused.fullmatch(key):
            raise UserError(
                f"{where} is no state dict of {network}: it has {key!r}, which the "
                "network has not; name a checkpoint of the network itself."
            )


def _turned(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.ndim == 4 and len(shape) < 4 and array.shape[2:] == (1, 1):
        array = array[:, :, 0, 0]
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if array.ndim == 2:
        return array.T if len(shape) == 2 else array.reshape(-1)
    return array
