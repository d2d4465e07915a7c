"""The trainer on a task of one number, which every step adds a row of data to."""

import dataclasses
import json
import signal
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jaxgrow.devices import memory
from jaxgrow.devices.parallel import Placement
from jaxgrow.errors import UserError
from jaxgrow.training.feed import Feed
from jaxgrow.training.logs import read_metrics
from jaxgrow.training.run import Stopped, TrainingRun
from jaxgrow.training.task import TrainingTask
from jaxgrow.training.trainer import Trainer, preflight


class Batch(NamedTuple):
    rows: Any


DATA = np.arange(1.0, 9.0, dtype=np.float32)
NUM_STEPS = 8


def make_step(k, due):
    def step(state, data, batch):
        value = state["x"] + data[batch.rows].sum()
        return {"x": value}, {"loss": value, "due": jnp.float32(due)}

    return step


def make_task(folder, **changed):
    """A task that notes its result in `folder`."""

    def finish(state, entry):
        (folder / "result.json").write_text(
            json.dumps({"x": float(state["x"]), **entry})
        )

    task = TrainingTask(
        name="sum",
        label="the sum",
        settings={"rate": 1.0},
        inputs=dict,
        num_steps=NUM_STEPS,
        batch_size=2,
        examples="numbers",
        log_every=2,
        validate_every=4,
        steps_per_call=1,
        feed=lambda: Feed(Placement(), 2, plan, DATA),
        shapes=lambda: {"x": jnp.zeros(())},
        fresh=lambda data: {"x": jnp.float32(10.0)},
        make_step=make_step,
        row=lambda step: {"phase": "sum"},
        validate=lambda step, state: {"x": float(state["x"])},
        finish=finish,
        is_done=(folder / "result.json").exists,
        if_not_finite="lower the rate.",
        if_too_large="take fewer numbers.",
        due=lambda step, k: step % 4 == 0,
        first_step=100,
    )
    return dataclasses.replace(task, **changed)


def plan(step):
    return Batch(np.array([step % 8, (step + 1) % 8], np.int32))


def expected(num_steps):
    return 10.0 + sum(DATA[plan(step).rows].sum() for step in range(num_steps))


def new_run(folder):
    return TrainingRun(folder, Console(quiet=True), Placement())


def result_in(folder):
    return json.loads((folder / "result.json").read_text())


def train(folder, **changed):
    return Trainer(new_run(folder), make_task(folder, **changed)).train()


class Killed(Exception):
    """What ends a training in the middle."""


def kill_at(step):
    def validate(at, state):
        if at == step:
            raise Killed
        return {"x": float(state["x"])}

    return validate


def test_a_training_logs_validates_saves_and_writes_its_result(tmp_path):
    state = train(tmp_path)
    assert float(state["x"]) == expected(NUM_STEPS)
    result = result_in(tmp_path)
    assert (result["x"], result["steps"]) == (expected(NUM_STEPS), NUM_STEPS)
    assert result["ended_by"] == "steps"
    assert result["validation"] == {"x": expected(NUM_STEPS)}
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [102, 104, 106, 108]
    assert ["validation/x" in row for row in rows] == [False, True, False, True]
    assert rows[0]["loss"] == np.mean([expected(1), expected(2)])
    folder = tmp_path / "checkpoints" / "sum"
    assert sorted(child.name for child in folder.iterdir()) == ["4", "8"]


def test_a_killed_training_goes_on_from_its_checkpoint_as_if_never(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, validate=kill_at(8))
    steps = []

    def make_and_note(k, due):
        steps.append(due)
        return make_step(k, due)

    state = train(tmp_path, make_step=make_and_note)
    assert float(state["x"]) == expected(NUM_STEPS)
    assert sorted(steps) == [False, True]  # compiled once for each variant
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [102, 104, 106, 108]


def test_a_training_whose_result_was_not_written_writes_it_and_takes_no_step(tmp_path):
    def killed(state, entry):
        raise Killed

    with pytest.raises(Killed):
        train(tmp_path, finish=killed)
    train(tmp_path, make_step=pytest.fail)
    assert result_in(tmp_path)["x"] == expected(NUM_STEPS)
    trainer = Trainer(new_run(tmp_path), make_task(tmp_path, finish=killed))
    assert float(trainer.train()["x"]) == expected(NUM_STEPS)  # it is done


def test_validations_can_end_a_training_and_survive_a_kill(tmp_path):
    seen = []

    def should_end(step, validations):
        seen.append(list(validations))
        return len(validations) == 3

    changed = {"validate_every": 2, "should_end": should_end, "num_steps": 20}
    with pytest.raises(Killed):
        train(tmp_path, **changed, validate=kill_at(6))
    train(tmp_path, **changed)
    result = result_in(tmp_path)
    assert (result["steps"], result["ended_by"]) == (6, "plateau")
    assert seen[-1] == [{"x": expected(n)} for n in (2, 4, 6)]
    assert float(train(tmp_path, **changed)["x"]) == expected(6)


def test_other_settings_and_other_checkpoints_are_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(UserError, match=r"of the sum in .* rate is 1.0 there and 2.0"):
        train(tmp_path, settings={"rate": 2.0})
    with pytest.raises(UserError, match="holds other arrays"):
        train(tmp_path, shapes=lambda: {"y": jnp.zeros(())})


def test_other_inputs_are_refused_by_their_content(tmp_path):
    train(tmp_path, inputs=lambda: {"pictures": "a", "network": None})
    for now, named in (
        ({"pictures": "b", "network": None}, "other pictures, by"),
        ({"pictures": "b", "network": "c"}, "other pictures and other network, by"),
        ({"network": "c"}, "other network, by"),
    ):
        task = make_task(tmp_path, inputs=lambda now=now: now)
        for use in (Trainer.check, Trainer.resume):
            with pytest.raises(UserError, match=f"the sum in .* with {named}"):
                use(Trainer(new_run(tmp_path), task))
    # What is not made yet cannot be compared yet.
    Trainer(new_run(tmp_path), make_task(tmp_path, inputs=dict)).check()


def test_what_is_not_finite_is_refused_with_its_step_and_what_is_kept(tmp_path):
    def breaks(k, due):
        def step(state, data, batch):
            state, metrics = make_step(k, due)(state, data, batch)
            broken = state["x"] >= expected(6)
            return state, metrics | {"loss": jnp.where(broken, jnp.nan, 0.0)}

        return step

    folder = tmp_path / "checkpoints" / "sum"
    kept = (
        f"step 6 of the sum; the last good checkpoint, of step 4, is kept in {folder}"
    )
    with pytest.raises(UserError, match=kept) as error:
        train(tmp_path, make_step=breaks)
    assert str(error.value).endswith(": lower the rate.")
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="validation/x is not finite at step 4 of"):
        train(tmp_path / "other", validate=lambda step, state: {"x": np.inf})


def test_a_step_too_large_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: 1)
    trainer = Trainer(new_run(tmp_path), make_task(tmp_path))
    with pytest.raises(UserError, match=r"the sum needs .*: take fewer numbers"):
        preflight([trainer])
    (tmp_path / "result.json").write_text("{}")
    preflight([trainer])  # what is done needs no memory


def test_what_is_compiled_ahead_is_not_compiled_again(tmp_path, monkeypatch):
    trainer = Trainer(new_run(tmp_path), make_task(tmp_path, due=lambda step, k: True))
    preflight([trainer])
    monkeypatch.setattr(Trainer, "_compile", pytest.fail)
    trainer.train()


def test_a_signal_saves_and_says_where(tmp_path):
    run = new_run(tmp_path)

    def validate(step, state):
        signal.raise_signal(signal.SIGTERM)
        return {"x": float(state["x"])}

    task = make_task(tmp_path, validate=validate)
    with pytest.raises(Stopped, match="SIGTERM came: saved at step 4 of 8 of the sum"):
        Trainer(run, task).train()
    assert float(train(tmp_path)["x"]) == expected(NUM_STEPS)
