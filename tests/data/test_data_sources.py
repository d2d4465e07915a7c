"""Sources: what is found, what is held out, and what a user is told."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from jaxgrow.data import file_sources, sources
from jaxgrow.data.sources import DataConfig, open_split
from jaxgrow.errors import UserError


def photo(seed, size=(6, 8)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def save(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def folder(tmp_path):
    """Ten photos in two folders, one of them nested."""
    root = tmp_path / "photos"
    for i in range(10):
        save(root / ("a" if i < 6 else "b/c") / f"p{i}.png", photo(i))
    return root


class TestEmbeddedPhotos:
    def test_all_57_open_and_each_is_attributed(self):
        photos = sources.embedded_photos()
        text = (sources.PHOTOS / "ATTRIBUTION.md").read_text()
        assert len(photos) == 57
        assert not photos.skipped
        assert all(f"| {name} |" in text for name in photos.names)
        assert min(min(photos[i].shape[:2]) for i in range(0, 57, 8)) >= 160

    def test_families_stay_together_and_a_fifth_to_a_quarter_is_held_out(self):
        train, val = open_split(DataConfig(), seed=0)
        assert len(train) + len(val) == 57
        assert 0.2 <= len(val) / 57 <= 0.25
        assert not set(train.groups) & set(val.groups)
        assert set(val.groups) == sources.VALIDATION_SUBJECTS
        families = [g for g in train.groups + val.groups if "dam" in g or "mill" in g]
        assert {g: families.count(g) for g in families} == {"dam": 5, "windmill": 14}

    def test_the_split_does_not_depend_on_the_seed(self):
        assert (
            open_split(DataConfig(), 0)[1].names == open_split(DataConfig(), 1)[1].names
        )


class TestFolder:
    def test_any_nesting_is_found_in_sorted_order(self, folder):
        found = sources.ImageFolder(folder)
        assert found.names[0] == "a/p0.png"
        assert found.names[-1] == "b/c/p9.png"
        assert len(set(found.names)) == len(found) == 10
        np.testing.assert_array_equal(found[7], photo(7))

    def test_other_files_and_hidden_ones_are_passed_over(self, folder):
        (folder / "notes.txt").write_text("no image")
        (folder / "._p0.png").write_bytes(b"left by another system")
        save(folder / ".thumbnails" / "p0.png", photo(0))
        assert len(sources.ImageFolder(folder)) == 10

    def test_a_folder_linked_into_itself_is_read_once(self, folder):
        (folder / "loop").symlink_to(folder)
        assert len(sources.ImageFolder(folder)) == 10

    def test_broken_files_are_skipped_and_named(self, folder):
        (folder / "a" / "empty.jpg").write_bytes(b"")
        save(folder / "b" / "dot.png", photo(0, (1, 1)))
        found = sources.ImageFolder(folder)
        assert len(found) == 10
        assert list(found.skipped) == ["a/empty.jpg", "b/dot.png"]

    def test_more_than_a_fifth_broken_is_refused(self, folder):
        for i in range(3):
            (folder / f"bad{i}.png").write_bytes(b"junk")
        with pytest.raises(UserError, match=r"3 of 13 images .* \(bad0\.png, bad1"):
            sources.ImageFolder(folder)

    def test_no_folder_a_file_and_an_empty_folder_are_told_apart(self, tmp_path):
        with pytest.raises(UserError, match="absent does not exist"):
            sources.ImageFolder(tmp_path / "absent")
        (tmp_path / "file.txt").write_text("")
        with pytest.raises(UserError, match=r"file\.txt is a file"):
            sources.ImageFolder(tmp_path / "file.txt")
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match="empty holds no images"):
            sources.ImageFolder(tmp_path / "empty")

    def test_the_fingerprint_follows_names_and_contents_only(self, folder):
        before = sources.ImageFolder(folder).fingerprint()
        content = (folder / "a" / "p0.png").read_bytes()
        (folder / "a" / "p0.png").write_bytes(content)
        assert sources.ImageFolder(folder).fingerprint() == before
        save(folder / "a" / "p0.png", photo(99))
        changed = sources.ImageFolder(folder).fingerprint()
        (folder / "a" / "p0.png").rename(folder / "a" / "q0.png")
        assert len({before, changed, sources.ImageFolder(folder).fingerprint()}) == 3

    def test_large_sets_are_known_by_size_and_time(self, folder, monkeypatch):
        monkeypatch.setattr(file_sources, "_HASHED_BYTES", 10)
        before = sources.ImageFolder(folder).fingerprint()
        assert sources.ImageFolder(folder).fingerprint() == before
        save(folder / "a" / "p0.png", photo(99, (12, 12)))
        assert sources.ImageFolder(folder).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "group_by", "group"),
    [
        ("x/mill_12.png", "file", "x/mill_12.png"),
        ("x/mill_12.png", "folder", "x"),
        ("x/mill_12.png", "prefix", "x/mill"),
        ("mill.png", "prefix", "mill"),
        ("mill7.png", "prefix", "mill"),
        ("IMG-0031.jpg", "prefix", "IMG"),
        ("mill.png", "folder", "."),
    ],
)
def test_a_subject_is_a_file_a_folder_or_a_numbered_family(name, group_by, group):
    assert file_sources.group_of(name, group_by) == group


class TestSplit:
    def test_a_folder_is_split_by_seed(self, folder):
        config = DataConfig(source="folder", path=folder, val_fraction=0.3)
        train, val = open_split(config, 0)
        assert len(train) + len(val) == 10
        assert set(train.names) | set(val.names) == set(
            sources.ImageFolder(folder).names
        )
        assert open_split(config, 0)[1].names == val.names
        assert any(open_split(config, s)[1].names != val.names for s in range(1, 5))
        assert train.fingerprint() != val.fingerprint()

    def test_an_added_picture_moves_no_other(self, folder):
        config = DataConfig(source="folder", path=folder, val_fraction=0.3)
        train, val = open_split(config, 0)
        save(folder / "a" / "new.png", photo(99))
        new = {"a/new.png"}
        for before, after in zip((train, val), open_split(config, 0), strict=True):
            assert set(before.names) == set(after.names) - new

    @pytest.mark.parametrize("held_out", ["val", "Valid", "validation", "Testing"])
    @pytest.mark.parametrize("kind", ["folder", "tar", "places365"])
    def test_parts_in_folders_are_kept_apart(self, tmp_path, kind, held_out):
        names = ["Train/a/0.png", f"{held_out}/a/1.png", "more/2.png", "3.png"]
        for i, name in enumerate(names):
            save(tmp_path / "x" / name, photo(i))
        write_tar(tmp_path / "x.tar", [f"./set/{name}" for name in names])
        path = tmp_path / ("x.tar" if kind == "tar" else "x")
        source = "folder" if kind == "tar" else kind
        train, val = open_split(DataConfig(source=source, path=path), 0)
        assert [n.removeprefix("./set/") for n in train.names] == names[:1]
        assert [n.removeprefix("./set/") for n in val.names] == names[1:2]
        np.testing.assert_array_equal(val[0], photo(1))
        assert "2.png" in train.source.remarks[-1]
        # Validation pictures of another place leave these out, and do not add them.
        save(tmp_path / "y" / "9.png", photo(9))
        own = DataConfig(source=source, path=path, val_path=tmp_path / "y")
        train, val = open_split(own, 0)
        assert (len(train), val.names) == (1, ("9.png",))

    def test_what_is_called_test_is_left_out_where_something_is_called_val(
        self, folder
    ):
        for name in ("train", "val", "test"):
            save(folder / name / "0.png", photo(0))
        config = DataConfig(source="folder", path=folder)
        train, val = open_split(config, 0)
        assert (train.names, val.names) == (("train/0.png",), ("val/0.png",))
        assert "11 files" in train.source.remarks[-1]

    def test_one_subject_cannot_be_split(self, folder):
        config = DataConfig(source="folder", path=folder / "a", group_by="folder")
        with pytest.raises(UserError, match="all 6 images show one subject"):
            open_split(config, 0)

    def test_folders_stay_on_one_side(self, folder):
        config = DataConfig(source="folder", path=folder, group_by="folder")
        train, val = open_split(config, 0)
        assert set(train.groups) == {"a"}
        assert set(val.groups) == {"b/c"}

    def test_a_share_that_few_subjects_make_is_said(self, folder):
        config = DataConfig(source="folder", path=folder, group_by="folder")
        (said,) = open_split(config, 0)[0].source.remarks
        assert said.startswith("4 of 10 pictures, 40% and not 10%")
        assert said.endswith("makes 2 subjects, which are held out whole")

    def test_a_validation_folder_is_used_and_must_not_overlap(self, folder):
        paths = {"path": folder / "a", "val_path": folder / "b"}
        train, val = open_split(DataConfig(source="folder", **paths), 0)
        assert (len(train), len(val)) == (6, 4)
        inside = DataConfig(source="folder", path=folder, val_path=folder / "b")
        with pytest.raises(UserError, match="among the training images"):
            open_split(inside, 0)

    def test_max_images_bounds_both_sides(self, folder):
        config = DataConfig(
            source="folder", path=folder, max_images=4, val_fraction=0.5
        )
        train, val = open_split(config, 0)
        assert (len(train), len(val)) == (4, 2)

    def test_crops_suit_the_size_of_the_set(self):
        automatic = DataConfig()
        counts = [
            sources.num_crops(automatic, n) for n in (44, 1000, 36_500, 1_800_000)
        ]
        assert counts == [256, 50, 1, 1]
        assert sources.num_crops(DataConfig(crops_per_image=3), 44) == 3
        assert sources.num_crops(DataConfig(source="digits"), 44) == 1

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"source": "folder"}, "set path"),
            ({"source": "digits", "val_path": "x"}, "leave val_path x out"),
            ({"val_fraction": 1.0}, "set val_fraction to a number"),
            ({"max_images": 0}, "set max_images to a whole number"),
        ],
    )
    def test_impossible_settings_are_refused(self, fields, message, tmp_path):
        if "val_path" in fields:
            fields = fields | {"val_path": tmp_path / "x"}
            message = f"leave val_path {tmp_path / 'x'} out"
        with pytest.raises(UserError, match=message):
            DataConfig(**fields)


def add_to_tar(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def png(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write_tar(file, names, mode="w"):
    with tarfile.open(file, mode) as archive:
        for i, name in enumerate(names):
            add_to_tar(archive, name, png(photo(i)))
        add_to_tar(archive, "readme.txt", b"no image")


class TestPlaces365:
    VAL = tuple(f"Places365_val_0000000{i}.jpg" for i in range(1, 6))

    def test_val_256_alone_is_split(self, tmp_path):
        for i, name in enumerate(self.VAL):
            save(tmp_path / "val_256" / name, photo(i))
        config = DataConfig(source="places365", path=tmp_path, val_fraction=0.2)
        train, val = open_split(config, 0)
        assert len(train) + len(val) == 5

    @pytest.mark.parametrize(
        ("name", "val_name"),
        [
            ("data_256", "val_256"),
            ("data_256_standard", "val_256"),
            ("train_256", "val_256"),
            ("data_large", "val_large"),
            ("data_large_standard", "val_large"),
            ("data_256", "val_large"),
        ],
    )
    def test_training_folders_of_any_name_go_with_validation(
        self, tmp_path, name, val_name
    ):
        save(tmp_path / name / "a" / "airfield" / "00000001.jpg", photo(0))
        save(tmp_path / name / "a" / "apartment" / "out" / "00000001.jpg", photo(1))
        save(tmp_path / val_name / self.VAL[0], photo(2))
        save(tmp_path / "test_256" / "Places365_test_00000001.jpg", photo(3))
        train, val = open_split(DataConfig(source="places365", path=tmp_path), 0)
        assert train.names == (
            "a/airfield/00000001.jpg",
            "a/apartment/out/00000001.jpg",
        )
        assert val.names == self.VAL[:1]

    def test_editions_side_by_side_are_refused_and_sizes_go_together(self, tmp_path):
        for name in ("data_256", "val_256", "val_large"):
            save(tmp_path / name / "a" / "1.png", photo(0))
        train, val = sources.open_places365(tmp_path)
        assert (train.folder.name, val.folder.name) == ("data_256", "val_256")
        save(tmp_path / "data_large" / "a" / "1.png", photo(0))
        with pytest.raises(UserError, match=r"holds data_256 and data_large: give one"):
            sources.open_places365(tmp_path)

    def test_a_challenge_list_goes_with_its_folder(self, tmp_path):
        for name in ("1", "2"):
            save(tmp_path / "data_large" / "a" / f"{name}.png", photo(0))
        (tmp_path / "places365_train_challenge.txt").write_text("/a/2.png 0\n")
        train, _ = sources.open_places365(tmp_path)
        assert train.names == ("a/2.png",)
        # Of two editions the folder's name says which; here it does not.
        (tmp_path / "places365_train_standard.txt").write_text("/a/1.png 0\n")
        assert len(sources.open_places365(tmp_path)[0]) == 2
        (tmp_path / "data_large").rename(tmp_path / "data_large_standard")
        assert sources.open_places365(tmp_path)[0].names == ("a/1.png",)

    def test_file_lists_say_what_belongs_to_the_set(self, tmp_path):
        save(tmp_path / "data_256" / "a" / "airfield" / "00000001.jpg", photo(0))
        save(tmp_path / "data_256" / "a" / "airfield" / "extra.jpg", photo(1))
        save(tmp_path / "val_256" / self.VAL[0], photo(2))
        save(tmp_path / "val_256" / "extra.jpg", photo(3))
        train_list = tmp_path / "places365_train_standard.txt"
        train_list.write_text("/a/airfield/00000001.jpg 0\n")
        (tmp_path / "places365_val.txt").write_text(f"{self.VAL[0]} 165\n")
        train, val = open_split(DataConfig(source="places365", path=tmp_path), 0)
        assert train.names == ("a/airfield/00000001.jpg",)
        assert val.names == self.VAL[:1]
        assert train[0].shape == (6, 8, 3)

    def test_a_tar_is_read_in_place(self, tmp_path):
        names = [f"val_256/{name.replace('jpg', 'png')}" for name in self.VAL]
        write_tar(tmp_path / "val_256.tar", reversed(names))
        for path in (tmp_path, tmp_path / "val_256.tar"):
            train, val = sources.open_places365(path)
            assert train.names == tuple(names)
            assert val is None
            for i in range(5):
                np.testing.assert_array_equal(train[i], photo(4 - i))

    def test_train_and_validation_tars_go_together(self, tmp_path):
        write_tar(
            tmp_path / "train_256_places365standard.tar", ["data_256/a/b/1.png"] * 1
        )
        write_tar(tmp_path / "val_256.tar", ["val_256/2.png"])
        train, val = open_split(DataConfig(source="places365", path=tmp_path), 0)
        assert (train.names, val.names) == (("data_256/a/b/1.png",), ("val_256/2.png",))

    def test_damage_inside_a_tar_names_the_image_and_the_tar(self, tmp_path):
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            add_to_tar(archive, "bad.png", png(photo(0))[:60])
        found = sources.open_images(tmp_path / "x.tar", "file")
        with pytest.raises(UserError, match=r"bad\.png in .*x\.tar cannot be read"):
            found[0]

    def test_archives_that_cannot_be_read_in_place_are_refused(self, tmp_path):
        write_tar(tmp_path / "x.tar.gz", ["1.png"], "w:gz")
        with pytest.raises(
            UserError, match=r"x\.tar\.gz cannot be read .*uncompressed"
        ):
            sources.open_images(tmp_path / "x.tar.gz", "file")
        write_tar(tmp_path / "cut.tar", [f"{i}.png" for i in range(9)])
        content = (tmp_path / "cut.tar").read_bytes()
        (tmp_path / "cut.tar").write_bytes(content[:3000])
        with pytest.raises(UserError, match=r"cut\.tar cannot be read"):
            sources.open_images(tmp_path / "cut.tar", "file")
        write_tar(tmp_path / "none.tar", [])
        with pytest.raises(UserError, match=r"none\.tar holds no images"):
            sources.open_images(tmp_path / "none.tar", "file")
