"""Tables II and III, controls and curves of phase `classify`, for the report."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from experiments.report import classification_curves, page
from experiments.report.classification_curves import Row, name_of
from experiments.report.page import Section
from experiments.report.tables import Table
from jaxgrow.multiview.evaluation.classification import (
    MODES,
    PAPER_TABLE_2,
    RULE_CONTROLS,
)


_TESTS = ("single", "generated")
_FOUR = tuple(itertools.product(("single", "augmented"), _TESTS))  # train, test
_TITLES = {
    "scratch": "Accuracy with and without generated views, from scratch (Table II)",
    "fine-tuned": "Accuracy from ImageNet weights (Table III)",
}
_RULE = (
    "The rule, written before there was anything to assess: a gain whose 95 % interval "
    "holds 0 or less is none; if flips, crops or reconstructions, which show no new "
    "view, have 80 % of the gain or more, it is that of averaging several outputs "
    "(ensembling); otherwise it is that of the views. Real views are the ceiling; for "
    "the unknown slot, the known view was put into a slot drawn at random."
)
_SETS = (
    "Single, same steps: one view of each object, and as many steps as augmented. "
    "Matched: one view of each object, of those too that the generator was trained on. "
    "The other sets hold all views of the same objects, made in the way that they are "
    "named after."
)


def sections(run_dir: Path) -> list[Section]:
    """Tables II and III, controls, verdicts and curves; missing parts are left out."""
    found = page.read_json(run_dir / "classify" / "results.json", {})
    if not found:
        return []
    return [
        Section(_TITLES[start], tables=accuracy_tables(found, start))
        for start in _TITLES
    ] + [
        Section("What the gain at test is", tables=control_tables(found)),
        Section("Training sets", tables=training_tables(found)),
        Section("Ways to average the outputs", tables=mode_tables(found)),
        Section(
            "Accuracy against objects per class",
            charts=classification_curves.objects_charts(
                found.get("objects_sweep") or []
            ),
        ),
        Section(
            "Accuracy against network evaluations",
            tables=classification_curves.evaluations_tables(
                found.get("evaluations_sweep") or []
            ),
            charts=classification_curves.evaluations_charts(
                found.get("evaluations_sweep") or []
            ),
        ),
        Section(
            "Views only where the classifier is unsure",
            charts=classification_curves.gate_charts(found.get("gate") or []),
        ),
    ]


def accuracy_tables(found: Row, start: str) -> list[Table]:
    """The four accuracies of every classifier beside the paper's, and the gains."""
    cells = {
        (cell["network"], cell["train"], cell["test"]): cell
        for cell in found.get("cells") or []
        if cell["start"] == start
    }
    networks = list(dict.fromkeys(network for network, *_ in cells))
    tables = []
    if networks:
        columns = {
            name_of(network): [
                _accuracy(cells.get((network, *place))) for place in _FOUR
            ]
            for network in networks
        }
        if start == "scratch":
            columns |= _paper_columns(networks)
        rows = [
            [f"{train} / {test}", *texts]
            for (train, test), *texts in zip(_FOUR, *columns.values(), strict=True)
        ]
        title = f"{_place(found)}: accuracy, %"
        note = _note(found, start)
        tables.append(Table(title, ["train / test", *columns], rows, footnote=note))
        tables += _gain_tables(found, start)
    if start == "fine-tuned" and (missing := found.get("missing")):
        rows = [[name_of(name), why] for name, why in missing.items()]
        tables.append(Table("not measured", ["classifier", "why"], rows))
    return tables


def _paper_columns(networks: Sequence[str]) -> dict[str, list[str]]:
    return {
        f"the paper's {name_of(name)}": [f"{cells[p]:.2f}" for p in _FOUR]
        for name, cells in PAPER_TABLE_2.items()
        if any(network.startswith(name) for network in networks)
    }


def _place(found: Row) -> str:
    """What the figures were measured on."""
    parts = [str(found.get("data", "data not known"))]
    for key, unit in (
        ("num_train", "training objects"),
        ("num_test", "test objects"),
        ("num_classes", "classes"),
    ):
        if key in found:
            parts.append(f"{found[key]:,} {unit}")
    if "seeds" in found:
        parts.append(f"{len(found['seeds'])} seeds")
    return ", ".join(parts)


def _note(found: Row, start: str) -> str:
    note = (
        "Ours: mean over seeds ± their standard deviation [95 % interval over test "
        "objects]. Generated: the outputs for all views averaged. "
    )
    if start == "fine-tuned":
        return note + "The paper says that its gains are smaller here than in Table II."
    if (data := str(found.get("data", ""))) != "nmr":
        kind = "synthetic objects" if data == "synthetic" else "other objects"
        note += (
            f"The paper's figures are of NMR, another data set than these {kind}: only "
            "signs and sizes of differences can be set beside each other. "
        )
    return note + "The paper does not say which MobileNetV3 it used."


def _gain_tables(found: Row, start: str) -> list[Table]:
    """What changes between two of the four, and against the fairer training sets."""
    gains = [
        gain
        for gain in found.get("gains") or []
        if gain["start"] == start
        and _ends(gain)[1] in _FOUR
        and (_ends(gain)[0] in _FOUR or gain["to"]["train"] == "augmented")
    ]
    rows = [
        [
            name_of(gain["network"]),
            *(f"{train} / {test}" for train, test in _ends(gain)),
            _points(gain),
            ", ".join(f"{p:.2g}" for p in gain["p"]),
        ]
        for gain in gains
    ]
    head = ["classifier", "from train / test", "to train / test"]
    head += ["points [95 %]", "McNemar's p by seed"]
    return [Table("differences in percent points", head, rows)] if rows else []


def _ends(gain: Row) -> tuple[tuple[str, str], tuple[str, str]]:
    """(training set, test set) before and after."""
    before, after = gain["from"], gain["to"]
    return (before["train"], before["test"]), (after["train"], after["test"])


def control_tables(found: Row) -> list[Table]:
    """The verdicts, then every test set of the classifiers that saw controls."""
    verdicts = found.get("verdicts") or []
    rows = [
        [
            name_of(v["network"]),
            v["start"],
            v["train"],
            v["kind"],
            _points(v["gain"]),
            *(_share(v["shares"], name) for name in RULE_CONTROLS),
        ]
        for v in verdicts
    ]
    head = ["classifier", "start", "trained on", "verdict", "gain, points [95 %]"]
    head += RULE_CONTROLS
    title = "verdicts, and the gains of controls in % of that of generated views"
    tables = [Table(title, head, rows, footnote=_RULE)] if rows else []
    for network, start in _unique(found, "network", "start"):
        told = " ".join(
            f"Trained on {v['train']}: {v['text']}"
            for v in verdicts
            if (v["network"], v["start"]) == (network, start)
        )
        table = _test_sets(found, network, start)
        if table is not None:
            tables.append(table._replace(footnote=told))
    return tables


def _test_sets(found: Row, network: str, start: str) -> Table | None:
    """One classifier on every test set, by training sets that were tested on controls.

    None if none was.
    """
    cells = {
        (cell["train"], cell["test"]): cell
        for cell in found["cells"]
        if (cell["network"], cell["start"]) == (network, start)
    }
    gains = {
        _ends(gain)[1]: gain
        for gain in found.get("gains") or []
        if (gain["network"], gain["start"]) == (network, start)
        and gain["from"] == {"train": gain["to"]["train"], "test": "single"}
    }
    tests = list(dict.fromkeys(test for _, test in cells))
    trains = list(dict.fromkeys(a for a, b in cells if b not in _TESTS))
    rows = [
        [test, *(_above(cells.get((a, test)), gains.get((a, test))) for a in trains)]
        for test in tests
    ]
    title = (
        f"{name_of(network)}, {start}: accuracy in %; percent points above the single "
        "view [95 %]"
    )
    head = ["tested on", *(f"trained on {a}" for a in trains)]
    return Table(title, head, rows) if trains else None


def training_tables(found: Row) -> list[Table]:
    """Every training set on the single view and on generated ones."""
    cells = {
        (c["network"], c["start"], c["train"], c["test"]): c
        for c in found.get("cells") or []
    }
    rows = []
    for network, start, train in _unique(found, "network", "start", "train"):
        of_test = [cells.get((network, start, train, test)) for test in _TESTS]
        steps = next((c.get("num_steps") for c in of_test if c), None)
        rows.append(
            [
                name_of(network),
                start,
                train,
                "-" if steps is None else f"{steps:,}",
                *map(_accuracy, of_test),
            ]
        )
    if not rows:
        return []
    head = ["classifier", "start", "trained on", "steps"]
    head += ["test single", "test generated"]
    return [Table("accuracy, %", head, rows, footnote=_SETS)]


def mode_tables(found: Row) -> list[Table]:
    """Accuracy on generated views by how the outputs are averaged."""
    values = {
        (m["network"], m["start"], m["train"], m["mode"]): float(np.mean(m["accuracy"]))
        for m in found.get("modes") or []
    }
    if not values:
        return []
    rows = []
    for network, start, train in dict.fromkeys(key[:3] for key in values):
        shown = [values.get((network, start, train, mode)) for mode in MODES]
        texts = ["-" if v is None else f"{v:.2f}" for v in shown]
        rows.append([name_of(network), start, train, *texts])
    head = ["classifier", "start", "trained on", *MODES]
    return [Table("accuracy on generated views, %", head, rows)]


def _unique(found: Row, *names: str) -> Iterable[tuple[str, ...]]:
    cells = found.get("cells") or []
    return dict.fromkeys(tuple(cell[name] for name in names) for cell in cells)


def _accuracy(cell: Row | None) -> str:
    if cell is None:
        return "-"
    spread = "" if cell["std"] is None else f" ± {cell['std']:.2f}"
    return f"{cell['mean']:.2f}{spread} [{cell['low']:.1f}, {cell['high']:.1f}]"


def _points(gain: Row) -> str:
    return f"{gain['value']:+.2f} [{gain['low']:.2f}, {gain['high']:.2f}]"


def _above(cell: Row | None, gain: Row | None) -> str:
    if cell is None:
        return "-"
    return f"{cell['mean']:.2f}" + (f"; {_points(gain)}" if gain else "")


def _share(shares: dict[str, float], name: str) -> str:
    return f"{shares[name]:.0f}" if name in shares else "-"
