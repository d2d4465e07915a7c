"""`python -m experiments.nmr_dimvida`: what a run leaves, and what it refuses."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from experiments.nmr_dimvida.__main__ import parse
from experiments.nmr_dimvida.config import PHASES, Config, TrainingConfig
from experiments.nmr_dimvida.evaluation_config import CurveConfig
from experiments.nmr_dimvida.presets import PRESETS
from experiments.shared import run_dir
from jaxgrow.errors import UserError
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.storage import configs, files
from jaxgrow.training.logs import read_metrics
from tests.support import dimvida, places


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What a whole run printed, and its directory."""
    run = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr(
            "rich.console.Console.print", lambda _, text, **__: printed.append(text)
        )
        patch.setattr(
            "jaxgrow.multiview.evaluation.views._BATCH", 8
        )  # for a handful of images
        assert dimvida.main([*dimvida.TINY, "--run-dir", str(run)]) == 0
    return "\n".join(printed), run


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name):
    _, config = PRESETS[name]
    text = json.dumps(files.plain(config), allow_nan=False)
    assert configs.from_plain(Config, json.loads(text)) == config


def test_the_paper_preset_has_the_papers_numbers():
    _, paper = PRESETS["paper"]
    assert (paper.autoencoder.arch, paper.autoencoder.latent_dim) == ("resnet", 64)
    assert paper.score.width == 1536
    for training in (paper.autoencoder_training, paper.score_training):
        assert (training.epochs, training.batch_size) == (1_000, 64)
        assert (training.learning_rate, training.schedule) == (1e-4, "constant")
    assert paper.score_training.ema_decay == 0.999
    assert (paper.p_joint, paper.size_weights) == (0.2, None)
    assert (paper.sampler.name, paper.sampler.num_evaluations) == (
        "euler_maruyama",
        250,
    )
    assert paper.augment


@pytest.mark.slow
def test_a_run_leaves_all_its_files(finished):
    _, run = finished
    assert run_dir.read_config(run, "nmr_dimvida", Config).run_dir == run
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(2, 33, 2))
    assert list(dict.fromkeys(row["phase"] for row in rows)) == list(PHASES[:4])
    given = json.loads((run / "conditioning_views.json").read_text())
    assert set(given) == {"c", "e"}
    assert len(given["e"]) == 4
    assert set(given["e"].values()) <= set(range(4))
    phases = json.loads((run / "phases.json").read_text())
    for phase in PHASES[:4]:
        assert phases[phase]["steps"] == 8
        assert all(np.isfinite(v) for v in phases[phase]["validation"].values())
    assert (run / "samples" / "autoencoder_000008.png").exists()
    with Image.open(run / "samples" / "score_000008.png") as panel:
        assert panel.width > 8 * 96
    page = (run / "report.html").read_text()
    for wanted in ("Table I", "nearest neighbour", "FID", "network evaluations"):
        assert wanted in page


@pytest.mark.slow
def test_table_one_has_every_method_on_every_set(finished):
    printed, run = finished
    found = json.loads((run / "views" / "table_1.json").read_text())
    methods = dict.fromkeys(row["method"] for row in found["rows"])
    assert list(methods) == [
        "diffusion",
        "diffusion, 1 evaluation",
        "Gaussian path alone",
        "mean regressor",
        "nearest neighbour",
        "mirror",
        "copy",
        "reconstruction (ceiling)",
    ]
    assert len(found["rows"]) == 8 * (14 + 3)
    assert found["num_objects"] == 4
    assert found["data"] == "synthetic"
    assert "| diffusion |" in printed
    assert "synthetic objects of 2 classes" in printed
    points = json.loads((run / "views" / "curve.json").read_text())
    assert [(p["sampler"], p["evaluations"]) for p in points] == [
        ("dpm++", 1),
        ("dpm++", 4),
        ("ddim", 3),
    ]


@pytest.mark.slow
def test_the_same_command_again_changes_no_weights(finished, capsys):
    _, run = finished
    before = {phase: dimvida.tensors_of(run, phase) for phase in PHASES[:4]}
    log = (run / "metrics.jsonl").read_text()
    said = dimvida.run(capsys, *dimvida.TINY, "--run-dir", run)
    assert said.status == 0
    for phase in PHASES[:4]:
        assert f"{phase} is trained already" in said.out
        assert dimvida.tensors_of(run, phase) == before[phase]
    assert "the views are evaluated already" in said.out
    assert (run / "metrics.jsonl").read_text() == log


@pytest.mark.slow
def test_what_a_run_has_learnt_completes_views_from_python(finished):
    _, run = finished
    view_generator = ViewGenerator.load(run)
    images = np.full((1, 4, 16, 16, 3), 200, np.uint8)
    missing = np.array([[False, True, True, True]])
    found = view_generator.generate_views(images, missing, num_samples=2)
    assert found.shape == (1, 2, 4, 16, 16, 3)
    assert view_generator.view_names == ("front", "back", "right", "left")


@pytest.mark.slow
def test_other_settings_than_the_runs_are_refused(finished, capsys):
    _, run = finished
    line = [*dimvida.TINY, "--run-dir", run, "--score.width", "64"]
    before = places.content_of(run)
    error = dimvida.run(capsys, *line).error
    assert places.content_of(run) == before
    assert error.startswith("the training of score in")
    assert "score.width is 32 there and 64 here" in error


def test_a_phase_that_lacks_what_an_earlier_one_makes_says_which(tmp_path, capsys):
    line = [*dimvida.TINY, "--run-dir", tmp_path / "run", "--phases", "score"]
    error = dimvida.run(capsys, *line).error
    assert error.startswith("the phase autoencoder has not left")
    assert error.endswith("add it to --phases.")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path, capsys):
    line = [*dimvida.TINY, "--run-dir", tmp_path / "run", "--phases", "autoencoder"]
    rate = ["--autoencoder-training.learning-rate", "1e30"]
    error = dimvida.run(capsys, *line, *rate).error
    assert "is not finite at step" in error
    assert "of autoencoder" in error
    assert "lower --autoencoder-training.learning-rate" in error
    before = places.content_of(tmp_path / "run")
    assert {"config.json", "notes.json"} <= before.keys()
    line[-1] = "score"
    assert "the phase autoencoder has not left" in dimvida.run(capsys, *line).error
    assert places.content_of(tmp_path / "run") == before


def test_a_run_of_the_other_system_is_refused(tmp_path, capsys):
    described = {"experiment": "places_grow", "config": {}}
    files.write_json(tmp_path / "config.json", described)
    error = dimvida.run(capsys, *dimvida.TINY, "--run-dir", tmp_path).error
    assert "holds a run of places_grow" in error


def test_missing_data_is_one_sentence(tmp_path, capsys):
    line = ["paper", "--run-dir", tmp_path / "run", "--data.path", tmp_path / "absent"]
    assert "does not exist" in dimvida.run(capsys, *line).error


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["--data.size", "32"], "must equal data.size 32"),
        (["--p-joint", "1.5"], r"set p_joint to a number, in \[0, 1\]"),
        (["--seed", "-1"], "set seed to a whole number"),
        (["--curve.long", "repaint"], "must be sampler:steps"),
        (["--coherence-classifier-training.epochs", "3"], "either epochs or steps"),
        (["--score-training.log-every", "3"], "must be a multiple of log_every 3"),
        (
            ["--score-training.learning-rate", "0"],
            "set learning_rate to a number, above 0, not 0.0",
        ),
        (["--score-training.batch-size", "0"], "set batch_size to a whole number"),
        (["--generate.samples", "0"], "set samples to a whole number"),
        (["--generate.evaluations", "4", "0"], "set evaluations to values"),
    ],
)
def test_values_out_of_range_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        parse(["smoke", *fields])


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(UserError, match="choose from demo, smoke, small-gpu, paper"):
        parse(["dmeo"])


def test_epochs_become_steps_by_the_number_of_examples():
    assert TrainingConfig(epochs=3, batch_size=10).num_steps(25) == 8
    assert TrainingConfig(steps=7).num_steps(25) == 7


def test_a_curve_counts_network_evaluations():
    points = CurveConfig(evaluations=(1, 4, 7), samplers=("dpm++", "heun")).points()
    found = [(p.name, p.num_evaluations) for p in points]
    assert found == [
        *(("dpm++", 1), ("dpm++", 4), ("dpm++", 7)),
        *(("heun", 1), ("heun", 3), ("heun", 7)),
        *(("euler_maruyama", 250), ("repaint", 2_410)),
    ]


def test_a_phase_depends_on_the_fields_that_decide_it():
    _, config = PRESETS["smoke"]
    other = dataclasses.replace(config, sampler=PRESETS["paper"][1].sampler)
    for phase in PHASES[:4]:
        assert config.result_fields(phase) == other.result_fields(phase)
    other = dataclasses.replace(config, p_joint=0.5)
    assert config.result_fields("autoencoder") == other.result_fields("autoencoder")
    assert config.result_fields("score") != other.result_fields("score")
