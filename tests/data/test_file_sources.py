"""Odd names, links and headers in folders and archives: named, and never the end."""

import io
import os
import tarfile

import numpy as np
import pytest
from PIL import Image

from jaxgrow.data.file_sources import ImageFolder, ImageTar, open_places365
from jaxgrow.data.files import list_images
from jaxgrow.data.sources import DataConfig, open_split
from jaxgrow.errors import UserError


def png(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def write(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png() if content is None else content)


@pytest.fixture
def folder(tmp_path):
    for i in range(9):
        write(tmp_path / "photos" / f"{i}.png", png(i))
    return tmp_path / "photos"


def test_content_decides_and_only_hidden_and_system_files_are_silent(folder):
    write(folder / "no ending")
    write(folder / "x.dat")
    write(folder / "notes.txt", b"text")
    for hidden in (
        ".DS_Store",
        "._0.png",
        "Thumbs.db",
        "desktop.ini",
        "__MACOSX/a.png",
    ):
        write(folder / hidden)
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    found = list_images(folder)
    assert found.names == [*(f"{i}.png" for i in range(9)), "no ending", "x.dat"]
    assert list(found.others) == ["loop", "notes.txt", "pipe"]
    assert [sentence.partition(": ")[2] for sentence in found.remarks(folder)] == [
        "loop (Too many levels of symbolic links)",
        "notes.txt (no picture)",
        "pipe (no regular file)",
    ]


def test_what_looks_like_a_picture_but_is_none_is_skipped_by_name(folder):
    os.mkfifo(folder / "pipe.png")
    write(folder / "evil.png", b"%!PS-Adobe-3.0 EPSF-3.0\n")
    for good in range(9, 12):
        write(folder / f"{good}.png")
    found = ImageFolder(folder)
    assert list(found.skipped) == ["evil.png", "pipe.png"]
    assert "PostScript" in found.skipped["evil.png"]
    assert len(found.fingerprint()) == 64


def test_names_that_are_not_utf8_are_names(folder):
    os.rename(folder / "0.png", os.fsencode(folder) + b"/caf\xe9.png")
    train, val = open_split(DataConfig(source="folder", path=folder), 0)
    assert len(train) + len(val) == 9
    assert all(len(half.fingerprint()) == 64 for half in (train, val))


def test_masks_beside_their_pictures_are_not_taken(folder):
    for i in range(9):
        write(folder / "masks" / f"{i}.png")
        write(folder / "class" / "mask" / f"{i}.png")  # pictures of masks
    names = ImageFolder(folder).names
    assert len(names) == 18
    assert not any(name.startswith("masks/") for name in names)
    # Any folder of masks that is named is left out.
    config = DataConfig(source="folder", path=folder)
    train, val = open_split(config, 0, without=folder / "class")
    assert len(train) + len(val) == 9


@pytest.mark.parametrize(
    ("text", "num_listed"),
    [
        ("\ufeff1.png 1\n2.png 2\n", 2),
        ("1.png 1\n2.png 2\nabsent.png 3\n\n", 3),
        ("/a/airfield/1.jpg 0\n", 1),
    ],
)
def test_lists_of_places_may_have_a_mark_or_name_absent_files(folder, text, num_listed):
    folder.rename(folder.parent / "val_256")
    (folder.parent / "places365_val.txt").write_text(text, encoding="utf-8")
    train, _ = open_places365(folder.parent)
    assert len(train) == num_listed
    assert not train.names[0].startswith("\ufeff")
    assert len(train.fingerprint()) == 64


def add(archive, name, content=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def test_links_inside_an_archive_lead_to_pictures(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for i in range(8):
            add(archive, f"a/{i}.dat", png(i))
        add(archive, "b/hard.png", type=tarfile.LNKTYPE, linkname="a/1.dat")
        add(archive, "b/soft.png", type=tarfile.SYMTYPE, linkname="../a/2.dat")
        add(archive, "b/chain.png", type=tarfile.SYMTYPE, linkname="soft.png")
        add(archive, "b/ring.png", type=tarfile.SYMTYPE, linkname="ring.png")
        add(archive, "b/lost.png", type=tarfile.LNKTYPE, linkname="a/9.dat")
        add(archive, "a/._1.dat", png())
        add(archive, "a/notes.txt", b"text")
    found = ImageTar(tmp_path / "x.tar")
    assert len(found) == 11
    at = {name: i for i, name in enumerate(found.names)}
    for link, target in (
        ("hard", "a/1.dat"),
        ("soft", "a/2.dat"),
        ("chain", "a/2.dat"),
    ):
        link = f"b/{link}.png"
        np.testing.assert_array_equal(found[at[link]], found[at[target]])
    assert "a/9.dat, which is not there" in found.skipped["b/lost.png"]
    assert "b/ring.png, which is not there" in found.skipped["b/ring.png"]
    more = ImageTar(tmp_path / "x.tar", max_megapixels=1.0)
    assert more.fingerprint() != found.fingerprint()


def test_one_file_may_be_left_out_of_a_listing(tmp_path):
    for name in ("a.png", "mask.png"):
        (tmp_path / name).write_bytes(png())
    assert list_images(tmp_path, without=tmp_path / "mask.png").names == ["a.png"]


@pytest.mark.parametrize(
    ("key", "value"), [("size", "-512"), ("size", "9" * 20), ("GNU.sparse.map", "a,b")]
)
def test_headers_of_absurd_sizes_end_in_a_sentence(tmp_path, key, value):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for i in range(8):
            add(archive, f"{i}.png", png(i))
        record = f" {key}={value}\n".encode()
        length = len(record) + 2
        record = str(length + (length > 99)).encode() + record
        add(archive, "pax", record, type=tarfile.XHDTYPE)
        add(archive, "last.png", png())
    with pytest.raises(UserError, match=r"x\.tar cannot be read"):
        ImageTar(tmp_path / "x.tar")
