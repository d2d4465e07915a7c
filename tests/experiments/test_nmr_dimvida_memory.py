"""System 2's steps are compiled once, ahead, and refused where they do not fit.

Some runs here take themselves for a GPU's: only there everything is compiled first, and
the data stays on the device.
"""

import json

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments.nmr_dimvida.__main__ import parse
from experiments.nmr_dimvida.classify_sets import Labelled
from experiments.nmr_dimvida.classify_train import Cell, CellTrainer
from experiments.nmr_dimvida.config import PHASES
from experiments.nmr_dimvida.run import Run
from jaxgrow.devices import memory
from jaxgrow.devices.memory import Programs
from jaxgrow.training import loop
from tests.support import dimvida


@pytest.fixture
def off_the_cpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.fixture
def events(monkeypatch):
    """What is compiled, with its arguments and their program's memory; every fit."""
    found, compile_one, fit = [], Programs.compile, loop.fit

    def compile_and_note(self, key, jitted, *arguments, **more):
        program = compile_one(self, key, jitted, *arguments, **more)
        found.append(("compile", arguments, self.memory))
        return program

    def fit_and_note(*arguments, **more):
        found.append(("fit", arguments, None))
        return fit(*arguments, **more)

    monkeypatch.setattr(Programs, "compile", compile_and_note)
    monkeypatch.setattr(loop, "fit", fit_and_note)
    return found


def num_bytes(tree):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_off_the_cpu_every_step_is_compiled_before_the_first_is_taken_and_never_again(
    tmp_path, capsys, events, off_the_cpu
):
    line = [*dimvida.TINY, "--run-dir", tmp_path / "run", "--phases", *PHASES[:4]]
    said = dimvida.run(capsys, *line, "--steps-per-call", "2")
    assert said.status == 0, said.err
    assert [kind for kind, *_ in events] == ["compile"] * 4 + ["fit"] * 4
    _, score, _, _ = events[:4]
    _, arguments, needed = score
    assert needed.argument_bytes == num_bytes(arguments)  # it uses all that it gets
    phases = json.loads((tmp_path / "run" / "phases.json").read_text())
    assert phases["score"]["argument_mb"] == round(num_bytes(arguments) / 2**20, 1)
    for phase, (_, _, needed) in zip(PHASES, events[:4], strict=False):
        entry = phases[phase]
        assert entry["peak_memory_mb"] == round(needed.peak_bytes / 2**20, 1)
        assert entry["examples_per_gib"] == 2**30 * 8 // needed.temp_bytes
        assert entry["measured_by"] == "process"
    assert said.out.count("a step fits: ") == 4
    assert said.out.count("MB at most so far") == 4


@pytest.mark.slow
def test_off_the_cpu_a_late_phase_too_large_is_refused_before_the_first_one_trains(
    tmp_path, capsys, monkeypatch, off_the_cpu
):
    monkeypatch.setattr(memory, "device_bytes", lambda: 8 * 2**20)
    line = [
        *dimvida.TINY,
        "--run-dir",
        tmp_path / "run",
        "--coherence-classifier-width",
        "64",
    ]
    said = dimvida.run(capsys, *line, "--phases", "autoencoder", "coherence_classifier")
    assert said.error.startswith("coherence_classifier needs ")
    remedy = (
        "device has 8 MB: halve --coherence-classifier-training.batch-size (now 8) "
        "or lower"
    )
    assert remedy in said.error
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert "autoencoder: a step fits" in said.out


def test_a_phase_too_large_for_memory_says_what_to_change(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(memory, "device_bytes", lambda: 2**10)
    line = [*dimvida.TINY, "--run-dir", tmp_path / "run", "--phases", "autoencoder"]
    error = dimvida.run(capsys, *line).error
    assert error.startswith("autoencoder needs ")
    assert (
        "halve --autoencoder-training.batch-size (now 8), pass --autoencoder.remat or "
        "lower --device-data-mb." in error
    )


def labelled(n, seed):
    images = np.random.default_rng(seed).integers(0, 255, (n, 16, 16, 3), np.uint8)
    return Labelled(images, np.arange(n) % 2, np.arange(n))


def train_on_two_sizes(tmp_path, seeds):
    line = [*dimvida.TINY, "--run-dir", str(tmp_path), "--classify.seeds", str(seeds)]
    run = Run(parse([*line, "--classify.batch-size", "4"]), Console(quiet=True))
    trainer = CellTrainer(run, ("car", "chair"))
    for name, n in (("single", 6), ("augmented", 10)):
        trainer.train(Cell("resnet18", "scratch", name), labelled(n, 0), 1)


@pytest.mark.slow
def test_classifiers_on_data_that_stays_on_the_device_have_a_program_for_each_size(
    tmp_path, events, off_the_cpu
):
    train_on_two_sizes(tmp_path, seeds=2)
    kinds = [kind for kind, *_ in events]
    assert kinds == ["fit", "compile", "fit", "compile"]  # both seeds at once
    phases = json.loads((tmp_path / "phases.json").read_text())
    assert all("peak_memory_mb" in entry for entry in phases.values())


@pytest.mark.slow
def test_classifiers_on_cpu_share_one_program_and_all_note_its_memory(tmp_path, events):
    train_on_two_sizes(tmp_path, seeds=2)
    assert [kind for kind, *_ in events] == ["fit", "compile", "fit", "fit", "fit"]
    phases = json.loads((tmp_path / "phases.json").read_text())
    assert len({entry["peak_memory_mb"] for entry in phases.values()}) == 1
    assert len(phases) == 4
