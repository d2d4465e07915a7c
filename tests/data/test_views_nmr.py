"""NMR's archive and folder: the same pixels out as in, and every mistake named."""

import shutil

import numpy as np
import pytest

from jaxgrow.data.views import ViewDataConfig, archives, nmr, open_partitions
from jaxgrow.errors import UserError
from tests.support.nmr_archive import (
    AZIMUTHS,
    SYNSETS,
    cameras_npz,
    marked_view,
    marked_views,
    png,
    write_nmr,
    zip_folder,
)


SLOTS = (0, 12, 6, 18)
AIRPLANE, CHAIR, UNKNOWN = SYNSETS


@pytest.fixture
def root(tmp_path):
    return write_nmr(tmp_path / "NMR_Dataset")


def read(path, tmp_path, seed=0, **options):
    options = {"source": "nmr", "path": path, "cache_dir": tmp_path / "cache"} | options
    return open_partitions(ViewDataConfig(**options), seed)


def refusal(path, tmp_path, **options):
    """The sentence of a refusal, which leaves nothing half done."""
    with pytest.raises(UserError) as caught:
        read(path, tmp_path, **options)
    cache = tmp_path / "cache"
    assert not cache.exists() or not list(cache.iterdir())
    return str(caught.value)


def sets_of(data):
    return {"d": data.d, "c": data.c.views, "e": data.e.views}


def as_dict(data):
    """Everything that the partitions hold, comparable."""
    return {
        part: (s.images.tobytes(), s.labels.tolist(), s.object_ids, s.observed.tolist())
        for part, s in sets_of(data).items()
    } | {"known": (data.c.conditioning.tolist(), data.e.conditioning.tolist())}


def check_pixels(data, slots=SLOTS, views_of=marked_views):
    for views in sets_of(data).values():
        for images, object_id in zip(views.images, views.object_ids, strict=True):
            expected = views_of(object_id.split("/")[1])[list(slots)]
            np.testing.assert_array_equal(images, expected)


def test_views_come_out_as_they_went_in(root, tmp_path):
    data = read(root, tmp_path)
    check_pixels(data)
    assert data.notes == ()
    for views in sets_of(data).values():
        assert isinstance(views.images, np.memmap)
        assert views.images.dtype == np.uint8
        assert views.num_views == 4
        assert views.size == 64
        assert views.azimuths == (0.0, 180.0, 90.0, 270.0)
        assert views.observed.all()
        assert views.class_names == ("99999999", "airplane", "chair")
        for label, object_id in zip(views.labels, views.object_ids, strict=True):
            names = {AIRPLANE: "airplane", CHAIR: "chair", UNKNOWN: UNKNOWN}
            assert views.class_names[label] == names[object_id.split("/")[0]]


def test_training_lists_give_d_and_c_and_test_lists_e(root, tmp_path):
    data = read(root, tmp_path)
    d, c, e = (set(s.object_ids) for s in sets_of(data).values())
    train = {f"{s}/{s[-2:]}train{i}" for s, (n, _) in SYNSETS.items() for i in range(n)}
    test = {f"{s}/{s[-2:]}test{i}" for s, (_, n) in SYNSETS.items() for i in range(n)}
    assert d | c == train
    assert not d & c
    assert e == test
    assert len(data.d) + len(data.c) == len(train)


def test_zip_and_folder_are_the_same(root, tmp_path):
    folder = as_dict(read(root, tmp_path))
    for i, top in enumerate(("NMR_Dataset/", "", "data/NMR_Dataset/")):
        archive = zip_folder(root, tmp_path / f"{i}.zip", top)
        assert as_dict(read(archive, tmp_path)) == folder
    assert as_dict(read(root.parent, tmp_path)) == folder


def test_a_second_call_decodes_nothing(root, tmp_path, monkeypatch):
    archive = zip_folder(root, tmp_path / "nmr.zip")
    first = {path: as_dict(read(path, tmp_path)) for path in (root, archive)}
    monkeypatch.setattr(nmr, "decode_image", None)
    assert as_dict(read(root, tmp_path)) == first[root]
    monkeypatch.setattr(nmr, "open_archive", None)
    assert as_dict(read(archive, tmp_path)) == first[archive]


def test_whatever_changes_in_the_folder_is_read_again(root, tmp_path):
    read(root, tmp_path)
    changed = np.full((64, 64, 3), 7, np.uint8)
    folder = next(root.glob("*/56train0"))
    (folder / "image" / "0012.png").write_bytes(png(changed))
    data = read(root, tmp_path)
    seen = {
        i: images
        for s in sets_of(data).values()
        for i, images in zip(s.object_ids, s.images, strict=True)
    }
    np.testing.assert_array_equal(seen[f"{AIRPLANE}/56train0"][1], changed)


def test_chosen_views_fill_the_slots_in_the_order_given(tmp_path):
    root = write_nmr(tmp_path / "nmr", kept_views=(3, 21, 8))
    data = read(root, tmp_path, views=(21, 3, 8))
    check_pixels(data, (21, 3, 8))
    assert data.d.azimuths == (315.0, 45.0, 120.0)


def test_views_in_another_order_are_put_right_and_noted(tmp_path):
    backwards = tuple(-a % 360 for a in AZIMUTHS)
    for name, azimuths in {
        "backwards": backwards,
        "from the back": AZIMUTHS[12:] + AZIMUTHS[:12],
    }.items():
        root = write_nmr(tmp_path / name, azimuths=azimuths)
        data = read(root, tmp_path)
        check_pixels(data)
        (note,) = data.notes
        found = tuple(azimuths.index(a) for a in (0.0, 180.0, 90.0, 270.0))
        assert f"views at 0, 180, 90, 270 degrees are {found} and not {SLOTS}" in note
        assert as_dict(read(root, tmp_path))["d"] == as_dict(data)["d"]
        assert read(root, tmp_path).notes == data.notes


def test_an_azimuth_that_no_camera_has_is_refused(tmp_path):
    root = write_nmr(tmp_path / "nmr", azimuths=tuple(a + 7 for a in AZIMUTHS))
    said = refusal(root, tmp_path)
    assert "show no view at azimuth 0 (the nearest is at 7)" in said


def test_objects_with_different_orders_are_refused(root, tmp_path):
    backwards = cameras_npz(tuple(-a % 360 for a in AZIMUTHS))
    for file in (root / CHAIR).glob("*/cameras.npz"):
        file.write_bytes(backwards)
    assert "have their views in different orders" in refusal(root, tmp_path)


def test_without_cameras_the_order_is_taken_on_trust_and_noted(tmp_path):
    root = write_nmr(tmp_path / "nmr", with_cameras=False)
    data = read(root, tmp_path)
    check_pixels(data)
    (note,) = data.notes
    assert note.startswith(f"no cameras.npz in {root}")


def test_only_a_few_cameras_of_each_class_are_read(root, tmp_path, monkeypatch):
    names = []

    def count(content, name, read_eyes=nmr.read_eyes):
        names.append(name)
        return read_eyes(content, name)

    monkeypatch.setattr(nmr, "read_eyes", count)
    read(root, tmp_path)
    assert len(names) == 9


def test_one_class_alone_and_few_objects_are_fine(root, tmp_path):
    by_name = read(root, tmp_path, classes=("airplane",), objects_d=1, objects_e=2)
    by_id = read(root, tmp_path, classes=(AIRPLANE,), objects_d=1, objects_e=2)
    assert as_dict(by_name) == as_dict(by_id)
    assert by_name.d.class_names == ("airplane",)
    assert (len(by_name.d), len(by_name.e)) == (1, 2)
    assert set(by_name.c.views.object_ids) <= set(
        read(root, tmp_path).c.views.object_ids
    )


def test_the_known_view_is_the_same_whatever_else_is_read(root, tmp_path):
    whole = read(root, tmp_path)
    few = read(root, tmp_path, classes=("airplane",))
    known = dict(zip(whole.e.views.object_ids, whole.e.conditioning, strict=True))
    for object_id, slot in zip(few.e.views.object_ids, few.e.conditioning, strict=True):
        assert known[object_id] == slot


def test_other_sizes_are_refused_or_scaled_on_demand(tmp_path):
    root = write_nmr(
        tmp_path / "nmr", views_of=lambda i: marked_views(i).repeat(2, 1).repeat(2, 2)
    )
    said = refusal(root, tmp_path)
    assert "has 128x128 pixels, not 64x64: set data.resize" in said
    check_pixels(read(root, tmp_path, resize=True))


def test_an_unknown_class_is_refused_with_those_there(root, tmp_path):
    said = refusal(root, tmp_path, classes=("spoon",))
    assert said == (
        "class spoon is not in the data: choose among 99999999, airplane, chair"
    )


def test_a_listed_object_that_is_not_there_is_named(root, tmp_path):
    shutil.rmtree(root / CHAIR / "27train1")
    for path in (root, zip_folder(root, tmp_path / "nmr.zip")):
        assert refusal(path, tmp_path) == (
            f"the lists of class {CHAIR} name object 27train1, which is not in {path}: "
            "unpack or download the data again"
        )


def test_a_missing_view_is_named(root, tmp_path):
    (root / CHAIR / "27train1" / "image" / "0006.png").unlink()
    for path, top in (
        (root, ""),
        (zip_folder(root, tmp_path / "nmr.zip"), "NMR_Dataset/"),
    ):
        assert refusal(path, tmp_path) == (
            f"object {top}{CHAIR}/27train1 in {path} has no view image/0006.png (1 "
            "views are missing in all): unpack or download the data again"
        )


def test_a_damaged_view_is_named(root, tmp_path):
    file = root / CHAIR / "27train1" / "image" / "0006.png"
    file.write_bytes(file.read_bytes()[:60])
    assert refusal(root, tmp_path).startswith(
        f"image {CHAIR}/27train1/image/0006.png cannot be read"
    )


def test_a_truncated_archive_is_refused(root, tmp_path):
    archive = zip_folder(root, tmp_path / "nmr.zip")
    archive.write_bytes(archive.read_bytes()[:-2000])
    said = refusal(archive, tmp_path)
    assert said.startswith(f"archive {archive} cannot be read")
    assert said.endswith("it is no zip, or cut short; download it again")


def test_damage_inside_an_archive_is_refused(root, tmp_path):
    archive = zip_folder(root, tmp_path / "nmr.zip")
    content = bytearray(archive.read_bytes())
    name = f"{CHAIR}/27train1/image/0006.png".encode()
    place = content.index(name) + len(name)
    content[place + 20 : place + 60] = bytes(40)
    archive.write_bytes(bytes(content))
    said = refusal(archive, tmp_path)
    assert name.decode() in said
    assert said.endswith("download it again, or unpack it and give the folder")


def test_what_is_no_archive_is_refused(tmp_path):
    file = tmp_path / "nmr.zip"
    file.write_text("<html>404</html>")
    assert "it is no zip, or cut short" in refusal(file, tmp_path)
    (tmp_path / "empty").mkdir()
    said = refusal(tmp_path / "empty", tmp_path)
    assert "holds no <synset>/softras_train.lst: give NMR_Dataset.zip or" in said
    gone = tmp_path / "gone"
    assert refusal(gone, tmp_path) == f"path {gone} does not exist: check it"


def test_lists_of_the_other_split_do_not_do(root, tmp_path):
    for file in root.glob("*/softras_t*.lst"):
        file.rename(file.with_name(file.name.removeprefix("softras_")))
    assert "holds no <synset>/softras_train.lst" in refusal(root, tmp_path)


def test_a_class_without_one_list_is_refused(root, tmp_path):
    (root / CHAIR / "softras_test.lst").unlink()
    assert refusal(root, tmp_path) == (
        f"class chair in {root} has no list softras_test.lst: download the data again, "
        "or leave the class out of classes"
    )


def test_an_empty_class_is_refused(root, tmp_path):
    for file in (root / CHAIR).glob("*.lst"):
        file.write_text("\n")
    assert "class chair in" in refusal(root, tmp_path)
    assert "is empty: leave it out of classes" in refusal(root, tmp_path)


def test_a_mac_archive_with_its_shadow_files_is_read(root, tmp_path):
    shadow = root / "__MACOSX" / CHAIR
    shadow.mkdir(parents=True)
    (shadow / "softras_train.lst").write_bytes(b"\x00\x05\x16\x07")
    plain = as_dict(read(root, tmp_path, classes=("chair",)))
    archive = zip_folder(root, tmp_path / "nmr.zip", "")
    assert as_dict(read(archive, tmp_path, classes=("chair",))) == plain


def test_marked_views_differ():
    patches = {marked_view(f"{i}", v).tobytes() for i in range(20) for v in range(24)}
    assert len(patches) == 480


def test_a_view_that_unpacks_to_much_is_refused_before(root, tmp_path, monkeypatch):
    archive = zip_folder(root, tmp_path / "nmr.zip")
    monkeypatch.setattr(archives, "_MAX_BYTES", 100)
    for path in (root, archive):
        assert "more than 100 of a view or list" in refusal(path, tmp_path)
