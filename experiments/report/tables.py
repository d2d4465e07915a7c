"""Tables of a report, and those that both systems have."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


CEILING = "(ceiling)"
"""Ends the name of a method that may look at the answer; it is never marked best."""


_MEMORY = {
    "peak_memory_mb": "memory of a step, MB",
    "argument_mb": "weights, moments, data, MB",
    "examples_per_gib": "examples per further GiB",
    "measured_mb": "measured, MB",
}


class Table(NamedTuple):
    """Cells as text; `best` holds the (row, column) of the best figures.

    A table that `is_folded` shows its title alone until it is opened.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    footnote: str = ""
    is_folded: bool = False


class Column(NamedTuple):
    """One metric in a comparison of methods.

    Attributes:
        title: Head of the column.
        values: Method -> figure; None or no entry if it was not measured.
        digits: Decimals to show.
        cost: Function of a figure; the best figure has the lowest cost.
        absent: Text of a cell without a figure.
    """

    title: str
    values: Mapping[str, float | None]
    digits: int
    cost: Callable[[float], float]
    absent: str = "-"


def comparison(
    title: str, methods: Sequence[str], columns: Sequence[Column], footnote: str = ""
) -> Table:
    """Return a table with a row for every method and the best figures marked."""
    rows, best = [[method] for method in methods], set()
    for number, (_, values, digits, cost, absent) in enumerate(columns, start=1):
        rivals = [m for m in methods if CEILING not in m and values.get(m) is not None]
        lowest = min((cost(values[m]) for m in rivals), default=None)  # pyright: ignore
        for row, method in enumerate(methods):
            value = values.get(method)
            rows[row].append(absent if value is None else f"{value:.{digits}f}")
            if method in rivals and value is not None and cost(value) == lowest:
                best.add((row, number))
    head = ["method", *(column.title for column in columns)]
    return Table(title, head, rows, frozenset(best), footnote)


def transposed(table: Table, first: str) -> Table:
    """Return the table with rows and columns exchanged, under `first` as first head."""
    head, *rows = (list(cells) for cells in zip(table.head, *table.rows, strict=True))
    best = frozenset((column - 1, row + 1) for row, column in table.best)
    return table._replace(head=[first, *head[1:]], rows=rows, best=best)


def to_markdown(table: Table) -> str:
    """Return the head and the rows as Markdown."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pivot(
    title: str,
    head: Sequence[str],
    cells: Mapping[tuple[tuple[str, ...], str], str],
    footnote: str = "",
) -> list[Table]:
    """Arrange cells by (words at the start of a row, title of a column).

    Rows and columns come in the order of their first cells. There is no table if there
    are no cells.
    """
    rows = dict.fromkeys(row for row, _ in cells)
    columns = dict.fromkeys(column for _, column in cells)
    lines = [[*row, *(cells.get((row, c), "-") for c in columns)] for row in rows]
    return [Table(title, [*head, *columns], lines, footnote=footnote)] if rows else []


def training_tables(
    entries: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]
) -> list[Table]:
    """Return the table of what was trained, with the columns that any entry has.

    `entries` has name -> record of the training, `columns` key of a record -> head of
    its column; those of memory (`devices.memory.describe`) are added.
    """
    heads = {
        key: head
        for key, head in {**columns, **_MEMORY}.items()
        if any(entry.get(key) is not None for entry in entries.values())
    }
    by = {entry.get("measured_by") for entry in entries.values()}
    footnote = ""
    if heads.keys() & _MEMORY.keys():
        footnote = (
            "Memory is for one device, and computed from the compiled program except "
            "for the measured, which is the peak since the process began: that of "
        )
        footnote += "the device's allocator." if "device" in by else "the process."
    rows = [
        [name, *(show(entry.get(key), key) for key in heads)]
        for name, entry in entries.items()
    ]
    return [Table("", ["", *heads.values()], rows, footnote=footnote)] if heads else []


def show(value: Any, name: str = "") -> str:
    """Return a value as the text of a cell; `wall_s` is a name of seconds."""
    if value is None:
        return "-"
    if name == "wall_s":
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        if hours:
            return f"{hours} h {minutes} min"
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    if isinstance(value, dict):
        return ", ".join(f"{key} {figure:.4g}" for key, figure in value.items())
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def about_data(data: str) -> str:
    """Say how a run's data differ from those of the paper on multi-view diffusion."""
    if data in ("nmr", "softras"):
        return ""
    kind = "synthetic objects" if data == "synthetic" else "other objects"
    return (
        f"The paper's figures are of NMR, another data set than these {kind}: only "
        "signs and sizes of differences can be set beside each other. "
    )
