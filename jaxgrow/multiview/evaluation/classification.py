"""Tables II and III of Di Giacomo et al. (2024): the gain by generated views.

Controls tell whether a gain comes from the views or from averaging any outputs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from jaxgrow.multiview.evaluation.significance import (
    Interval,
    bootstrap_difference,
    bootstrap_mean,
    mcnemar,
)


Mode: TypeAlias = Literal["softmax", "logits", "median", "confidence"]
MODES: tuple[Mode, ...] = get_args(Mode)

RULE_CONTROLS = ("flips", "crops", "reconstruction")
"""Test sets that average several outputs and contain no new view."""

PAPER_TABLE_2 = {
    "resnet18": {
        ("single", "single"): 83.89,
        ("single", "generated"): 87.21,
        ("augmented", "single"): 85.18,
        ("augmented", "generated"): 88.03,
    },
    "mobilenet_v3": {
        ("single", "single"): 71.01,
        ("single", "generated"): 79.66,
        ("augmented", "single"): 77.95,
        ("augmented", "generated"): 85.45,
    },
}
"""The paper's accuracies in % on NMR, from scratch: network -> (train, test) -> value.

It does not say which MobileNetV3.
"""

_Place: TypeAlias = tuple[str, str]  # training set, test set
_FAIR = ("single, same steps", "matched")  # training sets beside "single"
_GATE_POINTS = 21


class CellKey(NamedTuple):
    """A classifier and a test set.

    Attributes:
        network: "resnet18", "mobilenet_v3_large" or "mobilenet_v3_small".
        start: "scratch" or "fine-tuned".
        train: Name of the training set, such as "single" or "augmented".
        test: Name of the test set, such as "single" or "generated".
    """

    network: str
    start: str
    train: str
    test: str


class Verdict(NamedTuple):
    """The verdict of `assess_gain` on generated views at test.

    Attributes:
        kind: The verdict.
        text: One sentence, with the figures.
        gain: Of generated views over the single one, in percent points.
        shares: Control -> its gain in percent of that of generated views; empty if
            there is no gain.
    """

    kind: Literal["no gain", "ensembling", "views"]
    text: str
    gain: Interval
    shares: dict[str, float]


def aggregate(
    logits: Float[np.ndarray, "*b m k"], mode: Mode = "softmax"
) -> Float[np.ndarray, "*b k"]:
    """Return class probabilities from the outputs for m images of one object.

    Args:
        logits: Of each image.
        mode: "softmax": mean of the probabilities, the paper's; "logits": softmax of
            the mean logits; "median": median of the probabilities, class by class,
            scaled to the sum 1; "confidence": mean of the probabilities, weighted by
            each image's largest.
    """
    if mode == "logits":
        return special.softmax(logits.mean(axis=-2), axis=-1)
    p = special.softmax(logits, axis=-1)
    if mode == "median":
        median = np.median(p, axis=-2)
        total = median.sum(axis=-1, keepdims=True)
        # Images that are each sure of another class have a median of 0 everywhere.
        return np.where(total > 0, median / np.where(total > 0, total, 1), p.mean(-2))
    if mode == "confidence":
        weight = p.max(axis=-1, keepdims=True)
        return (weight * p).sum(axis=-2) / weight.sum(axis=-2)
    return p.mean(axis=-2)


def correct(
    logits: Float[np.ndarray, "s n m k"],
    labels: Int[np.ndarray, " n"],
    mode: Mode = "softmax",
) -> Bool[np.ndarray, "s n"]:
    """Return True where a seed's classifier predicts the object's class."""
    return aggregate(logits, mode).argmax(axis=-1) == labels[None, :]


def assess_gain(
    single: Bool[np.ndarray, "s n"],
    generated: Bool[np.ndarray, "s n"],
    controls: Mapping[str, Bool[np.ndarray, "s n"]],
    threshold: float = 0.8,
) -> Verdict:
    """Attribute the gain by a rule that was written before the first run.

    There is no gain if the paired 95 % interval of generated views over the single one
    reaches down to 0. Otherwise the gain is ensembling if any control has at least
    `threshold` of it, else the views'.

    Args:
        single: Correctness on the conditioning view.
        generated: On all views, the others generated, outputs averaged.
        controls: Name -> correctness with outputs averaged over images that show no new
            view; some of `RULE_CONTROLS`.
        threshold: Share of the gain.

    Raises:
        ValueError: There are no controls.
    """
    if not controls:
        raise ValueError("a gain cannot be assessed without controls")
    gain = bootstrap_difference(generated, single)
    told = f"averaging over generated views changes accuracy by {points(gain)}"
    if gain.low <= 0:
        text = f"No gain: {told}, an interval that holds 0 or less."
        return Verdict("no gain", text, gain, {})
    gains = {n: bootstrap_difference(c, single).value for n, c in controls.items()}
    shares = {name: 100.0 * own / gain.value for name, own in gains.items()}
    best = max(shares, key=lambda name: shares[name])
    beyond = bootstrap_difference(generated, controls[best])
    found = (
        f"{told}, and of the controls {best} comes nearest with "
        f"{gains[best]:+.2f}, {shares[best]:.0f} % of that"
    )
    ahead = f"generated views minus that control: {points(beyond)}"
    bound = 100.0 * threshold
    if shares[best] >= bound:
        text = f"The gain is ensembling: {found}, at least {bound:.0f} %; {ahead}."
        return Verdict("ensembling", text, gain, shares)
    text = f"The gain is the views': {found}, less than {bound:.0f} %; {ahead}."
    return Verdict("views", text, gain, shares)


def points(interval: Interval) -> str:
    """Format a difference and its interval: "+1.20 points [0.40, 2.00]"."""
    value, low, high = interval
    return f"{value:+.2f} points [{low:.2f}, {high:.2f}]"


def summarise(
    correct: Mapping[CellKey, Bool[np.ndarray, "s n"]],
    num_steps: Mapping[tuple[str, str, str], int],
) -> dict[str, list[dict[str, Any]]]:
    """Return all figures of the tables, ready for JSON.

    Args:
        correct: Of every classifier on every test set; the same objects and number of
            seeds everywhere.
        num_steps: (network, start, train) -> steps of the training.

    Returns:
        "cells": the fields of `CellKey`, "accuracy" of every seed, their "mean" and
        "std" (None of one seed), "low" and "high" over objects, all in %, "num_steps".
        "gains": "network", "start", "from" and "to" (each "train" and "test"), "value",
        "low" and "high" in percent points, and McNemar's "p" of every seed, for the
        pairs of `_comparisons`.
        "verdicts": of `assess_gain`, for every network, start and training set with the
        test sets "single", "generated" and a control.
    """
    cells = [
        _cell(key, right, num_steps.get(key[:3])) for key, right in correct.items()
    ]
    gains, verdicts = [], []
    for network, start in dict.fromkeys(key[:2] for key in correct):
        of = {key[2:]: r for key, r in correct.items() if key[:2] == (network, start)}
        place = {"network": network, "start": start}
        gains += [place | _gain(of, a, b) for a, b in _comparisons(list(of))]
        for train in dict.fromkeys(train for train, _ in of):
            tests = {test: right for (t, test), right in of.items() if t == train}
            controls = {name: tests[name] for name in RULE_CONTROLS if name in tests}
            if controls and {"single", "generated"} <= set(tests):
                found = assess_gain(tests["single"], tests["generated"], controls)
                plain = found._asdict() | {"gain": found.gain._asdict()}
                verdicts.append(place | {"train": train} | plain)
    return {"cells": cells, "gains": gains, "verdicts": verdicts}


def _cell(
    key: CellKey, correct: Bool[np.ndarray, "s n"], num_steps: int | None
) -> dict[str, Any]:
    accuracy = 100.0 * correct.mean(axis=1)
    _, low, high = bootstrap_mean(correct)
    return key._asdict() | {
        "accuracy": accuracy.tolist(),
        "mean": float(accuracy.mean()),
        "std": float(accuracy.std(ddof=1)) if len(accuracy) > 1 else None,
        "low": low,
        "high": high,
        "num_steps": num_steps,
    }


def _comparisons(places: Sequence[_Place]) -> list[tuple[_Place, _Place]]:
    """Return the pairs (from, to) to compare, each once.

    They are the test sets of a classifier against its "single"; the training sets
    against "single" on the "single" test set; both augmentations against neither; and
    the augmented training against "single", "single, same steps" and "matched".
    """
    wanted = [((train, "single"), (train, test)) for train, test in places]
    wanted += [(("single", "single"), (train, "single")) for train, _ in places]
    wanted.append((("single", "single"), ("augmented", "generated")))
    for train in ("single", *_FAIR):
        for test in ("single", "generated"):
            wanted.append(((train, test), ("augmented", test)))
    there = {(a, b): None for a, b in wanted if a != b and {a, b} <= set(places)}
    return list(there)


def _gain(
    correct: Mapping[_Place, Bool[np.ndarray, "s n"]], before: _Place, after: _Place
) -> dict[str, Any]:
    a, b = correct[after], correct[before]
    return {
        "from": {"train": before[0], "test": before[1]},
        "to": {"train": after[0], "test": after[1]},
        **bootstrap_difference(a, b)._asdict(),
        "p": [mcnemar(x, y) for x, y in zip(a, b, strict=True)],
    }


def gate_curve(
    single: Float[np.ndarray, "s n k"],
    generated: Float[np.ndarray, "s n m k"],
    labels: Int[np.ndarray, " n"],
    mode: Mode = "softmax",
) -> list[dict[str, float]]:
    """Return accuracy against the share of objects for which views are generated.

    Views are generated for objects whose largest probability on the single view is
    below a threshold; the others keep that view's answer. The thresholds are even
    quantiles over the objects, independent of the labels.

    `single` and `generated` are the logits of the conditioning view and of all views.

    Returns:
        By rising threshold: "threshold", "share" of the objects in % for which views
        are generated, "accuracy" in %, both means over seeds, from no object to all.
    """
    p = special.softmax(single, axis=-1)
    confidence = p.max(axis=-1)
    right = p.argmax(axis=-1) == labels[None, :]
    right_with_views = correct(generated, labels, mode)
    shares = np.linspace(0, 1, _GATE_POINTS)
    thresholds = np.quantile(confidence, shares).astype(confidence.dtype)
    thresholds[-1] = np.nextafter(thresholds[-1], np.inf, dtype=confidence.dtype)
    curve = []
    for threshold in np.unique(thresholds):
        unsure = confidence < threshold
        taken = np.where(unsure, right_with_views, right)
        share, accuracy = (100.0 * float(a.mean()) for a in (unsure, taken))
        point = {"threshold": float(threshold), "share": share, "accuracy": accuracy}
        curve.append(point)
    return curve
