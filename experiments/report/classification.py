"""Tables II and III, controls and curves of the phase `classify`."""

import collections
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from experiments.report import page
from experiments.report.curves import Chart, curves_of
from experiments.report.page import Section
from experiments.report.tables import Table, about_data, pivot, show
from jaxgrow.multiview.evaluation.classification import (
    MODES,
    PAPER_TABLE_2,
    RULE_CONTROLS,
)


Row: TypeAlias = dict[str, Any]

_NETWORKS = {
    "resnet18": "ResNet18",
    "mobilenet_v3": "MobileNetV3",
    "mobilenet_v3_large": "MobileNetV3 large",
    "mobilenet_v3_small": "MobileNetV3 small",
}
_TESTS = ("single", "generated")
_FOUR = tuple(itertools.product(("single", "augmented"), _TESTS))  # train, test
_TITLES = {
    "scratch": "Accuracy with and without generated views, from scratch (Table II)",
    "fine-tuned": "Accuracy from ImageNet weights (Table III)",
}
_CLASSIFIER = ("classifier", "start", "trained on")
_NOTE = (
    "Ours: mean over seeds ± their standard deviation [95 % interval over test "
    "objects]. Generated: the outputs for all views averaged. "
)
_RULE = (
    "The rule, written before there was anything to assess: a gain whose 95 % interval "
    "holds 0 or less is none; if flips, crops or reconstructions, which show no new "
    "view, have 80 % of the gain or more, it is that of averaging several outputs "
    "(ensembling); otherwise it is that of the views. Real views are the ceiling; in "
    "the test set unknown slot, the conditioning view has a position drawn at random."
)
_SETS = (
    "Single, same steps: one view of each object, and as many steps as augmented. "
    "Matched: one view of each object, of those too that the generator was trained on. "
    "The other sets hold all views of the same objects, made in the way that they are "
    "named after."
)


def sections(run_dir: Path) -> list[Section]:
    """Return Tables II and III, controls, verdicts and curves; some may be empty."""
    return page.read(run_dir / "classify" / "results.json", {}, _sections)


def _sections(found: Row) -> list[Section]:
    if not found:
        return []
    by_objects, by_evaluations = found["objects_sweep"], found["evaluations_sweep"]
    return [
        *(Section(_TITLES[s], tables=accuracy_tables(found, s)) for s in _TITLES),
        Section("What the gain at test is", tables=control_tables(found)),
        Section("Training sets", tables=training_tables(found["cells"])),
        Section("Ways to average the outputs", tables=mode_tables(found["modes"])),
        Section(
            "Accuracy against objects per class",
            charts=_sweep_charts(by_objects, "objects_per_class", "{train} / {test}"),
        ),
        Section(
            "Accuracy against network evaluations",
            tables=evaluations_tables(by_evaluations),
            charts=_sweep_charts(by_evaluations, "evaluations", "trained on {train}"),
        ),
        Section("Views only for unsure answers", charts=gate_charts(found["gate"])),
    ]


def accuracy_tables(found: Row, start: str) -> list[Table]:
    """Return the accuracies of every classifier beside the paper's, and the gains."""
    cells = {
        (cell["network"], cell["train"], cell["test"]): cell
        for cell in found["cells"]
        if cell["start"] == start
    }
    networks = dict.fromkeys(network for network, *_ in cells)
    texts = {}
    for network, place in itertools.product(networks, _FOUR):
        cell = cells.get((network, *place))
        texts[(" / ".join(place),), _name_of(network)] = _accuracy(cell)
    for name, printed in PAPER_TABLE_2.items() if start == "scratch" else ():
        if any(network.startswith(name) for network in networks):
            column = f"the paper's {_name_of(name)}"
            texts |= {((" / ".join(p),), column): f"{printed[p]:.2f}" for p in _FOUR}
    title = (
        f"{found['data']}, {found['num_train']:,} training objects, "
        f"{found['num_test']:,} test objects, {found['num_classes']} classes, "
        f"{len(found['seeds'])} seeds: accuracy, %"
    )
    note = _NOTE + "The paper says that its gains are smaller here than in Table II."
    if start == "scratch":
        note = f"{_NOTE}{about_data(found['data'])}The paper does not say which "
        note += "MobileNetV3 it used."
    tables = pivot(title, ["train / test"], texts, note)
    tables += _gain_tables(found["gains"], start)
    if start == "fine-tuned" and found["missing"]:
        rows = [[_name_of(name), why] for name, why in found["missing"].items()]
        tables.append(Table("not measured", ["classifier", "why"], rows))
    return tables


def _name_of(network: str) -> str:
    return _NETWORKS.get(network, network)


def _gain_tables(gains: Sequence[Row], start: str) -> list[Table]:
    """Differences among the four, and against the fairer training sets."""
    rows = []
    for gain in gains:
        before, after = _ends(gain)
        is_fair = before in _FOUR or after[0] == "augmented"
        if gain["start"] == start and after in _FOUR and is_fair:
            p = ", ".join(f"{p:.2g}" for p in gain["p"])
            ends = " / ".join(before), " / ".join(after)
            rows.append([_name_of(gain["network"]), *ends, _points(gain), p])
    head = ["classifier", "from train / test", "to train / test"]
    head += ["points [95 %]", "McNemar's p by seed"]
    return [Table("differences in percent points", head, rows)] if rows else []


def _ends(gain: Row) -> tuple[tuple[str, str], tuple[str, str]]:
    """(training set, test set) before and after."""
    before, after = gain["from"], gain["to"]
    return (before["train"], before["test"]), (after["train"], after["test"])


def control_tables(found: Row) -> list[Table]:
    """Return the verdicts, then every test set of classifiers tested on controls."""
    verdicts = found["verdicts"]
    head = [*_CLASSIFIER, "verdict", "gain, points [95 %]", *RULE_CONTROLS]
    rows = [
        [*_classifier(v), v["kind"], _points(v["gain"])]
        + [f"{v['shares'][c]:.0f}" if c in v["shares"] else "-" for c in RULE_CONTROLS]
        for v in verdicts
    ]
    title = "verdicts, and the gains of controls in % of that of generated views"
    tables = [Table(title, head, rows, footnote=_RULE)] if rows else []
    for place in dict.fromkeys(map(_place_of, found["cells"])):
        sentences = " ".join(
            f"Trained on {v['train']}: {v['text']}"
            for v in verdicts
            if _place_of(v) == place
        )
        cells = [cell for cell in found["cells"] if _place_of(cell) == place]
        gains = [gain for gain in found["gains"] if _place_of(gain) == place]
        tables += _test_set_tables(cells, gains, sentences)
    return tables


def _place_of(row: Row) -> tuple[str, str]:
    return row["network"], row["start"]


def _test_set_tables(
    cells: Sequence[Row], gains: Sequence[Row], footnote: str
) -> list[Table]:
    """One classifier on every test set, by the training sets tested on controls."""
    above = {
        _ends(g)[1]: g for g in gains if _ends(g)[0] == (g["to"]["train"], "single")
    }
    trains = {cell["train"] for cell in cells if cell["test"] not in _TESTS}
    texts = {}
    for cell in cells:
        if (train := cell["train"]) in trains:
            gain = above.get((train, cell["test"]))
            text = f"{cell['mean']:.2f}" + (f"; {_points(gain)}" if gain else "")
            texts[(cell["test"],), f"trained on {train}"] = text
    network, start = _place_of(cells[0])
    title = (
        f"{_name_of(network)}, {start}: accuracy in %; percent points above the single "
        "view [95 %]"
    )
    return pivot(title, ["tested on"], texts, footnote)


def training_tables(cells: Sequence[Row]) -> list[Table]:
    """Return the accuracy of every training set on the single and generated views."""
    texts = {}
    for cell in (c for c in cells if c["test"] in _TESTS):
        texts[_classifier(cell), "steps"] = show(cell["num_steps"])
        texts[_classifier(cell), f"test {cell['test']}"] = _accuracy(cell)
    return pivot("accuracy, %", _CLASSIFIER, texts, _SETS)


def mode_tables(modes: Sequence[Row]) -> list[Table]:
    """Return the accuracy on generated views by the way of averaging the outputs."""
    texts = {
        (_classifier(row), row["mode"]): f"{np.mean(row['accuracy']):.2f}"
        for row in sorted(modes, key=lambda row: MODES.index(row["mode"]))
    }
    return pivot("accuracy on generated views, %", _CLASSIFIER, texts)


def evaluations_tables(sweep: Sequence[Row]) -> list[Table]:
    """Return the accuracy by the sampler's evaluations, with intervals."""
    texts = {}
    for row in sorted(sweep, key=lambda row: row["evaluations"]):
        column = f"{_name_of(row['network'])}, {row['train']}"
        interval = f"[{row['low']:.1f}, {row['high']:.1f}]"
        text = f"{np.mean(row['accuracy']):.2f} {interval}"
        texts[(f"{row['evaluations']:,}",), column] = text
    title = "accuracy on generated views, % [95 %], by classifier and training set"
    return pivot(title, ["evaluations"], texts)


def _sweep_charts(sweep: Sequence[Row], x: str, curve: str) -> list[Chart]:
    """Mean accuracy over seeds by `x`, a chart per network; `curve` names a curve."""
    points = collections.defaultdict(list)
    for row in sweep:
        point = curve.format(**row), row[x], np.mean(row["accuracy"])
        points[f"{_name_of(row['network'])}: accuracy, %"].append(point)
    label, log_x = x.replace("_", " "), x == "evaluations"
    return [Chart(title, curves_of(p), label, log_x) for title, p in points.items()]


def gate_charts(gates: Sequence[Row]) -> list[Chart]:
    """Return accuracy against the share of objects for which views are generated."""
    charts = []
    for gate in gates:
        points = [(float(p["share"]), float(p["accuracy"])) for p in gate["points"]]
        curves = {"least sure first": points}
        curves["drawn at random"] = [points[0], points[-1]]
        title = f"{_name_of(gate['network'])}, {gate['train']}"
        charts.append(Chart(title, curves, "accuracy, %, by objects with views, %"))
    return charts


def _classifier(row: Row) -> tuple[str, str, str]:
    return _name_of(row["network"]), row["start"], row["train"]


def _accuracy(cell: Row | None) -> str:
    if cell is None:
        return "-"
    spread = "" if cell["std"] is None else f" ± {cell['std']:.2f}"
    return f"{cell['mean']:.2f}{spread} [{cell['low']:.1f}, {cell['high']:.1f}]"


def _points(gain: Row) -> str:
    return f"{gain['value']:+.2f} [{gain['low']:.2f}, {gain['high']:.2f}]"
