"""Adaptive growing: a stage may end when its validation error stops improving."""

import dataclasses
import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.inpainting.stages import GrowthConfig, Plateau


def test_a_plateau_is_found_as_by_hand():
    config = GrowthConfig(smoothing=0.5, min_improvement=0.1, patience=2)
    plateau = Plateau()
    # error, then by hand: smoothed error, best, stale, whether the stage ends
    for error, smoothed, best, stale, ends in [
        (8.0, 8.0, 8.0, 0, False),
        (4.0, 6.0, 6.0, 0, False),
        (5.0, 5.5, 6.0, 1, False),  # above 0.9 * 6
        (5.1, 5.3, 5.3, 0, False),  # below it
        (5.3, 5.3, 5.3, 1, False),
        (5.2, 5.25, 5.3, 2, True),
        (5.25, 5.25, 5.3, 3, True),
    ]:
        assert plateau.update(error, config) is ends
        found = (plateau.smoothed, plateau.best, plateau.stale)
        np.testing.assert_allclose(found, (smoothed, best, stale), rtol=1e-12)


@settings(deadline=None, max_examples=30)
@given(errors=st.lists(st.floats(0.01, 10.0), min_size=1, max_size=20), cut=st.data())
def test_a_plateau_goes_on_the_same_from_json(errors, cut):
    config = GrowthConfig(patience=3)
    straight, resumed = Plateau(), Plateau()
    at = cut.draw(st.integers(0, len(errors)))
    for i, error in enumerate(errors):
        if i == at:
            resumed = Plateau(**json.loads(json.dumps(dataclasses.asdict(resumed))))
        assert straight.update(error, config) == resumed.update(error, config)
    assert straight == resumed


def test_an_error_that_keeps_falling_never_ends_a_stage():
    plateau, config = Plateau(), GrowthConfig(patience=1)
    assert not any(plateau.update(0.95**i, config) for i in range(100))
