"""Fixed feature networks: the first two blocks of VGG19 for the perceptual loss.

Speck et al. (2023), Sec. III-C, take the features of the first two blocks of an
ImageNet VGG19 (Simonyan and Zisserman 2015): relu1_2 and relu2_2, timm's features.2/3
and features.7/8.
"""

from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import safetensors
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float
from safetensors.numpy import load_file

from jaxgrow.errors import UserError
from jaxgrow.typing import FeaturesFn, Image, Params


_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_NETWORK = "vgg19"


class VGG19Features(nn.Module):
    """conv1_1 to conv2_2 of VGG19, 260,160 parameters.

    Shapes:
        x: (b, h, w, 3) in [-1, 1]; the change to ImageNet's mean and standard
            deviation is inside.
        returns: relu1_2 (b, h, w, 64) and relu2_2 (b, h/2, w/2, 128).
    """

    @nn.compact
    def __call__(self, x: Image) -> list[Float[Array, "b p q c"]]:
        mean, std = jnp.array(_IMAGENET_MEAN), jnp.array(_IMAGENET_STD)
        x = ((x + 1.0) / 2.0 - mean[None, None, None]) / std[None, None, None]
        x = nn.relu(nn.Conv(64, (3, 3), name="conv1_1")(x))
        relu1_2 = nn.relu(nn.Conv(64, (3, 3), name="conv1_2")(x))
        x = nn.max_pool(relu1_2, (2, 2), (2, 2))
        x = nn.relu(nn.Conv(128, (3, 3), name="conv2_1")(x))
        relu2_2 = nn.relu(nn.Conv(128, (3, 3), name="conv2_2")(x))
        return [relu1_2, relu2_2]


def make_features_fn(params: Params) -> FeaturesFn:
    """Feature layers of a picture in [-1, 1], with the weights held fixed."""
    return lambda x: VGG19Features().apply({"params": params}, x)  # pyright: ignore


def load_vgg19(path: Path) -> Params:
    """Weights of `VGG19Features` from a .safetensors file.

    Its metadata says network = vgg19; its keys are conv1_1/kernel (3, 3, 3, 64),
    conv1_1/bias, ..., conv2_2/bias.

    Raises:
        UserError: The file is damaged, of another network or of other shapes.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        flat = load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"cannot read VGG19 weights from {path}: {error}.") from error
    if metadata.get("network") != _NETWORK:
        raise UserError(
            f"{path} holds weights of {metadata.get('network', 'an unnamed network')}, "
            f"not of {_NETWORK}: name another file with --vgg-weights."
        )
    wanted = _shapes()
    found = {name: array.shape for name, array in flat.items()}
    if found != wanted:
        raise UserError(
            f"{path} has arrays {found}; VGG19's first blocks are {wanted}."
        )
    return unflatten_dict(
        {tuple(n.split("/")): jnp.asarray(a) for n, a in flat.items()}
    )


def _shapes() -> dict[str, tuple[int, ...]]:
    layers = [("conv1_1", 3, 64), ("conv1_2", 64, 64), ("conv2_1", 64, 128)]
    shapes = {}
    for name, i, o in [*layers, ("conv2_2", 128, 128)]:
        shapes |= {f"{name}/kernel": (3, 3, i, o), f"{name}/bias": (o,)}
    return shapes
