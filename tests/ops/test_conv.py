"""Convolutions and their gradients, however they are computed, against XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgrow.devices import backend
from jaxgrow.nets.modules import Conv
from jaxgrow.ops import (
    add_bias,
    conv2d,
    conv2d_branches,
    conv2d_depthwise,
    conv2d_transposed,
    upsample_conv2d,
)
from tests.support import oracles
from tests.support.oracles import assert_close, quick_jit


# (h, w, k, i, o): from and to pictures, thin on both sides, a width that four does not
# divide, many channels: every way that `conv2d` can go.
SHAPES = [
    (8, 12, 3, 3, 16),
    (8, 12, 3, 16, 3),
    (12, 8, 3, 2, 3),
    (4, 4, 5, 3, 4),
    (6, 6, 3, 8, 3),
    (8, 8, 3, 8, 8),
    (8, 8, 1, 8, 6),
    (8, 8, 1, 8, 3),
]


def draw(*shape, seed=0, dtype: type = np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def draw32(*shape, seed=0):
    return jnp.asarray(draw(*shape, seed=seed), jnp.float32)


def reference(x, kernel, stride=1):
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def once(function, *args):
    """A result of a program of its own: nothing was traced before."""
    return quick_jit(lambda *args: function(*args))(*args)


def with_gradients(function, *primals, cotangent):
    def run(primals, cotangent):
        out, pull = jax.vjp(function, *primals)
        return out, *pull(cotangent)

    return [np.asarray(a) for a in quick_jit(run)(primals, cotangent)]


@pytest.mark.usefixtures("either_library")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_convolution_and_its_gradients_are_xlas_up_to_rounding(shape):
    h, w, k, i, o = shape
    x, kernel, g = draw(2, h, w, i), draw(k, k, i, o, seed=1), draw(2, h, w, o, seed=2)
    with jax.enable_x64(True):
        exact = with_gradients(reference, x, kernel, cotangent=g)
        found = with_gradients(conv2d, x, kernel, cotangent=g)
    narrow = [a.astype(np.float32) for a in (x, kernel, g)]
    rounded = with_gradients(conv2d, *narrow[:2], cotangent=narrow[2])
    for expected, ours, ours_rounded in zip(exact, found, rounded, strict=True):
        assert (ours.dtype, ours_rounded.dtype) == (np.float64, np.float32)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-14 * scale)
        np.testing.assert_allclose(ours_rounded, expected, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("h", "w", "k"), [(2, 2, 3), (1, 1, 3), (4, 3, 3), (5, 5, 1), (8, 6, 7)]
)
def test_a_strided_or_tiny_convolution_and_its_gradients_are_xlas(h, w, k, stride):
    x, kernel = draw(2, h, w, 5), draw(k, k, 5, 6, seed=1)
    g = draw(2, -(-h // stride), -(-w // stride), 6, seed=2)
    with jax.enable_x64(True):
        plain = functools.partial(reference, stride=stride)
        exact = with_gradients(plain, x, kernel, cotangent=g)
        ours = functools.partial(conv2d, stride=stride)
        found = with_gradients(ours, x, kernel, cotangent=g)
    for expected, one in zip(exact, found, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-14 * scale)


@pytest.mark.usefixtures("either_library")
@pytest.mark.parametrize("channels", [3, 16])
def test_a_convolution_to_few_channels_is_the_sum_over_its_taps(channels):
    x = draw(2, 8, 8, channels, dtype=np.float32)
    kernel = draw(3, 3, channels, 3, seed=1, dtype=np.float32)
    found = once(conv2d, x, kernel)
    assert_close(found, oracles.convolve(x, kernel, 1), 2e-6)


def reference_depthwise(x, kernel, stride):
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@pytest.mark.usefixtures("either_library")
@pytest.mark.parametrize(("h", "w", "o"), [(4, 6, 8), (3, 5, 1), (1, 2, 4)])
def test_a_convolution_of_the_doubled_picture_and_its_gradients_are_xlas(h, w, o):
    x, kernel = draw(2, h, w, 5), draw(3, 3, 5, o, seed=1)
    g = draw(2, 2 * h, 2 * w, o, seed=2)
    with jax.enable_x64(True):
        expected = with_gradients(
            lambda x, kernel: reference(x.repeat(2, 1).repeat(2, 2), kernel),
            x,
            kernel,
            cotangent=g,
        )
    x, kernel, g = (a.astype(np.float32) for a in (x, kernel, g))
    found = with_gradients(upsample_conv2d, x, kernel, cotangent=g)
    for ours, exact in zip(found, expected, strict=True):
        assert_close(ours, exact)
    none = upsample_conv2d(jnp.asarray(x[:0]), jnp.asarray(kernel))
    assert none.shape == (0, *g.shape[1:])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("h", "w", "k"), [(6, 8, 3), (7, 5, 5), (1, 1, 5), (2, 3, 5)])
def test_a_depthwise_convolution_and_its_gradients_are_xlas(h, w, k, stride):
    x, kernel = draw(2, h, w, 6), draw(k, k, 1, 6, seed=1)
    g = draw(2, -(-h // stride), -(-w // stride), 6, seed=2)
    plain = functools.partial(reference_depthwise, stride=stride)
    shifted = functools.partial(conv2d_depthwise, stride=stride)
    with jax.enable_x64(True):
        exact = with_gradients(plain, x, kernel, cotangent=g)
        found = with_gradients(shifted, x, kernel, cotangent=g)
    for expected, ours in zip(exact, found, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-14 * scale)


def test_bfloat16_taps_of_a_depthwise_convolution_are_summed_in_float32():
    x = np.ones((1, 9, 9, 1), jnp.bfloat16)
    kernel = np.full((5, 5, 1, 1), 1 / 256, jnp.bfloat16)
    kernel[0, 0] = 1.0
    centre = np.asarray(once(conv2d_depthwise, x, kernel))[0, 4, 4, 0]
    assert centre == jnp.bfloat16(1 + 24 / 256)


def test_the_gradient_of_a_bias_is_the_sum_over_pixels():
    x, bias, g = draw(4, 32, 32, 5), draw(5, seed=1), draw(4, 32, 32, 5, seed=2)
    narrow = [a.astype(np.float32) for a in (x, bias, g)]
    out, d_x, d_bias = with_gradients(add_bias, *narrow[:2], cotangent=narrow[2])
    np.testing.assert_array_equal(out, narrow[0] + narrow[1])
    np.testing.assert_array_equal(d_x, narrow[2])
    np.testing.assert_allclose(d_bias, g.sum((0, 1, 2)), rtol=0, atol=2e-4)


def test_bfloat16_sums_of_a_bias_are_taken_in_float32():
    g = jnp.full((4, 32, 32, 2), 1.0, jnp.bfloat16)
    x, bias = jnp.zeros_like(g), jnp.zeros(2, jnp.bfloat16)
    _, _, d_bias = with_gradients(add_bias, x, bias, cotangent=g)
    assert d_bias.dtype == jnp.bfloat16
    np.testing.assert_array_equal(d_bias.astype(jnp.float32), 4096.0)


def test_gradients_pass_through_vmap_and_jit():
    x, kernel = draw(3, 2, 8, 8, 3, dtype=np.float32), draw(3, 3, 3, 8, seed=1)
    kernel = jnp.asarray(kernel, jnp.float32)

    def gradient(function):
        def loss(x):
            return jax.grad(lambda k: jnp.sum(function(x, k) ** 2))(kernel)

        return jax.jit(jax.vmap(loss))(x)

    assert_close(gradient(conv2d) / 100.0, gradient(reference) / 100.0, 1e-5)


@pytest.mark.parametrize("features", [3, 8])
def test_off_the_cpu_a_layer_is_the_plain_convolution(monkeypatch, features):
    layer, x = Conv(features), jnp.asarray(draw(2, 8, 8, 8), jnp.float32)
    params = layer.init(jax.random.key(0), x)
    params = jax.tree.map(lambda p: jnp.asarray(draw(*p.shape), p.dtype), params)
    on_cpu = once(layer.apply, params, x)
    monkeypatch.setattr(backend, "on_cpu", lambda: False)
    assert "custom_vjp" not in str(jax.make_jaxpr(layer.apply)(params, x))
    assert_close(once(layer.apply, params, x), on_cpu, 1e-5)


@pytest.mark.usefixtures("either_library")
@pytest.mark.parametrize("size", [(2, 2), (4, 4), (6, 4), (8, 8)])
@pytest.mark.parametrize(("k", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2)])
def test_a_convolution_is_the_sum_over_its_taps(size, k, stride):
    x, kernel = draw32(2, *size, 3), draw32(k, k, 3, 4, seed=1)
    expected = oracles.convolve(np.asarray(x), np.asarray(kernel), stride)
    found = once(functools.partial(conv2d, stride=stride), x, kernel)
    assert_close(found, expected, 1e-6)


@pytest.mark.usefixtures("either_library")
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (3, 5)])
def test_a_transposed_convolution_scatters_its_flipped_kernel(size):
    x, kernel = draw32(2, *size, 3), draw32(3, 3, 3, 4, seed=1)
    expected = oracles.convolve_transposed(np.asarray(x), np.asarray(kernel))
    assert_close(once(conv2d_transposed, x, kernel), expected, 1e-6)


def test_a_transposed_convolution_is_the_adjoint_of_the_strided_one():
    x, y, kernel = (
        draw32(2, 4, 6, 3),
        draw32(2, 8, 12, 4, seed=1),
        draw32(3, 3, 3, 4, seed=2),
    )
    turned = np.asarray(kernel)[::-1, ::-1].swapaxes(2, 3)
    up = np.vdot(once(conv2d_transposed, x, kernel), y)
    down = np.vdot(x, once(functools.partial(conv2d, stride=2), y, turned))
    np.testing.assert_allclose(up, down, rtol=1e-5)


@pytest.mark.parametrize(("i", "o"), [(3, 12), (28, 28), (16, 3), (3, 40), (32, 32)])
@pytest.mark.parametrize("operation", ["1x1", "3x3", "5x5", "2", "transposed"])
def test_what_suits_a_gpu_changes_neither_result_nor_gradients(
    operation, i, o, monkeypatch
):
    def kernel_of_the_product(dtype):
        """Channels that the one product's kernel reads and makes."""
        fresh = lambda *args: apply(*args)  # noqa: E731 - for `apply` was traced before
        jaxpr = jax.make_jaxpr(fresh)(x.astype(dtype), kernel.astype(dtype))
        ((_, weights),) = [
            eqn.invars
            for eqn in jaxpr.eqns
            if eqn.primitive.name in ("conv_general_dilated", "dot_general")
        ]
        return weights.aval.shape[-2:]

    k = int(operation[0]) if "x" in operation else 3
    is_pairwise = operation in ("3x3", "5x5") and 3 < o <= 32
    x, kernel = draw32(2, 8, 8, i), draw32(k, k, i, o, seed=1)

    def apply(x, kernel):
        if operation == "transposed":
            return conv2d_transposed(x, kernel)
        return conv2d(x, kernel, 2 if operation == "2" else 1)

    g = draw32(*jax.eval_shape(apply, x, kernel).shape, seed=2)

    plain = with_gradients(apply, x, kernel, cotangent=g)
    oracles.pretend_to_be_on_a_gpu(monkeypatch)
    assert_close(with_gradients(apply, x, kernel, cotangent=g), plain, 1e-6)
    for dtype, multiple in (("float32", 4), ("bfloat16", 8)):
        reads, makes = (multiple if i == 3 else i), o
        if is_pairwise:
            reads, makes = 2 * reads, 2 * makes
        elif operation in ("3x3", "5x5") and o == 3:
            makes = k * k * o
        elif operation == "transposed":
            makes = 4 * makes
        assert kernel_of_the_product(dtype) == (reads, makes)


@pytest.mark.parametrize("size", [(6, 8), (8, 7), (7, 10)])
@pytest.mark.parametrize("k", [3, 5, 7])
def test_a_gpus_pairs_of_columns_suit_every_size(size, k, monkeypatch):
    x, kernel = draw32(2, *size, 5), draw32(k, k, 5, 4, seed=1)
    expected = oracles.convolve(np.asarray(x), np.asarray(kernel), 1)
    oracles.pretend_to_be_on_a_gpu(monkeypatch)
    assert_close(once(conv2d, x, kernel), expected, 1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("either_library")
def test_branches_are_their_convolutions_side_by_side_in_value_and_gradients():
    x = draw32(2, 8, 8, 6)
    kernels = [draw32(k, k, 6, o, seed=k) for k, o in ((1, 3), (3, 2), (5, 2))]

    def apart(x, kernels):
        plain = lambda kernel: lax.conv_general_dilated(  # noqa: E731
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.concatenate([plain(kernel) for kernel in kernels], axis=-1)

    def penalty(apply):
        """Squares of a gradient, as R1 has them: its own gradient is a second one."""

        def of(x, kernels):
            slope = jax.grad(lambda x: jnp.sum(jnp.tanh(apply(x, kernels))))(x)
            return jnp.sum(slope**2)

        return jax.grad(of, argnums=(0, 1))(x, kernels)

    g = draw32(2, 8, 8, 7, seed=9)
    (y, pull_back), (y_apart, pull_back_apart) = (
        jax.vjp(apply, x, kernels) for apply in (conv2d_branches, apart)
    )
    assert_close((y, pull_back(g)), (y_apart, pull_back_apart(g)), 2e-6)
    assert_close(penalty(conv2d_branches), penalty(apart), 1e-5)
