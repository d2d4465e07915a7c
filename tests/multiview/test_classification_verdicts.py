"""The rule about ensembling, and the figures of Tables II and III."""

import itertools
import json

import numpy as np
import pytest

from jaxgrow.multiview.evaluation import classification
from jaxgrow.multiview.evaluation.classification import CellKey, assess_gain


def first(k, n=1000, num_seeds=2):
    """Right on the first k of n objects, whatever the seed."""
    return np.tile(np.arange(n) < k, (num_seeds, 1))


SINGLE, GENERATED = first(700), first(760)  # a gain of 6 points


# The rule.


def test_a_gain_that_a_control_reaches_is_ensembling():
    controls = {"flips": first(710), "reconstruction": first(749)}
    verdict = assess_gain(SINGLE, GENERATED, controls)
    assert verdict.kind == "ensembling"
    assert verdict.gain.value == pytest.approx(6)
    assert verdict.shares == pytest.approx(
        {"flips": 100 / 6, "reconstruction": 490 / 6}
    )
    assert verdict.text == (
        "The gain is ensembling: averaging over generated views changes accuracy by "
        f"+6.00 points [{verdict.gain.low:.2f}, {verdict.gain.high:.2f}], and of the "
        "controls reconstruction comes nearest with +4.90, 82 % of that, at least 80 %;"
        " generated views minus that control: +1.10 points [0.50, 1.80]."
    )


def test_a_gain_that_no_control_reaches_is_the_views():
    controls = {"flips": first(710), "crops": first(690)}
    verdict = assess_gain(SINGLE, GENERATED, controls)
    assert verdict.kind == "views"
    assert "flips comes nearest with +1.00, 17 % of that" in verdict.text
    assert "less than 80 %" in verdict.text


@pytest.mark.parametrize("generated", [SINGLE, first(640), first(701)])
def test_a_gain_whose_interval_holds_nothing_or_less_is_none(generated):
    verdict = assess_gain(SINGLE, generated, {"flips": first(760)})
    assert verdict.kind == "no gain"
    assert verdict.shares == {}


@pytest.mark.parametrize(("control", "kind"), [(748, "ensembling"), (747, "views")])
def test_the_threshold_itself_is_ensembling(control, kind):
    assert assess_gain(SINGLE, GENERATED, {"flips": first(control)}).kind == kind


def test_the_threshold_can_be_moved():
    controls = {"flips": first(730)}
    assert assess_gain(SINGLE, GENERATED, controls, threshold=0.5).kind == "ensembling"
    assert assess_gain(SINGLE, GENERATED, controls, threshold=0.6).kind == "views"


def test_without_controls_nothing_is_assessed():
    with pytest.raises(ValueError, match="cannot be assessed without controls"):
        assess_gain(SINGLE, GENERATED, {})


# The tables.

RIGHT = {
    ("single", "single"): 700,
    ("single", "generated"): 760,
    ("single", "flips"): 710,
    ("single", "mirror"): 770,
    ("augmented", "single"): 720,
    ("augmented", "generated"): 780,
    ("single, same steps", "single"): 715,
}


@pytest.fixture(scope="module")
def summary():
    correct = {
        CellKey("resnet18", "scratch", *place): first(k) for place, k in RIGHT.items()
    }
    correct[CellKey("mobilenet_v3_small", "scratch", "single", "single")] = first(500)
    steps = {("resnet18", "scratch", "single"): 50}
    return classification.summarise(correct, steps)


def test_a_cell_has_the_accuracy_of_every_seed(summary):
    cell = summary["cells"][0]
    assert cell["accuracy"] == pytest.approx([70, 70])
    assert (cell["mean"], cell["std"]) == (pytest.approx(70), pytest.approx(0))
    assert cell["low"] < 70 < cell["high"]
    assert (cell["train"], cell["test"], cell["num_steps"]) == ("single", "single", 50)
    assert summary["cells"][-1]["network"] == "mobilenet_v3_small"
    assert summary["cells"][-1]["num_steps"] is None


def test_seeds_that_differ_have_a_spread_and_one_seed_has_none():
    key = CellKey("resnet18", "scratch", "single", "single")
    two = np.stack([first(600)[0], first(800)[0]])
    (cell,) = classification.summarise({key: two}, {})["cells"]
    assert cell["std"] == pytest.approx(np.std([60, 80], ddof=1))
    (cell,) = classification.summarise({key: two[:1]}, {})["cells"]
    assert cell["std"] is None


def test_every_gain_is_the_difference_of_its_cells_and_is_told_once(summary):
    places = [
        tuple(tuple(gain[end].values()) for end in ("from", "to"))
        for gain in summary["gains"]
    ]
    assert len(set(places)) == len(places)
    for (before, after), gain in zip(places, summary["gains"], strict=True):
        expected = (RIGHT[after] - RIGHT[before]) / 10
        assert gain["value"] == pytest.approx(expected)
        assert len(gain["p"]) == 2
    table_two = itertools.product(["single", "augmented"], ["single", "generated"])
    neither = ("single", "single")
    assert {(neither, other) for other in table_two if other != neither} <= set(places)
    assert (("augmented", "single"), ("augmented", "generated")) in places
    assert (("single, same steps", "single"), ("augmented", "single")) in places


def test_a_verdict_is_given_where_there_is_a_control_and_by_the_rules_controls_alone(
    summary,
):
    (verdict,) = summary["verdicts"]  # the augmented training had no control
    assert (verdict["network"], verdict["train"]) == ("resnet18", "single")
    assert verdict["kind"] == "views"  # though the mirror, a new view, gives more
    assert set(verdict["shares"]) == {"flips"}


def test_the_summary_is_json(summary):
    assert json.loads(json.dumps(summary)) == summary


def test_the_papers_table_has_its_claim_of_twenty_percent():
    cells = classification.PAPER_TABLE_2["mobilenet_v3"]
    gain = cells["augmented", "generated"] / cells["single", "single"]
    assert gain == pytest.approx(1.203, abs=1e-3)
