"""Sources of images in arrays: MNIST-like idx files, digits, TensorFlow Datasets."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from jaxgrow.errors import UserError


_IDX_IMAGES = 0x00000803  # unsigned bytes in three dimensions


class ArraySource:
    """Images in one array, each a subject of its own."""

    def __init__(self, pixels: UInt8[np.ndarray, "n h w 3"], prefix: str):
        self.pixels = pixels
        self.names = tuple(f"{prefix}/{i:05d}" for i in range(len(pixels)))
        self.groups = self.names

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        return self.pixels[i]

    def fingerprint(self) -> str:
        """Hash shape and pixels."""
        digest = hashlib.sha256(repr((self.names[0], self.pixels.shape)).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()


def idx_images(folder: Path, part: Literal["train", "t10k"]) -> ArraySource:
    """Read one part of MNIST, Fashion-MNIST or the like, padded from 28 to 32 pixels.

    Reads `<part>-images-idx3-ubyte` or `<part>-images.idx3-ubyte`, with or without
    .gz. The channel is repeated three times, and the padding is black.
    """
    stems = (f"{part}-images-idx3-ubyte", f"{part}-images.idx3-ubyte")
    files = [folder / (stem + end) for stem in stems for end in ("", ".gz")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise UserError(
            f"folder {folder} holds no {stems[0]}, gzipped or not: give the folder of "
            "the four MNIST or Fashion-MNIST files"
        )
    grey = _read_idx(file)
    height, width = grey.shape[1:]
    side = 2 ** math.ceil(math.log2(max(height, width)))
    up, left = (side - height) // 2, (side - width) // 2
    padding = ((0, 0), (up, side - height - up), (left, side - width - left))
    return ArraySource(_repeat_grey(np.pad(grey, padding)), part)


def digits() -> ArraySource:
    """Load scikit-learn's 1,797 handwritten digits of 8x8 pixels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            "the digits need scikit-learn: pip install 'jaxgrow[data]'"
        ) from None
    grey = np.rint(load_digits(return_X_y=True)[0] * (255 / 16)).astype(np.uint8)
    return ArraySource(_repeat_grey(grey.reshape(-1, 8, 8)), "digits")


class TfdsImages:
    """The `image` feature of a prepared TensorFlow Datasets split.

    Reading needs no TensorFlow; preparing the set once does.
    """

    def __init__(self, name: str, split: str, data_dir: Path | None = None):
        data_source = _tfds().data_source
        try:
            self._records = data_source(
                name, split=split, data_dir=data_dir, download=False
            )
        # A missing, unprepared or foreign data set raises errors of many types.
        except Exception as error:
            where = f" in {data_dir}" if data_dir else ""
            raise UserError(
                f"TFDS data set {name}{where} cannot be opened "
                f"({str(error).splitlines()[0]}): prepare it once, with TensorFlow "
                f"installed, by tfds build {name} --file_format=array_record"
            ) from error
        self.names = tuple(f"{split}/{i:07d}" for i in range(len(self._records)))
        self.groups = self.names
        self._identity = f"{name} {split}"

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        pixels = np.asarray(self._records[i]["image"])
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))

    def fingerprint(self) -> str:
        """Hash name, version, split and length; the records are not read."""
        return hashlib.sha256(f"{self._identity} {len(self)}".encode()).hexdigest()


def _tfds():
    try:
        import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "TFDS data sets need tensorflow-datasets: pip install 'jaxgrow[data]'"
        ) from None
    return tfds


def _read_idx(file: Path) -> UInt8[np.ndarray, "n h w"]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as content:
            magic, *shape = struct.unpack(">4I", content.read(16))
            size = math.prod(shape)
            # A header alone can claim any size; gzip packs at most 1032 bytes into one.
            if magic != _IDX_IMAGES or size > 1032 * file.stat().st_size:
                raise ValueError("not as long as its header says, or no idx images")
            if shape[0] < 1 or min(shape[1:]) < 2:
                raise ValueError(f"it holds {shape[0]} images of {shape[2]}x{shape[1]}")
            pixels = content.read(size + 1)
        if len(pixels) != size:
            raise ValueError("not as long as its header says, or no idx images")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(
            f"idx file {file} cannot be read ({error}): fetch it again"
        ) from error
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _repeat_grey(grey: UInt8[np.ndarray, "n h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    return np.repeat(grey[..., None], 3, axis=-1)
