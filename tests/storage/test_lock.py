import fcntl
import json
import os
import shutil

import pytest

from jaxgrow.errors import UserError
from jaxgrow.storage import lock


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    folder = tmp_path / "run"
    with lock.held(folder, ["python", "-m", "first"]):
        with pytest.raises(UserError) as error, lock.held(folder, ["second"]):
            pytest.fail("both hold it")
        for part in (f"{folder} is in use by process {os.getpid()} on ", "-m first"):
            assert part in str(error.value)
    with lock.held(folder, ["second"]):
        pass


def test_the_file_of_a_dead_process_is_taken_over(tmp_path):
    file = tmp_path / ".lock"
    file.write_text(json.dumps({"pid": 1, "host": "a", "started": "b", "command": []}))
    with lock.held(tmp_path, ["mine"]):
        assert json.loads(file.read_text())["command"] == ["mine"]
    assert not file.exists()


def test_a_lock_whose_file_says_nothing_is_respected(tmp_path):
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with (
            pytest.raises(UserError, match="in use by another process"),
            lock.held(tmp_path, []),
        ):
            pass


def test_a_new_folder_goes_if_nothing_is_written_and_stays_otherwise(tmp_path):
    with lock.held(tmp_path / "empty", []):
        pass
    with lock.held(tmp_path / "full", []):
        (tmp_path / "full" / "a").touch()
    assert os.listdir(tmp_path) == ["full"]
    assert os.listdir(tmp_path / "full") == ["a"]


@pytest.mark.parametrize("error", [FileNotFoundError(2, "metrics.jsonl"), None])
def test_a_folder_that_is_deleted_meanwhile_is_one_sentence(tmp_path, error):
    folder = tmp_path / "run"

    def delete():
        with lock.held(folder, []):
            shutil.rmtree(folder)
            folder.mkdir()  # as a writer of a file does
            if error is not None:
                raise error

    with pytest.raises(UserError, match="was deleted or moved"):
        delete()


def test_errors_of_the_block_pass(tmp_path):
    with pytest.raises(ZeroDivisionError), lock.held(tmp_path, []):
        raise ZeroDivisionError


def test_a_disk_without_locks_is_used_without(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.held(tmp_path, []), lock.held(tmp_path, []):
        pass
