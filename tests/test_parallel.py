"""Several devices against one, on two virtual ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow import parallel
from jaxgrow.errors import UserError
from jaxgrow.inpainting import LossConfig, make_gan_step, make_multi_step
from tests import small_gan
from tests.oracles import assert_close, assert_identical


NUM_DEVICES = 2


def enter(norm, axis_name):
    return small_gan.enter(
        small_gan.growth_config(),
        net=small_gan.net_config(norm=norm),
        sgd_rates=(0.1, 0.1),
        keep_ema=True,
        axis_name=axis_name,
    )


def run(norm, config, batches, num_devices, make_step):
    """State and metrics after `batches` on `num_devices`."""
    axis_name = parallel.AXIS if num_devices > 1 else None
    gan = enter(norm, axis_name)
    step = make_gan_step(gan.nets, config, ema_decay=0.9, axis_name=axis_name)
    compiled = parallel.compile_step(make_step(step), num_devices)
    state, data = parallel.replicate((gan.state, small_gan.make_data(4)), num_devices)
    series = []
    for batch in batches:
        state, metrics = compiled(state, data, batch)
        series.append(metrics)
    return state, series


def assert_same_training(found, expected):
    for player in ("generator", "discriminator"):
        a, b = getattr(found, player), getattr(expected, player)
        for field in ("params", "stats", "ema_params"):
            assert_close(getattr(a, field), getattr(b, field), 1e-6, scale=1.0)
        assert_close(a.opt_state.grads, b.opt_state.grads)
    assert_identical(found.step, expected.step)


def test_two_devices_equal_one():
    """The whole step: both networks, batch norm over devices, the log."""
    config = LossConfig(adversarial_weight=0.3)
    batches = [small_gan.make_batch(i) for i in range(2)]
    expected, on_one = run("batch", config, batches, 1, lambda step: step)
    shares = [parallel.shard_batch(b, NUM_DEVICES) for b in batches]
    found, on_two = run("batch", config, shares, NUM_DEVICES, lambda step: step)
    assert_same_training(found, expected)
    assert_close(on_two, on_one)


@pytest.mark.slow
def test_two_devices_equal_one_over_steps_stacked_in_a_call():
    config = LossConfig(adversarial_weight=0.3)
    batches = [small_gan.make_batch(i) for i in range(3)]
    expected, series = run("none", config, batches, 1, lambda step: step)
    stacked = parallel.shard_batch(small_gan.stack(batches), NUM_DEVICES, batch_axis=1)
    found, (found_series,) = run(
        "none",
        config,
        [stacked],
        NUM_DEVICES,
        lambda step: make_multi_step(step, config),
    )
    assert_same_training(found, expected)
    assert_close(found_series, {n: np.stack([m[n] for m in series]) for n in series[0]})


@pytest.mark.parametrize("num_devices", [1, NUM_DEVICES])
def test_a_compiled_step_takes_the_state_over_and_keeps_the_data(num_devices):
    def step(state, data, batch):
        total = parallel.pmean(batch.sum(), axis_name)
        return state + total + data, {"size": jnp.float32(batch.size)}

    axis_name = parallel.AXIS if num_devices > 1 else None
    arrays = (jnp.zeros(3), jnp.ones(3))
    state, data = parallel.replicate(arrays, num_devices)
    batch = parallel.shard_batch(np.arange(4.0, dtype=np.float32), num_devices)
    after, metrics = parallel.compile_step(step, num_devices)(state, data, batch)
    np.testing.assert_allclose(after, 6 / num_devices + 1)
    assert metrics["size"] == 4 / num_devices
    assert state.is_deleted()
    assert not data.is_deleted()
    assert after.shape == (3,)


def test_replicated_arrays_have_no_device_axis_and_are_on_every_device():
    tree = {"a": np.ones((2, 3)), "b": np.int32(4)}
    on_both = parallel.replicate(tree, NUM_DEVICES)
    assert_identical(on_both, tree)
    for leaf in jax.tree.leaves(on_both):
        assert leaf.sharding.is_fully_replicated
        assert len(leaf.devices()) == NUM_DEVICES


def test_outside_a_mapped_axis_the_mean_over_devices_is_the_value_itself():
    assert parallel.pmean(3.0, None) == 3.0
    assert parallel.axis_size(None) == 1


def test_each_device_gets_its_share_of_the_batch_in_order():
    batch = {"a": np.arange(12).reshape(6, 2), "none": None}
    shares = parallel.shard_batch(batch, NUM_DEVICES)
    assert shares["none"] is None
    assert_identical(shares["a"], batch["a"].reshape(2, 3, 2))
    assert parallel.shard_batch(batch, 1) is batch


def test_stacked_steps_keep_their_order_on_each_device():
    stacked = np.arange(24).reshape(3, 4, 2)  # steps, examples, values
    shares = parallel.shard_batch(stacked, NUM_DEVICES, batch_axis=1)
    assert shares.shape == (2, 3, 2, 2)
    for device, share in enumerate(shares):
        assert_identical(share, stacked[:, 2 * device : 2 * device + 2])


def test_all_devices_are_used_unless_a_number_is_given():
    assert parallel.check_devices(None, 4) == NUM_DEVICES
    assert parallel.check_devices(1, 3) == 1


@pytest.mark.parametrize("wanted", [0, -1, 3])
def test_devices_that_are_not_there_are_refused(wanted):
    message = f"{wanted} devices were asked for and 2 are here: pass --devices 1 to 2"
    with pytest.raises(UserError, match=message):
        parallel.check_devices(wanted, 6)


def test_a_batch_that_does_not_divide_over_the_devices_is_refused():
    with pytest.raises(UserError, match="a batch of 5 does not divide over 2 devices"):
        parallel.check_devices(None, 5)
