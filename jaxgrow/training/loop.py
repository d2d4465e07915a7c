"""The training loop: it knows neither system, only steps, batches and intervals."""

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
    """Whether SIGINT or SIGTERM has asked the run to save and stop.

    A second signal ends the process at once, as if nobody had listened.

    Attributes:
        signal: What has come. With several processes it is None until `agree`, after
            which all of them have it as soon as one was asked.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._heard = 0

    @contextlib.contextmanager
    def listening(self) -> Iterator["Interrupt"]:
        """Listens inside the `with` block; only the main thread can."""
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
        """Lets all processes stop at the same step; they must call it together."""
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
    """Runs steps `start` to `stop`; returns the last state and the steps done.

    Every `report_every` steps, at the end, and on an interrupt, `on_report` gets the
    number of steps done, the state, and each metric of the steps since the last
    report, (steps,); nothing is read from the device in between. It ends the loop by
    returning True. A call takes `steps_per_call` steps where it starts at a multiple
    of that number and neither the end nor a report comes first, else one: where a
    resumed run calls does not depend on where it was stopped.

    Args:
        step_fn: (state, batch, step, k) -> state after the k steps from `step` on, and
            their metrics, (k,) each, or () if k is 1.
        state: At `start`.
        make_batch: (step, k) -> batch of the k steps from `step` on; a pure function,
            called one call ahead in another thread.
        start: Steps already done.
        stop: Steps to have done at the end.
        steps_per_call: See above.
        report_every: See above.
        on_report: See above.
        interrupt: Asked after every call, with several processes at every report.
    """

    def size_of_call(step: int) -> int:
        room = min(stop, (step // report_every + 1) * report_every) - step
        return (
            steps_per_call if step % steps_per_call == 0 <= room - steps_per_call else 1
        )

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
                series = _concatenate(recorded)
                recorded = []
                if on_report(step, state, series) or interrupt.signal is not None:
                    break
    return state, step


def even_calls(most: int, report_every: int) -> int:
    """The largest number of steps up to `most` that divides `report_every`.

    With it all steps between two reports run in calls of one size: what is left over
    would run step by step. It depends on nothing measured, so that a resumed run makes
    the same calls.
    """
    return max(k for k in range(1, most + 1) if report_every % k == 0)


def _concatenate(
    recorded: list[dict[str, Shaped[Array, "..."]]],
) -> dict[str, np.ndarray]:
    fetched = jax.device_get(recorded)
    names = fetched[0].keys()
    return {n: np.concatenate([np.atleast_1d(m[n]) for m in fetched]) for n in names}


def first_not_finite(series: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """Index of the first step with a metric that is NaN or infinite, and its name."""
    found = [
        (int(np.argmin(np.isfinite(values))), name)
        for name, values in series.items()
        if not np.isfinite(values).all()
    ]
    return min(found, default=None)
