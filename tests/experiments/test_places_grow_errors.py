"""Every mistake and mishap ends in one clear sentence, and what was saved stays."""

import contextlib
import errno
import json
import os
import resource
import shutil

import jax
import jax.numpy as jnp
import pytest

from experiments.places_grow import prepare, stage
from experiments.places_grow.__main__ import main, parse
from jaxgrow.devices import memory
from jaxgrow.inpainting.stages import plan_stages
from jaxgrow.storage import files, lock
from jaxgrow.training.checkpoint import Checkpointer
from jaxgrow.training.trainer import Trainer
from tests.support import places


NUM_PICTURES = 7


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "pictures"
    return places.write_pictures(folder, NUM_PICTURES)


@pytest.fixture(autouse=True, scope="module")
def _every_step_is_compiled_once():
    """Runs of equal settings share compiled steps; their memory is still checked."""
    compile_step, compiled = Trainer._compile, {}

    def compile_once(self, k, due, state, data, batch):
        key = (json.dumps(self.task.settings), k, due)
        if key not in compiled:
            compiled[key] = compile_step(self, k, due, state, data, batch)
        self.task.programs.add((k, due), compiled[key], self._too_large)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_compile", compile_once)
        yield


@pytest.fixture
def line(pictures, tmp_path):
    """Command line of the cheapest run."""
    return [*places.ONE_STAGE, "--data.path", pictures, "--run-dir", tmp_path / "run"]


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    """A run of the cheapest command line that is complete."""
    run = tmp_path_factory.mktemp("trained") / "run"
    line = [*places.ONE_STAGE, "--data.path", pictures, "--run-dir", run]
    assert main([str(word) for word in line]) == 0
    return run


@pytest.fixture
def copy_of_trained(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


# The command line.


def assert_takes_other_settings(capsys, line):
    """The run directory stands, but ties nobody to what it was tried with."""
    other = [*line, "--batch-size", "2", "--data.path", "nowhere else"]
    said = places.run(capsys, *other)
    assert said.error.startswith("folder nowhere else does not exist")


def test_an_unknown_preset_is_named(capsys):
    said = places.run(capsys, "smok")
    assert said.error.startswith("there is no preset 'smok': choose from demo, smoke,")


def test_an_unknown_field_is_named(capsys):
    said = places.run(capsys, "smoke", "--net.widht", "3")
    assert said.status == 2
    assert "Unrecognized options: --net.widht" in said.err
    assert "--net.width" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (["--batch-size", "0"], "set --batch-size to a whole number, in [1, 65536]"),
        (["--log-every", "0"], "set --log-every to a whole number, 1 or more, not 0."),
        (["--validate-every", "0"], "set --validate-every to a whole number, 1 or"),
        (["--seed", "-1"], "set --seed to a whole number, in [0, 4294967295], not -1."),
        (
            ["--log-every", "3"],
            "--validate-every 10 must be a multiple of --log-every 3.",
        ),
        (["--growth.steps", "5"], "2 resolutions and 1 numbers of steps were given"),
        (["--growth.resolutions", "4", "9"], "--growth.resolutions: resolution must"),
        (["--optimizer.g-learning-rate", "1", "2", "3"], "--optimizer.g-learning-rate"),
        (["--data.source", "folder"], "source folder needs the folder of its data"),
        (["--masks.rectangle", "-1"], "set --masks.rectangle to a number, 0 or more"),
        (["--devices", "99"], "99 devices were asked for and 2 are here"),
        (["--devices", "0"], "set --devices to a whole number, 1 or more or None"),
        (
            ["--devices", "2", "--batch-size", "3"],
            "a batch of 3 does not divide over 2 devices",
        ),
    ],
)
def test_a_value_out_of_range_is_refused_in_the_config_s_own_words(
    fields, sentence, tmp_path, capsys
):
    said = places.run(capsys, "smoke", "--run-dir", tmp_path / "run", *fields)
    assert said.error.startswith(sentence)
    assert not (tmp_path / "run").exists()


# The run directory.


def test_a_folder_of_other_files_is_not_written_into(line, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    said = places.run(capsys, *line)
    assert said.error.startswith(
        f"{folder} holds other files and no run of places_grow"
    )
    assert os.listdir(folder) == ["thesis.tex"]


def test_a_run_of_another_experiment_is_not_touched(line, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text('{"experiment": "nmr_dimvida", "config": {}}')
    said = places.run(capsys, *line)
    assert "holds a run of nmr_dimvida and no run of places_grow" in said.error
    assert os.listdir(folder) == ["config.json"]


@pytest.mark.parametrize("text", ["[1]", "{", '{"experiment": "places_grow"}', "null"])
def test_evaluate_needs_a_run(text, tmp_path, capsys):
    said = places.run(capsys, "evaluate", "--run", tmp_path / "nowhere")
    assert "is no run of places_grow" in said.error
    assert "no such folder" in said.error
    (tmp_path / "config.json").write_text(text)
    said = places.run(capsys, "evaluate", "--run", tmp_path)
    assert said.error.startswith(f"{tmp_path / 'config.json'} is damaged or of another")


def test_evaluate_needs_a_finished_stage(copy_of_trained, capsys):
    (copy_of_trained / "stages.json").unlink()
    said = places.run(capsys, "evaluate", "--run", copy_of_trained)
    assert "has no finished stage yet" in said.error


def test_resuming_with_another_config_names_the_difference(
    line, copy_of_trained, capsys
):
    before = (copy_of_trained / "config.json").read_bytes()
    said = places.run(capsys, *line, "--optimizer.warm-up", "5", "--net.width", "8")
    assert "optimizer.warm-up is 0 there and 5 here" in said.error
    assert "net.width is 6 there and 8 here" in said.error
    assert (copy_of_trained / "config.json").read_bytes() == before


REFUSED = ["--net.width 8", "--seed 1", "--devices 99", "--data.path nowhere"]
REFUSED += ["--vgg-weights mistyped.safetensors", "--weights-dir mistyped"]


@pytest.mark.parametrize("fields", REFUSED)
def test_a_refused_command_changes_no_file_of_the_run(
    fields, line, copy_of_trained, capsys
):
    before = places.content_of(copy_of_trained)
    assert places.run(capsys, *line, *fields.split()).error
    assert places.content_of(copy_of_trained) == before


def test_a_run_that_another_process_trains_is_refused_and_not_touched(
    line, copy_of_trained, capsys
):
    with lock.held(copy_of_trained, ["the first command"]):
        before = places.content_of(copy_of_trained)
        said = places.run(capsys, *line)
        assert said.error.startswith(f"{copy_of_trained} is in use by process ")
        assert places.content_of(copy_of_trained) == before


def test_what_does_not_change_the_weights_may_change_on_resume(
    line, copy_of_trained, tmp_path, capsys
):
    more = ["--weights-dir", tmp_path, "--device-data-mb", "1", "--unet-steps", "3"]
    said = places.run(capsys, *line, *more)
    assert said.status == 0
    assert "training is complete" in said.out
    saved = json.loads((copy_of_trained / "config.json").read_text())
    assert saved["config"]["unet_steps"] == 3


def latest_meta(run):
    checkpointer = Checkpointer(run / "checkpoints" / "stage_0")
    found = checkpointer.latest_meta()
    checkpointer.close()
    assert found is not None
    return found


def test_pictures_are_known_by_their_content_and_not_by_their_path(
    line, pictures, copy_of_trained, tmp_path, capsys
):
    moved = shutil.copytree(pictures, tmp_path / "moved")
    line = [*line, "--data.path", moved]
    assert "training is complete" in places.run(capsys, *line).out
    saved = json.loads((copy_of_trained / "config.json").read_text())
    assert saved["config"]["data"]["path"] == str(moved)
    before = places.content_of(copy_of_trained)
    for picture in moved.iterdir():
        places.picture(int(picture.stem) + 100).save(picture)
    said = places.run(capsys, *line)
    assert (
        "was made with other training pictures and other validation pictures, by their "
        "content: give the same again or choose another run directory."
    ) in said.error
    shutil.rmtree(moved)
    assert f"folder {moved} does not exist" in places.run(capsys, *line).error
    said = places.run(capsys, "evaluate", "--run", copy_of_trained)
    assert said.error.startswith(f"{moved}, with pictures or masks of the run ")
    assert places.content_of(copy_of_trained) == before


def test_a_checkpoint_of_another_stage_is_refused(line, copy_of_trained, capsys):
    _, meta = latest_meta(copy_of_trained)
    grown = parse([str(w) for w in (*line, "--growth.resolutions", "8")])
    (larger,) = plan_stages(grown.growth)
    folder = copy_of_trained / "checkpoints" / "stage_0"
    shutil.rmtree(folder)
    checkpointer = Checkpointer(folder)
    nets = stage.make_networks(grown, larger)
    state = stage.enter_stage(grown, nets, larger, None)
    checkpointer.save(2, state, meta)
    checkpointer.close()
    said = places.run(capsys, *line)
    assert "holds other arrays than this run" in said.error
    assert "r8_" in said.error


def test_checkpoints_of_something_else_are_refused(line, copy_of_trained, capsys):
    folder = copy_of_trained / "checkpoints" / "stage_0"
    shutil.rmtree(folder)
    checkpointer = Checkpointer(folder)
    checkpointer.save(2, {"x": jnp.zeros(3)}, {"phase": "score"})
    checkpointer.close()
    said = places.run(capsys, *line)
    assert "holds checkpoints of something else" in said.error
    folder.rename(folder.with_name("2"))
    said = places.run(capsys, *line)
    assert "holds checkpoints of an earlier version" in said.error


# Mishaps on the way.


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    line, trained, copy_of_trained, capsys
):
    newest = copy_of_trained / "checkpoints" / "stage_0" / "4"
    largest = max(newest.rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    said = places.run(capsys, *line)
    assert said.status == 0
    assert "checkpoint 4 is damaged" in said.out
    assert "going on from 2" in said.out
    assert "resuming at step 2 of 4 of the 4 px stage" in said.out
    assert places.tensors_of(copy_of_trained) == places.tensors_of(trained)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(line, capsys):
    said = places.run(capsys, *line, "--optimizer.g-learning-rate", "1e30")
    assert " is not finite at step 2 of the 4 px stage; " in said.error
    assert "no checkpoint had been saved: lower the learning rates" in said.error
    assert_takes_other_settings(capsys, line)


@pytest.mark.slow
def test_a_loss_that_breaks_later_keeps_the_last_good_checkpoint(
    line, trained, tmp_path, capsys, monkeypatch
):
    whole = Trainer._call

    def breaks(self, data, state, batch, step, k):
        state, metrics = whole(self, data, state, batch, step, k)
        return state, metrics | {"g/loss": jnp.where(step == 2, jnp.nan, 0.0)}

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_call", breaks)
        said = places.run(capsys, *line)
    assert said.error.startswith("g/loss is not finite at step 3 of the 4 px stage;")
    folder = tmp_path / "run" / "checkpoints" / "stage_0"
    assert f"of step 2, is kept in {folder}" in said.error
    assert os.listdir(folder) == ["2"]
    said = places.run(capsys, *line)
    assert "resuming at step 2 of 4" in said.out
    assert places.tensors_of(tmp_path / "run") == places.tensors_of(trained)


def test_a_state_that_is_not_finite_is_never_saved(line, tmp_path, capsys, monkeypatch):
    whole = Trainer._call

    def breaks(self, data, state, batch, step, k):
        state, metrics = whole(self, data, state, batch, step, k)
        if step == 3:
            d = state.discriminator
            d = d.replace(params=jax.tree.map(lambda x: x + jnp.inf, d.params))
            state = state.replace(discriminator=d)
        return state, metrics

    monkeypatch.setattr(Trainer, "_call", breaks)
    said = places.run(capsys, *line)
    assert said.error.startswith("a weight or moment is not finite at step 4")
    assert os.listdir(tmp_path / "run" / "checkpoints" / "stage_0") == ["2"]


def test_a_stage_too_large_for_memory_says_what_to_change(line, capsys, monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: 2**10)
    said = places.run(capsys, *line)
    assert said.error.startswith("the 4 px stage needs ")
    assert "halve --batch-size (now 4)" in said.error
    assert_takes_other_settings(capsys, line)


def test_a_run_directory_deleted_under_way_is_one_sentence(
    line, tmp_path, capsys, monkeypatch
):
    def delete(self, step, state):
        shutil.rmtree(tmp_path / "run")
        return {"hole_error": 1.0}

    monkeypatch.setattr(stage.StageTraining, "_validate", delete)
    error = places.run(capsys, *line).error
    assert error.startswith(f"{tmp_path / 'run'} was deleted or moved while")


def test_an_interrupt_before_the_first_step_is_one_sentence(line, capsys, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare.sources, "open_split", interrupt)
    said = places.run(capsys, *line)
    assert said.status == 130
    assert said.err == "stopped: nothing is lost; the same command goes on.\n"


def test_a_read_only_disk_is_one_sentence(line, capsys, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files.os, "replace", refuse)
    said = places.run(capsys, *line)
    assert "config.json: read-only file system; choose a directory that" in said.error


@contextlib.contextmanager
def small_files_only():
    """A real refusal of the kernel (EFBIG) for files of more than 16 KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.filterwarnings("ignore:Exception ignored in")  # threads of Orbax
def test_a_disk_that_refuses_a_checkpoint_is_one_sentence_and_the_older_ones_stay(
    line, tmp_path, capsys, monkeypatch
):
    whole = Checkpointer.save

    def save(self, step, state, meta):
        with small_files_only() if step > 2 else contextlib.nullcontext():
            whole(self, step, state, meta)
            self.wait()

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", save)
        said = places.run(capsys, *line)
    assert "cannot write" in said.error
    assert "file too large; raise the limit" in said.error
    kept = Checkpointer(tmp_path / "run" / "checkpoints" / "stage_0")
    step, meta = kept.latest_meta()
    assert (step, meta["progress"]["step"]) == (2, 2)
