"""The curves of phase `classify`: accuracy by objects, evaluations and the gate."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from experiments.report.curves import line_chart
from experiments.report.tables import Table


Row: TypeAlias = dict[str, Any]

_NETWORKS = {
    "resnet18": "ResNet18",
    "mobilenet_v3": "MobileNetV3",
    "mobilenet_v3_large": "MobileNetV3 large",
    "mobilenet_v3_small": "MobileNetV3 small",
}


def name_of(network: str) -> str:
    """What a network is called in print."""
    return _NETWORKS.get(network, network)


def objects_charts(sweep: Sequence[Row]) -> list[str]:
    """Accuracy by objects per class, a chart per network."""
    label = "objects per class (curves: train / test)"
    return _sweep_charts(sweep, "objects_per_class", "{train} / {test}", label)


def evaluations_charts(sweep: Sequence[Row]) -> list[str]:
    """Accuracy on generated views by the sampler's evaluations, a chart per network."""
    curve = "trained on {train}"
    return _sweep_charts(sweep, "evaluations", curve, "evaluations", log_x=True)


def _sweep_charts(
    sweep: Sequence[Row], x: str, curve: str, label: str, log_x: bool = False
) -> list[str]:
    """Mean accuracy over seeds by `x`; `curve` names the curve of a row."""
    charts = []
    for number, network in enumerate(dict.fromkeys(row["network"] for row in sweep)):
        curves: dict[str, list[tuple[float, float]]] = {}
        for row in sweep:
            if row["network"] == network:
                at = float(row[x]), float(np.mean(row["accuracy"]))
                curves.setdefault(curve.format(**row), []).append(at)
        title = f"{name_of(network)}: accuracy, %"
        charts.append(line_chart(title, curves, label, f"c{x}{number}", log_x=log_x))
    return charts


def evaluations_tables(sweep: Sequence[Row]) -> list[Table]:
    """The points of `evaluations_charts` with their intervals."""
    cells = {(r["network"], r["train"], r["evaluations"]): r for r in sweep}
    columns = list(dict.fromkeys(key[:2] for key in cells))
    rows = [
        [f"{n:,}", *(_interval(cells.get((*column, n))) for column in columns)]
        for n in sorted({row["evaluations"] for row in sweep})
    ]
    head = ["evaluations"]
    head += [f"{name_of(network)}, {train}" for network, train in columns]
    title = "accuracy on generated views, % [95 %], by classifier and training set"
    return [Table(title, head, rows)] if rows else []


def gate_charts(gates: Sequence[Row]) -> list[str]:
    """Accuracy against the share of objects for which views are generated."""
    charts = []
    for number, gate in enumerate(gates):
        points = [(float(p["share"]), float(p["accuracy"])) for p in gate["points"]]
        curves = {
            "least sure first": points,
            "drawn at random": [points[0], points[-1]],
        }
        title = f"{name_of(gate['network'])}, {gate['train']}"
        label = "accuracy, %, by objects with views, %"
        charts.append(line_chart(title, curves, label, f"cg{number}", log_x=False))
    return charts


def _interval(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"{np.mean(row['accuracy']):.2f} [{row['low']:.1f}, {row['high']:.1f}]"
