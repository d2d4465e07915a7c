"""Parameter counts, fading, freezing and number types of the growing networks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.inpainting.freezing import graft
from jaxgrow.nets.growing import (
    Discriminator,
    Generator,
    NetConfig,
    apply,
    generator_input,
    halve_side,
    init_variables,
    resolutions_up_to,
    stage_of,
    variable_shapes,
)
from jaxgrow.ops import harmonic_fill, upsample
from jaxgrow.training.train_state import count_params
from tests.support.oracles import (
    assert_close,
    assert_identical,
    pretend_to_be_on_a_gpu,
    quick_jit,
)


GENERATOR_PARAMETERS = {4: 66_447, 16: 197_667, 64: 328_887}
SMALL = NetConfig(width=6, kernel_sizes=(1, 3), num_sub_blocks=1)
CHANNELS = {Generator: 4, Discriminator: 3}


def shapes(net, channels, fading=False):
    return variable_shapes(net, channels, fading=fading)


@pytest.mark.parametrize(("resolution", "total"), GENERATOR_PARAMETERS.items())
def test_the_generator_has_the_papers_number_of_parameters(resolution, total):
    params = shapes(Generator(NetConfig(), resolution), 4)["params"]
    assert count_params(params) == total
    parts = {name: count_params(p) for name, p in params.items()}
    expected = {f"r{resolution}_from_rgb": 108, f"r{resolution}_to_rgb": 729}
    for r in resolutions_up_to(resolution):
        expected |= {f"r{r}_down": 32_805, f"r{r}_up": 32_805}
    assert parts == expected
    sub_block = params["r4_down"]["sub0"]
    assert count_params(sub_block) == 8_505
    assert count_params(params["r4_down"]["in"]) == 729
    assert count_params(params["r4_up"]["up"]) == 6_561


@pytest.mark.parametrize("skip", ["none", "add"])
def test_a_skip_costs_no_parameter(skip):
    params = shapes(Generator(NetConfig(skip=skip), 64), 4)["params"]
    assert count_params(params) == 328_887


@pytest.mark.parametrize("channels", [3, 4])
def test_the_discriminator_is_down_blocks_and_a_dense_head(channels):
    params = shapes(Discriminator(NetConfig(), 16), channels)["params"]
    parts = {name: count_params(p) for name, p in params.items()}
    assert parts == {
        "r16_from_rgb": 27 * channels,
        "r16_down": 32_805,
        "r8_down": 32_805,
        "r4_down": 32_805,
        "r16_head": 108 * 108 + 108,
    }


def test_fading_adds_the_heads_of_the_stage_before_and_nothing_else():
    plain = shapes(Generator(NetConfig(), 16), 4)["params"]
    fading = shapes(Generator(NetConfig(), 16), 4, fading=True)["params"]
    assert set(fading) - set(plain) == {"r8_from_rgb", "r8_to_rgb"}


@pytest.mark.parametrize("resolution", [0, 2, 6, 48])
def test_a_resolution_off_the_ladder_is_refused(resolution):
    with pytest.raises(ValueError, match=str(resolution)):
        resolutions_up_to(resolution)


def make(module, resolution, config, *, fading=False, seed=0):
    """A network and its fresh (params, stats)."""
    net = module(config, resolution)
    variables = init_variables(net, (seed,), CHANNELS[module], fading=fading)
    return net, variables.pop("params"), variables


def pictures(module, resolution, n=3):
    shape = (n, resolution, resolution, CHANNELS[module])
    values = np.random.default_rng(0).normal(size=shape)
    return jnp.asarray(values, jnp.float32)


@functools.partial(quick_jit, static_argnames=("net", "train", "update_from"))
def run(net, params, stats, x, fade=None, train=False, update_from=0):
    return apply(net, params, stats, x, train=train, update_from=update_from, fade=fade)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_what_is_added_to_the_harmonic_fill_begins_at_zero(norm):
    config = dataclasses.replace(SMALL, fill="harmonic", norm=norm)
    params = make(Generator, 8, config, fading=True)[1]
    for name, tree in params.items():
        is_zero = not any(np.any(leaf) for leaf in jax.tree.leaves(tree))
        assert is_zero == name.endswith("_to_rgb"), name


def test_with_the_harmonic_fill_the_generator_adds_to_it():
    plain, params, stats = make(Generator, 8, SMALL, seed=1)
    config = dataclasses.replace(SMALL, fill="harmonic")
    net = Generator(config, 8)
    images = jnp.asarray(np.random.default_rng(0).random((2, 8, 8, 3), np.float32))
    mask = jnp.zeros((2, 8, 8, 1)).at[:, 2:7, 3:].set(1.0)
    filled = quick_jit(harmonic_fill)(images, mask)
    y, _ = run(net, params, stats, generator_input(images, mask))
    painted, _ = run(plain, params, stats, jnp.concatenate([filled, mask], -1))
    assert_close(y, filled + painted, 1e-6)


@pytest.mark.parametrize("skip", ["none", "add"])
def test_at_fade_0_the_generator_is_the_old_one_on_halved_pictures(skip):
    config = dataclasses.replace(SMALL, skip=skip)
    old, old_params, old_stats = make(Generator, 4, config, seed=1)
    new, params, stats = make(Generator, 8, config, fading=True, seed=2)
    params = graft(params, old_params, 8)
    spectral = graft(stats["spectral"], old_stats["spectral"], 8)
    x = pictures(Generator, 8)
    y, _ = run(new, params, {"spectral": spectral}, x, fade=0.0)
    expected, _ = run(old, old_params, old_stats, halve_side(x))
    assert_close(y, upsample(expected), 1e-6)


def test_at_fade_0_the_discriminator_shows_its_head_the_old_features():
    old, old_params, old_stats = make(Discriminator, 4, SMALL, seed=1)
    new, params, stats = make(Discriminator, 8, SMALL, fading=True, seed=2)

    def with_old_head(fresh, kept):
        return {**graft(fresh, kept, 8), "r8_head": kept["r4_head"]}

    params = with_old_head(params, old_params)
    stats = {"spectral": with_old_head(stats["spectral"], old_stats["spectral"])}
    x = pictures(Discriminator, 8)
    logits, _ = run(new, params, stats, x, fade=0.0)
    expected, _ = run(old, old_params, old_stats, halve_side(x))
    assert_close(logits, expected, 1e-6)


@pytest.mark.parametrize(
    ("module", "skip"),
    [(Generator, "none"), (Generator, "add"), (Discriminator, "none")],
)
def test_at_fade_1_the_old_heads_have_no_part(module, skip):
    config = dataclasses.replace(SMALL, skip=skip)
    net, params, stats = make(module, 8, config, fading=True)
    x = pictures(module, 8)
    faded, _ = run(net, params, stats, x, fade=1.0)

    def without_old_heads(tree):
        return {n: t for n, t in tree.items() if not n.startswith(("r4_from", "r4_to"))}

    expected, _ = run(
        net,
        without_old_heads(params),
        {"spectral": without_old_heads(stats["spectral"])},
        x,
    )
    assert_close(faded, expected, 1e-7)


@pytest.mark.parametrize("norm", ["spectral", "batch"])
@pytest.mark.parametrize("module", [Generator, Discriminator])
def test_frozen_stages_keep_their_statistics_bit_for_bit(module, norm):
    config = dataclasses.replace(SMALL, norm=norm)
    net, params, stats = make(module, 8, config, fading=True)
    # Fresh singular vectors are exact: other weights leave them something to learn.
    params = jax.tree.map(
        lambda p: p + 0.1 * np.cos(np.arange(p.size, dtype="f4")).reshape(p.shape),
        jax.device_get(params),
    )
    x, after = pictures(module, 8), stats
    for _ in range(3):
        _, after = run(net, params, after, x, fade=0.5, train=True, update_from=8)
    (collection,) = stats
    assert set(after) == set(stats)
    for name, tree in stats[collection].items():
        if stage_of(name) < 8:
            assert_identical(after[collection][name], tree)
        else:
            for new, old in zip(
                jax.tree.leaves(after[collection][name]),
                jax.tree.leaves(tree),
                strict=True,
            ):
                assert old.size == 1 or not np.array_equal(new, old), name


@pytest.mark.parametrize("norm", ["spectral", "batch"])
@pytest.mark.parametrize("module", [Generator, Discriminator])
def test_evaluation_leaves_every_statistic_as_it_is(module, norm):
    config = dataclasses.replace(SMALL, norm=norm)
    net, params, stats = make(module, 4, config)
    _, after = run(net, params, stats, pictures(module, 4))
    assert_identical(after, stats)


@pytest.mark.parametrize("norm", ["weight", "instance", "none"])
@pytest.mark.parametrize(
    "module", [Generator, pytest.param(Discriminator, marks=pytest.mark.slow)]
)
def test_without_statistics_training_and_evaluation_are_one_program(module, norm):
    config = dataclasses.replace(SMALL, norm=norm)
    net, params, stats = make(module, 4, config)
    assert stats == {}
    programs = {
        str(run.trace(net, params, stats, pictures(module, 4), train=train).jaxpr)
        for train in (False, True)
    }
    assert len(programs) == 1


def differentiate(net, params, stats, x, fade=None):
    """Output, gradients of its mean square, and stats after a training call."""

    def loss(params):
        y, after = apply(net, params, stats, x, train=True, fade=fade)
        return jnp.mean(y**2), (y, after)

    grads, (y, after) = jax.grad(loss, has_aux=True)(params)
    return y, grads, after


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "options", "tolerance"),
    [
        (Discriminator, {"norm": "batch", "activation": "gelu"}, 1e-5),
        (Discriminator, {"norm": "instance", "width": 3}, 1e-5),
        (Generator, {"compute_dtype": "bfloat16", "num_sub_blocks": 0}, 2e-2),
    ],
)
def test_channels_of_zeros_for_a_gpu_change_nothing(
    module, options, tolerance, monkeypatch
):
    config = dataclasses.replace(SMALL, skip="add", **options)
    net, params, stats = make(module, 8, config, fading=True)

    def results():
        fresh = functools.partial(differentiate, net, fade=0.5)
        return quick_jit(fresh)(params, stats, pictures(module, 8))

    plain = results()
    pretend_to_be_on_a_gpu(monkeypatch)
    filled = results()
    assert_close(filled, plain, tolerance)


@pytest.mark.parametrize("norm", ["spectral", "weight", "batch", "instance", "none"])
@pytest.mark.parametrize(
    "module", [Generator, pytest.param(Discriminator, marks=pytest.mark.slow)]
)
def test_what_bfloat16_nets_take_and_give_is_float32(module, norm):
    config = dataclasses.replace(SMALL, norm=norm, compute_dtype="bfloat16")
    net, params, stats = make(module, 8, config, fading=True)
    run_net = functools.partial(differentiate, net, fade=0.5)
    results = jax.eval_shape(run_net, params, stats, pictures(module, 8))
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("module", [Generator, Discriminator])
def test_bfloat16_comes_close_to_float32(module):
    def results(compute_dtype):
        config = dataclasses.replace(SMALL, norm="none", compute_dtype=compute_dtype)
        net, params, stats = make(module, 4, config)
        x = pictures(module, 4, n=8)
        return quick_jit(differentiate, static_argnums=0)(net, params, stats, x)

    y, grads, _ = results("bfloat16")
    expected_y, expected_grads, _ = results("float32")
    assert 1e-4 < np.max(np.abs(y - expected_y)) / np.max(np.abs(expected_y)) < 0.05
    flat, expected = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
        for tree in (grads, expected_grads)
    )
    cosine = flat @ expected / (np.linalg.norm(flat) * np.linalg.norm(expected))
    assert cosine > 0.98


def test_the_generator_sees_no_pixel_of_the_hole():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    mask = (rng.random((2, 4, 4, 1)) < 0.5).astype(np.float32)
    x = generator_input(jnp.asarray(images), jnp.asarray(mask))
    np.testing.assert_array_equal(x[..., :3], np.where(mask, 0.0, images))
    np.testing.assert_array_equal(x[..., 3:], mask)


def test_doubling_then_halving_changes_nothing():
    x = pictures(Generator, 4)
    assert upsample(x).shape == (3, 8, 8, 4)
    np.testing.assert_array_equal(upsample(x)[:, 3, 6], x[:, 1, 3])
    assert_close(halve_side(upsample(x)), x, 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_sizes": (2, 3)}, "odd"),
        ({"kernel_sizes": ()}, "odd"),
        ({"kernel_sizes": (3, 3)}, "odd and differ"),
        ({"width": 2}, "width 2"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        NetConfig(**options)
