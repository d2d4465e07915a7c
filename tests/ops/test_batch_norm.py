"""Batch norm against Flax's, which autodiff differentiates."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.devices import backend
from jaxgrow.nets.modules import BatchNorm
from jaxgrow.ops import sum_pixels
from tests.support.oracles import assert_close, quick_jit


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def variables(channels):
    params = {"scale": draw(channels, seed=1), "bias": draw(channels, seed=2)}
    stats = {"mean": draw(channels, seed=3), "var": draw(channels, seed=4) ** 2}
    return jax.device_put({"params": params, "batch_stats": stats})


def outcome(layer, x, g, **call):
    """Output, running statistics, and the gradients of x, scale and bias."""
    given = variables(x.shape[-1])

    def loss(params, x):
        y, changed = layer.apply(
            {**given, "params": params}, x, mutable=["batch_stats"], **call
        )
        return jnp.sum(y * g), (y, changed)

    def run(params, x):
        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

    return quick_jit(run)(given["params"], x)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(3, 32, 5, 4), (2, 7, 1, 3), (5, 1, 1, 2)])
def test_outputs_statistics_and_gradients_are_flaxs(shape, train):
    x, g = 2.0 + draw(*shape, seed=5), draw(*shape, seed=6)
    theirs = nn.BatchNorm(
        use_running_average=not train, momentum=0.9, use_fast_variance=False
    )
    expected = outcome(theirs, x, g)
    found = outcome(BatchNorm(), x, g, train=train)
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-10), found, expected)


def test_devices_that_share_a_batch_have_the_gradients_of_the_whole():
    x, g = draw(2, 4, 3, 2, 5, seed=7), draw(2, 4, 3, 2, 5, seed=8)
    whole, shares = BatchNorm(), BatchNorm(axis_name="devices")
    (d_params, d_x), (y, changed) = outcome(
        whole, x.reshape(8, 3, 2, 5), g.reshape(8, 3, 2, 5), train=True
    )
    (each_params, each_x), (each_y, each_changed) = jax.vmap(
        lambda x, g: outcome(shares, x, g, train=True), axis_name="devices"
    )(x, g)
    assert_close(each_y.reshape(y.shape), y, 1e-10)
    assert_close(each_x.reshape(d_x.shape), d_x, 1e-10)
    jax.tree.map(
        lambda e, w: assert_close(e.sum(axis=0), w, 1e-10), each_params, d_params
    )
    jax.tree.map(lambda e, w: assert_close(e[1], w, 1e-10), each_changed, changed)


def test_a_bfloat16_picture_has_float32_statistics():
    x = jnp.asarray(300.0 + draw(4, 8, 8, 1), jnp.bfloat16)
    given = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), variables(1))
    layer = BatchNorm(momentum=0.0)
    y, changed = quick_jit(
        lambda *args: layer.apply(*args, train=True, mutable=["batch_stats"])
    )(given, x)
    wide = np.asarray(x, np.float64)
    assert y.dtype == jnp.bfloat16
    assert_close(changed["batch_stats"]["var"][0], wide.var(), 1e-4)


@pytest.mark.parametrize("rows", [1, 6, 17, 64])
def test_sums_over_pixels_are_numpys_however_rows_are_banded(monkeypatch, rows):
    x, y = draw(3, rows, 5, 2, seed=1), draw(3, rows, 5, 2, seed=2)
    expected = (x * y).sum(axis=(0, 1, 2))

    def total():
        return quick_jit(lambda *args: sum_pixels(lambda a, b: a * b, *args))(x, y)

    assert_close(total(), expected, 1e-12)
    monkeypatch.setattr(backend, "on_cpu", lambda: False)
    assert_close(total(), expected, 1e-12)
