"""Averaging of outputs, intervals, McNemar's test and the gate: known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import special, stats

from jaxgrow.multiview.evaluation import classification, significance


LOGITS = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(2, 4)),
    elements=st.floats(-30, 30),
)
MODES = pytest.mark.parametrize("mode", classification.MODES)


def answers(seed, num_seeds, n, accuracy):
    return np.random.default_rng(seed).random((num_seeds, n)) < accuracy


# Averaging.


@MODES
@settings(deadline=None, max_examples=30)
@given(logits=LOGITS, seed=st.integers(0, 9))
def test_scores_are_probabilities_and_no_order_of_the_views_matters(mode, logits, seed):
    scores = classification.aggregate(logits, mode)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-9)
    assert (scores >= 0).all()
    order = np.random.default_rng(seed).permutation(logits.shape[1])
    again = classification.aggregate(logits[:, order], mode)
    np.testing.assert_allclose(again, scores, rtol=1e-9, atol=1e-12)


@MODES
@settings(deadline=None, max_examples=30)
@given(logits=LOGITS)
def test_copies_of_one_output_average_to_itself(mode, logits):
    copies = np.repeat(logits[:, :1], 4, axis=1)
    expected = special.softmax(logits[:, 0], axis=-1)
    found = classification.aggregate(copies, mode)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("softmax", (0.9 + 0.4 + 0.4) / 3),
        ("logits", special.expit((np.log(9) + 2 * np.log(2 / 3)) / 3)),
        ("median", 0.4),
        ("confidence", (0.9 * 0.9 + 0.6 * 0.4 + 0.6 * 0.4) / (0.9 + 0.6 + 0.6)),
    ],
)
def test_the_four_ways_of_averaging_follow_their_closed_forms(mode, expected):
    p = np.array([0.9, 0.4, 0.4])
    logits = np.log(np.stack([p, 1 - p], axis=-1))
    found = classification.aggregate(logits, mode)
    np.testing.assert_allclose(found, [expected, 1 - expected], rtol=1e-12)


def test_views_that_are_each_sure_of_another_class_have_a_mean_for_a_median():
    logits = np.float32(1000 * np.eye(3))
    found = classification.aggregate(logits, "median")
    np.testing.assert_allclose(found, [1 / 3] * 3, rtol=1e-6)


def test_an_answer_is_right_if_the_averaged_output_names_the_class():
    logits = np.log(np.array([[[[0.9, 0.1], [0.3, 0.7]], [[0.4, 0.6], [0.45, 0.55]]]]))
    right = classification.correct(logits, np.array([0, 0]))
    np.testing.assert_array_equal(right, [[True, False]])


# Intervals.


@pytest.mark.parametrize("n", [40, 500])
def test_the_interval_of_an_accuracy_is_the_binomial_one(n):
    right = (np.arange(n) < 0.8 * n)[None]
    value, low, high = significance.bootstrap_mean(right)
    expected = stats.binom.ppf([0.025, 0.975], n, 0.8) * 100 / n
    assert value == pytest.approx(80)
    np.testing.assert_allclose([low, high], expected, atol=100 / n)


def test_the_paired_interval_is_that_of_scipy():
    a, b = answers(0, 3, 400, 0.8), answers(1, 3, 400, 0.7)
    found = significance.bootstrap_difference(a, b)
    difference = 100 * (a.mean(axis=0) - b.mean(axis=0))
    theirs = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert found.value == pytest.approx(difference.mean())
    np.testing.assert_allclose([found.low, found.high], theirs, atol=0.2)


def test_identical_outputs_differ_by_exactly_nothing():
    a = answers(0, 3, 100, 0.7)
    assert significance.bootstrap_difference(a, a) == (0.0, 0.0, 0.0)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), num_seeds=st.integers(1, 4), n=st.integers(1, 60))
def test_an_interval_holds_its_figure_and_swapping_turns_its_sign(seed, num_seeds, n):
    a, b = answers(seed, num_seeds, n, 0.6), answers(seed + 100, num_seeds, n, 0.6)
    value, low, high = significance.bootstrap_difference(a, b)
    assert low - 1e-9 <= value <= high + 1e-9
    assert value == pytest.approx(100 * (a.mean() - b.mean()), abs=1e-9)
    assert significance.bootstrap_difference(b, a).value == pytest.approx(-value)


def test_pairing_makes_the_interval_of_outputs_that_agree_narrow():
    a = answers(0, 1, 1000, 0.7)
    b = a.copy()
    b[0, :10] = ~b[0, :10]
    paired = significance.bootstrap_difference(a, b)
    shuffled = significance.bootstrap_difference(
        a, np.random.default_rng(0).permutation(b, axis=1)
    )
    assert paired.high - paired.low < 0.25 * (shuffled.high - shuffled.low)


def test_the_paired_interval_covers_the_true_difference_95_times_in_100():
    """Objects of random difficulty, so that both classifiers fail on the same ones."""
    covered, trials, n = 0, 200, 150
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        skill = rng.beta(4, 2, size=n)
        a, b = rng.random((2, 3, n)) < np.stack([skill, skill**1.5])[:, None, :]
        mean = special.beta(5.5, 2) / special.beta(4, 2)
        true = 100 * (4 / 6 - mean)
        _, low, high = significance.bootstrap_difference(a, b)
        covered += low <= true <= high
    low, high = stats.binom.ppf([0.0005, 0.9995], trials, 0.95)
    assert low - 0.01 * trials <= covered <= high


# McNemar.


@settings(deadline=None, max_examples=30)
@given(both=st.integers(0, 9), a=st.integers(0, 30), b=st.integers(0, 30))
def test_mcnemar_is_twice_the_smaller_binomial_tail(both, a, b):
    ours = np.array([1] * both + [1] * a + [0] * b + [0], bool)
    theirs = np.array([1] * both + [0] * a + [1] * b + [0], bool)
    expected = min(1.0, 2 * stats.binom.cdf(min(a, b), a + b, 0.5))
    assert significance.mcnemar(ours, theirs) == pytest.approx(expected)
    assert significance.mcnemar(theirs, ours) == pytest.approx(expected)


def test_mcnemar_nears_the_chi_square_of_the_two_by_two_table():
    only_a, only_b = 260, 200
    a = np.repeat([True, False], [only_a, only_b])
    chi2 = (abs(only_a - only_b) - 1) ** 2 / (only_a + only_b)
    expected = stats.chi2.sf(chi2, 1)
    assert significance.mcnemar(a, ~a) == pytest.approx(expected, rel=0.02)


# The gate.


def gate(seed=0, n=200):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    target = np.eye(3)[labels]
    single = 2 * target + rng.normal(size=(2, n, 3))
    generated = 2 * target[:, None] + rng.normal(size=(2, n, 4, 3))
    return single, generated, labels


def test_the_gate_goes_from_the_single_view_to_all_views():
    single, generated, labels = gate()
    curve = classification.gate_curve(single, generated, labels)
    first, last = curve[0], curve[-1]
    right = classification.correct(single[:, :, None], labels)
    assert (first["share"], last["share"]) == (0, 100)
    assert first["accuracy"] == pytest.approx(100 * right.mean())
    right = classification.correct(generated, labels)
    assert last["accuracy"] == pytest.approx(100 * right.mean())
    assert np.all(np.diff([point["threshold"] for point in curve]) > 0)
    shares = [point["share"] for point in curve]
    np.testing.assert_allclose(shares, np.linspace(0, 100, 21), atol=0.5)


def test_a_point_of_the_gate_is_what_its_threshold_gives():
    single, generated, labels = gate()
    point = classification.gate_curve(single, generated, labels)[7]
    found = []
    for s in range(2):
        for i, label in enumerate(labels):
            p = special.softmax(single[s, i])
            if p.max() < point["threshold"]:
                p = special.softmax(generated[s, i], axis=-1).mean(axis=0)
            found.append(p.argmax() == label)
    assert point["accuracy"] == pytest.approx(100 * np.mean(found))


def test_a_classifier_that_is_always_sure_has_a_gate_of_two_points():
    labels = np.array([0, 1])
    single = np.float32(1000 * np.eye(2)[None])
    curve = classification.gate_curve(single, -single[:, :, None], labels)
    assert [point["share"] for point in curve] == [0, 100]
    assert [point["accuracy"] for point in curve] == [100, 0]
