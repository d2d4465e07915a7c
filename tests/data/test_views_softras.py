"""SoftRas's files: the same pixels out as in, whichever way round their colours."""

import io
import zipfile

import numpy as np
import pytest

from jaxgrow.data.views import ViewDataConfig, open_partitions
from jaxgrow.errors import UserError
from tests.support.nmr_archive import marked_views, write_softras


SLOTS = [0, 12, 6, 18]


def read(path, tmp_path, seed=0, **options):
    options = {"source": "softras", "path": path, "cache_dir": tmp_path / "cache"} | (
        options
    )
    return open_partitions(ViewDataConfig(**options), seed)


def refusal(path, tmp_path, **options):
    with pytest.raises(UserError) as caught:
        read(path, tmp_path, **options)
    return str(caught.value)


def pixels_of(data):
    return {
        object_id: images
        for views in (data.d, data.c.views, data.e.views)
        for object_id, images in zip(views.object_ids, views.images, strict=True)
    }


@pytest.mark.parametrize("invert", [False, True])
def test_views_come_out_as_they_were_rendered(tmp_path, invert):
    root = write_softras(tmp_path / "data", invert=invert)
    write_softras(root, "02691156", invert=invert)
    data = read(root, tmp_path)
    assert data.d.class_names == ("airplane", "chair")
    seen = pixels_of(data)
    assert len(seen) == len(data.d) + len(data.c) + len(data.e) == 18
    for object_id, images in seen.items():
        part, i = object_id.split("_")[1].split("/")
        expected = marked_views(f"{part}{int(i)}")[SLOTS]
        np.testing.assert_array_equal(images, expected)
        assert (object_id in data.e.views.object_ids) == (part == "test")
    if invert:
        (note,) = data.notes
        assert "4 files in" in note
        assert "(02691156_train_images.npz, 02691156_test" in note
    else:
        assert data.notes == ()


def test_one_inverted_file_among_others_is_mended_alone(tmp_path):
    root = write_softras(tmp_path / "data", invert=True)
    inverted = (root / "03001627_test_images.npz").read_bytes()
    write_softras(root)
    (root / "03001627_test_images.npz").write_bytes(inverted)
    data = read(root, tmp_path)
    plain = pixels_of(read(write_softras(tmp_path / "plain"), tmp_path))
    for object_id, images in pixels_of(data).items():
        np.testing.assert_array_equal(images, plain[object_id])
    assert "1 files" in data.notes[0]


def test_limits_skip_rows_and_not_their_pixels(tmp_path):
    root = write_softras(tmp_path / "data", counts=(12, 6))
    whole = pixels_of(read(root, tmp_path))
    few = pixels_of(read(root, tmp_path, objects_d=2, objects_c=1, objects_e=1))
    assert len(few) == 4
    for object_id, images in few.items():
        np.testing.assert_array_equal(images, whole[object_id])


def save(root, array, name="03001627_train_images.npz"):
    np.savez(root / name, array)


def test_a_second_call_reads_no_rows(tmp_path, monkeypatch):
    root = write_softras(tmp_path / "data")
    first = pixels_of(read(root, tmp_path))
    monkeypatch.setattr("jaxgrow.data.views.softras._open_rows", None)
    second = pixels_of(read(root, tmp_path))
    assert first.keys() == second.keys()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((3, 20, 4, 64, 64), np.uint8), "shape (3, 20, 4, 64, 64), not (obj"),
        (np.zeros((3, 24, 3, 64, 64), np.uint8), "shape (3, 24, 3, 64, 64), not (obj"),
        (np.zeros((3, 24), np.uint8), "shape (3, 24), not (objects, 24, 4, height"),
        (np.zeros((1, 24, 4, 64, 64), np.float32), "holds float32, not uint8"),
        (np.zeros((1, 24, 4, 8, 9), np.uint8, "F"), "in Fortran's order"),
        (np.full((1, 24, 4, 64, 64), 128, np.uint8), "a ground of 128, neither white"),
        (np.full((3, 24, 4, 32, 32), 255, np.uint8), "has 32x32 pixels, not 64x64"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, said):
    root = write_softras(tmp_path / "data")
    save(root, array)
    assert said in refusal(root, tmp_path)


def test_other_sizes_are_scaled_on_demand(tmp_path):
    root = write_softras(tmp_path / "data")
    data = read(root, tmp_path, size=32, resize=True)
    for object_id, images in pixels_of(data).items():
        part, i = object_id.split("_")[1].split("/")
        whole = marked_views(f"{part}{int(i)}")[SLOTS].astype(float)
        blocks = whole.reshape(4, 32, 2, 32, 2, 3).mean(axis=(2, 4))
        np.testing.assert_array_equal(images, np.floor(blocks + 0.5))


def test_damaged_files_are_refused(tmp_path):
    root = write_softras(tmp_path / "data")
    file = root / "03001627_train_images.npz"
    content = file.read_bytes()
    for broken in (b"", b"nonsense", content[:-50]):
        file.write_bytes(broken)
        assert refusal(root, tmp_path).startswith(f"file {file} cannot be read")
    middle = bytearray(content)
    middle[len(middle) // 2 : len(middle) // 2 + 100] = bytes(100)
    file.write_bytes(bytes(middle))
    said = refusal(root, tmp_path)
    assert said.startswith(f"file {file} cannot be read")
    assert said.endswith("download it again")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((3, 24, 4, 1, 1), "3 objects with views of 1x1 pixels"),
        ((3, 24, 4, 8, 4), "3 objects with views of 4x8 pixels"),
        ((-1, 24, 4, 8, 8), "-1 objects"),
        ((3, 24, 4, 2**40, 2**40), "bytes, and does not"),
        ((10**12, 24, 4, 8, 8), "bytes, and does not"),
    ],
)
def test_headers_of_absurd_shapes_are_refused(tmp_path, shape, said):
    root = write_softras(tmp_path / "data")
    header = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(root / "03001627_test_images.npz", "w") as archive:
        archive.writestr("arr_0.npy", header.getvalue() + bytes(9000))
    assert said in refusal(root, tmp_path)


def test_an_array_that_ends_early_is_refused(tmp_path):
    root = write_softras(tmp_path / "data")
    file = root / "03001627_test_images.npz"
    with zipfile.ZipFile(file) as archive:
        content = archive.read("arr_0.npy")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("arr_0.npy", content[:-1000])
    assert "bytes, and does not: download it again" in refusal(root, tmp_path)


def test_several_arrays_in_one_file_are_refused(tmp_path):
    root = write_softras(tmp_path / "data")
    np.savez(root / "03001627_test_images.npz", np.zeros(3), np.zeros(3))
    assert "no .npz of one array" in refusal(root, tmp_path)


def test_a_missing_file_is_named(tmp_path):
    root = write_softras(tmp_path / "data")
    file = root / "03001627_test_images.npz"
    file.unlink()
    assert refusal(root, tmp_path) == (
        f"file {file} does not exist: download it, or leave its class out of classes"
    )


def test_an_empty_class_is_refused(tmp_path):
    root = write_softras(tmp_path / "data")
    write_softras(root, "02691156", counts=(0, 0))
    assert refusal(root, tmp_path) == (
        f"class airplane in {root} is empty: leave it out of classes"
    )
    assert len(read(root, tmp_path, classes=("chair",)).e) == 3


def test_a_folder_without_such_files_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    said = refusal(tmp_path / "data", tmp_path)
    assert "holds no <synset>_train_images.npz" in said
    file = write_softras(tmp_path / "files") / "03001627_train_images.npz"
    assert "is a file: give the folder" in refusal(file, tmp_path)
