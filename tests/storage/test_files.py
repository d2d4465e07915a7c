import os

import pytest

from jaxgrow.errors import UserError
from jaxgrow.storage import files


DAMAGED = ["", "{", "3", '"x"', "null", "\udcff", "[" * 100_000, "1" * 5_000]


@pytest.mark.parametrize("text", [*DAMAGED, "[]"])
def test_a_file_that_holds_no_object_is_one_sentence(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(UserError) as error:
        files.read_json(path, dict)
    assert str(error.value).startswith(f"{path} is damaged or of another version")
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


def test_an_absent_file_is_the_given_value_or_not_found(tmp_path):
    assert files.read_json(tmp_path / "a", list, absent=[]) == []
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "a", list)


@pytest.mark.parametrize("line", [*filter(None, DAMAGED), "[]"])
def test_a_damaged_line_is_named_and_the_last_one_left_out(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + line, errors="surrogateescape")
    assert files.read_json_lines(path) == [{"step": 1}]
    path.write_text(f'{{"step": 1}}\n{line}\n{{}}\n', errors="surrogateescape")
    with pytest.raises(UserError, match="line 2: "):
        files.read_json_lines(path)


def test_content_that_is_used_otherwise_than_it_is_one_sentence(tmp_path):
    for use in (
        lambda: {}["rows"],
        lambda: [][0],
        lambda: None.items(),
        lambda: 1 + "a",
        lambda: int("a"),
    ):
        with pytest.raises(UserError, match="damaged"), files.reading(tmp_path):
            use()


def test_bytes_are_on_the_disk_before_their_name_and_the_name_before_it_returns(
    tmp_path, monkeypatch
):
    done, path = [], tmp_path / "new" / "a"

    def note(name, original):
        def noted(*arguments):
            is_folder = name == "fsync" and os.path.isdir(f"/dev/fd/{arguments[0]}")
            done.append(f"{name} folder" if is_folder else name)
            return original(*arguments)

        monkeypatch.setattr(os, name, noted)

    note("fsync", os.fsync)
    note("replace", os.replace)
    files.write_bytes(path, b"a")
    assert done == ["fsync", "replace", "fsync folder", "fsync folder"]
    assert path.read_bytes() == b"a"
