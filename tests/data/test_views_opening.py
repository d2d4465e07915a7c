"""The partitions as a whole: their cache, their configuration, synthetic objects."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from jaxgrow.data import cache, procedural
from jaxgrow.data.views import ViewDataConfig, open_partitions
from jaxgrow.data.views.config import NUM_RENDERED
from jaxgrow.errors import UserError
from tests.support.nmr_archive import rendered_views, write_nmr, zip_folder


CLASSES = ("chair", "lamp", "rifle")
FEW = {"classes": CLASSES, "objects_d": 3, "objects_c": 2, "objects_e": 1, "size": 16}


def read(tmp_path, seed=0, on_progress=None, **options):
    options = FEW | {"cache_dir": tmp_path / "cache"} | options
    return open_partitions(ViewDataConfig(**options), seed, on_progress)


def sets_of(data):
    return data.d, data.c.views, data.e.views


def test_synthetic_objects_are_the_generators_with_indices_of_their_own(tmp_path):
    data = read(tmp_path)
    firsts = (0, 3, 5)
    for views, first, count in zip(sets_of(data), firsts, (3, 2, 1), strict=True):
        assert views.class_names == CLASSES
        assert views.azimuths == (0.0, 180.0, 90.0, 270.0)
        assert views.observed.all()
        expected = [f"{c}/{first + k:04d}" for c in CLASSES for k in range(count)]
        assert list(views.object_ids) == expected
        assert views.labels.tolist() == np.repeat(range(3), count).tolist()
        for images, object_id in zip(views.images, views.object_ids, strict=True):
            name, index = object_id.split("/")
            rendered = procedural.render_object(
                name, int(index), seed=0, azimuths=(0, 180, 90, 270), size=16
            )
            np.testing.assert_array_equal(images, rendered)


def test_all_classes_come_by_default():
    config = ViewDataConfig()
    assert (config.source, config.views) == ("synthetic", (0, 12, 6, 18))
    assert len(procedural.CLASSES) == 13


def test_another_seed_makes_other_objects_and_known_views(tmp_path):
    one, other = read(tmp_path), read(tmp_path, seed=1)
    assert (one.d.images != other.d.images).any()
    many = {"classes": ("lamp",), "objects_c": 20, "objects_d": 1, "size": 8}
    one, other = (read(tmp_path, seed=s, **many) for s in (0, 1))
    assert (one.c.conditioning != other.c.conditioning).any()
    assert set(one.c.conditioning.tolist()) == {0, 1, 2, 3}


def test_a_second_call_renders_nothing(tmp_path, monkeypatch):
    calls = []
    first = read(tmp_path, on_progress=lambda *done: calls.append(done))
    assert calls == [(i, 18) for i in range(1, 19)]
    monkeypatch.setattr(procedural, "render_objects", None)
    second = read(tmp_path, on_progress=lambda *done: calls.append(done))
    assert len(calls) == 18
    for old, new in zip(sets_of(first), sets_of(second), strict=True):
        assert isinstance(new.images, np.memmap)
        assert not new.images.flags.writeable
        np.testing.assert_array_equal(old.images, new.images)
        assert old.object_ids == new.object_ids
    np.testing.assert_array_equal(first.c.conditioning, second.c.conditioning)
    assert first.notes == second.notes == ()


def test_whatever_decides_the_pixels_decides_the_cache(tmp_path, monkeypatch):
    def num_caches(**changes):
        read(tmp_path, **{"classes": ("lamp",)} | changes)
        return len(list((tmp_path / "cache").iterdir()))

    assert num_caches() == 1
    assert num_caches(seed=1) == 2
    assert num_caches(views=(0, 12)) == 3
    assert num_caches(views=(12, 0)) == 4
    assert num_caches(size=8) == 5
    assert num_caches(objects_d=2) == 6
    monkeypatch.setattr(procedural, "VERSION", -1)
    assert num_caches() == 7
    assert num_caches() == 7


def flip_pixel(folder):
    content = bytearray((folder / "c.bin").read_bytes())
    content[100] ^= 1
    (folder / "c.bin").write_bytes(bytes(content))


def cut_short(folder):
    os.truncate(folder / "e.bin", 10)


def lose_file(folder):
    (folder / "d.bin").unlink()


def garble_meta(folder):
    (folder / "meta.json").write_text('{"parts": {}}')


def lose_meta(folder):
    (folder / "meta.json").unlink()


@pytest.mark.parametrize(
    "damage", [flip_pixel, cut_short, lose_file, garble_meta, lose_meta]
)
def test_a_damaged_cache_is_built_anew_and_noted(tmp_path, damage):
    few = {"classes": ("lamp",), "size": 8}
    first = [np.array(views.images) for views in sets_of(read(tmp_path, **few))]
    (folder,) = (tmp_path / "cache").iterdir()
    damage(folder)
    again = read(tmp_path, **few)
    (note,) = again.notes
    assert (
        note == f"the cache in {tmp_path / 'cache'} was damaged and has been built anew"
    )
    for old, new in zip(first, sets_of(again), strict=True):
        np.testing.assert_array_equal(old, new.images)
    assert read(tmp_path, **few).notes == ()


def test_a_cache_that_cannot_be_written_is_explained(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set cache_dir to a folder that you may"):
        read(tmp_path, cache_dir=tmp_path / "file" / "x")

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(cache.tempfile, "mkdtemp", refuse)
    with pytest.raises(UserError, match="Read-only file system"):
        read(tmp_path)


def test_a_disk_that_is_too_small_is_refused_before_the_work(tmp_path, monkeypatch):
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9000, 9000, 100))
    monkeypatch.setattr(procedural, "render_objects", None)
    with pytest.raises(UserError, match="0 MB free but needs 0 MB"):
        read(tmp_path)


def test_an_interrupted_build_leaves_nothing(tmp_path):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, on_progress=stop)
    assert list((tmp_path / "cache").iterdir()) == []
    assert read(tmp_path).notes == ()


def test_data_that_may_not_be_read_is_explained(tmp_path, monkeypatch):
    root = write_nmr(tmp_path / "nmr", {"03001627": (3, 1)})

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", str(root / "x"))

    monkeypatch.setattr(Path, "glob", refuse)
    with pytest.raises(UserError) as caught:
        read(tmp_path, source="nmr", path=root, classes=(), size=64)
    assert str(caught.value) == (
        f"{root / 'x'} cannot be read (Permission denied): check the disk and your "
        "right to read it"
    )


def test_taken_objects_keep_everything_that_is_theirs(tmp_path):
    views = read(tmp_path).d
    taken = views.take(np.array([7, 2]))
    np.testing.assert_array_equal(taken.images, views.images[[7, 2]])
    np.testing.assert_array_equal(taken.labels, views.labels[[7, 2]])
    assert taken.object_ids == (views.object_ids[7], views.object_ids[2])
    assert (len(taken), taken.num_views, taken.size) == (2, 4, 16)


def test_renders_in_nmrs_layout_come_out_as_renders(tmp_path):
    root = write_nmr(tmp_path / "nmr", {"03001627": (3, 1)}, views_of=rendered_views)
    archive = zip_folder(root, tmp_path / "nmr.zip")
    data = open_partitions(
        ViewDataConfig(source="nmr", path=archive, cache_dir=tmp_path / "cache"), 0
    )
    (images,), (object_id,) = data.e.views.images, data.e.views.object_ids
    expected = rendered_views(object_id.split("/")[1])[[0, 12, 6, 18]]
    np.testing.assert_array_equal(images, expected)
    assert NUM_RENDERED == 24


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"views": (0, 24)},
            "set views to values that are each a whole number, in [0, 23], not",
        ),
        (
            {"views": (0, -1)},
            "set views to values that are each a whole number, in [0, 23], not",
        ),
        ({"views": (6, 0, 6)}, "view 6 is given 2 times: give every view once"),
        ({"views": (6,)}, "at least 2 views are needed"),
        ({"views": ()}, "at least 2 views are needed"),
        ({"source": "nmr"}, "source nmr needs its data: set path"),
        ({"path": Path("x")}, "source synthetic makes its own data: leave path x out"),
        ({"d_fraction": 0.0}, "set d_fraction to a number"),
        ({"test_fraction": 1.0}, "set test_fraction to a number"),
        (
            {"objects_c": 0},
            "set objects_c to a whole number, 1 or more or None, not 0.",
        ),
        ({"size": 3}, "set size to a whole number, in [4, 4096], not 3."),
        ({"view_names": ("a", "b")}, "view_names are for source folder"),
        (
            {"source": "folder", "path": Path("."), "view_names": ("a", "a")},
            "view a is given 2 times",
        ),
        (
            {"source": "folder", "path": Path("."), "view_names": ("a",)},
            "at least 2 views are needed",
        ),
    ],
)
def test_every_mistake_in_the_configuration_is_one_sentence(options, said):
    with pytest.raises(UserError) as caught:
        ViewDataConfig(**options)
    assert str(caught.value).startswith(said)


def test_mistakes_that_only_the_data_shows(tmp_path):
    with pytest.raises(
        UserError, match=r"^class spoon is not in the data: choose among"
    ):
        read(tmp_path, classes=("spoon",))
    with pytest.raises(UserError, match=r"^path .*gone does not exist: check it"):
        read(tmp_path, source="folder", path=tmp_path / "gone")
