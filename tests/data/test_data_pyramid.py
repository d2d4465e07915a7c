"""Pyramids: exact levels, one build per content, and no half-built cache."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgrow.data import cache, pyramid, resample
from jaxgrow.data.sources import ImageFolder
from jaxgrow.devices import runtime
from jaxgrow.errors import UserError


OPTIONS = {"crops_per_image": 3, "min_crop": 0.5, "seed": 0}


class Images:
    """A source of arrays; None stands for a broken file."""

    def __init__(self, pixels, prefix="image"):
        self.pixels = pixels
        self.names = tuple(f"{prefix}{i}" for i in range(len(pixels)))
        self.groups = self.names
        self.num_reads = 0

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, i):
        self.num_reads += 1
        if self.pixels[i] is None:
            raise UserError(f"{self.names[i]} is broken")
        return self.pixels[i]

    def fingerprint(self):
        content = b"".join(b"" if p is None else p.tobytes() for p in self.pixels)
        return hashlib.sha256(content).hexdigest()


def noise(seed, height=40, width=50):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def source():
    return Images([noise(0), noise(1, 64, 33), noise(2, 32, 32), noise(3, 9, 70)])


def block_means(pixels, side):
    """Area means in exact arithmetic, for a side that divides the image's."""
    h, w, c = pixels.shape
    blocks = pixels.reshape(side, h // side, side, w // side, c).astype(float)
    return blocks.mean(axis=(1, 3))


def test_levels_are_area_means_of_the_crop():
    pixels = noise(0, 64, 64)
    levels = pyramid.cut_levels(pixels, np.array([[0, 0, 64]]), (4, 8, 16))
    assert list(levels) == [16, 8, 4]
    for side, level in levels.items():
        expected = np.floor(block_means(pixels, side) + 0.5)
        np.testing.assert_array_equal(level[0], expected)


def test_levels_are_area_means_where_cells_and_pixels_do_not_meet():
    pixels = noise(0, 40, 40)
    levels = pyramid.cut_levels(pixels, np.array([[3, 1, 21]]), (2, 8, 16))
    fine = pixels[1:22, 3:24].repeat(16, axis=0).repeat(16, axis=1)
    for side, level in levels.items():
        assert np.abs(level[0] - block_means(fine, side)).max() <= 0.5 + 1e-9


@example(k=256, size=1, seed=0)  # the widest cells with sums of 16 bits
@example(k=257, size=1, seed=0)
@given(k=st.integers(1, 6), size=st.sampled_from([1, 4, 8]), seed=st.integers(0, 99))
def test_means_of_whole_pixels_do_not_depend_on_how_they_are_taken(k, size, seed):
    side = k * size
    pixels = noise(seed, side + 3, side + 2)
    square = pixels[1 : 1 + side, 2 : 2 + side]
    edges = (2, 1, 2 + side, 1 + side)
    by_sums = resample.area_means(resample.running_sums(pixels), edges, size)
    np.testing.assert_allclose(
        resample.block_means(square, size), by_sums, rtol=1e-12, atol=1e-9
    )


def test_a_crop_shows_its_own_part_of_the_image():
    pixels = noise(0, 48, 64)
    levels = pyramid.cut_levels(pixels, np.array([[5, 7, 32]]), (8, 32))
    np.testing.assert_array_equal(levels[32][0], pixels[7:39, 5:37])


def test_a_crop_smaller_than_the_resolution_is_enlarged_smoothly():
    ramp = np.repeat(np.linspace(0, 240, 8)[None, :, None], 8, axis=0)
    pixels = np.repeat(ramp, 3, axis=2).astype(np.uint8)
    level = pyramid.cut_levels(pixels, np.array([[0, 0, 8]]), (32,))[32][0, 16, :, 0]
    assert (np.diff(level.astype(int)) >= 0).all()
    assert np.diff(level.astype(int)).max() < 20


@given(
    height=st.integers(2, 300),
    width=st.integers(2, 300),
    min_crop=st.floats(0.01, 1.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_crops_lie_inside_the_image(height, width, min_crop, seed):
    rng = np.random.default_rng(seed)
    boxes = pyramid.crop_boxes(height, width, 9, min_crop, rng)
    left, upper, side = boxes.T
    short = min(height, width)
    assert (np.minimum(left, upper) >= 0).all()
    assert (left + side <= width).all()
    assert (upper + side <= height).all()
    assert (side <= short).all()
    assert (side >= max(2, np.floor(min_crop * short))).all()
    assert boxes[0].tolist() == [(width - short) // 2, (height - short) // 2, short]


def test_crop_sides_and_places_are_uniform():
    boxes = pyramid.crop_boxes(1000, 1000, 4000, 0.35, np.random.default_rng(0))[1:]
    deciles = np.quantile(boxes[:, 2], np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(deciles, 350 + 65 * np.arange(1, 10), atol=20)
    room = 1000 - boxes[:, 2]
    for edge in boxes[:, :2].T:
        assert abs((edge[room > 50] / room[room > 50]).mean() - 0.5) < 0.02


def test_rows_are_the_same_crops_at_every_resolution(source, tmp_path):
    calls = []
    built = pyramid.load_pyramid(
        source,
        (4, 8, 16),
        **OPTIONS,
        cache_dir=tmp_path,
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert built.image_index.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert built.names[4] == "image1"
    assert built.skipped == ()
    for side, rows in built.images.items():
        assert rows.shape == (12, side, side, 3)
        assert isinstance(rows, np.memmap)
        blocks = built.images[16].reshape(12, side, 16 // side, side, 16 // side, 3)
        assert np.abs(rows - blocks.mean(axis=(2, 4))).max() <= 1
    centre = pyramid.cut_levels(noise(1, 64, 33), np.array([[0, 15, 33]]), (16,))
    np.testing.assert_array_equal(built.images[16][3], centre[16][0])


def test_a_second_call_reads_the_cache_and_no_images(source, tmp_path):
    first = pyramid.load_pyramid(source, (4, 8), **OPTIONS, cache_dir=tmp_path)
    reads = source.num_reads
    second = pyramid.load_pyramid(source, (8, 4), **OPTIONS, cache_dir=tmp_path)
    assert source.num_reads == reads == 4
    for side in (4, 8):
        np.testing.assert_array_equal(first.images[side], second.images[side])
    assert len(list(tmp_path.iterdir())) == 1


def test_whatever_decides_the_pixels_decides_the_cache(source, tmp_path):
    def build(source=source, resolutions=(4, 8), **changes):
        options = OPTIONS | changes
        pyramid.load_pyramid(source, resolutions, **options, cache_dir=tmp_path)
        return len(list(tmp_path.iterdir()))

    assert build() == 1
    assert build(seed=1) == 2
    assert build(crops_per_image=2) == 3
    assert build(min_crop=0.6) == 4
    assert build(resolutions=(4, 8, 16)) == 5
    assert build(source=Images([noise(9)])) == 6
    assert build() == 6


def damage_pixel(folder):
    with (folder / "r8.bin").open("r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))


def cut_short(folder):
    os.truncate(folder / "r4.bin", 10)


def lose_file(folder):
    (folder / "r8.bin").unlink()


def lose_meta(folder):
    (folder / "meta.json").unlink()


def garble_meta(folder):
    (folder / "meta.json").write_text("{")


@pytest.mark.parametrize(
    "damage", [damage_pixel, cut_short, lose_file, lose_meta, garble_meta]
)
def test_a_damaged_cache_is_rebuilt_and_reported(source, tmp_path, damage):
    first = pyramid.load_pyramid(source, (4, 8), **OPTIONS, cache_dir=tmp_path)
    assert not first.was_damaged
    pixels = {side: np.array(rows) for side, rows in first.images.items()}
    damage(next(tmp_path.iterdir()))
    again = pyramid.load_pyramid(source, (4, 8), **OPTIONS, cache_dir=tmp_path)
    assert again.was_damaged
    for side in (4, 8):
        np.testing.assert_array_equal(again.images[side], pixels[side])
    last = pyramid.load_pyramid(source, (4, 8), **OPTIONS, cache_dir=tmp_path)
    assert not last.was_damaged
    assert len(list(tmp_path.iterdir())) == 1


def test_broken_images_are_skipped_and_named_also_from_the_cache(tmp_path):
    source = Images([noise(i) for i in range(9)])
    source.pixels[4] = None
    for _ in range(2):
        built = pyramid.load_pyramid(source, (4,), **OPTIONS, cache_dir=tmp_path)
        assert built.skipped == ("image4",)
        assert built.images[4].shape == (24, 4, 4, 3)
        assert built.image_index[12] == 5
        assert "image4" not in built.names


def test_truncated_files_of_a_folder_are_skipped_and_named(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(6):
        Image.fromarray(noise(i)).save(photos / f"{i}.png")
    content = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(content[: len(content) // 2])
    built = pyramid.load_pyramid(
        ImageFolder(photos), (4,), **OPTIONS, cache_dir=tmp_path / "cache"
    )
    assert built.skipped == ("2.png",)


def test_too_many_broken_images_are_refused_and_leave_nothing_behind(tmp_path):
    source = Images([noise(0), noise(1), None, None])
    with pytest.raises(UserError, match=r"2 of 4 images .* \(image2, image3\)"):
        pyramid.load_pyramid(source, (4,), **OPTIONS, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resolutions", [(4, 6), (1, 2), (5, 16)])
def test_resolutions_must_halve(source, tmp_path, resolutions):
    with pytest.raises(UserError, match="do not halve"):
        pyramid.load_pyramid(source, resolutions, **OPTIONS, cache_dir=tmp_path)


def test_a_folder_that_cannot_be_made_is_explained(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set cache_dir to a folder that you may"):
        pyramid.load_pyramid(source, (4,), **OPTIONS, cache_dir=tmp_path / "file" / "x")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_cache_folder_is_explained(source, tmp_path, monkeypatch, code):
    def refuse(**_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache.tempfile, "mkdtemp", refuse)
    with pytest.raises(UserError, match=os.strerror(code)):
        pyramid.load_pyramid(source, (4,), **OPTIONS, cache_dir=tmp_path)


def test_a_cache_that_may_only_be_read_is_still_used(source, tmp_path, monkeypatch):
    pyramid.load_pyramid(source, (4,), **OPTIONS, cache_dir=tmp_path)
    monkeypatch.setattr(cache.tempfile, "mkdtemp", None)
    pyramid.load_pyramid(source, (4,), **OPTIONS, cache_dir=tmp_path)


def test_a_disk_that_is_too_small_is_refused_before_the_work(
    source, tmp_path, monkeypatch
):
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9000, 9000, 100))
    with pytest.raises(UserError, match="0 MB free but needs 0 MB"):
        pyramid.load_pyramid(source, (4, 8), **OPTIONS, cache_dir=tmp_path)
    assert source.num_reads == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
def test_a_disk_that_fills_up_is_explained_and_leaves_nothing(
    source, tmp_path, monkeypatch
):
    place = cache._raw_file

    def onto_full_disk(folder, side):
        if not place(folder, side).exists():
            place(folder, side).symlink_to("/dev/full")
        return place(folder, side)

    monkeypatch.setattr(cache, "_raw_file", onto_full_disk)
    with pytest.raises(UserError, match="No space left"):
        pyramid.load_pyramid(source, (4, 8), **OPTIONS, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_process_may_finish_first(source, tmp_path, monkeypatch):
    fill = cache._fill

    def fill_two(folder, build):
        fill(folder, build)
        shutil.copytree(folder, tmp_path / folder.name.split(".partial-")[0])

    monkeypatch.setattr(cache, "_fill", fill_two)
    built = pyramid.load_pyramid(source, (4,), **OPTIONS, cache_dir=tmp_path)
    assert built.images[4].shape == (12, 4, 4, 3)
    assert len(list(tmp_path.iterdir())) == 1


SLOW_BUILD = """
import sys, time
import numpy as np
from pathlib import Path
from jaxgrow.data import pyramid

class Slow:
    names = groups = tuple("abcdef")
    def __len__(self): return 6
    def __getitem__(self, i):
        time.sleep(0.0 if i < 3 else 60.0)
        return np.full((8, 8, 3), i, np.uint8)
    def fingerprint(self): return "slow"

pyramid.load_pyramid(
    Slow(), (4,), crops_per_image=3, min_crop=0.5, seed=0,
    cache_dir=Path(sys.argv[1]), on_progress=lambda i, n: print(i, flush=True),
)
"""


def test_a_killed_build_leaves_no_cache_and_its_rest_is_removed_later(
    source, tmp_path, monkeypatch
):
    command = [sys.executable, "-c", SLOW_BUILD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGKILL)
    (rest,) = tmp_path.iterdir()
    assert ".partial-" in rest.name

    yesterday = time.time() - 2 * 24 * 3600
    os.utime(rest, (yesterday, yesterday))

    class Quick(Images):
        def fingerprint(self):
            return "slow"

    quick = Quick([np.full((8, 8, 3), i, np.uint8) for i in range(6)])
    built = pyramid.load_pyramid(quick, (4,), **OPTIONS, cache_dir=tmp_path)
    assert not built.was_damaged
    assert (built.images[4][:, 0, 0, 0] == np.repeat(np.arange(6), 3)).all()
    assert not rest.exists()


def test_the_default_folder_follows_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert runtime.cache_folder() == tmp_path / "jaxgrow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert runtime.cache_folder() == tmp_path / ".cache" / "jaxgrow"
