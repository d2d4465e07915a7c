import ast
import dataclasses
import inspect
import itertools
import json
import os
import re
import shutil
import textwrap
import typing

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.places_grow import evaluate, prepare
from experiments.places_grow.__main__ import Evaluate, main, parse
from experiments.places_grow.config import Config
from experiments.places_grow.presets import PRESETS
from experiments.places_grow.stage import dead_sentence, default_steps_per_call
from jaxgrow.devices import memory
from jaxgrow.inpainting.inpainter import Inpainter
from jaxgrow.inpainting.saved_models import load_generator
from jaxgrow.storage import configs, files, lock
from jaxgrow.training.logs import read_metrics
from tests.support import places
from tests.support.random_weights import write_random


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_a_trip_through_json(name):
    _, config = PRESETS[name]
    text = json.dumps(files.plain(config), allow_nan=False)
    assert configs.from_plain(Config, json.loads(text)) == config
    if config.data.source == "photos":
        assert parse([name]) == config


def test_without_a_name_the_demo_runs():
    _, demo = PRESETS["demo"]
    assert parse([]) == demo
    assert parse(["--seed", "3"]) == dataclasses.replace(demo, seed=3)


def test_a_field_given_on_the_command_line_changes_that_field_alone():
    _, demo = PRESETS["demo"]
    changed = dataclasses.replace(
        demo,
        growth=dataclasses.replace(demo.growth, resolutions=(4, 8), steps=(3, 5)),
        evaluate=False,
    )
    fields = ["--growth.resolutions", "4", "8", "--growth.steps", "3", "5"]
    assert parse(["demo", *fields, "--no-evaluate"]) == changed


def test_evaluate_is_a_command_of_its_own(tmp_path):
    command = parse(["evaluate", "--run", str(tmp_path), "--unet-steps", "7"])
    assert command == Evaluate(run=tmp_path, unet_steps=7)


def texts_of(kind):
    """{field: docstring} of a dataclass and its parents, from their source."""
    texts = {}
    for owner in reversed(kind.__mro__):
        if dataclasses.is_dataclass(owner):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
            for node, after in itertools.pairwise(tree.body):
                if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
                    texts[node.target.id] = ast.literal_eval(after.value)
    return texts


def flags_and_texts(kind, prefix=""):
    """Flag and docstring of every field of a config, nested ones included."""
    texts, kinds = texts_of(kind), typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(kinds[field.name]):
            yield from flags_and_texts(kinds[field.name], f"{field.name}.")
        else:
            yield f"--{prefix}{field.name}".replace("_", "-"), texts[field.name]


def test_the_whole_help_lists_every_field_with_its_text(capsys):
    said = places.run(capsys, "smoke", "--help-all")
    assert said.status == 0
    shown = re.sub(r"[\s│]+", " ", said.out)
    listed = dict(flags_and_texts(Config))
    assert len(listed) > 50
    for flag, text in listed.items():
        assert flag in shown
        words = re.sub(r"\s+", " ", text).strip()
        assert words in shown, f"{flag} has no such text in the help: {words}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The command line of a run of two stages that went all the way, and its folder."""
    folder = tmp_path_factory.mktemp("places")
    pictures = places.write_pictures(folder / "pictures")
    line = [*places.TINY, "--growth.resolutions", "4", "8", "--growth.steps", "4", "3"]
    line += ["--losses.r1-gamma", "0"]
    line += ["--data.path", str(pictures), "--run-dir", str(folder / "run")]
    assert main(line) == 0
    return line, folder / "run"


@pytest.mark.slow
def test_a_run_leaves_all_its_files(finished):
    _, run = finished
    config = configs.from_plain(
        Config, json.loads((run / "config.json").read_text())["config"]
    )
    assert config.run_dir == run
    stages = json.loads((run / "stages.json").read_text())
    assert [(s["resolution"], s["steps"]) for s in stages] == [(4, 4), (8, 3)]
    for stage in stages:
        assert stage["peak_memory_mb"] > stage["argument_mb"]
        assert stage["measured_by"] == "process"
    # What the process had taken by then: more than JAX itself, no more than by now.
    first, last = (stage["measured_mb"] for stage in stages)
    assert 50 < first <= last
    assert last <= memory.megabytes(memory.measured().num_bytes) + 0.1
    more, fewer = (stage["examples_per_gib"] for stage in stages)
    assert fewer < more
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 6, 7]
    assert [(row["stage"], row["stage_step"]) for row in rows[-2:]] == [(8, 2), (8, 3)]
    assert all("validation/hole_error" in row for row in rows)
    samples = sorted(path.name for path in (run / "samples").iterdir())
    assert samples[0] == "r004_000002.png"
    assert samples[-1] == "r008_000003.png"
    with Image.open(run / "samples" / samples[-1]) as panel:
        assert panel.width > 4 * 96
    assert load_generator(run / "weights" / "generator_r8.safetensors").resolution == 8
    assert {path.name for path in run.iterdir()} == {
        *("checkpoints", "config.json", "evaluation", "metrics.jsonl", "notes.json"),
        *("report.html", "samples", "stages.json", "versions.json", "weights"),
    }


@pytest.mark.slow
def test_a_run_is_evaluated_and_reported(finished):
    _, run = finished
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert results["results"][0]["resolution"] == 8
    assert "biharmonic" in (run / "evaluation" / "results.md").read_text()
    page = (run / "report.html").read_text()
    assert "data:image/png" in page
    assert "biharmonic" in page
    assert "perceptual term off" in page


@pytest.mark.slow
def test_the_same_command_again_changes_nothing_but_the_report(finished, capsys):
    line, run = finished

    def files():
        kept = [p for p in run.rglob("*") if p.is_file() and p.name != "report.html"]
        return {path: path.read_bytes() for path in kept}

    before = files()
    said = places.run(capsys, *line)
    assert said.status == 0
    assert "training is complete" in said.out
    assert files() == before


@pytest.mark.slow
def test_an_evaluation_is_current_by_what_it_was_made_from(finished, tmp_path):
    line, run = finished
    text = (run / "evaluation" / "results.md").read_text()
    assert "LPIPS needs weights: python -m tools.export_weights" in text
    later = shutil.copytree(run, tmp_path / "run")
    config = dataclasses.replace(parse(line), run_dir=later, weights_dir=tmp_path)
    pictures = prepare.load_pictures(config, lambda message: None)
    assert evaluate.is_current(config, pictures)
    for path in later.rglob("*"):
        os.utime(path)
    assert evaluate.is_current(config, pictures)
    other = pictures._replace(
        digests=pictures.digests | {"validation pictures": "other"}
    )
    assert not evaluate.is_current(config, other)
    assert not evaluate.is_current(dataclasses.replace(config, unet_steps=7), pictures)
    (weights,) = (later / "weights").glob("*r8.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"x")
    assert not evaluate.is_current(config, pictures)
    weights.write_bytes(whole)
    (tmp_path / "squeezenet_lpips.safetensors").touch()
    assert not evaluate.is_current(config, pictures)


@pytest.mark.slow
def test_one_process_at_a_time_evaluates_a_run(finished, capsys):
    _, run = finished
    with lock.held(run / "evaluation", ["another"]):
        said = places.run(capsys, "evaluate", "--run", run)
    assert said.error.startswith(f"{run / 'evaluation'} is in use by process ")


@pytest.mark.slow
def test_a_run_takes_the_perceptual_term_with_the_weight_of_its_start(tmp_path):
    weights = write_random(tmp_path / "vgg19.safetensors", "vgg19", num_blocks=2)
    pictures = places.write_pictures(tmp_path / "pictures")
    line = [*places.ONE_STAGE, "--vgg-weights", str(weights), "--log-every", "1"]
    line += ["--losses.perceptual-from", "4"]
    line += ["--data.path", str(pictures), "--run-dir", str(tmp_path / "run")]
    assert main(line) == 0
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    for name in ("g/perceptual", "grad_at_output/perceptual"):
        assert all(row[name] > 0 for row in rows)
    assert rows[0]["perceptual_weight"] == rows[-1]["perceptual_weight"] > 0
    ratio = (
        rows[0]["grad_at_output/perceptual"] / rows[0]["grad_at_output/reconstruction"]
    )
    assert ratio == pytest.approx(0.5, rel=1e-4)
    (note,) = [
        n
        for n in json.loads((tmp_path / "run" / "notes.json").read_text())
        if n.startswith("perceptual")
    ]
    assert "vgg19 with RANDOM weights" in note


@pytest.mark.slow
def test_a_loaded_run_fills_holes(finished):
    _, run = finished
    image = np.asarray(places.picture(99))
    hole = np.asarray(places.hole()) > 0
    filled = Inpainter.load(run)(image, hole)
    np.testing.assert_array_equal(filled[~hole], image[~hole])


def test_a_call_takes_fewer_steps_of_larger_pictures_and_ends_at_reports(monkeypatch):
    assert default_steps_per_call(4, 100) == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = [default_steps_per_call(r, 100) for r in (4, 8, 16, 32, 64, 128)]
    assert found == [100, 100, 50, 25, 10, 5]
    assert default_steps_per_call(4, 30) == 30
    assert default_steps_per_call(32, 30) == 15
    assert default_steps_per_call(64, 7) == 7


def test_the_presets_for_a_gpu_have_bfloat16_products():
    for name, (_, config) in PRESETS.items():
        expected = "bfloat16" if name in ("paper", "better") else "float32"
        assert config.net.compute_dtype == expected
        assert config.losses.perceptual_dtype == expected


def test_a_dead_generator_is_named_with_its_cure():
    row = {"g/grads_below_eps": 0.98, "g/output_rms": 1.8e-6}
    found = dead_sentence(row, 32)
    assert "98% of its gradient's entries" in found
    assert "RMS of 1.8e-06" in found
    assert dead_sentence({**row, "g/grads_below_eps": 0.03}, 32) is None
