"""Folders of the user's own objects: any format, any number of views, every mistake."""

import shutil

import numpy as np
import pytest
from PIL import Image

from jaxgrow.data.views import ViewDataConfig, folder, open_partitions
from jaxgrow.errors import UserError
from tests.support.nmr_archive import marked_view


NAMES = ("front", "left", "view2", "view10")


@pytest.fixture
def root(tmp_path):
    return write_objects(tmp_path / "objects")


def write_objects(
    root, classes=("cup", "pen"), num_objects=12, names=NAMES, size=64, of=""
):
    for class_name in classes:
        for i in range(num_objects):
            one = root / class_name / f"{i}"
            one.mkdir(parents=True)
            for name in names:
                pixels = marked_view(f"{of}{class_name}/{i}", name, size)
                Image.fromarray(pixels).save(one / f"{name}.png")
    return root


def read(path, tmp_path, seed=0, **options):
    options = {"source": "folder", "path": path, "cache_dir": tmp_path / "cache"} | (
        options
    )
    return open_partitions(ViewDataConfig(**options), seed)


def refusal(path, tmp_path, **options):
    with pytest.raises(UserError) as caught:
        read(path, tmp_path, **options)
    return str(caught.value)


def sets_of(data):
    return data.d, data.c.views, data.e.views


def objects_of(data):
    return {
        object_id: (images, observed)
        for views in sets_of(data)
        for object_id, images, observed in zip(
            views.object_ids, views.images, views.observed, strict=True
        )
    }


def test_views_come_out_as_they_went_in_sorted_as_people_do(root, tmp_path):
    data = read(root, tmp_path)
    seen = objects_of(data)
    assert set(seen) == {f"{c}/{i}" for c in ("cup", "pen") for i in range(12)}
    assert sum(len(views) for views in sets_of(data)) == 24
    for object_id, (images, observed) in seen.items():
        expected = np.stack([marked_view(object_id, name) for name in NAMES])
        np.testing.assert_array_equal(images, expected)
        assert observed.all()
    for views in sets_of(data):
        assert views.class_names == ("cup", "pen")
        assert views.azimuths is None
        for label, object_id in zip(views.labels, views.object_ids, strict=True):
            assert views.class_names[label] == object_id.split("/")[0]
    assert data.notes == (
        "views front, left, view2, view10 have no azimuths, as not all of these names "
        "are sides, such as front, right, back and left, or degrees, such as az090",
    )


def test_view_names_choose_and_order_the_slots(root, tmp_path):
    data = read(root, tmp_path, view_names=("view10", "front"))
    for object_id, (images, _) in objects_of(data).items():
        for image, name in zip(images, ("view10", "front"), strict=True):
            np.testing.assert_array_equal(image, marked_view(object_id, name))
    assert data.d.view_names == ("view10", "front")


def test_names_of_sides_are_azimuths(tmp_path):
    root = write_objects(tmp_path / "objects", names=("Rear", "az090", "front-left"))
    data = read(root, tmp_path)
    assert data.e.views.view_names == ("Rear", "az090", "front-left")
    assert data.e.views.azimuths == (180.0, 90.0, 315.0)
    assert data.notes == (
        "views Rear, az090, front-left are taken to be at 180, 90, 315 degrees, by "
        "their names",
    )


@pytest.mark.parametrize("num_views", [2, 3, 9])
def test_any_number_of_views_will_do(tmp_path, num_views):
    names = [str(i) for i in range(num_views)]
    root = write_objects(tmp_path / "objects", names=names)
    data = read(root, tmp_path)
    assert data.d.num_views == num_views
    assert data.c.conditioning.max() < num_views


@pytest.mark.parametrize("parts", ["train test", "Training Testing", "train_set val"])
def test_folders_of_train_and_test_are_kept_apart(tmp_path, parts):
    train, test = parts.split()
    for part, count in ((train, 12), (test, 4)):
        write_objects(tmp_path / "objects" / part, num_objects=count, of=part)
    data = read(tmp_path / "objects", tmp_path)
    assert all(name.startswith(f"{test}/") for name in data.e.views.object_ids)
    assert len(data.e) == 8
    trained = data.d.object_ids + data.c.views.object_ids
    assert sorted(trained) == sorted(
        f"{train}/{c}/{i}" for c in ("cup", "pen") for i in range(12)
    )
    assert data.d.class_names == ("cup", "pen")


def test_other_folders_beside_train_and_test_are_named(tmp_path):
    root = tmp_path / "objects"
    for part in ("train", "test", "val"):
        write_objects(root / part, num_objects=8, of=part)
    (root / "notes" / "old" / "older").mkdir(parents=True)
    data = read(root, tmp_path)
    assert len(objects_of(data)) == 32
    assert data.notes[:1] == (
        "16 objects, such as val/cup/0, are not used: folders beside them are called "
        "test and train",
    )
    (root / "test" / "cup" / "99").mkdir()
    assert refusal(root, tmp_path).startswith("object test/cup/99 in")


def test_copies_of_objects_to_train_on_are_not_tested_on(tmp_path):
    root = tmp_path / "objects"
    write_objects(root / "train", classes=("cup",), num_objects=20)
    write_objects(root / "test", classes=("cup",), num_objects=4, of="test")
    before = read(root, tmp_path).digests
    copies = write_objects(root / "test" / "x", classes=("cup",), num_objects=3)
    for i, one in enumerate((copies / "cup").iterdir()):
        one.rename(root / "test" / "cup" / f"1{i}")
    (copies / "cup").rmdir()
    copies.rmdir()
    data = read(root, tmp_path)
    assert data.e.views.object_ids == tuple(f"test/cup/{i}" for i in range(4))
    assert data.notes[1:] == (
        "3 objects of partition e (test), such as test/cup/10, are left out: objects "
        "to train on have the same views",
    )
    assert [data.digests[part] == before[part] for part in "dce"] == [True, True, False]


def test_a_test_that_is_a_copy_of_the_training_set_is_refused(tmp_path):
    for part in ("train", "test"):
        write_objects(tmp_path / "objects" / part)
    said = refusal(tmp_path / "objects", tmp_path)
    assert said.startswith("partition e (test) would be empty: all of its 24 objects")


def test_a_class_may_be_called_train(tmp_path):
    root = write_objects(tmp_path / "objects", classes=("plane", "train"))
    assert read(root, tmp_path).d.class_names == ("plane", "train")


def test_one_class_alone_is_fine(root, tmp_path):
    assert read(root, tmp_path, classes=("cup",)).d.class_names == ("cup",)


def test_views_of_any_format_become_rgb_on_white(tmp_path):
    root = write_objects(tmp_path / "objects", names=("a",))
    grey = np.arange(64 * 64).reshape(64, 64)
    for one in root.glob("*/*"):
        rgba = np.zeros((64, 64, 4), np.uint8)
        rgba[:32] = (10, 20, 30, 255)
        Image.fromarray(rgba).save(one / "b.webp", lossless=True)
        Image.fromarray((grey * 16).astype(np.uint16)).save(one / "c.png")
        palette = Image.fromarray((grey % 7).astype(np.uint8), "P")
        palette.putpalette([i * 9 for i in range(21)])
        palette.save(one / "d.gif")
    data = read(root, tmp_path)
    b, c, d = data.d.images[0][1:]
    assert (b[:32] == (10, 20, 30)).all()
    assert (b[32:] == 255).all()
    np.testing.assert_array_equal(c, np.rint(grey * 16 / 257)[..., None].repeat(3, 2))
    rows = np.array([i * 9 for i in range(21)]).reshape(7, 3)
    np.testing.assert_array_equal(d, rows[grey % 7])


def test_missing_views_are_white_and_said_so_on_demand(root, tmp_path):
    (root / "cup" / "3" / "left.png").unlink()
    assert refusal(root, tmp_path) == (
        f"object cup/3 in {root} has no view left: add it, or set allow_missing to "
        "take the object along without it"
    )
    data = read(root, tmp_path, allow_missing=True)
    for object_id, (images, observed) in objects_of(data).items():
        absent = [name == "left" and object_id == "cup/3" for name in NAMES]
        np.testing.assert_array_equal(observed, ~np.array(absent))
        assert (images[~observed] == 255).all()
    assert data.notes[:1] == (f"1 of 96 views in {root} are missing",)


def test_the_known_view_is_never_a_missing_one(root, tmp_path):
    for one in root.glob("*/*"):
        for name in ("front", "view2"):
            (one / f"{name}.png").unlink()
    (root / "cup" / "0" / "front.png").write_bytes(
        (root / "cup" / "0" / "left.png").read_bytes()
    )
    data = read(root, tmp_path, allow_missing=True)
    for part in (data.c, data.e):
        assert part.views.observed[np.arange(len(part)), part.conditioning].all()


def test_an_object_with_none_of_the_views_is_refused(root, tmp_path):
    (root / "cup" / "3" / "front.png").unlink()
    (root / "cup" / "3" / "left.png").unlink()
    said = refusal(root, tmp_path, view_names=("front", "left"), allow_missing=True)
    assert said == (
        f"object cup/3 in {root} has none of the views front, left: name its files so"
    )


def test_a_view_in_two_files_is_refused(root, tmp_path):
    Image.new("RGB", (64, 64)).save(root / "cup" / "3" / "left.jpg")
    said = refusal(root, tmp_path)
    assert said.startswith(
        f"object cup/3 in {root} has view left twice (cup/3/left.jpg"
    )


def test_other_sizes_are_refused_or_scaled_on_demand(tmp_path):
    root = write_objects(tmp_path / "objects", size=128)
    file = root / "cup" / "0" / "front.png"
    said = refusal(root, tmp_path)
    assert said.startswith("view ")
    assert said.endswith(
        "has 128x128 pixels, not 64x64: set data.resize to scale it, or to work "
        "at its size both data.size and autoencoder.image_size to 128"
    )
    data = read(root, tmp_path, resize=True)
    for object_id, (images, _) in objects_of(data).items():
        whole = marked_view(object_id, "front", 128).astype(float)
        blocks = whole.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
        np.testing.assert_array_equal(images[0], np.floor(blocks + 0.5))
    assert read(root, tmp_path, size=128).d.size == 128
    Image.new("RGB", (80, 64)).save(file)
    assert refusal(root, tmp_path, resize=True) == (
        f"view {file} has 80x64 pixels: pad or crop it to a square"
    )


def test_a_broken_view_is_named(root, tmp_path):
    file = root / "pen" / "7" / "view2.png"
    file.write_bytes(file.read_bytes()[:80])
    assert refusal(root, tmp_path).startswith(f"image {file} cannot be read")


@pytest.mark.parametrize(
    "place", ["front.png", "cup/front.png", "cup/3/more/front.png"]
)
def test_an_image_at_another_depth_is_named(root, tmp_path, place):
    (root / place).parent.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64)).save(root / place)
    assert refusal(root, tmp_path) == (
        f"image {place} in {root} is not at <class>/<object>/<view>: move it there"
    )


@pytest.mark.parametrize(("what", "name"), [("class", "fork"), ("object", "cup/99")])
def test_an_empty_class_or_object_is_refused(root, tmp_path, what, name):
    (root / name).mkdir()
    assert refusal(root, tmp_path) == (
        f"{what} {name} in {root} holds no images: add some or remove it"
    )


def test_hidden_folders_are_left_alone(root, tmp_path):
    (root / ".git").mkdir()
    (root / "cup" / ".thumbnails").mkdir()
    assert len(objects_of(read(root, tmp_path))) == 24


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "objects").mkdir()
    said = refusal(tmp_path / "objects", tmp_path)
    assert said.endswith("holds no images: put them at <class>/<object>/<view>.png")


def test_objects_of_a_single_view_are_refused(tmp_path):
    root = write_objects(tmp_path / "objects", names=("front",))
    assert refusal(root, tmp_path) == (
        f"the objects in {root} have one view, front: at least 2 are needed"
    )


def test_an_unknown_class_is_refused(root, tmp_path):
    said = refusal(root, tmp_path, classes=("spoon",))
    assert said == "class spoon is not in the data: choose among cup, pen"


def test_too_few_objects_for_three_parts_are_refused(tmp_path):
    root = write_objects(tmp_path / "objects", classes=("cup",), num_objects=1)
    assert "would be empty, with 1 objects in all" in refusal(root, tmp_path)


def test_a_new_object_moves_no_other(root, tmp_path):
    before = read(root, tmp_path)
    write_objects(root / "more", classes=("cup",), num_objects=1, of="more")
    (root / "more" / "cup" / "0").rename(root / "cup" / "100")
    shutil.rmtree(root / "more")
    after = read(root, tmp_path)
    for old, new in zip(sets_of(before), sets_of(after), strict=True):
        assert set(new.object_ids) - set(old.object_ids) <= {"cup/100"}
        assert set(old.object_ids) <= set(new.object_ids)


def test_numbers_in_names_sort_by_value():
    names = ["b", "10", "9", "a10b2", "a9", "a10b10", "view_007", "view_7", ""]
    assert sorted(names, key=folder.natural_key) == [
        *("", "9", "10", "a9", "a10b2", "a10b10", "b", "view_007", "view_7")
    ]
