"""Pictures that are read, filled and written back with all that their files hold."""

import contextlib
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import ExifTags, Image

from jaxgrow.data.image_files import count_frames, explained, open_image
from jaxgrow.data.images import eight_bits, over_white


Note = Callable[[str], None]
Format = Literal["png", "jpeg"]


@dataclasses.dataclass(frozen=True)
class Picture:
    """The first frame of a file: upright, with 8 bits a channel.

    Attributes:
        image: Of mode L, LA, RGB or RGBA, in the colours of its profile.
        options: What is saved beside the pixels: profile, EXIF entries, resolution.
    """

    image: Image.Image
    options: dict[str, object]

    @property
    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """The colours as a network sees them, over white where they are transparent."""
        rgba = self.image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))

    def filled(
        self, hole: Bool[np.ndarray, "h w"], pixels: UInt8[np.ndarray, "h w 3"]
    ) -> "Picture":
        """Return the picture with the opaque `pixels` in the hole; grey stays grey."""
        bands = [np.array(band) for band in self.image.split()]
        is_grey = all(np.array_equal(band, bands[0]) for band in bands[:3][1:])
        if len(bands) < 3 or is_grey:
            pixels = np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))
        values = (
            [pixels[..., 0]] if len(bands) < 3 else list(np.moveaxis(pixels, -1, 0))
        )
        opaque = np.full(hole.shape, 255, np.uint8)
        for band, value in zip(bands, [*values, opaque], strict=False):
            band[hole] = value[hole]
        image = Image.merge(self.image.mode, [Image.fromarray(band) for band in bands])
        return dataclasses.replace(self, image=image)

    def encoded(self, kind: Format, quality: int, note: Note) -> bytes:
        """Return the content of a file.

        Args:
            kind: Its format.
            quality: Of a JPEG file, 1 to 100.
            note: Called with a sentence about what the format cannot hold.
        """
        image, data = self.image, io.BytesIO()
        if kind == "png":
            image.save(data, "PNG", **self.options)
            return data.getvalue()
        note("JPEG changes known pixels a little: --format png keeps them bit for bit")
        if image.mode in ("LA", "RGBA"):
            note("JPEG has no transparency: it is laid over white")
            image = Image.fromarray(self.pixels).convert(image.mode[:-1])
        image.save(data, "JPEG", quality=quality, **self.options)
        return data.getvalue()


def read_picture(path: Path, note: Note, *, max_megapixels: float) -> Picture:
    """Read a picture; `note` is called with a sentence about what is lost.

    Raises:
        UserError: See `jaxgrow.data.images.decode_image`.
    """
    stored = open_image(path, max_megapixels=max_megapixels)
    with explained(path):
        image = eight_bits(stored)
        profile = stored.info.get("icc_profile")
        if image.has_transparency_data:
            grey = image.mode in ("L", "LA", "La")
            image = image.convert("RGBA").convert("LA" if grey else "RGBA")
        elif image.mode in ("1", "L"):
            image = image.convert("L")
        elif image.mode in ("RGB", "P", "RGBX"):
            image = image.convert("RGB")
        else:
            note(f"{path} is {image.mode} and becomes RGB")
            image, profile = over_white(image), None
    if (bits := stored.info.get("bits")) is not None:
        white = image.info.get("white")
        taken = f", {white} as white" if white else ""
        note(f"{path} has {bits} bits a channel and is reduced to 8{taken}")
    if (frames := count_frames(path)) > 1:
        note(f"{path} has {frames} frames, of which the first is kept")
    options: dict[str, object] = {}
    if profile:
        options["icc_profile"] = profile
    if dpi := stored.info.get("dpi"):
        options["dpi"] = dpi
    # Entries that Pillow cannot read it cannot write either.
    with contextlib.suppress(Exception):
        exif = stored.getexif()
        exif.pop(ExifTags.Base.Orientation, None)  # the pixels are upright
        if len(exif):
            options["exif"] = exif.tobytes()
    return Picture(image, options)
