import numpy as np
import pytest
import tyro
from PIL import Image

from jaxgrow import viz
from jaxgrow.data.procedural import AZIMUTHS_24, CLASSES, render_object
from tools import contact_sheet


@pytest.fixture
def sheet(tmp_path, monkeypatch, capsys):
    """Runs the tool in a folder of its own: (status, what it said)."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        status = contact_sheet.main([*args, "--out", "deep/sheet.png"])
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def drawn(tmp_path):
    """The sheet without the names of its rows."""
    return np.asarray(Image.open(tmp_path / "deep" / "sheet.png"))[:, 96:]


def test_four_views_of_each_object_stand_in_the_row_of_its_class(sheet, tmp_path):
    flags = ["--classes", "sofa", "car", "--objects", "2", "--first", "3"]
    status, said = sheet(*flags, "--size", "12", "--seed", "7")
    assert status == 0
    assert "Wrote deep/sheet.png." in said
    views = np.stack(
        [
            render_object(name, i, seed=7, azimuths=(0, 180, 90, 270), size=12)
            for name in ("sofa", "car")
            for i in (3, 4)
        ]
    )
    titles = ["front", "back", "right", "left"] * 2
    grid = viz.image_grid(views.reshape(2, 8, 12, 12, 3), column_titles=titles)
    np.testing.assert_array_equal(drawn(tmp_path), np.asarray(grid))


def test_24_views_fill_a_row_for_each_object(sheet, tmp_path):
    flags = ["--classes", "lamp", "--objects", "2", "--views", "24", "--size", "8"]
    assert sheet(*flags)[0] == 0
    views = np.stack(
        [render_object("lamp", i, seed=0, azimuths=AZIMUTHS_24, size=8) for i in (0, 1)]
    )
    titles = [f"{15 * k}°" for k in range(24)]
    grid = viz.image_grid(views, column_titles=titles)
    np.testing.assert_array_equal(drawn(tmp_path), np.asarray(grid))


def test_every_row_has_a_name_beside_it(sheet, tmp_path):
    assert sheet("--classes", "rifle", "vessel", "table", "--objects", "1")[0] == 0
    image = np.asarray(Image.open(tmp_path / "deep" / "sheet.png").convert("L"))
    margin = image[:, :96].min(axis=1) < 100
    starts = np.flatnonzero(margin[1:] & ~margin[:-1])
    bands = np.array_split(np.arange(len(image)), 3)
    assert all(any(start in band for start in starts) for band in bands)


def test_all_classes_are_shown_unless_some_are_named():
    config = tyro.cli(contact_sheet.Config, args=["--out", "x.png"])
    assert config.classes == CLASSES
    assert config.objects == 8


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--classes", "spoon"], "no synthetic objects of class 'spoon'"),
        (["--objects", "0"], "set --objects to a whole number, 1 or more"),
        (["--objects", "1000"], "ask for fewer objects"),
        (["--first", "-1"], "set --first to a whole number, 0 or more"),
        (["--size", "0"], "set --size to a whole number, in [4, 4096]"),
    ],
)
def test_a_mistake_gets_one_sentence_and_no_file(sheet, tmp_path, flags, said):
    status, output = sheet(*flags)
    assert status == 2
    assert said in output
    assert output.count("\n") == 1
    assert not list(tmp_path.rglob("*.png"))


def test_a_file_in_the_way_of_the_folder_gets_one_sentence(sheet, tmp_path):
    (tmp_path / "deep").write_text("")
    status, said = sheet("--classes", "car", "--objects", "1", "--size", "8")
    assert status == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
