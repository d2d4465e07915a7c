"""How sure accuracies and their differences are: paired bootstrap, McNemar's test.

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
    """Accuracy in %, the mean over seeds, with its interval over test objects.

    Percentile bootstrap (Efron 1979) that draws objects, each with the outcomes of all
    seeds: it tells what other objects would have given, not what other seeds would.
    """
    return _interval(correct.sum(axis=0), len(correct))


def bootstrap_difference(
    a: Bool[np.ndarray, "s n"], b: Bool[np.ndarray, "s n"]
) -> Interval:
    """Accuracy of `a` minus that of `b`, in percent points, on the same resamples.

    Paired: an object is drawn with what both make of it, so what they share cancels.
    """
    return _interval(a.sum(axis=0) - b.sum(axis=0), len(a))


def mcnemar(a: Bool[np.ndarray, " n"], b: Bool[np.ndarray, " n"]) -> float:
    """Exact two-sided p-value that `a` and `b` are right equally often (McNemar 1947).

    Of the objects on which just one of the two is right, either has half. 1 if there
    are none.
    """
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def _interval(totals: Int[np.ndarray, " n"], num_seeds: int) -> Interval:
    """Of the mean over objects; `totals` are sums over seeds.

    The totals take few values, and how often a resample has each of them is
    multinomial: drawing the counts is drawing the objects, without the objects.
    """
    values, counts = np.unique(totals, return_counts=True)
    n = len(totals)
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(n, counts / n, size=NUM_RESAMPLES)
    percent = 100.0 / (num_seeds * n)
    low, high = np.percentile(drawn @ values, _PERCENTILES) * percent
    return Interval(float(counts @ values * percent), float(low), float(high))
