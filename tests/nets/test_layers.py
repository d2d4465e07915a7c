"""Layers, activations and feature norms against NumPy and PyTorch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.nets.layers import ConvLayer, FeatureNorm, LayerConfig
from tests.support.oracles import assert_close


def draw(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


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
