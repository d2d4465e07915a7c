"""Batch plans: pure functions of seed and step, one visit per image and epoch."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.data.batches import MIRROR, plan_batch


@given(
    seed=st.integers(0, 2**31),
    batch_size=st.integers(1, 40),
    num_images=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_every_epoch_visits_each_image_once(seed, batch_size, num_images):
    num_steps = -(-3 * num_images // batch_size)
    rows = np.concatenate(
        [
            plan_batch(seed, step, batch_size, num_images, 5).image_index
            for step in range(num_steps)
        ]
    )
    epochs = rows[: 3 * num_images].reshape(3, num_images)
    np.testing.assert_array_equal(
        np.sort(epochs), np.tile(np.arange(num_images), (3, 1))
    )


@given(seed=st.integers(0, 2**31), step=st.integers(0, 10_000_000))
@settings(max_examples=40, deadline=None)
def test_a_plan_depends_on_seed_and_step_alone(seed, step):
    plan = plan_batch(seed, step, 16, 50, 70)
    plan_batch(seed + 1, step, 16, 50, 70)
    plan_batch(seed, step + 1, 16, 50, 70)
    again = plan_batch(seed, step, 16, 50, 70)
    for field, same in zip(plan, again, strict=True):
        np.testing.assert_array_equal(field, same)


def test_epochs_and_seeds_have_orders_of_their_own():
    first = plan_batch(0, 0, 100, 100, 5).image_index
    assert (first != plan_batch(0, 1, 100, 100, 5).image_index).any()
    assert (first != plan_batch(1, 0, 100, 100, 5).image_index).any()


def test_indices_are_in_range_and_evenly_spread():
    plan = plan_batch(0, 3, 20_000, 100, 7)
    assert plan.image_index.dtype == plan.mask_index.dtype == np.int32
    for values, count in ((plan.mask_index, 7), (plan.mask_symmetry, 8)):
        frequencies = np.bincount(values, minlength=count) / len(values)
        np.testing.assert_allclose(frequencies, np.full(count, 1 / count), atol=0.015)
    assert abs(plan.flip.mean() - 0.5) < 0.02
    correlation = np.corrcoef(plan.flip, plan.mask_symmetry)[0, 1]
    assert abs(correlation) < 0.03


def test_the_stream_of_plans_is_pinned():
    """A change here would break the resumption of every run made before it."""
    plan = plan_batch(7, 11, 4, 10, 100)
    assert plan.image_index.tolist() == [6, 9, 8, 7]
    assert plan.flip.tolist() == [False, False, False, True]
    assert plan.mask_index.tolist() == [50, 21, 64, 76]
    assert plan.mask_symmetry.tolist() == [0, 1, 7, 4]


def test_a_plan_takes_a_small_part_of_a_step():
    plan_batch(0, 0, 64, 10_000, 8192)
    start = time.process_time()
    for step in range(100):
        plan_batch(0, step, 64, 10_000, 8192)
    assert (time.process_time() - start) / 100 < 5e-4


def test_an_augmented_plan_draws_all_48_pairs_and_flips_nothing():
    plan = plan_batch(0, 3, 20_000, 100, 7, augment=True)
    counts = np.bincount(plan.augmentation, minlength=48)
    assert len(counts) == 48
    # 20,000 draws over 48 cells: mean 417, standard deviation 20.
    assert abs(counts - 20_000 / 48).max() < 5 * 20
    assert not plan.flip.any()
    assert plan_batch(0, 3, 20_000, 100, 7).augmentation is None


@pytest.mark.parametrize("augment", [False, True])
def test_a_paired_mask_is_the_images_own_and_follows_its_symmetry(augment):
    plan = plan_batch(0, 3, 500, 100, 100, augment=augment, is_paired=True)
    np.testing.assert_array_equal(plan.mask_index, plan.image_index)
    expected = plan.augmentation // 6 if augment else plan.flip * MIRROR
    np.testing.assert_array_equal(plan.mask_symmetry, expected)
