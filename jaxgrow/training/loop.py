"""The training loop over steps, batches and intervals."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Shaped

from jaxgrow.devices import hosts


State = TypeVar("State")


class Interrupt:
    """The request of SIGINT or SIGTERM to save and stop.

    A second signal ends the process at once.

    Attributes:
        signal: The signal that came, or None. With several processes it is set by
            `agree`, on all of them if it came to one.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._heard = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator["Interrupt"]:
        """Catch signals inside the `with` block; no effect outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {s: signal.getsignal(s) for s in signals}

        def remember(number, _frame):
            self._heard = number
            if jax.process_count() == 1:
                self.signal = signal.Signals(number)
            signal.signal(number, signal.SIG_DFL)

        for s in signals:
            signal.signal(s, remember)
        try:
            yield self
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)

    def agree(self) -> None:
        """Let all processes stop at the same step; they must call it together."""
        if jax.process_count() > 1:
            number = hosts.largest(self._heard)
            self.signal = signal.Signals(number) if number else None


def fit(
    step_fn: Callable[[State, Any, int, int], tuple[State, dict[str, Array]]],
    state: State,
    make_batch: Callable[[int, int], Any],
    *,
    start: int,
    stop: int,
    steps_per_call: int,
    report_every: int,
    on_report: Callable[[int, State, dict[str, np.ndarray]], bool],
    interrupt: Interrupt,
) -> tuple[State, int]:
    """Run steps `start` to `stop`; return the last state and the steps done.

    Nothing is read from the device between two reports. A call takes `steps_per_call`
    steps if it starts at a multiple of that number and neither the end nor a report
    comes first; otherwise it takes one. A resumed run therefore makes the same calls
    as the unbroken one.

    Args:
        step_fn: (state, batch, step, k) -> state after the k steps from `step` on, and
            their metrics, (k,) each, or () if k is 1.
        state: At `start`.
        make_batch: (step, k) -> batch of the k steps from `step` on; a pure function,
            called one call ahead in another thread.
        start: Steps already done.
        stop: Steps to have done at the end.
        steps_per_call: Most steps of one call.
        report_every: Steps between two reports. There is one at the end and on an
            interrupt too.
        on_report: (steps done, state, metrics since the last report, (steps,) each) ->
            True to end the loop.
        interrupt: Checked after every call, with several processes at every report.
    """

    def size_of_call(step: int) -> int:
        room = min(stop, (step // report_every + 1) * report_every) - step
        fits = step % steps_per_call == 0 and steps_per_call <= room
        return steps_per_call if fits else 1

    with ThreadPoolExecutor(1) as thread:
        step, recorded = start, []
        ahead = thread.submit(make_batch, step, size_of_call(step))
        while step < stop:
            k, batch = size_of_call(step), ahead.result()
            if step + k < stop:
                ahead = thread.submit(make_batch, step + k, size_of_call(step + k))
            state, metrics = step_fn(state, batch, step, k)
            step += k
            recorded.append(metrics)
            is_due = step % report_every == 0 or step == stop
            if is_due:
                interrupt.agree()
            if is_due or interrupt.signal is not None:
                series, recorded = _concatenate(recorded), []
                if on_report(step, state, series) or interrupt.signal is not None:
                    break
    return state, step


def default_steps_per_call(most: int, report_every: int) -> int:
    """Return 1 on CPU, where calls cost little, and `even_calls` elsewhere."""
    return 1 if jax.default_backend() == "cpu" else even_calls(most, report_every)


def even_calls(most: int, report_every: int) -> int:
    """Return the largest number of steps up to `most` that divides `report_every`.

    All steps between two reports then run in calls of one size. It depends on nothing
    measured, so a resumed run makes the same calls.
    """
    return max(k for k in range(1, most + 1) if report_every % k == 0)


def _concatenate(
    recorded: list[dict[str, Shaped[Array, "..."]]],
) -> dict[str, np.ndarray]:
    fetched = jax.device_get(recorded)
    names = fetched[0].keys()
    return {n: np.concatenate([np.atleast_1d(m[n]) for m in fetched]) for n in names}


def first_not_finite(series: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """Return the first step with a metric that is NaN or infinite, and its name."""
    found = [
        (int(np.argmin(np.isfinite(values))), name)
        for name, values in series.items()
        if not np.isfinite(values).all()
    ]
    return min(found, default=None)
