"""The score network: golden numbers, a PyTorch twin, sizes, start and options."""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.errors import UserError
from jaxgrow.nets import score
from jaxgrow.nets.initial import shapes_of
from jaxgrow.nets.score import ScoreConfig, ScoreNet, apply_score, init_score
from tests.support.golden_fill import filled
from tests.support.oracles import assert_close, assert_identical, by_path, quick_jit


TINY = ScoreConfig(width=64, time_dim=16, num_groups=8)
VIEWS, DIM = 3, 4


def canonical_order() -> list[str]:
    """Layers in PyTorch's order: time, up before mid, and the last norm after `out`."""

    def block(name, *, shortcut=False):
        layers = ["time", "linear0", "norm0", "linear1", "norm1"]
        layers += ["shortcut"] if shortcut else []
        return [f"{name}/{layer}" for layer in layers]

    order = ["in", "time0", "time1"]
    for name, shortcut in (("down", False), ("up", True)):
        for i in range(2):
            order += [*block(f"{name}{i}", shortcut=shortcut), f"{name}{i}_out"]
    order += [*block("mid0"), *block("mid1"), *block("final", shortcut=True)]
    return [*order, "out", "out_norm"]


def variable_shapes(config: ScoreConfig, num_views: int, latent_dim: int):
    x = jax.ShapeDtypeStruct((1, num_views, latent_dim), jnp.float32)
    tau = jax.ShapeDtypeStruct((1, num_views), jnp.float32)
    missing = jax.ShapeDtypeStruct((1, num_views), jnp.bool_)
    return shapes_of(ScoreNet(config), x, tau, missing)["params"]


@functools.cache
def forward(config: ScoreConfig):
    """(params, x, tau[, missing]) to the raw output."""
    return quick_jit(functools.partial(apply_score, config))


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def golden_inputs() -> tuple[np.ndarray, np.ndarray]:
    x = np.cos(0.5 * np.arange(2)[:, None] + 0.3 * np.arange(VIEWS * DIM)[None])
    return x.reshape(2, VIEWS, DIM), np.array([[0.7, 0.7, 0.7], [0.4, 0.0, 0.4]])


fresh_params = functools.cache(init_score)


def random_params(config: ScoreConfig, num_views: int = VIEWS, latent_dim: int = DIM):
    """Fresh ones, but for an output layer that is not zero."""
    params = fresh_params(config, num_views, latent_dim, 0)
    kernel = np.random.default_rng(1).normal(size=params["out"]["kernel"].shape)
    return {**params, "out": {**params["out"], "kernel": jnp.float32(0.05 * kernel)}}


def inputs(batch: int = 5, seed: int = 2):
    rng = np.random.default_rng(seed)
    x = jnp.float32(rng.normal(size=(batch, VIEWS, DIM)))
    missing = rng.random((batch, VIEWS)) < 0.5
    tau = np.where(missing, rng.random((batch, 1)), 0.0)
    return x, jnp.float32(tau), jnp.asarray(missing)


def test_the_network_gives_the_golden_numbers():
    shapes = variable_shapes(TINY, VIEWS, DIM)
    assert count(shapes) == 123_804
    with jax.enable_x64(True):
        out = forward(TINY)(filled(shapes, canonical_order()), *golden_inputs())
        assert out.dtype == jnp.float64
        out = np.asarray(out)
    golden = """
        0.03027256 0.37091563 -0.04915297 -0.43690233 -0.04896295 0.48873021
        0.27743522 -0.27538762 -0.17970302 0.38826567 0.39797231 -0.21327347
        0.02183744 0.36970718 -0.04100252 -0.43377394 -0.05637647 0.48385547
        0.28370044 -0.26903704 -0.18447228 0.38079163 0.40098098 -0.20509071"""
    golden = np.array(golden.split(), np.float64).reshape(2, VIEWS, DIM)
    np.testing.assert_allclose(out, golden, rtol=0, atol=6e-9)
    np.testing.assert_allclose(np.sum(out), 1.5013294455, rtol=0, atol=6e-11)
    np.testing.assert_allclose(np.sum(out**2), 2.2118115059, rtol=0, atol=6e-11)


@pytest.mark.parametrize(
    ("width", "num_views", "latent_dim", "number"),
    [(1536, 4, 64, 70_357_760), (1024, 4, 64, 32_837_888), (1024, 2, 48, 32_509_024)],
)
def test_the_network_has_the_papers_size(width, num_views, latent_dim, number):
    shapes = variable_shapes(ScoreConfig(width=width), num_views, latent_dim)
    assert count(shapes) == number
    if width == 1536:
        assert len(jax.tree.leaves(shapes)) == 94


def test_output_and_gradients_are_those_of_a_pytorch_twin():
    twins: Any = pytest.importorskip("tests.torch_twins_views")
    torch = twins.torch
    torch.manual_seed(0)
    twin = twins.ScoreNet(VIEWS, DIM, width=64, time_dim=16, num_groups=8).double()
    with torch.no_grad():
        for tensor in twin.parameters():  # no zeros and no ones are left
            tensor += 0.1 * torch.randn_like(tensor)
            tensor.copy_(tensor.float())
    x, tau, _ = inputs()
    cotangent = np.random.default_rng(3).normal(size=x.shape).astype(np.float32)

    @quick_jit
    def run(*args):
        out, pullback = jax.vjp(functools.partial(apply_score, TINY), *args)
        return out, *pullback(jnp.asarray(cotangent))

    params = twins.variables(twin)["params"]
    out, param_grads, *input_grads = run(params, x, tau)
    wants_grad = [torch.tensor(np.asarray(a)).double() for a in (x, tau)]
    expected = twin(*(a.requires_grad_() for a in wants_grad))
    expected.backward(torch.tensor(cotangent).double())
    assert_close(out, expected.detach().numpy())
    assert_close(input_grads, [a.grad.numpy() for a in wants_grad])
    with torch.no_grad():
        for tensor in twin.parameters():
            tensor.copy_(tensor.grad)
    expected = twins.variables(twin)["params"]
    largest = max(np.max(np.abs(g)) for g in jax.tree.leaves(expected))
    assert_close(param_grads, expected, scale=largest)


def test_a_fresh_network_gives_zero():
    out = forward(TINY)(fresh_params(TINY, VIEWS, DIM, 0), *inputs()[:2])
    assert_identical(out, np.zeros((5, VIEWS, DIM), np.float32))


def test_a_fresh_network_starts_by_pytorchs_law():
    config = ScoreConfig(width=128, time_dim=64, num_groups=8)
    params = by_path(init_score(config, 4, 16, 0))
    for path, values in params.items():
        if "norm" in path[-2] or path[0] == "out":
            expected = 1.0 if path[-1] == "scale" else 0.0
            np.testing.assert_array_equal(values, expected)
            continue
        fan_in = params[*path[:-1], "kernel"].shape[0]
        unit = np.sort(np.ravel(values)) * math.sqrt(fan_in)
        assert np.max(np.abs(unit)) <= 1.0, path
        # The largest gap between the empirical distribution and the uniform one
        # exceeds 2.5 / sqrt(n) with a chance of 7e-6.
        rank = np.arange(1, unit.size + 1) / unit.size
        gap = np.max(np.abs(unit - (2.0 * rank - 1.0))) / 2.0
        assert gap < 2.5 / math.sqrt(unit.size), path


def test_a_fresh_network_depends_on_the_seed_alone():
    assert_identical(init_score(TINY, VIEWS, DIM, 3), init_score(TINY, VIEWS, DIM, 3))
    one, two = by_path(init_score(TINY, 3, 4, 3)), by_path(init_score(TINY, 3, 4, 4))
    assert not np.array_equal(one["in", "kernel"], two["in", "kernel"])
    assert not np.array_equal(
        one["down0", "linear0", "kernel"], one["down1", "linear0", "kernel"]
    )


OPTIONS = {
    "log_snr": {"time_features": "log_snr"},
    "mask": {"mask_input": True},
    "bfloat16": {"compute_dtype": "bfloat16"},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_keeps_examples_apart(options):
    config = dataclasses.replace(TINY, **options)
    params, (x, tau, missing) = random_params(config), inputs()
    out = forward(config)(params, x, tau, missing)
    assert out.shape == x.shape
    assert out.dtype == jnp.float32
    assert np.all(np.isfinite(out))
    tolerance = 0.05 if config.compute_dtype == "bfloat16" else 1e-5
    alone = forward(config)(params, x[-1:], tau[-1:], missing[-1:])
    assert_close(out[-1:], alone, tolerance)


def test_a_bfloat16_norm_loses_no_more_than_its_result_is_rounded_by():
    """Its variance is a difference of squares: here of 400 and 401."""
    half = dataclasses.replace(TINY, compute_dtype="bfloat16")
    x = 20.0 + np.random.default_rng(0).standard_normal((64, TINY.width))
    x = jnp.asarray(x, jnp.bfloat16)

    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x):
            return score._group_norm(half, x, "norm")

    found, _ = Norm().init_with_output(jax.random.key(0), x)
    groups = np.asarray(x, np.float64).reshape(64, TINY.num_groups, -1)
    mean, variance = groups.mean(2, keepdims=True), groups.var(2, keepdims=True)
    exact = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    error = np.abs(np.asarray(found, np.float64) - exact).max()
    assert error < 2.0**-8 * np.abs(exact).max()


def test_bfloat16_is_near_float32():
    params, (x, tau, _) = random_params(TINY), inputs()
    half = dataclasses.replace(TINY, compute_dtype="bfloat16")
    out = forward(half)(params, x, tau)
    assert_close(out, forward(TINY)(params, x, tau), 0.05)


def test_time_features_change_the_network_only_by_more_inputs():
    config = dataclasses.replace(TINY, time_features="log_snr")
    plain, more = (by_path(variable_shapes(c, VIEWS, DIM)) for c in (TINY, config))
    assert more["time0", "kernel"].shape == (VIEWS * (1 + 2 * 8), 16)
    assert {p: s.shape for p, s in more.items() if p != ("time0", "kernel")} == {
        p: s.shape for p, s in plain.items() if p != ("time0", "kernel")
    }


def test_log_snr_features_tell_small_times_apart():
    """From 0.001 to 0.002 they move far; a raw time hardly does."""

    def moved(config):
        params, (x, _, _) = random_params(config), inputs(1)
        early, late = (
            forward(config)(params, x, np.full((1, VIEWS), t, np.float32))
            for t in (0.001, 0.002)
        )
        early, late = np.asarray(early), np.asarray(late)
        return np.linalg.norm(late - early) / np.linalg.norm(early)

    with_features = dataclasses.replace(TINY, time_features="log_snr")
    assert moved(with_features) > 10.0 * moved(TINY)


@pytest.mark.slow
def test_the_mask_is_read_where_asked():
    config = dataclasses.replace(TINY, mask_input=True)
    params, (x, tau, missing) = random_params(config), inputs()
    out = forward(config)(params, x, tau, missing)
    assert np.any(np.abs(out - forward(config)(params, x, tau, ~missing)) > 1e-4)
    with pytest.raises(ValueError, match="mask_input"):
        apply_score(config, params, x, tau)
    plain = random_params(TINY)
    assert_identical(
        forward(TINY)(plain, x, tau, missing), forward(TINY)(plain, x, tau)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_groups": 5}, "num_groups 5 does not divide width 64"),
        ({"width": 0}, "set width to a whole number"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **options)
