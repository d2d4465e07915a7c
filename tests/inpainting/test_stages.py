"""Stages: their plan, how one is entered, what trains in it, and when it ends."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import roofline
from jaxgrow.errors import UserError
from jaxgrow.inpainting import networks
from jaxgrow.inpainting.gan_step import make_gan_step
from jaxgrow.inpainting.losses import LossConfig
from jaxgrow.inpainting.stages import (
    GrowthConfig,
    OptimizerConfig,
    Stage,
    check_rates,
    learning_rate,
    plan_stages,
)
from jaxgrow.nets import growing
from jaxgrow.nets.growing import halve_side, stage_of
from jaxgrow.ops import upsample
from jaxgrow.training.train_state import count_params
from tests.support import small_gan
from tests.support.oracles import assert_close, assert_identical


PLAYERS = ("generator", "discriminator")
POLICIES = ["all", "none", "generator", "slow"]
RATE = 1e-3


def test_every_stage_adds_what_lies_above_the_one_before():
    config = GrowthConfig(resolutions=(4, 8, 32), steps=(10, 20, 30))
    assert plan_stages(config) == [
        Stage(0, 4, 4, 10, 0),
        Stage(1, 8, 8, 20, 0),
        Stage(2, 32, 16, 30, 0),
    ]
    assert [s.skips_a_size for s in plan_stages(config)] == [False, False, True]


def test_all_stages_but_the_first_fade_in_over_their_share_of_the_steps():
    config = GrowthConfig(resolutions=(8, 16, 32), steps=(10, 20, 31), fade=0.5)
    assert [stage.fade_steps for stage in plan_stages(config)] == [0, 10, 16]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resolutions": (4, 8), "steps": (1,)}, r"2 resolutions and 1 numbers.*steps"),
        ({"resolutions": (), "steps": ()}, r"0 resolutions"),
        ({"resolutions": (4, 12), "steps": (1, 1)}, r"growth.resolutions.*12"),
        ({"resolutions": (2,), "steps": (1,)}, r"set resolutions to values.*2"),
        ({"resolutions": (8, 4), "steps": (1, 1)}, r"must rise, not \(8, 4\)"),
        ({"resolutions": (4, 4), "steps": (1, 1)}, r"must rise, not \(4, 4\)"),
        ({"resolutions": (4,), "steps": (0,)}, "set steps to values"),
        ({"fade": 1.5}, r"set fade to a number, in \[0, 1\], not 1\.5"),
        ({"fade": -0.1}, r"set fade to a number, in \[0, 1\], not -0\.1"),
        (
            {"resolutions": (4, 16), "steps": (1, 1), "fade": 0.5},
            r"growth.fade needs stages that double",
        ),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        GrowthConfig(**fields)


@pytest.mark.parametrize("rates", [(), (1e-3, 1e-3)])
def test_learning_rates_are_one_or_one_per_stage(rates):
    config = small_gan.growth_config((4, 8, 16))
    with pytest.raises(UserError, match=r"optimizer\.d_learning_rate takes one"):
        check_rates(OptimizerConfig(d_learning_rate=rates), config)
    check_rates(OptimizerConfig(g_learning_rate=(1.0, 2.0, 3.0)), config)


def rates_of(stage_index=0, network="generator", num_steps=100, **fields):
    stage = Stage(stage_index, 4, 4, num_steps, 0)
    schedule = learning_rate(OptimizerConfig(**fields), network, stage)
    return np.array([schedule(step) for step in range(num_steps + 1)])


def test_a_constant_rate_is_its_networks_and_its_stages():
    rates = {"g_learning_rate": (0.1, 0.2), "d_learning_rate": (0.3,)}
    np.testing.assert_allclose(rates_of(1, "generator", 3, **rates), 0.2)
    np.testing.assert_allclose(rates_of(1, "discriminator", 3, **rates), 0.3)


@pytest.mark.parametrize("warm_up", [0, 20])
def test_cosine_falls_to_its_final_part_at_the_end_of_the_stage(warm_up):
    found = rates_of(g_learning_rate=(0.4,), schedule="cosine", warm_up=warm_up)
    steps = np.arange(101)
    progress = (steps - warm_up) / (100 - warm_up)
    cosine = 0.4 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * progress)))
    ramp = 0.4 * steps / max(warm_up, 1)
    expected = np.where(steps < warm_up, ramp, cosine)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found[-1], 0.04, rtol=1e-5)


def test_a_stage_shorter_than_its_warm_up_rises_to_its_end():
    found = rates_of(num_steps=5, g_learning_rate=(1.0,), schedule="cosine", warm_up=10)
    np.testing.assert_allclose(found, np.arange(6) / 10, rtol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_single_stage_trains_every_resolution_from_scratch(policy):
    gan = small_gan.enter(small_gan.growth_config((16,), freeze=policy))
    for player in (gan.nets.generator, gan.nets.discriminator):
        assert {stage_of(name) for name in player.labels} == {4, 8, 16}
        assert set(player.labels.values()) == {"new"}
        assert player.first_trainable <= 4


# Entering a stage.


def enter_8_over_4(norm="spectral", fade=0.0, **fields):
    """(the 4 px stage, the 8 px stage entered after it)."""
    config = small_gan.growth_config((4, 8), fade=fade)
    fields |= {"net": small_gan.net_config(norm=norm)}
    old = small_gan.enter(config, 0, seed=7, **fields)
    return old, small_gan.enter(config, 1, old.state, **fields)


@pytest.mark.parametrize("norm", ["spectral", "batch"])
def test_older_submodules_are_kept_by_name_with_their_statistics(norm):
    old, new = enter_8_over_4(norm)
    for player, kept in zip(PLAYERS, [("down", "up"), ("down",)], strict=True):
        before, after = getattr(old.state, player), getattr(new.state, player)
        names = {f"r4_{role}" for role in kept}
        assert {n for n in after.params if stage_of(n) == 4} == names
        (statistics,) = after.stats
        for name in names:
            assert_identical(after.params[name], before.params[name])
            assert_identical(
                after.stats[statistics][name], before.stats[statistics][name]
            )


def test_a_stage_starts_with_fresh_heads_blocks_moments_and_average():
    old, new = enter_8_over_4(keep_ema=True)
    g, d = new.state.generator, new.state.discriminator
    assert {n for n in g.params if stage_of(n) == 8} == {
        "r8_from_rgb",
        "r8_down",
        "r8_up",
        "r8_to_rgb",
    }
    assert {n for n in d.params if stage_of(n) == 8} == {
        "r8_from_rgb",
        "r8_down",
        "r8_head",
    }
    old_head = old.state.generator.params["r4_from_rgb"]["conv"]["kernel"]
    assert (g.params["r8_from_rgb"]["conv"]["kernel"] != old_head).any()
    for state in (g, d):
        assert state.step == 0
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(state.opt_state))
    assert_identical(g.ema_params, g.params)
    assert d.ema_params is None
    assert new.state.perceptual_weight == 0


def test_a_fading_stage_keeps_the_heads_of_the_stage_before():
    old, new = enter_8_over_4(fade=0.5)
    for player in PLAYERS:
        before, after = getattr(old.state, player), getattr(new.state, player)
        heads = {"r4_from_rgb", "r4_to_rgb"} & set(before.params)
        assert heads <= set(after.params)
        for name in heads - {"r4_head"}:
            assert_identical(after.params[name], before.params[name])


def test_at_fade_zero_the_grown_generator_still_paints_as_before():
    old, new = enter_8_over_4("none", fade=0.5)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 4)).astype(np.float32)

    @jax.jit
    def both(x):
        before, _ = growing.apply(
            old.nets.generator.net, old.state.generator.params, {}, halve_side(x)
        )
        after, _ = growing.apply(
            new.nets.generator.net, new.state.generator.params, {}, x, fade=0.0
        )
        return after, upsample(before)

    assert_close(*both(x))


def test_new_weights_depend_on_the_seed_alone():
    config = small_gan.growth_config()
    a, same, other = (small_gan.enter(config, seed=s).state for s in (0, 0, 1))
    assert_identical(a, same)
    params, others = a.generator.params, other.generator.params
    assert small_gan.changed(params, others) == set(params)


@pytest.mark.parametrize("player", PLAYERS)
def test_a_state_that_lacks_an_older_submodule_is_refused_by_its_name(player):
    old, _ = enter_8_over_4("none")
    state = getattr(old.state, player)
    params = {n: p for n, p in state.params.items() if n != "r4_down"}
    before = old.state.replace(**{player: state.replace(params=params)})
    config = small_gan.growth_config((4, 8))
    with pytest.raises(ValueError, match="stage before 8 px has no 'r4_down'"):
        small_gan.enter(config, 1, before)


def test_what_is_shipped_has_no_heads_of_older_stages():
    _, new = enter_8_over_4(fade=0.5, keep_ema=True)
    average = jax.tree.map(lambda p: p + 1.0, new.state.generator.params)
    g = new.state.generator.replace(ema_params=average)
    params, stats = networks.without_old_heads(g, new.nets.generator)
    assert set(g.params) - set(params) == {"r4_from_rgb", "r4_to_rgb"}
    assert set(stats["spectral"]) == set(params)
    assert_identical(params["r4_up"], average["r4_up"])
    assert_identical(stats["spectral"]["r4_up"], g.stats["spectral"]["r4_up"])


# Training a stage.


@dataclasses.dataclass
class Grown:
    """A stage's compiled step, and its state before and after some steps."""

    compiled: jax.stages.Compiled
    gan: small_gan.SmallGan
    after: object

    def moved(self, player):
        before, after = getattr(self.gan.state, player), getattr(self.after, player)
        return small_gan.changed(before.params, after.params)


@functools.cache
def grow(policy, resolutions=(4, 8), norm="none", fade=0.0, num_steps=1):
    """Trains the last of `resolutions` under Adam."""
    config = small_gan.growth_config(resolutions, freeze=policy, fade=fade)
    gan = small_gan.enter(
        config,
        len(resolutions) - 1,
        net=small_gan.net_config(norm=norm),
        optimizer=OptimizerConfig(g_learning_rate=(RATE,), d_learning_rate=(RATE,)),
        keep_ema=True,
    )
    step = jax.jit(make_gan_step(gan.nets, LossConfig(), ema_decay=0.9))
    data, batch = small_gan.make_data(resolutions[-1]), small_gan.make_batch
    compiled = step.lower(gan.state, data, batch(0)).compile()
    state = gan.state
    for i in range(num_steps):
        state, _ = compiled(state, data, batch(i))
    return Grown(compiled, gan, state)


def grow_frozen():
    return grow("all", norm="spectral", fade=0.5, num_steps=3)


def grow_free():
    return grow("none", norm="spectral", fade=0.5)


def names_from(grown, player, resolution):
    params = getattr(grown.gan.state, player).params
    return {name for name in params if stage_of(name) >= resolution}


def test_a_frozen_stage_stays_bit_identical_under_adam():
    grown = grow_frozen()
    for player in PLAYERS:
        before, after = (getattr(s, player) for s in (grown.gan.state, grown.after))
        frozen = set(before.params) - names_from(grown, player, 8)
        assert {"r4_down", "r4_from_rgb"} <= frozen
        for name in frozen:
            assert_identical(after.params[name], before.params[name])
            assert_identical(
                after.stats["spectral"][name], before.stats["spectral"][name]
            )
            if after.ema_params is not None:
                assert_identical(after.ema_params[name], before.params[name])
        assert grown.moved(player) == names_from(grown, player, 8)
        vectors = small_gan.changed(before.stats["spectral"], after.stats["spectral"])
        assert vectors == names_from(grown, player, 8)
    average = grown.after.generator.ema_params
    kept = small_gan.changed(grown.gan.state.generator.params, average)
    assert kept == names_from(grown, "generator", 8)


def test_there_are_two_moments_of_every_trainable_weight_and_none_of_a_frozen_one():
    grown = grow_frozen()
    for player in PLAYERS:
        state = getattr(grown.after, player)
        trainable = {n: state.params[n] for n in names_from(grown, player, 8)}
        moments = [
            leaf
            for leaf in jax.tree.leaves(state.opt_state)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
        ]
        assert count_params(moments) == 2 * count_params(trainable)
        assert 0 < count_params(trainable) < count_params(state.params)
        assert len(moments) == 2 * len(jax.tree.leaves(trainable))


@pytest.mark.slow
def test_a_frozen_step_is_compiled_to_fewer_operations():
    frozen, free = (roofline.cost_of(g().compiled) for g in (grow_frozen, grow_free))
    assert frozen.flops < 0.95 * free.flops


@pytest.mark.slow
def test_without_freezing_everything_moves():
    for player in PLAYERS:
        assert grow_free().moved(player) == names_from(grow_free(), player, 4)


@pytest.mark.slow
def test_freezing_the_generator_leaves_the_discriminator_free():
    grown = grow("generator")
    assert grown.moved("generator") == names_from(grown, "generator", 8)
    assert grown.moved("discriminator") == names_from(grown, "discriminator", 4)


# By policy: the rates of G's and D's submodules of 4, 8 and 16 px in the 16 px stage.
RATES = {
    "all": ((0, 0, 1), (0, 0, 1)),
    "none": ((1, 1, 1), (1, 1, 1)),
    "generator": ((0, 0, 1), (1, 1, 1)),
    "slow": ((0.1, 0.1, 1), (0.1, 0.1, 1)),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_moves_every_submodule_at_its_rate(policy):
    """Adam's first step, of gradients of one, is the rate."""
    nets, state = enter_16(policy)

    @jax.jit
    def update(state):
        moved = []
        for name in PLAYERS:
            player, before = getattr(nets, name), getattr(state, name)
            trainable, _ = player.split(before.params)
            grads = jax.tree.map(jnp.ones_like, trainable)
            after = before.apply_gradients(grads, before.stats, player.tx, 0.0)
            moved.append(jax.tree.map(jnp.subtract, before.params, after.params))
        return moved

    firsts = [getattr(nets, name).first_trainable for name in PLAYERS]
    for moved, parts, rate, first in zip(
        update(state), RATES[policy], (RATE, 2 * RATE), firsts, strict=True
    ):
        for name, difference in moved.items():
            stage = stage_of(name)
            expected = rate * parts[(4, 8, 16).index(stage)]
            for leaf in jax.tree.leaves(difference):
                np.testing.assert_allclose(leaf, expected, rtol=1e-3, err_msg=name)
            assert (expected > 0) == (stage >= first)


def enter_16(policy):
    """(networks, state) of a 16 px stage over 8 and 4; D learns at twice G's rate."""
    config = small_gan.growth_config((4, 8, 16), freeze=policy)
    optimizer = OptimizerConfig(g_learning_rate=(RATE,), d_learning_rate=(2 * RATE,))
    before = small_gan.enter(config, 1, optimizer=optimizer).state
    return small_gan.enter(config, 2, before, optimizer=optimizer)[1:]
