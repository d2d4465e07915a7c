"""Checkpoints in folders of unusual names."""

import os
import tempfile

import jax
import jax.numpy as jnp
import pytest

from jaxgrow.errors import UserError
from jaxgrow.training.checkpoint import Checkpointer


STATE = {"w": jnp.arange(6.0), "n": jnp.int32(0)}
SHAPES = jax.eval_shape(lambda: STATE)


def save(directory, steps=(1, 2, 3)):
    checkpointer = Checkpointer(directory, keep=2)
    for step in steps:
        checkpointer.save(step, {**STATE, "n": jnp.int32(step)}, {})
    checkpointer.close()


@pytest.mark.parametrize(
    "name",
    [
        *("lr=1e-3,b=64 +~ü", "e\u0301 日本", "100%", "x%20y", "run#1", "run?1"),
        *("[a]", "a|b", "a\\b", "gs:", "'\"{x}$H;&*<b>\n", "\udcff"),
    ],
)
def test_a_checkpoint_comes_back_from_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    save(folder)
    checkpointer = Checkpointer(folder, keep=2)
    found = checkpointer.restore_latest(lambda _: SHAPES, pytest.fail)
    checkpointer.close()
    assert found is not None
    assert (found[0], found[1]["n"]) == (3, 3)
    assert sorted(os.listdir(folder)) == ["2", "3"]


def test_a_name_is_refused_if_that_of_temporary_files_is_no_better(
    tmp_path, monkeypatch
):
    (tmp_path / "#").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "#"))
    with pytest.raises(UserError, match="characters with a meaning in URLs"):
        Checkpointer(tmp_path / "100%")
    assert os.listdir(tmp_path / "#") == []


def test_a_checkpoint_is_on_the_disk_before_the_next_one_is_begun(
    tmp_path, monkeypatch
):
    synced, fsync = set(), os.fsync
    checkpointer = Checkpointer(tmp_path)

    def note(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        return fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    checkpointer.save(1, STATE, {})
    checkpointer.wait()
    there = [tmp_path, *(tmp_path / "1").rglob("*")]
    assert len(there) > 10
    assert synced >= {path.stat().st_ino for path in there}
    checkpointer.close()


def test_a_renamed_checkpoint_is_named_and_nothing_is_deleted(tmp_path):
    save(tmp_path)
    (tmp_path / "3").rename(tmp_path / "7")
    checkpointer = Checkpointer(tmp_path)
    for use in (
        checkpointer.latest_meta,
        lambda: checkpointer.restore_latest(lambda _: SHAPES, pytest.fail),
    ):
        with pytest.raises(UserError, match="7 holds the checkpoint of step 3: give"):
            use()
    checkpointer.close()
    assert sorted(os.listdir(tmp_path)) == ["2", "7"]
