import errno
import functools
import os
import unicodedata

import numpy as np
import pytest
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
        status = inpaint.main(given)
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
    assert status == 0
    assert "note: 1 results exist: add --force" in said
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


def test_a_dilated_hole_is_wider_on_all_sides(paint, one):
    status, _ = paint("--dilate", "2")
    assert status == 0
    changed = (read(one / "out" / "a.png") != picture()).any(axis=-1)
    assert not changed[:1].any()
    assert not changed[8:].any()
    assert changed[1:8, :9].mean() > 0.9
    assert not changed[:, 9:].any()


def test_a_picture_without_a_hole_is_no_success(paint, one):
    write(one / "masks" / "a.png", 0 * hole())
    status, said = paint()
    assert status == 1
    assert "skipped: masks/a.png has no hole, so that nothing is to be filled" in said
    assert not list((one / "out").iterdir())


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
        (["--out", "odd.png"], "named like a picture, but images is a folder"),
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
        inpaint.main(["--help"])
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    for name in ("images", "masks", "out", "weights", "resolution", "invert", "force"):
        assert f"--{name}" in said
    assert "python -m tools.inpaint --images photos" in said


def test_one_bad_entry_is_named_and_the_others_are_filled(paint, one):
    odd = os.fsencode(one / "images") + b"/stra\xdfe.png"
    write(one / "images" / "tmp.png", picture())
    os.rename(one / "images" / "tmp.png", odd)
    (one / "images" / "loop.png").symlink_to("loop.png")
    os.mkfifo(one / "images" / "pipe.png")
    (one / "images" / "apple.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (one / "images" / "notes.txt").write_text("no picture")
    (one / "images" / "Thumbs.db").write_bytes(b"\0")
    write(one / "mask.png", hole())
    status, said = paint("--masks", "mask.png")
    assert status == 1
    assert "skipped: image images/loop.png cannot be read" in said
    assert "skipped: image images/pipe.png cannot be read (it is no regular" in said
    assert "skipped: image images/apple.heic is HEIC, which is not read" in said
    assert "note: passed over in images: notes.txt (no picture)." in said
    assert "Thumbs.db" not in said
    assert sorted(os.listdir(os.fsencode(one / "out"))) == [b"a.png", b"stra\xdfe.png"]


def test_accents_written_in_two_ways_are_one_name(paint, tmp_path):
    name = "caf\u00e9"
    for folder, form in (("images", "NFC"), ("masks", "NFD")):
        path = tmp_path / folder / f"{unicodedata.normalize(form, name)}.png"
        write(path, picture() if folder == "images" else hole())
    assert paint()[0] == 0
    assert (tmp_path / "out" / f"{name}.png").exists()
    # Both forms beside each other are two pictures with a mask each.
    for folder, form in (("images", "NFD"), ("masks", "NFC")):
        path = tmp_path / folder / f"{unicodedata.normalize(form, name)}.png"
        write(path, picture(seed=1) if folder == "images" else hole())
    assert paint()[0] == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("folder", ["masks", "holes"])
def test_masks_in_a_folder_of_the_pictures_are_no_pictures(paint, one, folder):
    write(one / "images" / folder / "a.png", hole())
    status, said = paint("--masks", f"images/{folder}")
    assert status == 0
    assert "Wrote 1 of 1 pictures" in said


def test_a_stopped_batch_goes_on_and_ends_well(paint, tmp_path, monkeypatch):
    for name in "abc":
        write(tmp_path / "images" / f"{name}.png", picture())
        write(tmp_path / "masks" / f"{name}.png", hole())
    fill = inpaint.fill

    def stop_at_b(job, *rest):
        if job.image.stem == "b":
            raise KeyboardInterrupt
        return fill(job, *rest)

    monkeypatch.setattr(inpaint, "fill", stop_at_b)
    status, said = paint()
    assert status == 130
    assert "stopped: nothing is lost; the same command goes on." in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    monkeypatch.setattr(inpaint, "fill", fill)
    status, said = paint()
    assert (status, "Wrote 2 of 3 pictures" in said) == (0, True)


@pytest.mark.parametrize(
    ("args", "kind", "name"),
    [
        ([], "JPEG", "out/a.JPG"),
        (["--format", "png"], "PNG", "out/a.png"),
        (["--out", "result.png"], "PNG", "result.png"),
        (["--out", "deep/result.jpeg"], "JPEG", "deep/result.jpeg"),
    ],
)
def test_the_format_is_that_of_the_picture_or_as_asked(
    paint, tmp_path, args, kind, name
):
    write(tmp_path / "images" / "a.JPG", picture(), format="JPEG", quality=98)
    write(tmp_path / "masks" / "a.png", hole())
    status, said = paint("--images", "images/a.JPG", *args)
    assert status == 0
    assert ("JPEG changes known pixels a little" in said) == (kind == "JPEG")
    with Image.open(tmp_path / name) as found:
        assert (found.format, found.size) == (kind, (10, 12))
    assert paint("--images", "images/a.JPG", *args)[0] == 0


def test_quality_decides_the_size_of_jpeg_results(paint, tmp_path):
    write(tmp_path / "images" / "a.jpg", picture(64, 64), quality=98)
    write(tmp_path / "masks" / "a.png", hole(64, 64))
    for quality in ("30", "95"):
        assert paint("--quality", quality, "--out", quality)[0] == 0
    small, large = ((tmp_path / q / "a.jpg").stat().st_size for q in ("30", "95"))
    assert 2 * small < large
    status, said = paint("--quality", "0")
    assert status == 2
    assert said.startswith("error: set --quality to a whole number, in [1, 100]")


def test_a_larger_picture_is_allowed_by_its_option_alone(paint, one):
    assert paint("--max-megapixels", "1")[0] == 0
    status, said = paint("--max-megapixels", "0.0001", "--out", "other")
    assert status == 1
    assert "set --max-megapixels to allow it" in said
