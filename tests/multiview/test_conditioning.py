"""Conditioning sets: their order, and the distribution of their draws."""

import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxgrow.errors import UserError
from jaxgrow.multiview import conditioning


def draw(num, num_views=4, **options):
    keys = jax.random.split(jax.random.key(3), num)
    jitted = jax.jit(lambda keys: conditioning.draw_missing(keys, num_views, **options))
    return np.asarray(jitted(keys))


def test_the_sets_run_by_size_and_then_in_lexicographic_order():
    assert conditioning.conditioning_sets(3) == [
        (0,),
        (1,),
        (2,),
        (0, 1),
        (0, 2),
        (1, 2),
    ]
    assert [len(c) for c in conditioning.conditioning_sets(4)] == [1] * 4 + [2] * 6 + [
        3
    ] * 4


@given(num_views=st.integers(2, 6))
def test_missing_rows_are_the_complements_and_never_all_or_none(num_views):
    rows = conditioning.missing_rows(num_views)
    assert len(rows) == len({row.tobytes() for row in rows}) == 2**num_views - 2
    assert rows.any(axis=1).all()
    assert not rows.all(axis=1).any()
    for row, c in zip(rows, conditioning.conditioning_sets(num_views), strict=True):
        assert tuple(np.flatnonzero(~row)) == c


def test_draws_have_the_papers_distribution():
    """P(C = {}) = 0.2, and the 14 proper sets are as likely: chi-squared at 1e-4."""
    missing = draw(20_000)
    counts = []
    for size in (1, 2, 3):
        for c in itertools.combinations(range(4), size):
            wanted = np.ones(4, bool)
            wanted[list(c)] = False
            counts.append((missing == wanted).all(axis=1).sum())
    joint = missing.all(axis=1).sum()
    assert sum(counts) + joint == 20_000
    expected = [20_000 * 0.8 / 14] * 14 + [20_000 * 0.2]
    assert stats.chisquare([*counts, joint], expected).pvalue > 1e-4


def test_weights_of_sizes_are_shared_by_the_sets_of_a_size():
    p = conditioning.subset_probabilities(4, (6.0, 3.0, 1.0))
    np.testing.assert_allclose(p, [0.15] * 4 + [0.05] * 6 + [0.025] * 4, rtol=1e-12)
    missing = draw(4_000, p_joint=0.0, probabilities=p)
    sizes = np.bincount(4 - missing.sum(axis=1), minlength=5)
    assert stats.chisquare(sizes[1:4], [2400, 1200, 400]).pvalue > 1e-4


def test_the_conditioning_set_can_always_be_one_view():
    p = conditioning.subset_probabilities(4, (1.0, 0.0, 0.0))
    missing = draw(500, p_joint=0.0, probabilities=p)
    assert (missing.sum(axis=1) == 3).all()


@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(num_views=st.integers(2, 5), p_joint=st.sampled_from([0.0, 1.0]))
def test_the_coin_decides_at_its_ends(num_views, p_joint):
    missing = draw(64, num_views, p_joint=p_joint)
    assert missing.any(axis=1).all()
    assert missing.all(axis=1).all() == (p_joint == 1.0)


def test_an_examples_subset_depends_on_its_own_key_alone():
    keys = jax.random.split(jax.random.key(0), 9)
    draw_rows = jax.jit(lambda keys: conditioning.draw_missing(keys, 4))
    together = np.asarray(draw_rows(keys))
    alone = [np.asarray(draw_rows(keys[i : i + 1]))[0] for i in range(9)]
    assert (together == np.array(alone)).all()


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0)])
def test_weights_that_are_no_distribution_are_refused(weights):
    with pytest.raises(UserError, match="one for each of 1 to 3 conditioning views"):
        conditioning.subset_probabilities(4, weights)


@pytest.mark.parametrize(("num_views", "count"), [(4, 14), (6, 62), (7, 54), (24, 46)])
def test_tables_take_all_sets_or_some_of_every_size(num_views, count):
    found = conditioning.sampled_sets(num_views)
    assert len(found) == len(set(found)) == count
    assert found == conditioning.sampled_sets(num_views)
    sizes = [len(c) for c in found]
    assert sizes == sorted(sizes)
    assert set(sizes) == set(range(1, num_views))
    assert all(list(c) == sorted(set(c)) for c in found)


def test_many_views_are_drawn_without_a_list_of_sets():
    """Sizes have their weights, and every view is as often among the missing ones."""
    weights = (0.5, *[0.0] * 21, 0.5)
    p = conditioning.subset_probabilities(24, weights)
    missing = draw(4_000, 24, p_joint=0.0, probabilities=p)
    sizes = np.bincount(24 - missing.sum(axis=1), minlength=25)
    assert sizes[1] + sizes[23] == 4_000
    assert stats.chisquare(sizes[[1, 23]]).pvalue > 1e-4
    assert stats.chisquare(missing.sum(axis=0)).pvalue > 1e-4
    uniform = conditioning.subset_probabilities(24)
    assert uniform[11] == pytest.approx(2704156 / (2**24 - 2))


def test_sets_are_named_by_their_views():
    assert (
        conditioning.name_of_set((0, 3), ("front", "back", "right", "left"))
        == "front+left"
    )
