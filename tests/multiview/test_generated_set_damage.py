"""Damaged files of generated views and full disks: one sentence, then new files."""

import dataclasses
import errno
import json
import os
import shutil

import pytest

from jaxgrow.data.views import Partition
from jaxgrow.errors import UserError
from jaxgrow.multiview.generated_set import open_generated
from jaxgrow.multiview.generator import ViewGenerator
from tests.support import painter, small_views
from tests.support.painter import CONDITIONING, Painter, bytes_of, make


@pytest.fixture
def view_generator():
    return Painter()


@pytest.fixture
def part():
    return painter.partition()


@pytest.fixture
def whole(view_generator, part, tmp_path):
    """An undisturbed folder."""
    folder = tmp_path / "whole"
    make(folder, view_generator, part)
    return folder


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "images.npy is damaged": lambda folder: flip(folder / "images.npy"),
    "images.npy has 1,000 bytes": lambda f: os.truncate(f / "images.npy", 1_000),
    "images.npy is not there": lambda folder: (folder / "images.npy").unlink(),
    "progress.json is damaged": lambda f: (f / "progress.json").write_text("[1]"),
    "header.json is damaged": lambda f: (f / "header.json").write_text('{"shape'),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_damaged_files_are_refused_and_made_anew(
    reason, whole, view_generator, part, tmp_path
):
    folder, notes = tmp_path / "ca", []
    shutil.copytree(whole, folder)
    DAMAGES[reason](folder)
    with pytest.raises(UserError, match=reason) as refused:
        open_generated(folder)
    assert str(refused.value).endswith("generate them again.")
    make(folder, view_generator, part, on_note=notes.append)
    assert notes[0].startswith(f"{folder} is made anew: {reason}")
    assert bytes_of(folder) == bytes_of(whole)


def test_files_that_are_not_there_or_of_another_version_are_one_sentence(
    whole, tmp_path
):
    with pytest.raises(UserError, match=r"no generated views in .*: the phase views"):
        open_generated(tmp_path / "absent")
    folder = tmp_path / "ca"
    shutil.copytree(whole, folder)
    header = json.loads((folder / "header.json").read_text()) | {"version": 0}
    (folder / "header.json").write_text(json.dumps(header))
    with pytest.raises(UserError, match="they are of version 0"):
        open_generated(folder)


def test_a_header_that_lacks_something_is_one_sentence(whole, tmp_path):
    folder = tmp_path / "ca"
    shutil.copytree(whole, folder)
    header = json.loads((folder / "header.json").read_text())
    del header["conditioning"]
    (folder / "header.json").write_text(json.dumps(header))
    with pytest.raises(UserError, match=r"header.json is damaged\): generate them"):
        open_generated(folder)


def test_views_that_are_not_the_models_leave_the_files_as_they_are(whole, part):
    before = bytes_of(whole)
    real = ViewGenerator(small_views.saved_autoencoder(), small_views.latent_model())
    views = dataclasses.replace(part.views, images=part.views.images[:, :, :8, :8])
    with pytest.raises(UserError, match="has 4 views of 16x16 pixels"):
        make(whole, real, Partition(views, CONDITIONING))
    assert bytes_of(whole) == before


def test_a_full_disk_is_told_before_and_while_writing(
    view_generator, part, whole, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(UserError, match=r"needs 0 MB and 0 MB are left; free some"):
            make(tmp_path / "ca", view_generator, part)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"no space left on device; free some"):
            make(tmp_path / "ca", view_generator, part)
    make(tmp_path / "ca", view_generator, part)
    assert bytes_of(tmp_path / "ca") == bytes_of(whole)
