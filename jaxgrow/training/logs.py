"""Output of a run under way: metrics.jsonl and a progress bar."""

import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jaxgrow.devices import hosts
from jaxgrow.storage import files


_NOT_FINITE = "not_finite"
_PLAIN_INTERVAL_S = 10.0


class MetricWriter:
    """Appends rows to a JSON-lines file; every row is on disk when `write` returns.

    Of several processes that train one run, only the first writes.

    JSON has no NaN or infinity. Such a number is written as null and named under the
    key `not_finite`: `{"step": 3, "loss": null, "not_finite": {"loss": "nan"}}`.
    `read_metrics` restores it.
    """

    def __init__(self, path: Path):
        self.path = path

    def write(self, step: int, **values: Any) -> None:
        """Append one row.

        Args:
            step: Global step, the first key of the row.
            values: Numbers (also arrays of one element), strings, lists or None.

        Raises:
            UserError: The disk is full, read-only or forbidden.
        """
        if not hosts.is_first():
            return
        row: dict[str, Any] = {"step": int(step)}
        not_finite = {}
        for name, value in values.items():
            if hasattr(value, "item"):
                value = value.item()
            if isinstance(value, float) and not math.isfinite(value):
                not_finite[name] = str(value)
            row[name] = files.plain(value)
        if not_finite:
            row[_NOT_FINITE] = not_finite
        with files.disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
                file.flush()
                files.sync(file.fileno())

    def truncate_after(self, step: int) -> None:
        """Drop the rows later than `step`, and a last line that a kill cut short.

        A resumed run calls this first, so that no step is in the file twice.

        Raises:
            UserError: The file is damaged, or the disk refuses.
        """
        if not (hosts.is_first() and self.path.exists()):
            return
        rows = files.read_json_lines(self.path)
        with files.reading(self.path):
            kept = [json.dumps(row) for row in rows if row.get("step", 0) <= step]
        files.write_bytes(self.path, "".join(f"{line}\n" for line in kept).encode())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics file, oldest first; [] if there is no file.

    A last line that a kill cut short is left out.

    Raises:
        UserError: The file is damaged.
    """
    rows = []
    with files.reading(path):
        for row in files.read_json_lines(path):
            not_finite = row.pop(_NOT_FINITE, {})
            rows.append(row | {name: float(text) for name, text in not_finite.items()})
    return rows


def progress_bar(console: Console) -> Progress:
    """Return a progress display with rate and time left, for a `with` statement.

    On a terminal it is a live bar. Elsewhere (a pipe, a log file) every task prints a
    plain line when it starts, about every ten seconds, and when it is complete.

    `add_task` takes two more fields: `unit`, which is "steps" by default; and
    `examples`, the number and kind of examples of one step, as in (64, "images"), to
    show their rate too.
    """
    if not console.is_terminal:
        return _PlainLines(console=console, disable=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
    )


def _rate(task: Task) -> str:
    speed = task.finished_speed or task.speed
    unit = task.fields.get("unit", "steps")
    if speed is None:
        return f"- {unit}/s"
    per_step, examples = task.fields.get("examples", (0, ""))
    rate = f"{speed:.3g} {unit}/s"
    return f"{rate}, {speed * per_step:,.0f} {examples}/s" if per_step else rate


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_rate(task))


class _PlainLines(Progress):
    """A `Progress` that prints lines instead of a live display."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._printed_at: dict[TaskID, float] = {}

    def add_task(self, *args: Any, **kwargs: Any) -> TaskID:
        task_id = super().add_task(*args, **kwargs)
        self._print(task_id)
        return task_id

    def update(self, task_id: TaskID, **kwargs: Any) -> None:  # pyright: ignore
        was_finished = self._tasks[task_id].finished
        super().update(task_id, **kwargs)
        self._after_move(task_id, was_finished)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        was_finished = self._tasks[task_id].finished
        super().advance(task_id, advance)
        self._after_move(task_id, was_finished)

    def _after_move(self, task_id: TaskID, was_finished: bool) -> None:
        just_finished = self._tasks[task_id].finished and not was_finished
        since = self.get_time() - self._printed_at[task_id]
        if just_finished or since >= _PLAIN_INTERVAL_S:
            self._print(task_id)

    def _print(self, task_id: TaskID) -> None:
        task = self._tasks[task_id]
        self._printed_at[task_id] = self.get_time()
        total = "?" if task.total is None else f"{task.total:.0f}"
        parts = [f"{task.description} {task.completed:.0f}/{total}"]
        if task.speed is not None:
            parts.append(_rate(task))
        if task.elapsed:
            parts.append(f"{_clock(task.elapsed)} elapsed")
        if task.time_remaining and not task.finished:
            parts.append(f"{_clock(task.time_remaining)} left")
        self.console.print(", ".join(parts), markup=False, highlight=False)


def _clock(seconds: int | float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
