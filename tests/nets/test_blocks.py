"""Sub-block and blocks: shapes, counts, and the fusion of the branches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.nets.blocks import DownBlock, SubBlock, UpBlock
from jaxgrow.nets.layers import LayerConfig
from jaxgrow.training.train_state import count_params
from tests.support import oracles
from tests.support.oracles import assert_close


PLAIN = LayerConfig(norm="none")


def shapes(module, *shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, update=False), x
    )


@pytest.mark.parametrize("kernel_sizes", [(1, 3, 5), (5, 1), (3,)])
@pytest.mark.parametrize("side", [2, 4, 8])
def test_the_fused_sub_block_is_separate_convolutions_side_by_side(side, kernel_sizes):
    rng = np.random.default_rng(0)
    module = SubBlock(kernel_sizes, PLAIN)
    x = rng.normal(size=(2, side, side, 7)).astype(np.float32)
    _, variables = shapes(module, *x.shape)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), variables["params"]
    )
    branches = [
        oracles.convolve(x, params[f"conv_{k}x{k}"]["kernel"]) for k in kernel_sizes
    ]
    h = np.concatenate(branches, axis=-1)
    expected = x + np.where(h > 0, h, 0.01 * h)
    y = jax.jit(lambda p, x: module.apply({"params": p}, x, update=True))(params, x)
    assert_close(y, expected, 1e-6)


@pytest.mark.parametrize(
    ("channels", "widths"), [(6, (2, 2, 2)), (7, (3, 2, 2)), (8, (3, 3, 2))]
)
def test_the_first_branches_take_the_channels_left_over(channels, widths):
    y, variables = shapes(SubBlock((1, 3, 5), PLAIN), 2, 4, 4, channels)
    assert y.shape == (2, 4, 4, channels)
    kernels = variables["params"]
    got = tuple(kernels[f"conv_{k}x{k}"]["kernel"].shape[-1] for k in (1, 3, 5))
    assert got == widths


@pytest.mark.parametrize("width", [3, 8, 27])
@pytest.mark.parametrize("side", [4, 8, 64])
@pytest.mark.parametrize("num_sub_blocks", [0, 1, 3])
def test_blocks_have_the_shapes_and_the_size_of_a_hand_count(
    width, side, num_sub_blocks
):
    kernel_sizes, in_channels = (1, 3, 5), 4
    parts = (width, kernel_sizes, num_sub_blocks, PLAIN)
    widths = [math.ceil((width - i) / 3) for i in range(3)]
    sub_block = sum(
        k * k * width * w for k, w in zip(kernel_sizes, widths, strict=True)
    )
    expected = in_channels * width + num_sub_blocks * sub_block + 9 * width * width

    (features, down), variables = shapes(DownBlock(*parts), 2, side, side, in_channels)
    assert features.shape == (2, side, side, width)
    assert down.shape == (2, side // 2, side // 2, width)
    assert count_params(variables) == expected
    up, variables = shapes(UpBlock(*parts), 2, side // 2, side // 2, in_channels)
    assert up.shape == (2, side, side, width)
    assert count_params(variables) == expected
