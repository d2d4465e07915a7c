"""Opening of image files: the table of formats that are read, and their headers.

A file is recognised by its first bytes and given to one reader of Pillow. `Image.open`
would try them all, start Ghostscript for an EPS file, and limit the number of pixels
by a variable that belongs to the program that imports this package.
"""

import contextlib
import io
import math
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps

from jaxgrow.data import png
from jaxgrow.errors import UserError


FORMATS = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "WEBP": rb"RIFF....WEBP",
    "TIFF": rb"(?:II[*+]\0|MM\0[*+])(?!....CR)",
    "BMP": rb"BM",
    "DIB": rb"[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "PPM": rb"P[1-6f]\s",
    "JPEG2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "AVIF": rb"....ftyp.*avi[fs]",
}
"""Pillow's name of each format that is read -> its first bytes. TGA has none."""
_CONVERT = "convert it to PNG or JPEG"
_OTHERS = {
    "HEIC": (
        rb"....ftyp(?:hei|hev|mif1|msf1)",
        f"{_CONVERT}, or pip install pillow-heif",
    ),
    "JPEG XL": (rb"\xff\x0a|\0\0\0\x0cJXL ", _CONVERT),
    "camera raw": (rb"II\*\0....CR|IIRO|IIU\0|FUJIFILM", _CONVERT),
    "PostScript or PDF": (rb"%!PS|%PDF|\xc5\xd0\xd3\xc6", _CONVERT),
    "SVG": (rb"\s*(?:<\?xml.*)?<svg", _CONVERT),
    "Photoshop or GIMP": (rb"8BPS|gimp xcf", _CONVERT),
    "OpenEXR or Radiance": (rb"v/1\x01|#\?RADIANCE|#\?RGBE", _CONVERT),
    "an icon or texture": (rb"\0\0[\1\2]\0|icns|DDS ", _CONVERT),
}
_TGA = (".tga", ".vda", ".icb", ".vst")
_HEAD = 64  # bytes that tell the formats apart
_SUFFIX = re.compile(
    r"\.(jpe?g|jfif|jpe|a?png|webp|bmp|dib|gif|tiff?|p[bgnp]m|pfm|jp2|j2k|avif|tga|vda"
    r"|icb|vst|hei[cf]|jxl|psd|eps|svg|exr|hdr|cr2|nef|arw|dng|orf|rw2|raf)",
    re.IGNORECASE,
)
MIN_SIDE = 2
MAX_MEGAPIXELS = 256.0
"""Largest picture that is decoded unless more is allowed; it takes 0.8 GB."""


def looks_like_image(name: str, head: bytes) -> bool:
    """True if the first bytes or else the ending are those of a picture.

    The picture may be of a format that is not read; `decode_image` then names it.
    """
    magics = [*FORMATS.values(), *(magic for magic, _ in _OTHERS.values())]
    known = any(re.match(magic, head, re.DOTALL) for magic in magics)
    return known or bool(_SUFFIX.fullmatch(Path(name).suffix))


def is_jpeg(file: Path) -> bool:
    """True if a file can be read and begins like JPEG."""
    with contextlib.suppress(OSError), _stream(file) as stream:
        return bool(re.match(FORMATS["JPEG"], stream.read(_HEAD)))
    return False


def open_image(
    file: str | Path | bytes,
    name: str | None = None,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Image.Image:
    """Load an image as it is stored, but upright and with 16-bit colours in 8 bits.

    `info["bits"]` is the depth of a channel if it is stored in more than 8 bits. For
    arguments and errors see `decode_image`.
    """
    with explained(file, name), _stream(file) as stream:
        return _tried_twice(_load, stream, _name_of(file, name), max_megapixels)


def count_frames(file: Path) -> int:
    """Return the number of frames or pages of an image; 1 if they cannot be counted."""
    with contextlib.suppress(Exception), _stream(file) as stream:
        return getattr(_identify(stream, str(file), math.inf), "n_frames", 1)
    return 1


def header_fault(
    file: str | Path | bytes,
    name: str | None = None,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> str | None:
    """Return the sentence that `decode_image` refuses a header with; None if good."""
    try:
        with explained(file, name), _stream(file) as stream:
            _tried_twice(_identify, stream, _name_of(file, name), max_megapixels)
    except UserError as error:
        return str(error)
    return None


def _tried_twice(
    read: Callable[..., Image.Image], stream: io.BufferedIOBase, *arguments: Any
) -> Image.Image:
    """Return `read(stream, *arguments)`, of a damaged PNG without its remarks.

    The pixels behind bad remarks may be good.
    """
    try:
        return read(stream, *arguments)
    except UserError:
        raise
    except Exception:
        stream.seek(0)
        content = stream.read()
        if not re.match(FORMATS["PNG"], content):
            raise
        return read(io.BytesIO(png.without_remarks(content)), *arguments)


@contextlib.contextmanager
def explained(file: str | Path | bytes, name: str | None = None) -> Iterator[None]:
    """Turn errors while reading `file` into a `UserError` that names it."""
    name = _name_of(file, name)
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"image {name} does not exist: check its path") from None
    # Damaged files make Pillow's decoders raise errors of many types.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(
            f"image {name} cannot be read ({' '.join(reason.split())}): replace or "
            "remove the file"
        ) from error


def _name_of(file: str | Path | bytes, name: str | None) -> str:
    if name is not None:
        return name
    return f"<{len(file)} bytes>" if isinstance(file, bytes) else str(file)


@contextlib.contextmanager
def _stream(file: str | Path | bytes) -> Iterator[io.BufferedIOBase]:
    if isinstance(file, bytes):
        yield io.BytesIO(file)
        return
    # Opening a FIFO would wait for a writer.
    if not stat.S_ISREG(os.stat(file).st_mode):
        raise OSError("it is no regular file")
    with open(file, "rb") as stream:
        yield stream


def _identify(
    stream: io.BufferedIOBase, name: str, max_megapixels: float
) -> ImageFile.ImageFile:
    """Read the header by the one reader that the first bytes call for."""
    stream.seek(0)
    head = stream.read(_HEAD)
    kinds = (k for k, magic in FORMATS.items() if re.match(magic, head, re.DOTALL))
    is_tga = Path(name).suffix.lower() in _TGA
    kind = next(kinds, "TGA" if is_tga else None)
    read = _reader(kind, head) if kind else _other_reader(head, name)
    stream.seek(0)
    image = read(stream, name)
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"image {name} has {width}x{height} pixels: at least 2x2 are needed"
        )
    if width * height > max_megapixels * 1e6:
        raise UserError(
            f"image {name} has {width}x{height} pixels, more than {max_megapixels:g} "
            "megapixels: scale it down, or set max_megapixels to allow it where it "
            "is an option"
        )
    # The first page of many cameras' raw files is a thumbnail.
    if kind == "TIFF" and getattr(image, "tag_v2", {}).get(254, 0) & 1:
        raise UserError(f"image {name} begins with a preview, as raw files: {_CONVERT}")
    return image


def _reader(kind: str, head: bytes) -> Callable[..., ImageFile.ImageFile]:
    Image.init()
    read, accept = Image.OPEN.get(kind, (None, None))
    if read is None or (accept and isinstance(accept(head), str)):
        raise OSError(f"it is {kind}, which this Pillow lacks: pip install -U pillow")
    return read


def _other_reader(head: bytes, name: str) -> Callable[..., ImageFile.ImageFile]:
    for kind, (magic, advice) in _OTHERS.items():
        if not re.match(magic, head, re.DOTALL):
            continue
        if kind == "HEIC":
            with contextlib.suppress(ImportError):
                from pillow_heif import HeifImageFile  # pyright: ignore[reportMissingImports]

                return HeifImageFile
        raise UserError(f"image {name} is {kind}, which is not read: {advice}")
    raise OSError("no image, or its header is damaged")


def _load(stream: io.BufferedIOBase, name: str, max_megapixels: float) -> Image.Image:
    image = _identify(stream, name, max_megapixels)
    is_deep = any(";16" in str(tile[3]) for tile in image.tile)
    image.load()
    if is_deep and image.mode in ("RGB", "RGBA"):
        high = np.asarray(image)
        if high[..., :3].max() < 16:  # 12 bits or fewer: Pillow's upper byte is black
            again = _identify(stream, name, max_megapixels)
            image.paste(_from_low_bytes(high, again))
    if is_deep or image.mode.startswith(("I", "F")):
        is_16 = is_deep or ";16" in image.mode or image.format == "PPM"
        image.info["bits"] = 16 if is_16 else 32
    # A broken EXIF entry says nothing.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _from_low_bytes(high: UInt8[np.ndarray, "h w c"], again) -> Image.Image:
    """Read 16-bit colours whose upper bytes are `high` with their lower bytes.

    Pillow keeps the first byte that its raw mode names. In the other order of bytes
    that is the lower one.
    """
    again.tile = [tile._replace(args=_other_byte(tile.args)) for tile in again.tile]
    is_grey = again.tile[0].args == "RGBA"  # grey and alpha, each upper and lower
    again.load()
    low = np.asarray(again)
    low = low[..., [1, 1, 1, 3]] if is_grey else low
    values = high.astype(np.float64) * 256 + low
    for channels in (slice(0, 3), slice(3, 4)):
        part = values[..., channels]
        part *= 255 / least_white(part.max(initial=0))
    return Image.fromarray(np.rint(values).astype(np.uint8))


def _other_byte(args: str | tuple) -> str | tuple:
    """Return a tile's arguments, the first its raw mode, with the bytes swapped."""
    if isinstance(args, tuple):
        return _other_byte(args[0]), *args[1:]
    order = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    return "RGBA" if args == "LA;16B" else args[:-1] + order[args[-1]]


def least_white(high: float, whites: tuple[int, ...] = (255, 4095, 65535)) -> int:
    """Return the least white that `high` does not exceed, by default of 8 to 16 bits.

    Raises:
        ValueError: It exceeds all of them.
    """
    if high > whites[-1]:
        raise ValueError(
            f"its values reach {high:g}, and nothing says which one is white: scale it "
            "to 8 or 16 bits"
        )
    return next(white for white in whites if high <= white)
