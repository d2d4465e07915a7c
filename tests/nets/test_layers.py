"""Convolutions, activations and feature norms against NumPy and PyTorch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgrow.nets.layers import (
    ConvLayer,
    FeatureNorm,
    LayerConfig,
    convolve,
    convolve_branches,
    convolve_transposed,
)
from tests.support import oracles
from tests.support.oracles import assert_close


def draw(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


# Without oneDNN square pictures up to 4x4 take the dense path.
@pytest.mark.usefixtures("either_library")
@pytest.mark.parametrize("size", [(2, 2), (4, 4), (6, 4), (8, 8)])
@pytest.mark.parametrize(("k", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2)])
def test_a_convolution_is_the_sum_over_its_taps(size, k, stride):
    x, kernel = draw(2, *size, 3), draw(k, k, 3, 4, seed=1)
    expected = oracles.convolve(np.asarray(x), np.asarray(kernel), stride)
    assert_close(convolve(x, kernel, stride), expected, 1e-6)


@pytest.mark.usefixtures("either_library")
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (3, 5)])
def test_a_transposed_convolution_scatters_its_flipped_kernel(size):
    x, kernel = draw(2, *size, 3), draw(3, 3, 3, 4, seed=1)
    expected = oracles.convolve_transposed(np.asarray(x), np.asarray(kernel))
    assert_close(convolve_transposed(x, kernel), expected, 1e-6)


def test_a_transposed_convolution_is_the_adjoint_of_the_strided_one():
    x, y, kernel = draw(2, 4, 6, 3), draw(2, 8, 12, 4, seed=1), draw(3, 3, 3, 4, seed=2)
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    up = jnp.vdot(convolve_transposed(x, kernel), y)
    down = jnp.vdot(x, convolve(y, turned, 2))
    np.testing.assert_allclose(up, down, rtol=1e-5)


@pytest.mark.parametrize(("i", "o"), [(3, 9), (27, 27), (16, 3), (3, 40)])
@pytest.mark.parametrize("operation", ["1x1", "3x3", "5x5", "2", "transposed"])
def test_what_suits_a_gpu_changes_neither_result_nor_gradients(
    operation, i, o, monkeypatch
):
    def channels(dtype):
        """Of the one product's kernel: those that it reads, those that it makes."""
        fresh = lambda *args: apply(*args)  # noqa: E731 - for `apply` was traced before
        jaxpr = jax.make_jaxpr(fresh)(x.astype(dtype), kernel.astype(dtype))
        ((_, weights),) = [
            eqn.invars
            for eqn in jaxpr.eqns
            if eqn.primitive.name in ("conv_general_dilated", "dot_general")
        ]
        return weights.aval.shape[-2:]

    def up(n, multiple):
        return n + -n % multiple

    k = int(operation[0]) if "x" in operation else 3
    is_pairwise = operation in ("3x3", "5x5") and 3 < o <= 32
    x, kernel = draw(2, 8, 8, i), draw(k, k, i, o, seed=1)

    def filled(x, kernel):
        if operation == "transposed":
            return convolve_transposed(x, kernel)
        return convolve(x, kernel, 2 if operation == "2" else 1)

    def apply(x, kernel):
        return filled(x, kernel)[..., :o]

    g = draw(*jax.eval_shape(apply, x, kernel).shape, seed=2)

    def results():
        y, pull_back = jax.vjp(apply, x, kernel)
        return y, *pull_back(g)

    plain = results()
    oracles.pretend_to_be_on_a_gpu(monkeypatch)
    assert_close(results(), plain, 1e-6)
    y = filled(x, kernel)
    assert y.shape[-1] == o + -o % 4
    assert not np.any(y[..., o:])
    more = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 8 - i % 8)))  # as layers leave it
    assert_close(apply(more, kernel), plain[0], 1e-6)
    for dtype, multiple in (("float32", 4), ("bfloat16", 8)):
        reads, makes = up(i, multiple), up(o, multiple)
        if is_pairwise:
            reads, makes = 2 * reads, 2 * makes
        elif operation in ("3x3", "5x5") and o == 3:
            makes = k * k * o
        elif operation == "transposed":
            makes = 4 * makes
        assert channels(dtype) == (reads, makes)


def test_a_kernel_of_other_channels_is_refused_on_a_gpu_too(monkeypatch):
    oracles.pretend_to_be_on_a_gpu(monkeypatch)
    kernel = jnp.zeros((3, 3, 27, 27))
    for channels in (25, 30):
        with pytest.raises(ValueError, match=f"does not read {channels} channels"):
            convolve(jnp.zeros((1, 8, 8, channels)), kernel)


@pytest.mark.slow
@pytest.mark.usefixtures("either_library")
def test_branches_are_their_convolutions_side_by_side_in_value_and_gradients():
    x = draw(2, 8, 8, 6)
    kernels = [draw(k, k, 6, o, seed=k) for k, o in ((1, 3), (3, 2), (5, 2))]

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

    g = draw(2, 8, 8, 7, seed=9)
    (y, pull_back), (y_apart, pull_back_apart) = (
        jax.vjp(apply, x, kernels) for apply in (convolve_branches, apart)
    )
    assert_close((y, pull_back(g)), (y_apart, pull_back_apart(g)), 2e-6)
    assert_close(penalty(convolve_branches), penalty(apart), 1e-5)


@pytest.mark.parametrize("size", [(6, 8), (8, 7), (7, 10)])
@pytest.mark.parametrize("k", [3, 5, 7])
def test_a_gpus_pairs_of_columns_suit_every_size(size, k, monkeypatch):
    x, kernel = draw(2, *size, 3), draw(k, k, 3, 4, seed=1)
    expected = oracles.convolve(np.asarray(x), np.asarray(kernel), 1)
    oracles.pretend_to_be_on_a_gpu(monkeypatch)
    assert_close(convolve(x, kernel)[..., :4], expected, 1e-6)


@pytest.mark.parametrize("name", ["leaky_relu", "relu", "elu", "gelu", "silu"])
def test_activations_are_pytorchs_in_value_and_slope(name):
    torch = pytest.importorskip("torch")
    from tests.support.torch_twins import make_activation

    config = LayerConfig(activation=name, slope=0.2)
    x = np.linspace(-6.0, 6.0, 98)  # without 0, where two of them have a corner
    x_twin = torch.tensor(x, requires_grad=True)
    y_twin = make_activation(config)(x_twin)
    y_twin.sum().backward()
    y, slope = jax.vmap(jax.value_and_grad(config.activation_fn))(jnp.asarray(x))
    assert_close(y, y_twin.detach(), 1e-6)
    assert_close(slope, x_twin.grad, 1e-6)


def test_batch_norm_survives_an_offset_far_above_the_spread():
    x = 300.0 + 0.1 * draw(8, 4, 4, 3)
    module = FeatureNorm("batch")
    variables = module.init(jax.random.key(0), x, update=False)
    y, _ = module.apply(variables, x, update=True, mutable=["batch_stats"])
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-5)
    assert_close(y, exact, 1e-3)


def test_instance_norm_gives_every_channel_of_every_picture_mean_0_and_variance_1():
    spread = np.array([1.0, 10.0, 0.1], np.float32).reshape(1, 1, 1, 3)
    x = draw(2, 4, 4, 3) * spread + 5.0
    y: Any = FeatureNorm("instance").apply({}, x, update=False)
    np.testing.assert_allclose(jnp.mean(y, (1, 2)), 0.0, atol=1e-4)
    variance = np.var(np.asarray(x, np.float64), (1, 2))
    expected = variance / (variance + 1e-5)
    np.testing.assert_allclose(jnp.var(y, (1, 2)), expected, rtol=1e-5)


@pytest.mark.parametrize("norm", ["spectral", "weight", "none"])
def test_a_norm_on_the_weights_leaves_the_features_alone(norm):
    x = draw(2, 4, 4, 3)
    assert FeatureNorm(norm).apply({}, x, update=True) is x


@pytest.mark.parametrize(
    ("options", "size"),
    [({}, 8), ({"stride": 2}, 4), ({"transposed": True}, 16), ({"linear": True}, 8)],
)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_a_layer_is_one_kernel_without_a_bias(options, size, norm):
    layer = ConvLayer(5, 3, LayerConfig(norm=norm), **options)
    x = jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32)
    y, variables = jax.eval_shape(
        lambda x: layer.init_with_output(jax.random.key(0), x, update=False), x
    )
    assert y.shape == (2, size, size, 5)
    params = dict(variables["params"])
    assert params.pop("conv")["kernel"].shape == (3, 3, 4, 5)
    assert bool(params) == (norm == "batch" and "linear" not in options)
