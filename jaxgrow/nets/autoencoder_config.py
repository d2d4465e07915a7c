"""The configuration of both autoencoders."""

import dataclasses
from typing import Annotated, Literal, TypeAlias

from jaxgrow.errors import UserError
from jaxgrow.nets.modules import ComputeDtype
from jaxgrow.ranges import Checked, Range


_Multiple: TypeAlias = Annotated[int, Range(1, 64)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(Checked):
    """Shape of the autoencoder; the defaults are the paper's."""

    arch: Literal["resnet", "autokl"] = "resnet"
    """resnet: 9.8 million weights at 64 px; autokl: 57 million, 12.5 times the work."""
    image_size: Literal[16, 32, 64, 128, 256] = 64
    """Side of the views."""
    latent_dim: Annotated[int, Range(1, 65_536)] = 64
    """Numbers of a view's latent; autokl has (image_size / 8)^2 of them."""
    base_channels: Annotated[int, Range(1, 4096)] = 64
    """Channels at full resolution."""
    linear_path: bool = False
    """resnet: add a term that is linear in the input to the encoder and to the decoder.
    Started from principal components it reconstructs well at once, and the convolutions
    learn the rest."""
    autokl_multipliers: tuple[_Multiple, _Multiple, _Multiple, _Multiple] = (2, 2, 4, 8)
    """autokl: channels of its four levels, in units of `base_channels`."""
    autokl_blocks: _Multiple = 2
    """autokl: residual blocks of each level of the encoder."""
    compute_dtype: ComputeDtype = "float32"
    """Type of the convolutions' operands; parameters and outputs stay float32."""
    remat: bool = False
    """Recompute the blocks' activations in the backward pass: about half the memory of
    a step, for a sixth more arithmetic."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.arch == "autokl":
            self._check_autokl()

    def _check_autokl(self) -> None:
        if self.linear_path:
            raise UserError("autokl has no linear_path: leave it out, or take resnet.")
        latent_dim = (self.image_size // 8) ** 2
        if self.latent_dim != latent_dim:
            raise UserError(
                f"autokl makes {latent_dim} latents of {self.image_size} px: set "
                f"latent_dim to {latent_dim}, not {self.latent_dim}, or take resnet."
            )
        if self.base_channels % 32:
            raise UserError(
                "autokl has group norms of 32 groups: base_channels must be a "
                f"multiple of 32, not {self.base_channels}."
            )
