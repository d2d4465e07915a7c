"""The phase `views` writes the generated views of a run's objects, once."""

import dataclasses
import json
import os
import signal

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from experiments.nmr_dimvida import generate, phases
from experiments.nmr_dimvida.__main__ import parse
from experiments.nmr_dimvida.evaluation_config import ViewsConfig
from experiments.nmr_dimvida.generate import (
    file_names,
    generate_views,
    generated_folder,
    guessed_views,
    sampler_of,
)
from experiments.nmr_dimvida.objects import Objects, load_objects
from experiments.nmr_dimvida.presets import PRESETS
from experiments.nmr_dimvida.run import Run
from jaxgrow.data.views import Partition
from jaxgrow.errors import UserError
from jaxgrow.multiview.generated_set import open_generated
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.storage import files
from jaxgrow.training.run import Stopped
from tests.support import dimvida, small_views
from tests.support.painter import Idle, Painter


NUM_OBJECTS = 70  # more than a chunk
NAMES = ("ca", "ea", "ea_unknown", "ea_steps_2", "ea_steps_9")


def partition(seed):
    known = np.random.default_rng(seed).integers(0, 4, NUM_OBJECTS)
    return Partition(small_views.objects(NUM_OBJECTS, seed), known)


@pytest.fixture(scope="module")
def objects():
    train = small_views.objects(3, 9)
    return Objects(train, train, partition(1), partition(2), {})


@pytest.fixture(autouse=True)
def model(monkeypatch):
    monkeypatch.setattr(generate.ViewGenerator, "load", lambda _: Painter())


@pytest.fixture
def config(tmp_path):
    """A run whose networks are trained."""
    (tmp_path / "weights").mkdir()
    for name in ("autoencoder", "score", "regressor"):
        (tmp_path / "weights" / f"{name}.safetensors").write_text(name)
    views = ViewsConfig(samples=2, evaluations=(9, 2, 2))
    return dataclasses.replace(PRESETS["smoke"][1], run_dir=tmp_path, generate=views)


def start(config):
    run = Run(config, Console(quiet=True))
    run.begin()
    return run


def bytes_of(config):
    return {
        path.relative_to(config.run_dir): path.read_bytes()
        for path in (config.run_dir / "views").rglob("*.*")
    }


def test_every_file_is_there_and_says_what_made_it(config, objects):
    assert file_names(config) == NAMES
    generate_views(start(config), objects)
    found = {name: open_generated(generated_folder(config, name)) for name in NAMES}
    weights = config.run_dir / "weights"
    digest = files.hash_files(
        [weights / "autoencoder.safetensors", weights / "score.safetensors"]
    )
    for name, views in found.items():
        part = objects.c if name == "ca" else objects.e
        assert views.images.shape == (NUM_OBJECTS, 2, 4, 16, 16, 3)
        assert views.header["model"] == digest
        assert views.header["real_views"] == part.conditioning.tolist()
        at = np.arange(NUM_OBJECTS)
        np.testing.assert_array_equal(
            views.images[at, 1, views.conditioning],
            part.views.images[at, part.conditioning],
        )
        is_known = (views.conditioning == part.conditioning).all()
        assert is_known == (name != "ea_unknown")
    cost = {name: views.header["num_evaluations"] for name, views in found.items()}
    assert cost == dict(zip(NAMES, (4, 4, 4, 2, 9), strict=True))
    notes = json.loads((config.run_dir / "notes.json").read_text())
    assert notes == [
        "generated views: 2 samples of 70 objects of c and 70 of e, by dpm++ in 4 "
        "network evaluations"
    ]


def test_c_and_e_are_drawn_apart_and_all_of_e_alike(config, objects):
    generate_views(start(config), objects)
    seeds = {
        name: open_generated(generated_folder(config, name)).header["seed"]
        for name in NAMES
    }
    assert len({seeds[name] for name in NAMES[1:]}) == 1
    assert seeds["ca"] != seeds["ea"]


def test_what_is_there_is_left_and_new_weights_make_it_anew(
    config, objects, monkeypatch
):
    generate_views(start(config), objects)
    before = bytes_of(config)
    with monkeypatch.context() as patch:
        patch.setattr(generate.ViewGenerator, "load", lambda _: Idle())
        generate_views(start(config), objects)
    assert bytes_of(config) == before
    (config.run_dir / "weights" / "coherence_classifier.safetensors").write_text(
        "no part of it"
    )
    with monkeypatch.context() as patch:
        patch.setattr(generate.ViewGenerator, "load", lambda _: Idle())
        generate_views(start(config), objects)
    (config.run_dir / "weights" / "score.safetensors").write_text("trained longer")
    generate_views(start(config), objects)
    notes = json.loads((config.run_dir / "notes.json").read_text())
    assert [note.split(": ")[1] for note in notes[:-1]] == 5 * [
        "model used to be different"
    ]
    again = bytes_of(config)
    assert again.keys() == before.keys()
    assert all(
        (again[name] == before[name]) == (name.name != "header.json") for name in again
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("chunks", [1, 4, 10])
def test_a_run_that_is_asked_to_stop_has_saved_and_goes_on(
    number, chunks, config, objects, monkeypatch, tmp_path
):
    run_dir = tmp_path / "unbroken"
    run_dir.mkdir()
    (run_dir / "weights").symlink_to(config.run_dir / "weights")
    unbroken = dataclasses.replace(config, run_dir=run_dir)
    generate_views(start(unbroken), objects)
    calls = 0

    def complete(self, images, *args, original=Painter.generate_views, **options):
        nonlocal calls
        calls += len(images) > 0
        if calls == chunks and len(images):
            os.kill(os.getpid(), number)
        return original(self, images, *args, **options)

    monkeypatch.setattr(Painter, "generate_views", complete)
    with pytest.raises(Stopped) as stopped:
        generate_views(start(config), objects)
    where = {
        1: "saved 64 of 70 objects of the views ca",
        4: "saved 0 of 70 objects of the views ea_unknown",
        10: "all generated views are saved",
    }[chunks]
    name = number.name
    assert str(stopped.value) == f"{name} came: {where}; the same command goes on."
    assert stopped.value.exit_status == 128 + number
    generate_views(start(config), objects)
    assert calls == 10
    assert bytes_of(config) == bytes_of(unbroken)


def test_guessed_views_are_uniform_and_depend_on_the_object_and_the_seed(config):
    part = partition(1)
    views = small_views.objects(4_000)
    many = Partition(views, np.zeros(4_000, np.int64))
    slots = guessed_views(config, many)
    assert scipy.stats.chisquare(np.bincount(slots, minlength=4)).pvalue > 0.01
    order = np.random.default_rng(0).permutation(NUM_OBJECTS)
    shuffled = Partition(part.views.take(order), part.conditioning[order])
    np.testing.assert_array_equal(
        guessed_views(config, shuffled), guessed_views(config, part)[order]
    )
    other = guessed_views(dataclasses.replace(config, seed=1), many)
    agreement = (other == slots).mean()
    assert abs(agreement - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4_000)


@pytest.mark.parametrize(
    ("sampler", "wanted", "num_steps"),
    [
        (SamplerConfig(name="dpm++", grid="log_snr"), 12, 12),
        (SamplerConfig(name="heun", grid="log_snr"), 7, 4),
        (SamplerConfig(name="heun", grid="log_snr"), 8, 4),
        (SamplerConfig(name="ddim", guidance=2.0), 8, 4),
        (SamplerConfig(name="ddim", guidance=2.0), 1, 1),
        (SamplerConfig(name="repaint"), 2_410, 250),
    ],
)
def test_a_sweep_takes_as_many_steps_as_the_evaluations_allow(
    sampler, wanted, num_steps, config
):
    config = dataclasses.replace(config, sampler=sampler)
    assert sampler_of(config, "ea") == sampler
    found = sampler_of(config, f"ea_steps_{wanted}")
    assert found == dataclasses.replace(sampler, num_steps=num_steps)


def test_a_point_of_the_sweep_that_is_the_runs_own_sampler_is_made_once(config):
    own = generated_folder(config, f"ea_steps_{config.sampler.num_evaluations}")
    assert own == generated_folder(config, "ea") == config.run_dir / "views" / "ea"
    assert generated_folder(config, "ea_steps_3").name == "ea_steps_3"


def test_networks_that_are_not_trained_are_asked_for(config, objects):
    (config.run_dir / "weights" / "score.safetensors").unlink()
    with pytest.raises(UserError, match=r"the phase score has not left .* --phases"):
        generate_views(start(config), objects)


def test_classify_without_views_asks_for_the_generated_sets(config):
    for phase in phases.TRAINED:
        (config.run_dir / "weights" / f"{phase}.safetensors").touch()
    config = dataclasses.replace(config, phases=("classify",))
    with pytest.raises(UserError, match=r"views.ca"):
        phases.check(config)


@pytest.mark.slow
def test_a_run_generates_the_views_of_its_own_objects(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    line = [*dimvida.TINY, "--run-dir", str(tmp_path / "run"), "--phases"]
    line += ["autoencoder", "score"]
    assert dimvida.run(capsys, *line).status == 0
    run = start(parse(line))
    generate_views(run, load_objects(run))
    given = json.loads((run.run_dir / "conditioning_views.json").read_text())
    for name, part in (("ca", "c"), ("ea", "e")):
        found = open_generated(run.run_dir / "views" / name)
        known = dict(zip(found.object_ids, found.conditioning.tolist(), strict=True))
        assert known == given[part]
        assert found.images.shape[1:] == (2, 4, 16, 16, 3)
    notes = json.loads((run.run_dir / "notes.json").read_text())
    assert notes[-1].startswith("generated views: 2 samples of 2 objects of c and 4")
