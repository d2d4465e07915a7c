"""Several devices against one, on two virtual ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.devices import parallel
from jaxgrow.devices.parallel import Placement
from jaxgrow.errors import UserError
from jaxgrow.inpainting.gan_step import make_gan_step, make_multi_step
from jaxgrow.inpainting.losses import LossConfig
from tests.support import small_gan
from tests.support.oracles import assert_close, assert_identical


ONE = Placement()
PMAP, MESH = Placement(2, "pmap"), Placement(2, "mesh")
both_kinds = pytest.mark.parametrize("two", [PMAP, MESH], ids=lambda p: p.kind)


def enter(norm, axis_name):
    return small_gan.enter(
        small_gan.growth_config(),
        net=small_gan.net_config(norm=norm),
        sgd_rates=(0.1, 0.1),
        keep_ema=True,
        axis_name=axis_name,
    )


def run(norm, config, batches, placement, make_step=lambda step: step):
    """State and metrics after `batches`."""
    gan = enter(norm, placement.axis_name)
    step = make_gan_step(gan.nets, config, ema_decay=0.9, axis_name=placement.axis_name)
    compiled = placement.compile_step(make_step(step))
    state, data = placement.replicate((gan.state, small_gan.make_data(4)))
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


@pytest.fixture(scope="module")
def trained_on_one():
    """(configuration, batches, state, metrics) with batch norm on one device."""
    config = LossConfig(adversarial_weight=0.3)
    batches = [small_gan.make_batch(i) for i in range(2)]
    return config, batches, *run("batch", config, batches, ONE)


@both_kinds
def test_two_devices_equal_one(two, trained_on_one):
    """The whole step: both networks, batch norm over devices, the log."""
    config, batches, expected, on_one = trained_on_one
    shares = [two.shard_batch(b) for b in batches]
    found, on_two = run("batch", config, shares, two)
    assert_same_training(found, expected)
    for row, expected_row in zip(on_two, on_one, strict=True):
        assert row.keys() == expected_row.keys()
        for name, value in expected_row.items():
            # Logits of about 0.1 and both signs cancel in their mean.
            scale = 0.1 if name in ("d/real", "d/fake") else None
            assert_close(row[name], value, scale=scale)


@pytest.mark.slow
@both_kinds
def test_two_devices_equal_one_over_steps_stacked_in_a_call(two):
    config = LossConfig(adversarial_weight=0.3)
    batches = [small_gan.make_batch(i) for i in range(3)]
    expected, series = run("none", config, batches, ONE)
    stacked = two.shard_batch(small_gan.stack(batches), batch_axis=1)
    found, (found_series,) = run(
        "none", config, [stacked], two, lambda step: make_multi_step(step, config)
    )
    assert_same_training(found, expected)
    assert_close(found_series, {n: np.stack([m[n] for m in series]) for n in series[0]})


@pytest.mark.parametrize("placement", [ONE, PMAP, MESH])
def test_a_compiled_step_takes_the_state_over_and_keeps_the_data(placement):
    def step(state, data, batch):
        total = parallel.pmean(batch.sum(), placement.axis_name)
        return state + total + data, {"size": jnp.float32(batch.size)}

    state, data = placement.replicate((jnp.zeros(3), jnp.ones(3)))
    batch = placement.shard_batch(np.arange(4.0, dtype=np.float32))
    compiled = placement.compile_step(step)
    after, metrics = compiled(state, data, batch)
    seen = 2 if placement == PMAP else 4
    np.testing.assert_allclose(after, 6 * seen / 4 + 1)
    assert metrics["size"] == seen
    assert state.is_deleted()
    assert not data.is_deleted()
    assert after.shape == (3,)
    assert len(after.devices()) == placement.num_devices


@both_kinds
def test_later_steps_run_the_program_of_the_first(two):
    traced = []

    def step(state, data, batch):
        traced.append(batch.shape)
        return state + data, {"mean": parallel.pmean(batch.mean(), two.axis_name)}

    compiled = two.compile_step(step)
    state, data = two.replicate((jnp.zeros(3), jnp.ones(3)))
    for i in range(3):
        batch = two.shard_batch(np.full(4, i, np.float32))
        state, metrics = compiled(state, data, batch)
        assert metrics["mean"] == i
    assert len(traced) == 1


@both_kinds
def test_replicated_arrays_have_no_device_axis_and_are_on_every_device(two):
    tree = {"a": np.ones((2, 3)), "b": np.int32(4)}
    on_both = two.replicate(tree)
    assert_identical(on_both, tree)
    for leaf, shape in zip(
        jax.tree.leaves(on_both), jax.tree.leaves(two.like(tree)), strict=True
    ):
        assert leaf.sharding.is_fully_replicated
        assert len(leaf.devices()) == 2
        assert leaf.sharding == shape.sharding
    for leaf in jax.tree.leaves(parallel.first_copy(on_both)):
        assert leaf.devices() == {jax.local_devices()[0]}
    assert_identical(parallel.first_copy(on_both), tree)


def test_outside_a_mapped_axis_the_mean_over_devices_is_the_value_itself():
    assert parallel.pmean(3.0, None) == 3.0
    assert parallel.axis_size(None) == 1


def test_each_device_gets_its_share_of_the_batch_in_order():
    batch = {"a": np.arange(12).reshape(6, 2), "none": None}
    shares = PMAP.shard_batch(batch)
    assert shares["none"] is None
    assert_identical(shares["a"], batch["a"].reshape(2, 3, 2))
    assert ONE.shard_batch(batch) is batch
    assert_on_devices(MESH.shard_batch(batch)["a"], shares["a"])


def test_stacked_steps_keep_their_order_on_each_device():
    stacked = np.arange(24).reshape(3, 4, 2)  # steps, examples, values
    shares = PMAP.shard_batch(stacked, batch_axis=1)
    assert shares.shape == (2, 3, 2, 2)
    for device, share in enumerate(shares):
        assert_identical(share, stacked[:, 2 * device : 2 * device + 2])
    assert_on_devices(MESH.shard_batch(stacked, batch_axis=1), shares)


def assert_on_devices(array, shares):
    """Each device of the mesh holds its share, in the order of the devices."""
    shards = sorted(array.addressable_shards, key=lambda s: s.device.id)
    for shard, share in zip(shards, shares, strict=True):
        assert_identical(shard.data, share)


def test_one_host_takes_the_whole_batch():
    assert MESH.host_rows(6) == slice(0, 6)


@pytest.mark.parametrize("kind", ["pmap", "mesh"])
def test_all_devices_are_used_unless_a_number_is_given(kind):
    assert parallel.place(kind, None, 4, 6) == Placement(2, kind)
    assert parallel.place(kind, 1, 3) == Placement(1, kind)


@pytest.mark.parametrize("wanted", [0, -1, 3])
def test_devices_that_are_not_there_are_refused(wanted):
    message = f"{wanted} devices were asked for and 2 are here: pass devices 1 to 2"
    with pytest.raises(UserError, match=message):
        parallel.place("pmap", wanted, 6)


@pytest.mark.parametrize("kind", ["pmap", "mesh"])
def test_a_batch_that_does_not_divide_over_the_devices_is_refused(kind):
    with pytest.raises(UserError, match="a batch of 5 does not divide over 2 devices"):
        parallel.place(kind, None, 4, 5)


def test_pmap_over_several_hosts_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    message = "pmap does not reach over 4 processes: set parallel to mesh"
    with pytest.raises(UserError, match=message):
        parallel.place("pmap", None, 8)
