"""Generator and discriminator that grow by resolution (Speck et al. 2023, Sec. III).

Every submodule is named `r<resolution>_<role>`; freezing and growing depend on that
name alone. The layout is one of many that satisfy the paper's text and have its 328,887
parameters at 64 px; the authors' own is not public.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jaxtyping import Array, Float, PyTree

from jaxgrow import ops
from jaxgrow.errors import UserError
from jaxgrow.nets import channel_padding, weight_norm
from jaxgrow.nets.blocks import DownBlock, UpBlock, branch_name
from jaxgrow.nets.layers import ConvLayer, Kernel, LayerConfig
from jaxgrow.ranges import Range
from jaxgrow.typing import HoleMask, Image


BASE_RESOLUTION = 4
_STAGE_NAME = re.compile(r"r(\d+)_[a-z_]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetConfig(LayerConfig):
    """Shape of the generator and the discriminator."""

    width: Annotated[int, Range(1, 4096)] = 27
    """Channels of every block."""
    kernel_sizes: tuple[Annotated[int, Range(1, 63)], ...] = (1, 3, 5)
    """Odd kernel sides of a sub-block's branches."""
    num_sub_blocks: Annotated[int, Range(0, 64)] = 3
    """Sub-blocks per block."""
    skip: Literal["none", "add"] = "none"
    """add: features of the down block of a resolution join the output of its up block,
    at no parameter more; none: the paper's."""
    fill: Literal["zero", "harmonic"] = "zero"
    """Content of the holes in the generator's input. zero: the paper's. harmonic: the
    solution of Laplace's equation, to which the generator adds what it paints."""

    def __post_init__(self):
        super().__post_init__()
        sizes = self.kernel_sizes
        if not sizes or any(k % 2 == 0 for k in sizes) or len(set(sizes)) < len(sizes):
            raise UserError(f"kernel_sizes must be odd and differ, not {sizes}.")
        if self.width < len(sizes):
            raise UserError(
                f"width {self.width} is below one channel for each of kernel_sizes "
                f"{sizes}: raise it."
            )


def resolutions_up_to(resolution: int) -> list[int]:
    """Return [4, 8, ..., resolution].

    Raises:
        ValueError: The resolution is not 4 times a power of 2.
    """
    resolutions = [BASE_RESOLUTION]
    while resolutions[-1] < resolution:
        resolutions.append(2 * resolutions[-1])
    if resolutions[-1] != resolution:
        raise ValueError(f"resolution must be 4, 8, 16, 32, ..., not {resolution}")
    return resolutions


def halve_side(x: Float[Array, "b r r c"]) -> Float[Array, "b s s c"]:
    """Return the mean of every 2x2 square."""
    return nn.avg_pool(x, (2, 2), (2, 2))


class _Growing(nn.Module):
    """Parts that both networks have.

    Attributes:
        config: Shape of the network.
        resolution: Side of the images of the current stage.
        axis_name: Devices over which batch norm averages, if mapped.
    """

    config: NetConfig
    resolution: int
    axis_name: str | None = None

    def _block(self, block: type[DownBlock] | type[UpBlock], name: str) -> Any:
        c = self.config
        sizes = c.width, c.kernel_sizes, c.num_sub_blocks
        return block(*sizes, c, self.axis_name, name=name)

    def _from_rgb(self, resolution: int) -> ConvLayer:
        name, width = f"r{resolution}_from_rgb", self.config.width
        return ConvLayer(width, 1, self.config, axis_name=self.axis_name, name=name)

    def _to_rgb(self, resolution: int) -> ConvLayer:
        name = f"r{resolution}_to_rgb"
        return ConvLayer(3, 3, self.config, linear=True, name=name)

    def _updates(self, train: bool, update_from: int) -> dict[int, bool]:
        """Return resolution -> True if the norms of its submodules take a step."""
        resolutions = [self.resolution // 2, *resolutions_up_to(self.resolution)]
        return {r: train and r >= update_from for r in resolutions}

    def _descend(
        self,
        x: Float[Array, "b r r c"],
        updates: Mapping[int, bool],
        fade: float | Float[Array, ""] | None,
    ) -> tuple[dict[int, Array], Float[Array, "b 2 2 w"]]:
        """Run the path down to 4 px; return its blocks' features and its output."""
        new, old = self.resolution, self.resolution // 2
        h, features = self._from_rgb(new)(x, update=updates[new]), {}
        for r in reversed(resolutions_up_to(new)):
            features[r], h = self._block(DownBlock, f"r{r}_down")(h, update=updates[r])
            if r == new and fade is not None:
                before = self._from_rgb(old)(halve_side(x), update=updates[old])
                h = (fade * h + (1.0 - fade) * before).astype(h.dtype)
        return features, h


class Generator(_Growing):
    """Masked picture and mask in, picture out (Speck et al. 2023, Sec. III-A).

    from_rgb -> down_R -> ... -> down_4 -> up_4 -> ... -> up_R -> to_rgb.

    Shapes:
        x: (b, R, R, 4): RGB in [-1, 1] with 0 in the hole, then the mask, 1 = hole.
        returns: (b, R, R, 3), linear, float32; clip it where it is saved or measured.
            With the fill `harmonic`, the fill plus what the layers paint.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b r r 4"],
        *,
        train: bool = False,
        update_from: int = 0,
        fade: float | Float[Array, ""] | None = None,
    ) -> Float[Array, "b r r 3"]:
        """Paint a batch; see `apply` for the arguments."""
        new, updates = self.resolution, self._updates(train, update_from)
        filled = None
        if self.config.fill == "harmonic":
            filled = ops.harmonic_fill(x[..., :3], x[..., 3:])
            x = jnp.concatenate([filled, x[..., 3:]], axis=-1)
        skips, h = self._descend(x, updates, fade)
        inner = h
        for r in reversed(skips):
            inner = h
            h = self._block(UpBlock, f"r{r}_up")(h, update=updates[r])
            if self.config.skip == "add":
                h = h + skips[r]
        y = self._to_rgb(new)(h, update=updates[new])
        if fade is not None:
            old = self._to_rgb(new // 2)(inner, update=updates[new // 2])
            y = fade * y + (1.0 - fade) * ops.upsample(old)
        return y if filled is None else filled + y


class Discriminator(_Growing):
    """Picture in, one logit out: down blocks, flatten, two dense layers.

    Shapes:
        x: (b, R, R, 3), or (b, R, R, 4) with the mask.
        returns: (b,) logits, float32; positive = real.
    """

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b r r c"],
        *,
        train: bool = False,
        update_from: int = 0,
        fade: float | Float[Array, ""] | None = None,
    ) -> Float[Array, " b"]:
        """Judge a batch; see `apply` for the arguments."""
        _, h = self._descend(x, self._updates(train, update_from), fade)
        head = DenseHead(self.config, name=f"r{self.resolution}_head")
        return head(h.reshape(h.shape[0], -1))


class DenseHead(nn.Module):
    """Dense n -> n, activation, dense n -> 1; no bias.

    Shapes:
        x: (b, n).
        returns: (b,) logits, float32.
    """

    config: NetConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b n"]) -> Float[Array, " b"]:
        n = x.shape[-1]
        hidden, logit = Kernel((n, n), name="hidden")(), Kernel((n, 1), name="logit")()
        x = self.config.activation_fn(x.astype(jnp.float32) @ hidden)
        return (x @ logit)[:, 0]


def variable_shapes(
    net: Generator | Discriminator, channels: int, *, fading: bool
) -> dict[str, PyTree]:
    """Return the shapes of the variables of `net` for (R, R, channels) images.

    With `fading` the heads of the stage before are included.
    """
    of_module = _module_shapes(net, channels, fading)  # pyright: ignore
    shapes = weight_norm.normed_shapes(of_module, net.config.norm)
    return {name: unflatten_dict(flat) for name, flat in shapes.items()}


def init_variables(
    net: Generator | Discriminator, seed: Sequence[int], channels: int, *, fading: bool
) -> dict[str, PyTree]:
    """Return fresh variables {"params": ..., <collections>: ...}.

    What a generator adds to the harmonic fill begins at zero, unless a norm on the
    weights would divide by it.
    """
    config = net.config
    shapes = _module_shapes(net, channels, fading)  # pyright: ignore
    variables = weight_norm.init_normed(shapes, config.norm, seed)
    if config.fill == "harmonic" and config.norm not in ("spectral", "weight"):
        for name, tree in variables["params"].items():
            if name.endswith("_to_rgb"):
                variables["params"][name] = jax.tree.map(jnp.zeros_like, tree)
    return variables


# A stage asks several times, and each trace takes tenths of a second.
@functools.cache
def _module_shapes(
    net: Generator | Discriminator, channels: int, fading: bool
) -> dict[str, PyTree]:
    side, fade = net.resolution, 1.0 if fading else None
    x = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    return jax.eval_shape(lambda x: net.init(jax.random.key(0), x, fade=fade), x)


def apply(
    net: Generator | Discriminator,
    params: Mapping[str, PyTree],
    stats: Mapping[str, PyTree],
    x: Float[Array, "b r r c"],
    *,
    train: bool = False,
    update_from: int = 0,
    fade: float | Float[Array, ""] | None = None,
) -> tuple[Array, dict[str, PyTree]]:
    """Run a network with its weight norm; return (output, stats after the call).

    Args:
        net: Generator or discriminator.
        params: Submodules by name.
        stats: Its other collections.
        x: The network's input.
        train: True if norms take a step: one power iteration, batch statistics.
        update_from: Resolution below which norms never take a step: frozen stages.
        fade: Share of the new block in [0, 1], beside the heads of the stage before;
            None once the stage stands by itself.
    """
    config = net.config
    multiple = ops.channel_multiple(config.compute_dtype)
    branches = tuple(map(branch_name, config.kernel_sizes))
    out, changed = weight_norm.apply_normed(
        net,
        {"params": params, **stats},
        x,
        norm=config.norm,
        transform=lambda variables: channel_padding.pad(
            variables, config.width, multiple, branches
        ),
        is_updated=lambda path: train and stage_of(path[0]) >= update_from,
        train=train,
        update_from=update_from,
        fade=fade,
    )
    return out, channel_padding.cut(changed, dict(stats))


def stage_of(name: str) -> int:
    """Return the resolution of the stage that owns the submodule `name`."""
    if (match := _STAGE_NAME.fullmatch(name)) is None:
        raise ValueError(f"submodule {name!r} belongs to no stage: want r<res>_<role>")
    return int(match[1])


def generator_input(images: Image, mask: HoleMask) -> Float[Array, "b h w 4"]:
    """Return known pixels with 0 in the hole, and the mask as a fourth channel."""
    return jnp.concatenate([images * (1.0 - mask), mask], axis=-1)
