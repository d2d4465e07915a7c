"""Every mistake in pictures and masks ends in one clear sentence."""

import numpy as np
import pytest
from PIL import Image

from experiments.places_grow import prepare
from experiments.places_grow.__main__ import parse
from tests.support import places


NUM_PICTURES = 7


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "pictures"
    return places.write_pictures(folder, NUM_PICTURES)


@pytest.fixture
def line(pictures, tmp_path):
    """Command line of the cheapest run."""
    return [*places.ONE_STAGE, "--data.path", pictures, "--run-dir", tmp_path / "run"]


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
    fraction = ("--data.val-fraction", "0.1")  # neither 7 nor 8 is held out
    said = messages_of(line, "--data.path", folder, *fraction)
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
    assert f"7 masks of your own in {tmp_path / 'm'}" in said
    assert "2 masks have no hole or nothing but hole (0.png, 1.png)" in said


def test_grey_masks_are_taken_at_half_with_a_warning(line, tmp_path):
    def make(i):
        values = np.array(places.hole())
        values[0, 0] = 30 if i else 0
        return Image.fromarray(values)

    own = with_masks(tmp_path / "m", make)
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
