"""Who owns which parameters, what trains, and what a new stage keeps."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.inpainting.freezing import (
    first_trainable,
    graft,
    partitioned,
    split,
    stage_labels,
)
from jaxgrow.nets.growing import (
    Discriminator,
    Generator,
    NetConfig,
    resolutions_up_to,
    stage_of,
    variable_shapes,
)
from jaxgrow.training.train_state import count_params
from tests.support.oracles import assert_identical, quick_jit


SMALL = NetConfig(width=3, num_sub_blocks=1)
NETWORKS = {"generator": (Generator, 4), "discriminator": (Discriminator, 3)}
POLICIES = ["all", "none", "generator", "slow"]

policies = st.sampled_from(POLICIES)
networks = st.sampled_from(sorted(NETWORKS))
resolutions = st.sampled_from([4, 8, 16])


@functools.cache
def shapes(network, resolution, fading=False):
    net, channels = NETWORKS[network]
    return variable_shapes(net(SMALL, resolution), channels, fading=fading)["params"]


@functools.cache
def random_params(network, resolution, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32),
        shapes(network, resolution),
    )


def expected_label(policy, network, stage, first_new):
    """The table of policies, read aloud."""
    if stage >= first_new:
        return "new"
    if policy == "none" or (policy == "generator" and network == "discriminator"):
        return "new"
    return "old" if policy == "slow" else "frozen"


@settings(deadline=None)
@given(policies, networks, resolutions, resolutions, st.booleans())
def test_every_submodule_has_the_one_label_that_its_stage_and_the_policy_say(
    policy, network, a, b, fading
):
    first_new, resolution = min(a, b), max(a, b)
    fading = fading and resolution > 4
    params = shapes(network, resolution, fading)
    labels = stage_labels(params, policy, network, first_new, resolution)
    assert labels == {
        name: expected_label(policy, network, int(name[1:].split("_")[0]), first_new)
        for name in params
    }
    lowest = first_trainable(policy, network, first_new)
    frozen = {name for name, label in labels.items() if label == "frozen"}
    assert frozen == {name for name in params if stage_of(name) < lowest}


@settings(deadline=None)
@given(policies, networks, resolutions)
def test_splitting_is_a_partition(policy, network, resolution):
    params = random_params(network, resolution)
    labels = stage_labels(params, policy, network, resolution, resolution)
    trainable, frozen = split(params, labels)
    assert not set(trainable) & set(frozen)
    assert {**frozen, **trainable}.keys() == params.keys()
    for name, tree in [*trainable.items(), *frozen.items()]:
        assert tree is params[name]
    assert count_params(trainable) + count_params(frozen) == count_params(params)
    assert trainable, "the stage's own submodules always train"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_first_stage_of_a_run_trains_everything(network, policy):
    labels = stage_labels(shapes(network, 16), policy, network, 4, 16)
    assert set(labels.values()) == {"new"}


@pytest.mark.parametrize(
    "name", ["Dense_0", "from_rgb", "r8", "r8_", "down_r8", "r_down", "R8_down", "r8-a"]
)
def test_a_submodule_of_no_stage_is_refused_by_name(name):
    with pytest.raises(ValueError, match=name):
        stage_of(name)
    with pytest.raises(ValueError, match=name):
        stage_labels(["r4_down", name], "all", "generator", 4, 4)


def test_a_submodule_of_a_later_stage_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'r16_up'.*8 px"):
        stage_labels(["r4_up", "r8_up", "r16_up"], "all", "generator", 8, 8)


@pytest.mark.parametrize("network", NETWORKS)
def test_grafting_keeps_older_stages_bit_for_bit_and_takes_fresh_heads(network):
    kept, fresh = random_params(network, 8, 1), random_params(network, 16, 2)
    grafted = graft(fresh, kept, 16)
    assert set(grafted) == set(fresh)
    for r in resolutions_up_to(16):
        assert_identical(
            grafted[f"r{r}_down"], (fresh if r == 16 else kept)[f"r{r}_down"]
        )
    dropped = set(kept) - set(grafted)
    assert all(name.startswith("r8") for name in dropped)
    assert "r8_from_rgb" in dropped


def test_grafting_without_an_older_stage_is_refused_by_name():
    kept, fresh = random_params("generator", 8), random_params("generator", 16)
    kept = {name: tree for name, tree in kept.items() if name != "r4_up"}
    with pytest.raises(ValueError, match=r"'r4_up'"):
        graft(fresh, kept, 16)


@pytest.mark.parametrize("change", ["width", "layers"])
def test_grafting_onto_another_shape_is_refused_by_name(change):
    kept, fresh = random_params("generator", 8), random_params("generator", 16)
    block = dict(kept["r4_up"])
    if change == "width":
        block["in"] = {"conv": {"kernel": jnp.zeros((1, 1, 4, 4))}}
    else:
        del block["sub0"]
    with pytest.raises(ValueError, match=r"'r4_up'"):
        graft(fresh, {**kept, "r4_up": block}, 16)


def train(params, tx, num_steps=3) -> tuple[Any, Any]:
    """Steps under gradients that are large where nothing may move."""
    grads = jax.tree.map(lambda p: jnp.asarray(100.0 * np.sign(p)), params)

    @quick_jit
    def step(state, params):
        updates, state = tx.update(grads, state, params)
        return state, optax.apply_updates(params, updates)

    state: Any = quick_jit(tx.init)(params)
    for _ in range(num_steps):
        state, params = step(state, params)
    return params, state


@pytest.mark.parametrize("policy", POLICIES)
def test_frozen_weights_survive_weight_decay_and_hold_no_moments(policy):
    params = random_params("generator", 8)
    labels = stage_labels(params, policy, "generator", 8, 8)
    tx = partitioned(optax.adamw(1e-2, weight_decay=0.1), optax.adamw(1e-3), labels)
    trained, state = train(params, tx)
    for name, label in labels.items():
        if label == "frozen":
            assert_identical(trained[name], params[name])
        else:
            moved = jax.tree.map(
                lambda a, b: bool((np.asarray(a) != np.asarray(b)).all()),
                trained[name],
                params[name],
            )
            assert all(jax.tree.leaves(moved)), name
    trainable, _ = split(params, labels)
    moments = sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim > 0)
    assert moments == 2 * count_params(trainable)


def test_old_stages_learn_at_their_own_rate():
    params = random_params("generator", 16)
    labels = stage_labels(params, "slow", "generator", 16, 16)
    trained, _ = train(params, partitioned(optax.sgd(1e-3), optax.sgd(1e-4), labels), 1)
    rates = {"new": 1e-3, "old": 1e-4}
    for name, label in labels.items():
        step = jax.tree.map(
            lambda a, b: np.abs(np.asarray(a) - b), trained[name], params[name]
        )
        for leaf in jax.tree.leaves(step):
            np.testing.assert_allclose(leaf, 100.0 * rates[label], rtol=1e-3)


def test_each_partition_clips_by_its_own_norm():
    params = {"r4_a": jnp.ones(4), "r8_a": jnp.ones(4)}
    labels = stage_labels(params, "all", "generator", 8, 8)
    tx = partitioned(
        optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0)),
        optax.sgd(1.0),
        labels,
    )
    grads = {"r4_a": jnp.full(4, 1e6), "r8_a": jnp.full(4, 3.0)}
    updates: Any = tx.update(grads, tx.init(params), params)[0]
    np.testing.assert_array_equal(updates["r4_a"], 0.0)
    np.testing.assert_allclose(updates["r8_a"], -0.5, rtol=1e-6)


def test_parameters_are_counted_over_all_leaves():
    assert (
        count_params({"a": jnp.zeros((2, 3)), "b": [jnp.zeros(4), jnp.zeros(())]}) == 11
    )
