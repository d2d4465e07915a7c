"""Spectral and weight norm over whole parameter trees, against exact NumPy."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.nets import weight_norm
from jaxgrow.nets.growing import (
    Discriminator,
    Generator,
    NetConfig,
    apply,
    init_variables,
    variable_shapes,
)
from tests.support.oracles import (
    assert_close,
    assert_identical,
    by_path,
    largest_singular_value,
    quick_jit,
)


# Two of one shape, which share their matrix products, and one of every other kind.
SHAPES = {
    "r4_down": {"in": (1, 1, 6, 6), "sub0": (5, 5, 6, 2), "sub1": (5, 5, 6, 2)},
    "r8_down": {"in": (1, 1, 6, 6), "down": (3, 3, 6, 6)},
    "r8_head": {"hidden": (24, 24), "logit": (24, 1)},
}


def is_shape(leaf):
    return isinstance(leaf, tuple)


def random_params(seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: {"kernel": jnp.asarray(rng.normal(size=shape), jnp.float32)},
        SHAPES,
        is_leaf=is_shape,
    )


def random_vectors(seed=1):
    """Unit vectors that know nothing of the kernels: a cold start."""
    rng = np.random.default_rng(seed)

    def unit(n):
        x = rng.normal(size=n)
        return jnp.asarray(x / np.linalg.norm(x), jnp.float32)

    return jax.tree.map(
        lambda shape: {"u": unit(shape[-1]), "v": unit(math.prod(shape[:-1]))},
        SHAPES,
        is_leaf=is_shape,
    )


@jax.jit
def iterate(params, vectors):
    return weight_norm.normed(params, vectors, "spectral", lambda path: True)


@quick_jit
def weight_normed(params):
    return weight_norm.normed(params, None, "weight", lambda path: True)[0]


def sigmas(params, kernels):
    """What `normed` has divided each kernel by."""

    def ratio(before, after):
        return np.vdot(before, after) / np.vdot(after, after)

    return jax.tree.map(ratio, jax.device_get(params), jax.device_get(kernels))


def test_sigma_rises_to_the_largest_singular_value():
    params, vectors = random_params(), random_vectors()
    exact = jax.tree.map(largest_singular_value, params)
    before = jax.tree.map(lambda _: 0.0, exact)
    for _ in range(200):
        kernels, vectors = iterate(params, vectors)
        now = sigmas(params, kernels)
        rises = jax.tree.map(lambda b, n: n >= b * (1 - 1e-6), before, now)
        assert all(jax.tree.leaves(rises))
        before = now
    assert_close(before, exact)
    assert_close(
        jax.tree.map(largest_singular_value, kernels),
        jax.tree.map(lambda _: 1.0, exact),
    )


def test_one_power_iteration_is_the_textbooks():
    params, vectors = random_params(), random_vectors()
    kernels, after = iterate(params, vectors)
    old, new = by_path(vectors), by_path(after)
    for path, kernel in by_path(params).items():
        w = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]).T
        u = w @ np.asarray(old[*path[:-1], "v"], np.float64)
        u /= np.linalg.norm(u)
        v = w.T @ u
        v /= np.linalg.norm(v)
        assert_close((new[*path[:-1], "u"], new[*path[:-1], "v"]), (u, v))
        assert_close(by_path(kernels)[path], kernel / (u @ w @ v))


def test_kernels_not_updated_keep_their_vectors_bit_for_bit():
    params, vectors = random_params(), random_vectors()

    @jax.jit
    def from_8_px(params, vectors):
        def is_updated(path):
            return path[0].startswith("r8")

        return weight_norm.normed(params, vectors, "spectral", is_updated)

    kernels, after = from_8_px(params, vectors)
    assert_identical(after["r4_down"], vectors["r4_down"])
    _, everywhere = iterate(params, vectors)
    assert_close(after["r8_down"], everywhere["r8_down"], 1e-6)
    # A frozen kernel is still divided by the sigma of its stored vectors.
    w = np.asarray(params["r4_down"]["sub0"]["kernel"], np.float64).reshape(-1, 2).T
    stored = vectors["r4_down"]["sub0"]
    sigma = (
        np.asarray(stored["u"], np.float64) @ w @ np.asarray(stored["v"], np.float64)
    )
    expected = params["r4_down"]["sub0"]["kernel"] / sigma
    assert_close(kernels["r4_down"]["sub0"]["kernel"], expected)


@pytest.mark.parametrize("net", [Generator, Discriminator])
def test_fresh_networks_start_with_exact_singular_vectors(net):
    config = NetConfig(num_sub_blocks=1)
    variables = init_variables(net(config, 4), (0,), 4, fading=False)
    params, vectors = variables["params"], variables["spectral"]
    kernels, after = jax.jit(
        lambda p, s: weight_norm.normed(p, s, "spectral", lambda path: False)
    )(params, vectors)
    assert_identical(after, vectors)
    exact = jax.tree.map(largest_singular_value, params)
    assert_close(sigmas(params, kernels), exact)


def test_weight_norm_sets_the_length_of_every_output_channel():
    params = random_params()
    scales = {
        part: {
            name: jnp.asarray(0.5 + np.arange(shape[-1]), jnp.float32)
            for name, shape in layers.items()
        }
        for part, layers in SHAPES.items()
    }
    params = jax.tree.map(
        lambda p, s: {"kernel": p["kernel"], "scale": s},
        params,
        scales,
        is_leaf=lambda leaf: isinstance(leaf, dict) and "kernel" in leaf,
    )
    kernels = weight_normed(params)
    for path, kernel in by_path(kernels).items():
        assert path[-1] == "kernel"
        matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
        length = np.linalg.norm(matrix, axis=0)
        np.testing.assert_allclose(length, 0.5 + np.arange(len(length)), rtol=1e-5)


def test_weight_norm_changes_nothing_at_the_start():
    variables = init_variables(
        Generator(NetConfig(norm="weight"), 4), (0,), 4, fading=False
    )
    kernels = weight_normed(variables["params"])
    for path, kernel in by_path(kernels).items():
        assert_close(kernel, by_path(variables["params"])[path], 1e-6)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_norms_that_are_not_on_the_weights_leave_them_alone(norm):
    params = random_params()
    kernels, vectors = weight_norm.normed(params, None, norm, lambda path: True)
    assert kernels is params
    assert vectors is None


def test_spectral_norm_without_its_vectors_is_refused():
    with pytest.raises(ValueError, match="spectral"):
        weight_norm.normed(random_params(), None, "spectral", lambda path: True)


def test_kernels_start_orthogonal():
    variables = init_variables(
        Generator(NetConfig(width=6, num_sub_blocks=1), 8), (0,), 4, fading=True
    )
    for kernel in by_path(variables["params"]).values():
        matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
        values = np.linalg.svd(matrix, compute_uv=False)
        np.testing.assert_allclose(values, 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("resolution", "norm"), [(4, "spectral"), (32, "spectral"), (32, "none")]
)
def test_a_fresh_generator_is_alive(resolution, norm):
    """PyTorch's kernels give outputs of 2e-3 at 4 px and 2e-6 at 32 px."""
    net = Generator(NetConfig(norm=norm), resolution)
    variables = init_variables(net, (0,), 4, fading=False)
    params = variables.pop("params")
    colours = np.random.default_rng(0).uniform(-1, 1, (4, 1, 1, 4))
    x = np.broadcast_to(colours, (4, resolution, resolution, 4))
    y, _ = jax.jit(functools.partial(apply, net))(params, variables, jnp.float32(x))
    y = np.asarray(y)
    assert 1e-3 < np.sqrt(np.mean(y**2)) < 1.0
    assert y.std(axis=0).mean() > 1e-4


def test_a_fresh_kernel_depends_on_the_seed_and_its_name_alone():
    config = NetConfig(width=6, num_sub_blocks=1)
    small = init_variables(Generator(config, 4), (7,), 4, fading=False)
    large = init_variables(Generator(config, 8), (7,), 4, fading=True)
    other = init_variables(Generator(config, 4), (8,), 4, fading=False)
    for collection in ("params", "spectral"):
        for name, tree in small[collection].items():
            assert_identical(large[collection][name], tree)
    kernels = by_path(small["params"])
    for path, kernel in kernels.items():
        assert not np.array_equal(kernel, by_path(other["params"])[path])
    by_shape = [k for k in kernels.values() if k.shape == (1, 1, 6, 6)]
    assert len(by_shape) == 2
    assert not np.array_equal(*by_shape)


@pytest.mark.parametrize("norm", ["spectral", "weight", "batch", "instance", "none"])
def test_fresh_variables_have_the_networks_shapes(norm):
    net = Discriminator(NetConfig(norm=norm, width=6, num_sub_blocks=1), 8)
    shapes = variable_shapes(net, 3, fading=True)
    variables = init_variables(net, (0,), 3, fading=True)
    expected = {"params"}
    expected |= {"spectral"} if norm == "spectral" else set()
    expected |= {"batch_stats"} if norm == "batch" else set()
    assert set(variables) == expected
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
