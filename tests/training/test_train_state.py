"""The arrays of one network's training, against updates done by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgrow.training.train_state import TrainState
from tests.support.oracles import assert_identical


RATE, DECAY = 0.5, 0.9


def tree(seed):
    rng = np.random.default_rng(seed)
    names = ("r4_down", "r8_down")
    return {n: {"kernel": jnp.asarray(rng.normal(size=3), jnp.float32)} for n in names}


def kernels(params):
    return {name: np.asarray(p["kernel"], np.float64) for name, p in params.items()}


@pytest.fixture
def state():
    stats = {"spectral": {"r4_down": {"u": jnp.ones(2)}}}
    return TrainState.create(tree(0), stats, optax.sgd(RATE), keep_ema=True)


def test_a_new_state_starts_its_average_at_a_copy_of_its_weights(state):
    assert state.step == 0
    assert_identical(state.ema_params, state.params)
    for e, p in zip(
        jax.tree.leaves(state.ema_params), jax.tree.leaves(state.params), strict=True
    ):
        assert e.unsafe_buffer_pointer() != p.unsafe_buffer_pointer()


def test_steps_follow_sgd_and_its_exponential_average(state):
    expected = kernels(state.params)
    average = dict(expected)
    for step, seed in enumerate((1, 2, 3)):
        decay = min(DECAY, (1 + step) / (10 + step))
        grads = tree(seed)
        state = state.apply_gradients(grads, state.stats, optax.sgd(RATE), DECAY)
        for name, grad in kernels(grads).items():
            expected[name] = expected[name] - RATE * grad
            average[name] = decay * average[name] + (1 - decay) * expected[name]
    assert state.step == 3
    for name in expected:
        found = kernels(state.params)[name], kernels(state.ema_params)[name]
        np.testing.assert_allclose(found, (expected[name], average[name]), rtol=1e-5)


def test_a_step_takes_the_statistics_that_it_is_given(state):
    stats = {"spectral": {"r4_down": {"u": jnp.zeros(2)}}}
    after = state.apply_gradients(tree(1), stats, optax.sgd(RATE), DECAY)
    assert after.stats is stats


def test_submodules_without_gradients_are_handed_on_not_rewritten():
    params = tree(0)
    transforms = {"new": optax.adamw(RATE, weight_decay=0.1)}
    transforms["frozen"] = optax.set_to_zero()
    tx = optax.partition(transforms, {"r4_down": "frozen", "r8_down": "new"})
    state = TrainState.create(params, {}, tx, keep_ema=True)
    for seed in (1, 2):
        grads = {"r8_down": tree(seed)["r8_down"]}
        state = state.apply_gradients(grads, {}, tx, DECAY)
    assert state.params["r4_down"] is params["r4_down"]
    assert_identical(state.ema_params["r4_down"], params["r4_down"])
    assert (kernels(state.params)["r8_down"] != kernels(params)["r8_down"]).all()


def test_what_is_evaluated_is_the_average_if_one_is_kept(state):
    moved = state.apply_gradients(tree(1), {}, optax.sgd(RATE), DECAY)
    assert moved.eval_params is moved.ema_params
    plain = TrainState.create(tree(0), {}, optax.sgd(RATE), keep_ema=False)
    assert plain.ema_params is None
    moved = plain.apply_gradients(tree(1), {}, optax.sgd(RATE), DECAY)
    assert moved.eval_params is moved.params


def test_a_state_is_arrays_only_and_can_be_donated(state):
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))

    def step(state, grads):
        return state.apply_gradients(grads, state.stats, optax.sgd(RATE), DECAY)

    expected = step(jax.tree.map(jnp.copy, state), tree(1))
    after = jax.jit(step, donate_argnums=0)(state, tree(1))
    assert state.params["r4_down"]["kernel"].is_deleted()
    jax.tree.map(
        lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-6), after, expected
    )
