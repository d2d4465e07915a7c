import errno
import functools
import os

import numpy as np
import pytest
import tyro
from PIL import Image

from jaxgrow.inpainting import saved_models
from jaxgrow.inpainting.inpainter import Inpainter
from tests.support.generators import random_generator, write_generator
from tools import inpaint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_generator(folder / "weights" / saved_models.file_name(4), 4)
    return folder


load_once = functools.cache(Inpainter.load)  # compiled once for the whole file


@pytest.fixture
def paint(run, tmp_path, monkeypatch, capsys):
    """Runs the tool in a folder of its own: (status, what it said)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inpaint.Inpainter, "load", load_once)

    def call(*args):
        base = ["--images", "images", "--masks", "masks", "--out", "out"]
        given = [*base, "--weights", str(run), *args]
        status = inpaint.main(tyro.cli(inpaint.Config, args=given))
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def picture(height=12, width=10, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def hole(height=12, width=10):
    mask = np.zeros((height, width), np.uint8)
    mask[3:6, 2:7] = 255
    return mask


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def one(tmp_path):
    """A picture a with its mask."""
    write(tmp_path / "images" / "a.png", picture())
    write(tmp_path / "masks" / "a.png", hole())
    return tmp_path


def test_pictures_go_with_the_masks_of_their_names(paint, tmp_path):
    inpainter = Inpainter(random_generator(4))
    for i, name in enumerate(["a.png", "b.c.bmp", "deep/er/a.webp"]):
        options = {"lossless": True} if name.endswith("webp") else {}
        write(tmp_path / "images" / name, picture(seed=i), **options)
        mask = np.roll(hole(), i, axis=0)
        write((tmp_path / "masks" / name).with_suffix(".gif"), mask)
    status, said = paint()
    assert status == 0
    assert "Wrote 3 of 3 pictures to out." in said
    for i, name in enumerate(["a.png", "b.c.png", "deep/er/a.png"]):
        wanted = inpainter(picture(seed=i), np.roll(hole(), i, axis=0))
        np.testing.assert_array_equal(read(tmp_path / "out" / name), wanted)
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 3


def test_one_mask_serves_all_pictures_and_is_remarked_on_once(paint, tmp_path):
    for name in "ab":
        write(tmp_path / "images" / f"{name}.png", picture())
    write(tmp_path / "mask.png", np.where(hole(), 200, 3).astype(np.uint8))
    status, said = paint("--masks", "mask.png")
    assert status == 0
    assert said.count("mask.png has grey values") == 1
    for name in "ab":
        same = (read(tmp_path / "out" / f"{name}.png") == picture()).all(-1)
        np.testing.assert_array_equal(same, hole() == 0)


def test_one_picture_may_be_named_by_its_file(paint, one):
    assert paint("--images", "images/a.png", "--masks", "masks/a.png")[0] == 0
    assert paint("--images", "images/a.png", "--out", "out2")[0] == 0
    np.testing.assert_array_equal(read(one / "out/a.png"), read(one / "out2/a.png"))


def test_an_existing_result_stays_unless_forced(paint, one):
    assert paint()[0] == 0
    filled = read(one / "out" / "a.png")
    write(one / "out" / "a.png", picture(seed=9))
    status, said = paint()
    assert status == 1
    assert "skipped: out/a.png exists: add --force" in said
    np.testing.assert_array_equal(read(one / "out" / "a.png"), picture(seed=9))
    assert paint("--force")[0] == 0
    np.testing.assert_array_equal(read(one / "out" / "a.png"), filled)


def test_a_source_is_never_replaced(paint, one):
    original = read(one / "images" / "a.png")
    args = ["--images", "images/a.png", "--out", "images", "--force"]
    status, said = paint(*args)
    assert (status, "images/a.png is a source itself" in said) == (1, True)
    for out in ("images", "masks", "images/deeper"):
        status, said = paint("--out", out, "--force")
        assert status == 2
        assert "would lie among the files of" in said
    np.testing.assert_array_equal(read(one / "images" / "a.png"), original)


def test_a_mask_that_is_mostly_hole_looks_inverted_and_can_be_inverted(paint, one):
    assert paint()[0] == 0
    write(one / "masks" / "a.png", 255 - hole())
    status, said = paint("--out", "out2")
    assert status == 0
    assert "masks/a.png is 88% hole: it looks inverted: add --invert" in said
    status, said = paint("--out", "out3", "--invert")
    assert (status, "inverted" in said) == (0, False)
    np.testing.assert_array_equal(read(one / "out/a.png"), read(one / "out3/a.png"))


def test_a_picture_without_a_hole_is_copied_with_a_note(paint, one):
    write(one / "masks" / "a.png", 0 * hole())
    status, said = paint()
    assert status == 0
    assert "note: masks/a.png has no hole: its picture is copied." in said
    np.testing.assert_array_equal(read(one / "out" / "a.png"), picture())


def test_what_cannot_be_filled_is_skipped_with_its_reason(paint, one):
    cases = {
        "size": (picture(), hole(10, 12)),
        "whole": (picture(), hole() * 0 + 255),
        "tiny": (picture(1, 1), hole(1, 1)),
    }
    for name, (image, mask) in cases.items():
        write(one / "images" / f"{name}.png", image)
        write(one / "masks" / f"{name}.png", mask)
    for folder in ("images", "masks"):
        content = (one / folder / "a.png").read_bytes()
        for damaged, kept in [("images", len(content) // 2), ("masks", 0)]:
            path = one / folder / f"broken_{damaged}.png"
            path.write_bytes(content[:kept] if folder == damaged else content)
    write(one / "images" / "alone.png", picture())
    status, said = paint()
    assert status == 1
    assert "Wrote 1 of 7 pictures to out." in said
    reasons = [line for line in said.splitlines() if line.startswith("skipped: ")]
    assert len(reasons) == 6
    assert "skipped: images/alone.png has no mask masks/alone.png or the like." in said
    assert "masks/size.png has 12x10 pixels and images/size.png 10x12" in said
    assert "masks/whole.png is all hole" in said
    assert "images/tiny.png has 1x1 pixels" in said
    assert "image images/broken_images.png cannot be read" in said
    assert "image masks/broken_masks.png cannot be read" in said
    assert [path.name for path in (one / "out").iterdir()] == ["a.png"]


def test_a_photograph_is_turned_upright(paint, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise makes it upright
    write(tmp_path / "images" / "turned.png", picture(10, 12), exif=exif)
    write(tmp_path / "masks" / "turned.png", hole())
    assert paint()[0] == 0
    known = hole() == 0
    turned = np.rot90(picture(10, 12), -1)
    filled = read(tmp_path / "out" / "turned.png")
    np.testing.assert_array_equal(filled[known], turned[known])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--images", "absent"], "folder absent does not exist"),
        (["--masks", "absent"], "folder absent does not exist"),
        (["--images", "empty"], "empty holds no images"),
        (["--masks", "empty"], "empty holds no images"),
        (["--masks", "images"], "images and masks are both images"),
        (["--masks", "others"], "no mask in others has the name of a picture"),
        (["--images", "twice"], "twice/a.bmp and twice/a.png differ in type only"),
        (["--out", "masks/a.png"], "masks/a.png is a file: name a folder"),
        (["--out", "empty/file/out"], "cannot write empty/file/out"),
        (["--weights", "absent"], "no weights at absent"),
        (["--weights", "masks/a.png"], "masks/a.png is damaged or no .safetensors"),
        (["--resolution", "8"], "has no weights for 8 px, but for 4"),
    ],
)
def test_a_mistake_that_stops_everything_is_one_sentence(paint, one, args, message):
    (one / "empty").mkdir()
    (one / "empty" / "file").touch()
    write(one / "others" / "b.png", hole())
    for suffix in ("png", "bmp"):
        write(one / "twice" / f"a.{suffix}", picture())
    status, said = paint(*args)
    assert status == 2
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (one / "out").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_stops_the_tool_and_leaves_no_half_file(
    paint, one, code, monkeypatch
):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    status, said = paint()
    assert status == 2
    assert f"error: cannot write out/a.png: {os.strerror(code).lower()}" in said
    assert not list((one / "out").iterdir())


def test_the_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        tyro.cli(inpaint.Config, args=["--help"], description=inpaint.__doc__)
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    for name in ("images", "masks", "out", "weights", "resolution", "invert", "force"):
        assert f"--{name}" in said
    assert "python -m tools.inpaint --images photos" in said
