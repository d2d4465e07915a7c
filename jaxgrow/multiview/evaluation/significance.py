"""Uncertainty of accuracies and their differences: paired bootstrap, McNemar's test.

Correctness is Bool (s, n): of the classifier of every seed, on every test object.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from scipy import stats


NUM_RESAMPLES = 10_000
_SEED = 0
_PERCENTILES = (2.5, 97.5)


class Interval(NamedTuple):
    """A figure in percent or percent points, and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap_mean(correct: Bool[np.ndarray, "s n"]) -> Interval:
    """Return the accuracy in %, the mean over seeds, and its interval over objects.

    The percentile bootstrap (Efron 1979) draws objects, each with the outcomes of all
    seeds. The interval covers other objects, not other seeds.
    """
    return _interval(correct.sum(axis=0), len(correct))


def bootstrap_difference(
    a: Bool[np.ndarray, "s n"], b: Bool[np.ndarray, "s n"]
) -> Interval:
    """Return the accuracy of `a` minus that of `b`, in percent points.

    Paired: an object is drawn with the outcomes of both.
    """
    return _interval(a.sum(axis=0) - b.sum(axis=0), len(a))


def mcnemar(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> float:
    """Return the exact two-sided p-value of equal accuracies (McNemar 1947).

    The null hypothesis halves the objects on which just one of the two is right; 1 if
    there are none.
    """
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def _interval(totals: Int[np.ndarray, " n"], num_seeds: int) -> Interval:
    """Bootstrap the mean over objects of `totals`, which are sums over seeds.

    The totals take few values, and their counts in a resample are multinomial, so the
    counts are drawn in place of the objects.
    """
    values, counts = np.unique(totals, return_counts=True)
    n = len(totals)
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(n, counts / n, size=NUM_RESAMPLES)
    percent = 100.0 / (num_seeds * n)
    low, high = np.percentile(drawn @ values, _PERCENTILES) * percent
    return Interval(float(counts @ values * percent), float(low), float(high))
