"""Fill the holes of a folder of pictures with a trained generator.

    python -m tools.inpaint --images photos --masks masks --out filled

A mask is white where the hole is and has the name of its picture: a/b.png is the mask
of a/b.jpg. A single mask file is used for all pictures. Results have the names of the
pictures and keep their colour profile, EXIF entries, grey and transparency. They are
PNG files, or JPEG files for JPEG pictures. Results that exist are kept, so that the
same command goes on where it was stopped. The exit status is 0 if every picture has a
result, 1 if some were skipped, 2 if nothing could be done.
"""

import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Bool
from rich.console import Console
from scipy import ndimage

from experiments.shared import cli
from jaxgrow.cli.flags import spell_flags
from jaxgrow.data.image_files import MAX_MEGAPIXELS
from jaxgrow.data.mask_reading import load_mask
from jaxgrow.devices import runtime
from jaxgrow.errors import UserError
from jaxgrow.inpainting.inpainter import Inpainter
from jaxgrow.ranges import Checked, Count, Natural, Positive, Range
from jaxgrow.storage import files
from jaxgrow.training.logs import progress_bar
from tools.inpaint_pictures import Format, Note, Picture, read_picture
from tools.inpaint_plan import FORMATS, Job, folder_of, plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """One folder of pictures to fill."""

    images: Path
    """A folder of pictures, with subfolders or without, or one picture."""
    masks: Path
    """A folder of masks named as their pictures, or one mask for all; white (128 and
    above) is the hole."""
    out: Path
    """Folder of the results, created if absent; for one picture also a .png or .jpg."""
    weights: Path | None = None
    """A .safetensors file or a run directory; None for those in the package."""
    resolution: Count | None = None
    """Resolution of the weights in pixels; None for the largest, but 16 px of those in
    the package."""
    invert: bool = False
    """Read masks that are black where the hole is."""
    dilate: Natural = 0
    """Pixels by which every hole grows on all sides, for masks that leave a rim of what
    they hide."""
    force: bool = False
    """Replace existing results."""
    format: Format | None = None
    """Format of the results; None for JPEG if the picture is JPEG, and PNG else."""
    quality: Annotated[int, Range(1, 100)] = 95
    """Quality of JPEG results, 1 to 100."""
    max_megapixels: Positive = MAX_MEGAPIXELS
    """Largest picture that is read, in millions of pixels."""


def main(arguments: list[str] | None = None) -> int:
    """Fill the pictures; return the exit status."""
    return cli.run_tool(
        "python -m tools.inpaint", __doc__, _fill_all, Config, arguments
    )


def fill(job: Job, inpainter: Inpainter, config: Config, note: Note) -> Picture:
    """Fill the holes of a job's picture.

    Args:
        job: The picture and its mask.
        inpainter: The trained inpainter.
        config: Says how pictures and masks are read.
        note: Called with a sentence on each oddity.

    Raises:
        UserError: A file is broken, the mask has another size or no hole, or it is all
            hole.
    """
    limit = config.max_megapixels
    picture = read_picture(job.image, note, max_megapixels=limit)
    mask, is_binary = load_mask(job.mask, invert=config.invert, max_megapixels=limit)
    pixels = picture.pixels
    if mask.shape != pixels.shape[:2]:
        raise UserError(
            f"{job.mask} has {mask.shape[1]}x{mask.shape[0]} pixels and {job.image} "
            f"{pixels.shape[1]}x{pixels.shape[0]}: give both in one size"
        )
    if config.dilate:
        square = np.ones((2 * config.dilate + 1,) * 2, bool)
        mask = ndimage.binary_dilation(mask, square)
    _check_hole(job, mask, config, note)
    if not is_binary:
        note(f"{job.mask} has grey values: 128 and above counts as white")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said above
        return picture.filled(mask, inpainter(pixels, mask))


def _check_hole(
    job: Job, mask: Bool[np.ndarray, "h w"], config: Config, note: Note
) -> None:
    hint = "leave --invert out" if config.invert else "add --invert"
    if mask.all():
        raise UserError(f"{job.mask} is all hole, inverted perhaps: {hint}")
    if not mask.any():
        raise UserError(
            f"{job.mask} has no hole, so that nothing is to be filled: mark it in white"
        )
    if mask.mean() > 0.5:
        note(f"{job.mask} is {mask.mean():.0%} hole: it looks inverted: {hint}")


def _fill_all(config: Config, console: Console) -> int:
    """Fill all pictures, print why some were skipped, and return the exit status."""
    runtime.keep_compiled()
    said: set[str] = set()

    def say(sentence: str) -> None:
        if sentence not in said:  # one mask may serve many pictures
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        said.add(sentence)

    def note(sentence: str) -> None:
        say(f"note: {sentence}.")

    found = plan(config)
    inpainter = Inpainter.load(config.weights, config.resolution)
    with files.disk_errors(config.out):
        folder_of(config).mkdir(parents=True, exist_ok=True)
    for sentence in found.remarks:
        note(sentence)
    for reason in found.left_out:
        say(f"skipped: {reason}.")
    if found.done:
        note(f"{found.done} results exist: add --force to replace them")
    num_written = 0
    with progress_bar(console) as bar:
        task = bar.add_task("pictures", total=len(found.jobs), unit="pictures")
        for job in found.jobs:
            try:
                filled = fill(job, inpainter, config, note)
            except UserError as error:
                reason = spell_flags(str(error), Config).rstrip(".")
                say(f"skipped: {reason}.")
            else:
                kind = FORMATS.get(job.out.suffix.lower(), "jpeg")
                content = filled.encoded(kind, config.quality, note)
                files.write_bytes(job.out, content)
                num_written += 1
            bar.advance(task)
    total = len(found.jobs) + len(found.left_out) + found.done
    say(f"Wrote {num_written} of {total} pictures to {config.out}.")
    return 1 if num_written + found.done < total else 0


if __name__ == "__main__":
    sys.exit(main())
