"""Progressive-growing inpainting GANs and multi-view latent diffusion, in JAX."""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from jaxgrow.inpainting.inpainter import Inpainter
    from jaxgrow.multiview.augmenter import ViewAugmenter
    from jaxgrow.multiview.generator import ViewGenerator

__all__ = ["Inpainter", "ViewAugmenter", "ViewGenerator", "__version__"]
__version__ = "0.1.0"

# Imported on first use, because `jaxgrow.data` must not import JAX.
_MODULES = {
    "Inpainter": "jaxgrow.inpainting.inpainter",
    "ViewAugmenter": "jaxgrow.multiview.augmenter",
    "ViewGenerator": "jaxgrow.multiview.generator",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
