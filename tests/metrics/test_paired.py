"""P-IDS and U-IDS against the paper's formula and sets whose answer is known."""

import functools
import importlib.util

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from jaxgrow.errors import UserError
from jaxgrow.metrics import paired
from jaxgrow.metrics.paired import discriminative_scores


def rows(n=120, d=5, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, (n, d)).astype(np.float32)


def test_scores_are_the_paper_s():
    real, fake = rows(seed=1), rows(seed=2, shift=0.4)
    machine = LinearSVC(dual=False)
    machine.fit(np.concatenate([real, fake]), np.array([1] * 120 + [0] * 120))
    real_side = machine.decision_function(real)
    fake_side = machine.decision_function(fake)
    wrong = (real_side <= 0).sum() + (fake_side > 0).sum()
    found = discriminative_scores(real, fake)
    np.testing.assert_allclose(found.u_ids, 100 * wrong / 240)
    np.testing.assert_allclose(found.p_ids, 100 * (fake_side > real_side).mean())
    assert (found.num_pairs, found.notes) == (120, ())
    assert 0 < found.u_ids < 50


def test_sets_apart_score_zero_and_sets_alike_near_fifty():
    apart = discriminative_scores(rows(), rows(shift=50.0))
    assert (apart.p_ids, apart.u_ids) == (0.0, 0.0)
    alike = discriminative_scores(rows(3000, 2, 1), rows(3000, 2, 2))
    assert abs(alike.u_ids - 50) < 3
    assert abs(alike.p_ids - 50) < 3


def test_only_the_paired_score_sees_the_order():
    real = rows(seed=3)
    fake = real + np.float32(0.3) * np.abs(rows(seed=4))
    shuffled = fake[np.random.default_rng(0).permutation(120)]
    as_paired = discriminative_scores(real, fake)
    as_shuffled = discriminative_scores(real, shuffled)
    np.testing.assert_allclose(as_paired.u_ids, as_shuffled.u_ids, atol=1.0)
    # Every fake lies a little farther to the side of the fakes than its own real.
    assert as_paired.p_ids < as_shuffled.p_ids - 10


def test_a_plane_between_any_two_sets_is_remarked_on():
    found = discriminative_scores(rows(10, 40, 5), rows(10, 40, 6))
    assert (found.p_ids, found.u_ids) == (0.0, 0.0)
    assert "a plane tells any 10 images from any 10 others" in found.notes[0]
    assert not discriminative_scores(rows(21, 40, 5), rows(21, 40, 6)).notes


def test_a_machine_that_does_not_converge_is_remarked_on(monkeypatch):
    hasty = functools.partial(LinearSVC, max_iter=1)
    monkeypatch.setattr("sklearn.svm.LinearSVC", hasty)
    found = discriminative_scores(rows(seed=1), rows(seed=2))
    assert found.notes == (
        "the support vector machine of P-IDS and U-IDS did not converge",
    )


def test_features_that_are_no_pairs_are_refused():
    with pytest.raises(UserError, match=r"compares pairs, but features are \(120, 5\)"):
        discriminative_scores(rows(), rows(119))
    broken = rows()
    broken[0, 0] = np.nan
    with pytest.raises(UserError, match="features of the generated images must be fin"):
        discriminative_scores(rows(), broken)


def test_a_missing_scikit_learn_is_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not paired.is_available()
    with pytest.raises(UserError, match=r"need scikit-learn: pip install 'scikit"):
        discriminative_scores(rows(), rows())
