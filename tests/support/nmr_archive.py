"""Small archives in the layout of NMR, and of SoftRas's files."""

import functools
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgrow.data import procedural


NUM_VIEWS = 24
AZIMUTHS = tuple(15.0 * k for k in range(NUM_VIEWS))
# Objects of the training and of the test list of each class.
SYNSETS = {"02691156": (6, 3), "03001627": (5, 2), "99999999": (6, 2)}


def marked_view(object_id, view, size=64):
    """RGB on white with a patch whose colours no other object or view has."""
    digest = hashlib.sha256(f"{object_id}/{view}".encode()).digest()
    pixels = np.full((size, size, 3), 255, np.uint8)
    corners = np.frombuffer(digest[:12], np.uint8).reshape(2, 2, 3)
    side = size // 4
    pixels[side : 3 * side, side : 3 * side] = corners.repeat(side, 0).repeat(side, 1)
    return pixels


def marked_views(object_id, size=64):
    """(24, size, size, 3), view k from azimuth 15k."""
    return np.stack([marked_view(object_id, k, size) for k in range(NUM_VIEWS)])


def rendered_views(object_id, size=64):
    """As `marked_views`, of a procedural chair that the id chooses."""
    index = int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:2])
    return procedural.render_object(
        "chair", index, seed=0, azimuths=AZIMUTHS, size=size
    )


def world_mat(azimuth, elevation=30.0, distance=2.732):
    """World to camera: rows right, down, forward; y is up in the world."""
    a, e = np.radians(azimuth), np.radians(elevation)
    out = np.array([np.cos(a) * np.cos(e), np.sin(e), np.sin(a) * np.cos(e)])
    right = np.cross(-out, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(-out, right), -out])
    matrix[2, 3] = distance
    return matrix


@functools.cache
def cameras_npz(azimuths=AZIMUTHS):
    """Content of a `cameras.npz` whose view k is at `azimuths[k]`."""
    matrices = {}
    for k, azimuth in enumerate(azimuths):
        world, camera = world_mat(azimuth), np.diag([3.7320509, 3.7320509, 1, 1])
        matrices[f"world_mat_{k}"] = world.astype(np.float32)
        matrices[f"world_mat_inv_{k}"] = np.linalg.inv(world).astype(np.float32)
        matrices[f"camera_mat_{k}"] = camera.astype(np.float32)
        matrices[f"camera_mat_inv_{k}"] = np.linalg.inv(camera).astype(np.float32)
    content = io.BytesIO()
    np.savez(content, **matrices)
    return content.getvalue()


def png(pixels):
    """Content of an RGBA file whose alpha says nothing about the colours."""
    alpha = np.zeros((*pixels.shape[:2], 1), np.uint8)
    content = io.BytesIO()
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(
        content, "PNG", compress_level=1
    )
    return content.getvalue()


def write_nmr(
    root: Path,
    synsets=SYNSETS,
    *,
    views_of=marked_views,
    azimuths=AZIMUTHS,
    with_cameras=True,
    kept_views=(0, 6, 12, 18),
) -> Path:
    """Writes the unpacked folder; `azimuths` says where view k of an object is from.

    Only `kept_views` are written, of which other files would be copies.
    """
    cameras = cameras_npz(azimuths)
    for synset, counts in synsets.items():
        (root / synset).mkdir(parents=True)
        for part, count in zip(("train", "test"), counts, strict=True):
            ids = [f"{synset[-2:]}{part}{i}" for i in range(count)]
            (root / synset / f"softras_{part}.lst").write_text("\n".join(ids) + "\n")
            for object_id in ids:
                folder = root / synset / object_id
                (folder / "image").mkdir(parents=True)
                views = views_of(object_id)
                for k in kept_views:
                    view = views[round(azimuths[k] / 15) % NUM_VIEWS]
                    (folder / "image" / f"{k:04d}.png").write_bytes(png(view))
                if with_cameras:
                    (folder / "cameras.npz").write_bytes(cameras)
        (root / synset / "softras_val.lst").write_text("")
    return root


def zip_folder(root: Path, archive: Path, top="NMR_Dataset/") -> Path:
    """Packs a folder; `top` comes before the paths inside."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(root.rglob("*")):
            packed.write(file, top + file.relative_to(root).as_posix())
    return archive


def write_softras(root: Path, synset="03001627", counts=(6, 3), invert=False) -> Path:
    """Writes the two files of one class; object i of a set is `<set><i>`."""
    root.mkdir(exist_ok=True)
    for part, count in zip(("train", "test"), counts, strict=True):
        views = np.empty((count, NUM_VIEWS, 4, 64, 64), np.uint8)
        for i in range(count):
            views[i, :, :3] = marked_views(f"{part}{i}").transpose(0, 3, 1, 2)
            views[i, :, 3] = (views[i, :, :3] < 255).any(axis=1) * 255
        if invert:
            views[:, :, :3] = 255 - views[:, :, :3]
        np.savez_compressed(root / f"{synset}_{part}_images.npz", views)
    return root
