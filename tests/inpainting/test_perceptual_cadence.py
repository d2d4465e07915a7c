"""The perceptual term at every k-th step: what is computed, and what it adds up to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.devices.parallel import Placement
from jaxgrow.errors import UserError
from jaxgrow.inpainting.gan_step import make_gan_step, make_multi_step
from jaxgrow.inpainting.losses import DueTerms, LossConfig, due_terms
from tests.support import small_gan
from tests.support.oracles import assert_close, assert_identical, quick_jit


EVERY = 3
WEIGHT = 0.02
G_RATE, D_RATE = 0.1, 0.1


def features_fn(x):
    """Two layers, the second at half the size; cheaper than a network to compile."""
    kernel = jnp.asarray(np.random.default_rng(0).standard_normal((3, 5)), jnp.float32)
    first = jax.nn.relu(x @ kernel)
    return [first, jax.nn.relu(x[:, ::2, ::2] @ kernel) ** 2]


def config(every=EVERY, **fields):
    return LossConfig(perceptual="rms", perceptual_every=every, **fields)


@pytest.fixture(scope="module")
def gan():
    gan = small_gan.enter(small_gan.growth_config(), sgd_rates=(G_RATE, D_RATE))
    return gan._replace(state=weighted(gan.state, WEIGHT))


@pytest.fixture(scope="module")
def data():
    return small_gan.make_data(4)


def weighted(state, weight):
    return state.replace(perceptual_weight=jnp.float32(weight))


def make_step(gan, losses, fn=features_fn, axis_name=None):
    options = {"ema_decay": 0.0, "features_fn": fn, "axis_name": axis_name}
    return make_gan_step(gan.nets, losses, **options)


def one_step(gan, data, losses, due, fn=features_fn):
    step = make_step(gan, losses, fn)
    call = quick_jit(lambda *args: step(*args, due))
    return call(gan.state, data, small_gan.make_batch(0))


def test_a_stage_takes_the_term_at_step_0_and_at_every_kth_after():
    losses = config(r1_gamma=1.0, r1_every=2)
    taken = [due_terms(losses, step, has_perceptual=True) for step in range(7)]
    assert [due.perceptual for due in taken] == [
        *(True, False, False, True, False, False, True)
    ]
    assert [due.r1 for due in taken] == [step % 2 == 0 for step in range(7)]
    every = [due_terms(config(1), s, has_perceptual=True) for s in range(3)]
    assert every == [DueTerms()] * 3
    assert not due_terms(losses, 0, has_perceptual=False).perceptual


def test_a_step_without_the_term_is_that_of_a_run_without_it_bit_for_bit(gan, data):
    state, metrics = one_step(gan, data, config(), DueTerms(perceptual=False))
    expected, expected_metrics = one_step(gan, data, config(), DueTerms(), fn=None)
    assert_identical(state, expected)
    assert metrics.pop("perceptual_weight") == np.float32(WEIGHT)
    for name in ("g/perceptual", "grad_at_output/perceptual"):
        assert metrics.pop(name) == 0.0
    assert_identical(metrics, expected_metrics)


@pytest.mark.slow
def test_a_step_with_the_term_has_it_k_times_over(gan, data):
    state, metrics = one_step(gan, data, config(), DueTerms())
    heavy = gan._replace(state=weighted(gan.state, EVERY * WEIGHT))
    expected, plain = one_step(heavy, data, config(1), DueTerms())
    for player in ("generator", "discriminator"):
        found = getattr(state, player).opt_state.grads
        assert_close(found, getattr(expected, player).opt_state.grads)
    # Over k steps, of which one has it, the logged mean is the term itself.
    np.testing.assert_allclose(metrics["g/perceptual"], EVERY * plain["g/perceptual"])
    name = "grad_at_output/perceptual"
    np.testing.assert_allclose(metrics[name], plain[name], rtol=1e-6)
    without, _ = one_step(gan, data, config(), DueTerms(perceptual=False))
    assert small_gan.changed(state.generator.params, without.generator.params)


@pytest.mark.slow
def test_k_of_1_is_the_term_at_every_step_bit_for_bit(gan, data):
    found = one_step(gan, data, config(1), DueTerms())
    expected = one_step(gan, data, LossConfig(perceptual="rms"), DueTerms())
    assert_identical(found, expected)


def test_the_network_sees_real_and_output_once_a_step_and_otherwise_nothing(gan, data):
    seen = []

    def counting(x):
        seen.append(x.shape)
        return features_fn(x)

    step = make_step(gan, config(), counting)
    batch = small_gan.make_batch(0)
    jax.eval_shape(lambda *args: step(*args), gan.state, data, batch)
    assert len(seen) == 2
    without = DueTerms(perceptual=False)
    jax.eval_shape(lambda *args: step(*args, without), gan.state, data, batch)
    assert len(seen) == 2


@pytest.fixture(scope="module")
def one_by_one(gan, data):
    """State and log after six steps, each by the program of what is due."""
    step = make_step(gan, config())
    calls = {
        due: quick_jit(lambda *args, due=due: step(*args, due))
        for due in (DueTerms(), DueTerms(perceptual=False))
    }
    state, series = gan.state, []
    for i in range(6):
        call = calls[due_terms(config(), i, has_perceptual=True)]
        state, metrics = call(state, data, small_gan.make_batch(i))
        series.append(metrics)
    assert [bool(m["g/perceptual"] > 0) for m in series] == [True, False, False] * 2
    return state, series


def assert_like(found, found_series, one_by_one):
    state, series = one_by_one
    for player in ("generator", "discriminator"):
        params = getattr(state, player).params
        assert_close(getattr(found, player).params, params, 1e-6, scale=1.0)
    assert_close(found_series, {n: np.stack([m[n] for m in series]) for n in series[0]})


@pytest.mark.slow
def test_calls_of_two_steps_take_the_term_in_its_turn(gan, data, one_by_one):
    """As a run does that stops between two terms: the state's step says what is due."""
    several = quick_jit(make_multi_step(make_step(gan, config()), config()))
    state, parts = gan.state, []
    for first in (0, 2, 4):
        batches = small_gan.stack([small_gan.make_batch(first + i) for i in range(2)])
        state, metrics = several(state, data, batches)
        parts.append(metrics)
    assert_like(state, jax.tree.map(lambda *x: np.concatenate(x), *parts), one_by_one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pmap", "mesh"])
def test_two_devices_equal_one(gan, data, one_by_one, kind):
    two = Placement(2, kind)
    step = make_step(gan, config(), axis_name=two.axis_name)
    compiled = two.compile_step(make_multi_step(step, config()))
    batches = small_gan.stack([small_gan.make_batch(i) for i in range(6)])
    state, on_devices = two.replicate(jax.tree.map(jnp.copy, (gan.state, data)))
    found = compiled(state, on_devices, two.shard_batch(batches, batch_axis=1))
    assert_like(*found, one_by_one)


@pytest.mark.parametrize("name", ["perceptual_every", "r1_every"])
def test_a_cadence_below_1_is_refused(name):
    flag = f"--losses.{name.replace('_', '-')}"
    with pytest.raises(UserError, match=f"{flag} must be 1 or more, not 0"):
        LossConfig(**{name: 0})
