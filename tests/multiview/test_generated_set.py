"""Generated views on disk: their content, after a kill, and for another model."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgrow.data.views import Partition
from jaxgrow.errors import UserError
from jaxgrow.multiview import chunked_images
from jaxgrow.multiview.generated_set import open_generated
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from jaxgrow.storage import files
from tests.support import painter, small_views
from tests.support.painter import CONDITIONING, NOISY, Idle, Painter, bytes_of, make


ROOT = Path(__file__).parents[2]
FILES = ("header.json", "images.npy", "progress.json")


@pytest.fixture(scope="module")
def view_generator():
    return Painter()


@pytest.fixture(scope="module")
def part():
    return painter.partition()


@pytest.fixture(scope="module")
def whole(view_generator, part, tmp_path_factory):
    """An undisturbed folder."""
    folder = tmp_path_factory.mktemp("whole") / "ca"
    make(folder, view_generator, part)
    return folder


def test_the_files_hold_what_the_generator_makes_and_say_so(part, tmp_path):
    whole, views = tmp_path / "ca", part.views
    view_generator = ViewGenerator(
        small_views.saved_autoencoder(), small_views.latent_model(), batch_size=4
    )
    found = make(whole, view_generator, part, chunk_size=5)
    missing = np.arange(4) != CONDITIONING[:, None]
    expected = view_generator.generate_views(
        views.images, missing, sampler=NOISY, num_samples=2
    )
    np.testing.assert_array_equal(found.images, expected)
    np.testing.assert_array_equal(np.load(whole / "images.npy"), expected)
    assert isinstance(found.images, np.memmap)
    assert not found.images.flags.writeable
    assert set(bytes_of(whole)) == set(FILES)
    assert len(found) == 7
    np.testing.assert_array_equal(found.conditioning, CONDITIONING)
    np.testing.assert_array_equal(found.labels, views.labels)
    assert (found.object_ids, found.class_names) == (
        views.object_ids,
        views.class_names,
    )
    assert found.view_names == small_views.NAMES
    header = json.loads((whole / "header.json").read_text())
    assert header == found.header
    assert header["sampler"]["name"] == "euler_maruyama"
    assert (header["model"], header["seed"]) == ("m", 0)
    assert (header["num_evaluations"], header["num_samples"]) == (2, 2)
    assert header["real_views"] == header["conditioning"] == CONDITIONING.tolist()


def test_no_view_but_the_conditioning_one_is_read(
    whole, view_generator, part, tmp_path
):
    at, views = np.arange(7), part.views
    images = views.images ^ 0xFF
    images[at, CONDITIONING] = views.images[at, CONDITIONING]
    other = Partition(dataclasses.replace(views, images=images), CONDITIONING)
    make(tmp_path, view_generator, other)
    assert bytes_of(tmp_path) == bytes_of(whole)


def test_an_image_can_be_taken_as_a_view_that_it_does_not_show(
    view_generator, part, tmp_path
):
    conditioning = (CONDITIONING + 1) % 4
    found = make(tmp_path, view_generator, part, conditioning=conditioning)
    at = np.arange(7)
    for k in range(2):
        np.testing.assert_array_equal(
            found.images[at, k, conditioning], part.views.images[at, CONDITIONING]
        )
    np.testing.assert_array_equal(found.conditioning, conditioning)
    assert found.header["real_views"] == CONDITIONING.tolist()


@settings(deadline=None, max_examples=6)
@given(size=st.integers(1, 9))
def test_chunks_of_any_size_make_the_same_bytes(whole, view_generator, part, size):
    folder = whole.parent / f"chunks of {size}"
    make(folder, view_generator, part, chunk_size=size)
    assert bytes_of(folder) == bytes_of(whole)


# Going on.


class Kill(BaseException):
    """Ends a process at any moment."""


@pytest.mark.parametrize("moment", range(12))
def test_a_kill_at_any_moment_leaves_no_trace(
    moment, whole, view_generator, part, tmp_path, monkeypatch
):
    """The process ends at the `moment`-th write, before it or halfway through it."""
    touches = 0

    def touched(call, *args):
        nonlocal touches
        touches += 1
        if touches > moment:
            raise Kill
        return call(*args)

    append, write_json = chunked_images._append, chunked_images.files.write_json

    def half_append(output, chunk, checksum):
        output.write(chunk.tobytes()[: chunk.nbytes // 2])
        output.flush()
        touched(int)
        output.seek(-(chunk.nbytes // 2), os.SEEK_END)
        output.truncate()
        return touched(append, output, chunk, checksum)

    with monkeypatch.context() as patch:
        patch.setattr(chunked_images, "_append", half_append)
        patch.setattr(
            chunked_images.files, "write_json", lambda *a: touched(write_json, *a)
        )
        with pytest.raises(Kill) if moment < 11 else pytest.raises(AssertionError):
            make(tmp_path, view_generator, part)
            raise AssertionError
    notes = []
    make(tmp_path, view_generator, part, on_note=notes.append)
    assert bytes_of(tmp_path) == bytes_of(whole)
    assert notes == []


SCRIPT = """
import sys
from pathlib import Path
from tests.support import painter

painter.make(
    Path(sys.argv[1]),
    painter.Painter(),
    painter.partition(),
    chunk_size=1,
    on_progress=lambda *at: print(*at, flush=True),
)
"""


@pytest.mark.slow
def test_a_process_killed_at_random_leaves_the_same_bytes(whole, tmp_path):
    rng, seen = np.random.default_rng(0), []
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        seen.append(int(process.stdout.readline().split()[0]))
        if seen[-1] == 7:
            process.communicate()
            break
        for _ in range(rng.integers(1, 3)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert seen[-1] == 7
    assert len(set(seen)) > 2
    script = bytes_of(tmp_path)
    assert script["images.npy"] == bytes_of(whole)["images.npy"]
    assert script["progress.json"] == bytes_of(whole)["progress.json"]


def test_what_a_caller_raises_ends_it_without_a_loss(
    view_generator, part, whole, tmp_path
):
    told = []

    def on_progress(done, total):
        told.append((done, total))
        if len(told) == 2:
            raise Kill

    with pytest.raises(Kill):
        make(tmp_path, view_generator, part, on_progress=on_progress)
    with pytest.raises(UserError, match=r"only 3 of 7 are there\): generate them"):
        open_generated(tmp_path)
    make(tmp_path, view_generator, part, on_progress=on_progress)
    assert told == [(0, 7), (3, 7), (3, 7), (6, 7), (7, 7)]
    assert bytes_of(tmp_path) == bytes_of(whole)


def test_what_is_there_is_not_made_again(whole, part):
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    told = []
    found = make(whole, Idle(), part, on_progress=lambda *at: told.append(at))
    assert told == [(7, 7)]
    assert len(found) == 7
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"model": "another"}, "model"),
        ({"sampler": SamplerConfig(num_steps=3)}, "sampler, num_evaluations"),
        ({"seed": 1}, "seed"),
        ({"num_samples": 1}, "shape, num_samples"),
        ({"conditioning": np.zeros(7, np.int64)}, "conditioning"),
    ],
)
def test_views_of_other_settings_are_made_anew(
    changed, name, whole, view_generator, part, tmp_path
):
    folder, notes = tmp_path / "ca", []
    shutil.copytree(whole, folder)
    make(folder, view_generator, part, on_note=notes.append, **changed)
    assert notes == [f"{folder} is made anew: {name} used to be different"]
    fresh = tmp_path / "fresh"
    make(fresh, view_generator, part, **changed)
    assert bytes_of(folder) == bytes_of(fresh)
    is_same = bytes_of(folder)["images.npy"] == bytes_of(whole)["images.npy"]
    assert is_same == (name == "model")  # whose weights are not asked here


def test_other_pixels_of_the_same_objects_are_noticed(
    whole, view_generator, part, tmp_path
):
    shutil.copytree(whole, tmp_path / "ca")
    images = part.views.images.copy()
    images[6, CONDITIONING[6], 0, 0, 0] ^= 1
    other = Partition(dataclasses.replace(part.views, images=images), CONDITIONING)
    notes = []
    make(tmp_path / "ca", view_generator, other, on_note=notes.append)
    assert notes[0].endswith("conditioning_pixels used to be different")


def test_views_and_samples_that_do_not_exist_are_refused(
    view_generator, part, tmp_path
):
    wrong = np.array([0, 1, 4, 0, 0, 0, 0])
    with pytest.raises(UserError, match=r"view of object 2 is 4: .* 0 to 3"):
        make(tmp_path, view_generator, part, conditioning=wrong)
    with pytest.raises(UserError, match="samples must be 1 or more, not 0"):
        make(tmp_path, view_generator, part, num_samples=0)


def test_a_models_digest_is_that_of_the_contents_of_its_files(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, content in zip(paths, (b"1", b"2", b"1"), strict=True):
        path.write_bytes(content)
    a, b, c = paths
    assert (
        files.hash_files([a, b]) == files.hash_files([c, b]) != files.hash_files([b, a])
    )
    assert len(files.hash_files([a])) == 64
    with pytest.raises(UserError, match=r"no weights at .*: no such file"):
        files.hash_files([a, tmp_path / "absent"])
