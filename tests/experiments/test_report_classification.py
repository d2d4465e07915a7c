"""Tables II and III, verdicts and curves in the report, from results made by hand."""

import json
import re

import numpy as np
import pytest

from experiments.report import classification, page
from jaxgrow.errors import UserError
from jaxgrow.multiview.evaluation import classification as statistics
from jaxgrow.multiview.evaluation.classification import CellKey


def first(k, n=200):
    """Right on the first k of n objects, for two seeds."""
    return np.tile(np.arange(n) < k, (2, 1))


DRAWN = {"objects_sweep", "evaluations_sweep", "gate"}
RIGHT = {
    ("single", "single"): 120,
    ("single", "generated"): 150,
    ("single", "flips"): 148,
    ("augmented", "single"): 130,
    ("augmented", "generated"): 160,
    ("augmented", "crops"): 131,
    ("matched", "single"): 140,
}


def results(data="synthetic"):
    correct = {
        CellKey("resnet18", "scratch", *place): first(k) for place, k in RIGHT.items()
    }
    correct[CellKey("mobilenet_v3_small", "fine-tuned", "single", "single")] = first(80)
    steps = {("resnet18", "scratch", "augmented"): 1200}
    at = {"network": "resnet18", "train": "single"}
    modes = [
        at | {"start": "scratch", "mode": mode, "accuracy": 61.25 + i}
        for i, mode in enumerate(statistics.MODES)
    ]
    objects = [
        at | {"objects_per_class": n, "test": test, "accuracy": [n / 2, n / 2]}
        for n in (20, 100)
        for test in ("single", "generated")
    ]
    evaluations = [
        at | {"evaluations": n, "accuracy": [50.0 + n], "low": 45.0, "high": 99.5}
        for n in (1, 12)
    ]
    points = [
        {"threshold": t, "share": 100 * t, "accuracy": 60.0 + t} for t in (0.0, 0.5, 1)
    ]
    return {
        "data": data,
        "num_train": 1300,
        "num_test": 200,
        "num_classes": 13,
        "seeds": [0, 1],
        "missing": {"resnet18": "needs weights: see <docs/weights.md>"},
        **statistics.summarise(correct, steps),
        "modes": modes,
        "objects_sweep": objects,
        "evaluations_sweep": evaluations,
        "gate": [at | {"points": points}],
    }


def write(run_dir, found):
    (run_dir / "classify").mkdir()
    (run_dir / "classify" / "results.json").write_text(json.dumps(found))
    content = page.Content([], classification.sections(run_dir))
    return page.write_page(run_dir, content).read_text()


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return write(tmp_path_factory.mktemp("run"), results())


def test_table_two_is_beside_the_papers_and_called_another_data_set(html):
    text = text_of(html)
    low, high = (results()["cells"][0][end] for end in ("low", "high"))
    for wanted in (
        "synthetic, 1,300 training objects, 200 test objects, 13 classes, 2 seeds",
        "train / test ResNet18 the paper&#39;s ResNet18",
        f"single / single 60.00 ± 0.00 [{low:.1f}, {high:.1f}] 83.89",
        "figures are of NMR, another data set than these synthetic objects",
    ):
        assert wanted in text, wanted
    assert "the paper&#39;s MobileNetV3" not in text  # nothing to set it beside


def test_the_papers_data_set_is_not_called_another(tmp_path):
    html = write(tmp_path, results("nmr") | {name: [] for name in DRAWN})
    assert "another data set" not in text_of(html)


def test_table_three_has_what_was_measured_and_says_what_is_missing(html):
    text = text_of(html)
    table = text[text.index("(Table III)") : text.index("What the gain at test is")]
    assert "MobileNetV3 small" in table
    assert "single / single 40.00" in table
    assert "augmented / generated -" in table
    assert "ResNet18 needs weights: see &lt;docs/weights.md&gt;" in table


def test_differences_are_those_of_the_four_and_of_the_fairer_training_sets(html):
    text = text_of(html)
    assert "ResNet18 single / single augmented / generated +20.00 [" in text
    assert "ResNet18 matched / single augmented / single -5.00 [" in text
    assert "single / single matched / single" not in text


def test_the_verdicts_are_told_with_their_controls_and_sentences(html):
    text = text_of(html)
    assert re.search(r"scratch single ensembling \+15\.00 \[[^]]*\] 93 - - ", text)
    assert re.search(r"scratch augmented views \+15\.00 \[[^]]*\] - 3 - ", text)
    assert "Trained on single: The gain is ensembling" in text
    assert "Trained on augmented: The gain is the views&#39;" in text
    assert re.search(r"flips 74\.00; \+14\.00 \[[^]]*\] - ", text)


def test_sets_modes_and_sweeps_have_their_tables_and_curves(html):
    text = text_of(html)
    assert "ResNet18 scratch augmented 1,200 65.00 ± 0.00" in text
    assert "ResNet18 scratch single 61.25 62.25 63.25 64.25" in text
    assert "1 51.00 [45.0, 99.5] 12 62.00 [45.0, 99.5]" in text
    assert html.count("<svg") == 3
    for label in ("single / generated", "trained on single", "drawn at random"):
        assert label in text


def test_a_run_without_results_has_no_sections_and_a_broken_file_is_named(tmp_path):
    assert classification.sections(tmp_path) == []
    (tmp_path / "classify").mkdir()
    for text in ("{", "[]", '{"objects_sweep": 3}'):
        (tmp_path / "classify" / "results.json").write_text(text)
        with pytest.raises(UserError, match=r"results\.json is damaged"):
            classification.sections(tmp_path)
