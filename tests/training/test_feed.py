"""Batches of rows and batches of pixels are the same, for any number of devices."""

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from jaxgrow.devices.parallel import Placement
from jaxgrow.training.feed import Feed, fits


class Batch(NamedTuple):
    rows: Any
    pixels: Any = None


IMAGES = np.arange(20 * 3).reshape(20, 3).astype(np.uint8)


def plan(step):
    return Batch(np.random.default_rng(step).permutation(20)[:8].astype(np.int32))


def plan_of_two_models(step):
    return Batch(np.stack([plan(2 * step).rows, plan(2 * step + 1).rows]))


def test_a_batch_brings_the_pixels_of_its_rows_where_the_data_is_not_on_the_device():
    on_device = Feed(Placement(), 8, plan, IMAGES)
    on_host = Feed(Placement(), 8, plan, None, on_host={"pixels": IMAGES})
    for step in range(3):
        rows, batch = on_device(step, 1), on_host(step, 1)
        assert rows.pixels is None
        np.testing.assert_array_equal(rows.rows, batch.rows)
        np.testing.assert_array_equal(on_device.place()[rows.rows], batch.pixels)
        np.testing.assert_array_equal(batch.pixels, on_host.batch(step).pixels)


@pytest.mark.parametrize("make", [plan, plan_of_two_models])
def test_batches_of_several_steps_are_those_of_single_steps(make):
    feed = Feed(Placement(), 8, make, None, on_host={"pixels": IMAGES})
    several = feed(4, 3)
    for i in range(3):
        single = feed(4 + i, 1)
        jax.tree.map(
            np.testing.assert_array_equal, single, Batch(*(x[i] for x in several))
        )


@pytest.mark.parametrize(("make", "axis"), [(plan, 0), (plan_of_two_models, 1)])
def test_every_device_gets_its_share_of_the_examples(make, axis):
    one = Feed(Placement(), 8, make, None, on_host={"pixels": IMAGES})
    two = Feed(Placement(2), 8, make, None, on_host={"pixels": IMAGES})
    for k in (1, 2):
        whole, shares = one(0, k), two(0, k)
        joined = np.concatenate(shares.pixels, axis=axis + (k > 1))
        np.testing.assert_array_equal(joined, whole.pixels)


def test_data_that_is_computed_late_is_placed_once_and_its_shapes_come_first():
    calls = []

    def late():
        calls.append(None)
        return IMAGES

    feed = Feed(
        Placement(), 8, plan, late, like=jax.ShapeDtypeStruct((20, 3), np.uint8)
    )
    assert (feed.like().shape, calls) == ((20, 3), [])
    np.testing.assert_array_equal(feed.place(), IMAGES)
    assert len(calls) == 1
    with pytest.raises(ValueError, match="needs its shapes"):
        Feed(Placement(), 8, plan, late).like()


def test_megabytes_are_compared_with_the_bytes_of_an_array():
    array = np.zeros(2**20, np.uint8)
    assert fits(array, 1)
    assert not fits(np.zeros(2**20 + 1, np.uint8), 1)
    assert not fits(array, 0)
