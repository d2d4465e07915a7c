"""Every mistake and mishap ends in one clear sentence, and what was saved stays."""

import contextlib
import errno
import json
import os
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.places_grow import prepare, stage_step
from experiments.places_grow.__main__ import main, parse
from experiments.places_grow.stage_step import StageStep
from jaxgrow import files
from jaxgrow.checkpoint import Checkpointer
from jaxgrow.growth import plan_stages
from tests import places


NUM_PICTURES = 7


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "pictures"
    return places.write_pictures(folder, NUM_PICTURES)


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


def messages_of(line, *more):
    """What a run says about its pictures and masks."""
    messages = []
    config = parse([str(word) for word in (*line, *more)])
    prepare.load_pictures(config, messages.append)
    return " | ".join(messages)


def with_masks(folder, make, num_masks=NUM_PICTURES):
    folder.mkdir()
    for i in range(num_masks):
        make(i).save(folder / f"{i}.png")
    own = ("--masks.folder", "1", "--masks.rectangle", "0", "--masks.stroke", "0")
    return (*own, "--masks.folder-path", folder)


# The command line.


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
        (["--batch-size", "0"], "--batch-size must be 1 or more, not 0."),
        (["--log-every", "0"], "--log-every must be 1 or more, not 0."),
        (["--checkpoint-every", "0"], "--checkpoint-every must be 1 or more, not 0."),
        (["--seed", "-1"], "--seed must be 0 or more, not -1."),
        (
            ["--log-every", "3"],
            "--validate-every 10 must be a multiple of --log-every 3.",
        ),
        (["--growth.steps", "5"], "2 resolutions and 1 numbers of steps were given"),
        (["--growth.resolutions", "4", "9"], "--growth.resolutions: resolution must"),
        (["--optimizer.g-learning-rate", "1", "2", "3"], "--optimizer.g-learning-rate"),
        (["--data.source", "folder"], "source folder needs the folder of its data"),
        (["--masks.rectangle", "-1"], "mask weights [-1.0, 1.0, 0.0, 0.0]"),
        (["--devices", "99"], "99 devices were asked for and 2 are here"),
        (["--devices", "0"], "0 devices were asked for"),
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


# Pictures.


def test_a_folder_that_is_not_there_is_named_and_the_corrected_command_goes_on(
    line, pictures, tmp_path, capsys
):
    away = tmp_path / "nowhere"
    said = places.run(capsys, *line, "--data.path", away)
    assert said.error.startswith(f"folder {away} does not exist")
    # The run directory now stands; nothing ties it to the wrong path.
    said = places.run(capsys, *line, "--data.path", away.parent / "elsewhere")
    assert "elsewhere does not exist" in said.error


def make_nothing(folder):
    pass


def make_empty_files(folder):
    for i in range(3):
        (folder / f"{i}.png").touch()


def make_single_pixels(folder):
    for i in range(3):
        places.picture(i, size=1).save(folder / f"{i}.png")


def make_truncated(folder):
    for i in range(3):
        truncate(folder / f"{i}.png", i)


def truncate(file, seed):
    """Half of the file of a picture; its header is whole."""
    places.picture(seed, size=200).save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (make_nothing, "holds no images: put some in"),
        (make_empty_files, "3 of 3 images in"),
        (make_single_pixels, "3 of 3 images in"),
        (make_truncated, "images in the data cannot be read"),
    ],
)
def test_a_folder_without_a_usable_picture_is_refused(
    make, sentence, line, tmp_path, capsys
):
    folder = tmp_path / "bad"
    folder.mkdir()
    make(folder)
    said = places.run(capsys, *line, "--data.path", folder)
    assert sentence in said.error


def test_a_few_broken_pictures_are_skipped_named_and_counted(line, tmp_path):
    folder = places.write_pictures(tmp_path / "mixed", 20)
    (folder / "3.png").write_bytes(b"no picture at all")
    Image.new("RGB", (1, 1)).save(folder / "4.png")
    truncate(folder / "7.png", 7)
    truncate(folder / "8.png", 8)
    said = messages_of(line, "--data.path", folder)
    assert "skipped, as they cannot be read: 2 pictures (3.png, 4.png)" in said
    assert said.count("skipped, as they cannot be read") in (2, 3)
    assert "7.png" in said
    assert "8.png" in said
    counted = [int(part.split()[1]) for part in said.split(" | ") if "crops" in part]
    assert sum(counted) == 16


# Masks.


def test_masks_of_another_size_than_their_pictures_are_refused(line, tmp_path, capsys):
    own = with_masks(tmp_path / "masks", lambda i: places.hole(20))
    said = places.run(capsys, *line, *own, "--masks.pairing", "by-name")
    assert "has 20x20 pixels but image" in said.error
    assert "scale it to the same size" in said.error


@pytest.mark.parametrize(("value", "what"), [(0, "no hole"), (255, "nothing but hole")])
def test_a_paired_mask_without_hole_or_without_known_pixels_is_refused(
    value, what, line, tmp_path, capsys
):
    own = with_masks(tmp_path / "m", lambda i: Image.new("L", (24, 24), value))
    said = places.run(capsys, *line, *own, "--masks.pairing", "by-name")
    assert what in said.error
    assert "white (128 and above) marks the hole" in said.error


def test_a_folder_of_useless_masks_is_refused(line, tmp_path, capsys):
    own = with_masks(tmp_path / "m", lambda i: Image.new("L", (24, 24), 255 * (i % 2)))
    said = places.run(capsys, *line, *own)
    assert "no mask in" in said.error
    assert "has both a hole and known pixels" in said.error


def test_useless_masks_among_good_ones_are_named(line, tmp_path):
    def make(i):
        return places.hole() if i > 1 else Image.new("L", (24, 24), 255 * i)

    own = with_masks(tmp_path / "m", make)
    said = messages_of(line, *own)
    assert "2 masks have no hole or nothing but hole (0.png, 1.png)" in said


def test_grey_masks_are_taken_at_half_with_a_warning(line, tmp_path):
    own = with_masks(tmp_path / "m", lambda i: places.hole(value=200 if i else 255))
    said = messages_of(line, *own)
    assert "6 masks hold grey values (1.png, 2.png, 3.png, ...): 128 and above" in said
    assert "grey values" in messages_of(line, *own, "--masks.pairing", "by-name")


def test_masks_that_look_inverted_raise_a_warning(line, tmp_path):
    def make(i):
        return Image.fromarray(255 - np.asarray(places.hole()))

    said = messages_of(line, *with_masks(tmp_path / "m", make))
    assert "hide 75% of a picture" in said
    assert "invert them" in said


def test_a_picture_without_a_mask_of_its_name_is_named(line, tmp_path, capsys):
    own = with_masks(tmp_path / "m", lambda i: places.hole(), num_masks=2)
    said = places.run(capsys, *line, *own, "--masks.pairing", "by-name")
    assert "images have no mask of the same name" in said.error


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
    assert said.error.startswith(f"{tmp_path} is no run of places_grow of this version")


def test_evaluate_needs_a_finished_stage(copy_of_trained, capsys):
    (copy_of_trained / "stages.json").unlink()
    said = places.run(capsys, "evaluate", "--run", copy_of_trained)
    assert "has no finished stage yet" in said.error


def test_resuming_with_another_config_names_the_difference(
    line, copy_of_trained, capsys
):
    before = (copy_of_trained / "config.json").read_bytes()
    said = places.run(capsys, *line, "--optimizer.beta1", "0.5", "--net.width", "8")
    assert "optimizer.beta1 is 0.9 there and 0.5 here" in said.error
    assert "net.width is 6 there and 8 here" in said.error
    assert (copy_of_trained / "config.json").read_bytes() == before


def test_what_does_not_change_the_weights_may_change_on_resume(
    line, copy_of_trained, capsys
):
    more = ["--checkpoint-every", "4", "--device-data-mb", "1", "--unet-steps", "3"]
    said = places.run(capsys, *line, *more)
    assert said.status == 0
    assert "training is complete" in said.out
    saved = json.loads((copy_of_trained / "config.json").read_text())
    assert saved["config"]["unet_steps"] == 3


def test_a_checkpoint_of_another_stage_is_refused(line, copy_of_trained, capsys):
    config = parse([str(word) for word in line])
    grown = parse([str(w) for w in (*line, "--growth.resolutions", "8")])
    (stage,) = plan_stages(grown.growth)
    folder = copy_of_trained / "checkpoints"
    shutil.rmtree(folder)
    checkpointer = Checkpointer(folder)
    at = {"stage": 0, "stage_step": 2, "global_step": 2}
    meta = {"config": config.result_fields(), "at": at}
    nets = stage_step.make_networks(grown, stage)
    state = stage_step.enter_stage(grown, nets, stage, None)
    checkpointer.save(2, state, meta)
    checkpointer.close()
    said = places.run(capsys, *line)
    assert "holds other arrays than this run" in said.error
    assert "r8_" in said.error


def test_checkpoints_of_something_else_are_refused(line, copy_of_trained, capsys):
    folder = copy_of_trained / "checkpoints"
    shutil.rmtree(folder)
    checkpointer = Checkpointer(folder)
    checkpointer.save(2, {"x": jnp.zeros(3)}, {"phase": "score"})
    checkpointer.close()
    said = places.run(capsys, *line)
    assert "holds checkpoints of something else" in said.error


# Mishaps on the way.


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    line, trained, copy_of_trained, capsys
):
    newest = copy_of_trained / "checkpoints" / "4"
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
    # Nothing was saved, so the same directory serves the next try.
    said = places.run(capsys, *line)
    assert said.status == 0


def test_a_loss_that_breaks_later_keeps_the_last_good_checkpoint(
    line, trained, tmp_path, capsys, monkeypatch
):
    whole = StageStep.__call__

    def breaks(self, state, batch, step, k):
        state, metrics = whole(self, state, batch, step, k)
        return state, metrics | {"g/loss": jnp.where(step == 2, jnp.nan, 0.0)}

    with monkeypatch.context() as patch:
        patch.setattr(StageStep, "__call__", breaks)
        said = places.run(capsys, *line)
    assert said.error.startswith("g/loss is not finite at step 3 of the 4 px stage;")
    folder = tmp_path / "run" / "checkpoints"
    assert f"of step 2 of the run, is kept in {folder}" in said.error
    assert os.listdir(folder) == ["2"]
    said = places.run(capsys, *line)
    assert "resuming at step 2 of 4" in said.out
    assert places.tensors_of(tmp_path / "run") == places.tensors_of(trained)


def test_a_state_that_is_not_finite_is_never_saved(line, tmp_path, capsys, monkeypatch):
    whole = StageStep.__call__

    def breaks(self, state, batch, step, k):
        state, metrics = whole(self, state, batch, step, k)
        if step == 3:
            d = state.discriminator
            d = d.replace(params=jax.tree.map(lambda x: x + jnp.inf, d.params))
            state = state.replace(discriminator=d)
        return state, metrics

    monkeypatch.setattr(StageStep, "__call__", breaks)
    said = places.run(capsys, *line)
    assert said.error.startswith("a weight or moment is not finite at step 4")
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["2"]


def test_a_stage_too_large_for_memory_says_what_to_change(line, capsys, monkeypatch):
    monkeypatch.setattr(stage_step, "device_memory_bytes", lambda: 2**10)
    said = places.run(capsys, *line)
    assert said.error.startswith("the 4 px stage needs ")
    assert "halve --batch-size (now 4)" in said.error
    # No step was taken, so the mended command may use the same directory.
    monkeypatch.undo()
    said = places.run(capsys, *line, "--batch-size", "2", "--no-evaluate")
    assert said.status == 0


def test_an_interrupt_before_the_first_step_is_one_sentence(line, capsys, monkeypatch):
    def interrupt(*args):
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
    line, trained, tmp_path, capsys, monkeypatch
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
    said = places.run(capsys, *line)
    assert "resuming at step 2 of 4" in said.out
    assert places.tensors_of(tmp_path / "run") == places.tensors_of(trained)
