"""The loop around a step that only counts, and a real signal to this process."""

import os
import signal
import threading

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.training.loop import Interrupt, even_calls, first_not_finite, fit


class Counter:
    """A run whose state is the steps taken, with everything that the loop asked."""

    def __init__(self, on_step=None, on_report=None):
        self.calls, self.batches, self.reports = [], [], []
        self._on_step = on_step or (lambda step: None)
        self._on_report = on_report or (lambda step: False)

    def step(self, state, batch, step, k):
        assert batch == ("batch", step, k)
        assert state == step
        self.calls.append((step, k))
        self._on_step(step)
        steps = np.arange(step, step + k)
        return state + k, {"at": jax.device_put(steps[0] if k == 1 else steps)}

    def make_batch(self, step, k):
        self.batches.append((step, k, threading.current_thread()))
        return ("batch", step, k)

    def report(self, step, state, series):
        assert state == step
        self.reports.append((step, list(series["at"])))
        return self._on_report(step)

    def fit(self, start, stop, steps_per_call=1, report_every=10, interrupt=None):
        return fit(
            self.step,
            start,
            self.make_batch,
            start=start,
            stop=stop,
            steps_per_call=steps_per_call,
            report_every=report_every,
            on_report=self.report,
            interrupt=interrupt or Interrupt(),
        )


def test_calls_are_whole_where_they_fit_and_single_where_not():
    run = Counter()
    assert run.fit(0, 19, steps_per_call=4, report_every=10) == (19, 19)
    expected = [(0, 4), (4, 4), (8, 1), (9, 1)]  # up to the report at 10
    expected += [(10, 1), (11, 1), (12, 4), (16, 1), (17, 1), (18, 1)]
    assert run.calls == expected
    assert [(step, k) for step, k, _ in run.batches] == expected


@settings(deadline=None, max_examples=40)
@given(
    start=st.integers(0, 30),
    stop=st.integers(1, 30),
    steps_per_call=st.integers(1, 7),
    report_every=st.integers(1, 9),
)
def test_a_resumed_run_makes_the_same_calls(start, stop, steps_per_call, report_every):
    straight = Counter()
    straight.fit(0, stop, steps_per_call, report_every)
    starts = [step for step, _ in straight.calls]
    start = starts[start % len(starts)]  # a run is saved between two calls
    resumed = Counter()
    resumed.fit(start, stop, steps_per_call, report_every)
    assert resumed.calls == [call for call in straight.calls if call[0] >= start]
    assert sum(k for _, k in straight.calls) == stop
    assert [step for step, _ in resumed.reports] == [
        step for step, _ in straight.reports if step > start
    ]


def test_reports_come_at_their_interval_and_at_the_end_with_every_steps_metrics():
    run = Counter()
    run.fit(3, 12, steps_per_call=2, report_every=5)
    assert run.reports == [(5, [3, 4]), (10, [5, 6, 7, 8, 9]), (12, [10, 11])]


def test_batches_are_made_one_call_ahead_by_another_thread():
    seen = []
    run = Counter(on_step=lambda step: seen.append(len(run.batches)))
    run.fit(0, 6)
    assert all(thread is not threading.current_thread() for *_, thread in run.batches)
    assert len(run.batches) == 6  # and none for a step that does not come
    assert all(made >= step for step, made in enumerate(seen, start=1))


def test_a_report_can_end_the_loop():
    run = Counter(on_report=lambda step: step == 6)
    assert run.fit(0, 20, report_every=3) == (6, 6)
    assert [step for step, _ in run.reports] == [3, 6]


def test_a_run_that_is_done_takes_no_step_and_reports_nothing():
    run = Counter()
    assert run.fit(8, 8) == (8, 8)
    assert run.calls == run.reports == []


def test_a_batch_that_cannot_be_made_ends_the_loop_with_its_error():
    run = Counter()

    def make_batch(step, k):
        if step == 2:
            raise OSError("the disk is gone")
        return ("batch", step, k)

    run.make_batch = make_batch
    with pytest.raises(OSError, match="the disk is gone"):
        run.fit(0, 5)
    assert run.calls == [(0, 1), (1, 1)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_loop_after_its_step_with_a_report(number):
    before = signal.getsignal(number)
    run = Counter(on_step=lambda step: step == 4 and os.kill(os.getpid(), number))
    with Interrupt().listening() as interrupt:
        assert run.fit(0, 20, interrupt=interrupt) == (5, 5)
        assert interrupt.signal == number
        # The next one would end the process at once.
        assert signal.getsignal(number) is signal.SIG_DFL
    assert run.reports == [(5, [0, 1, 2, 3, 4])]
    assert signal.getsignal(number) is before


def test_outside_the_main_thread_nothing_listens():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def listen():
        with Interrupt().listening():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [before]


def test_the_first_value_that_is_not_finite_is_found():
    fine = np.ones(5)
    assert first_not_finite({"a": fine, "b": fine}) is None
    late = np.array([1, 1, 1, np.inf, np.nan])
    early = np.array([1, 1, np.nan, 1, 1])
    assert first_not_finite({"a": late}) == (3, "a")
    assert first_not_finite({"a": late, "b": early, "c": fine}) == (2, "b")
    assert first_not_finite({"b": -late}) == (3, "b")


@given(most=st.integers(1, 120), report_every=st.integers(1, 500))
def test_even_calls_leave_nothing_over_between_two_reports(most, report_every):
    k = even_calls(most, report_every)
    assert 1 <= k <= most
    assert report_every % k == 0
    assert not any(report_every % more == 0 for more in range(k + 1, most + 1))
