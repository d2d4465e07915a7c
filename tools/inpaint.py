"""Fill the holes of a folder of pictures with a trained generator.

    python -m tools.inpaint --images photos --masks masks --out filled

A mask is white where the hole is and has the name of its picture: a/b.png is the mask
of a/b.jpg. A single mask file is used for all pictures. Results are upright PNG files
under the names of the pictures. The exit status is 0 if every picture was written, 1
if some were skipped, 2 if nothing could be done.
"""

import dataclasses
import io
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import tyro
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console

from jaxgrow.cli.flags import spell_flags
from jaxgrow.data.files import list_images
from jaxgrow.data.images import decode_image
from jaxgrow.data.mask_reading import load_mask
from jaxgrow.devices import runtime
from jaxgrow.errors import UserError
from jaxgrow.inpainting.inpainter import Inpainter
from jaxgrow.storage import files
from jaxgrow.training.logs import progress_bar


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One folder of pictures to fill."""

    images: Path
    """A folder of pictures, with subfolders or without, or one picture."""
    masks: Path
    """A folder of masks named as their pictures, or one mask for all; white (128 and
    above) is the hole."""
    out: Path
    """Folder of the results, created if absent."""
    weights: Path | None = None
    """A .safetensors file or a run directory; None for those in the package."""
    resolution: int | None = None
    """Resolution of the weights in pixels; None for the largest."""
    invert: bool = False
    """Read masks that are black where the hole is."""
    force: bool = False
    """Replace existing results."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture, its mask and its result."""

    image: Path
    mask: Path
    out: Path


def main(config: Config) -> int:
    """Fill the pictures; return the exit status."""
    runtime.configure()
    runtime.keep_compiled()
    try:
        num_skipped = _fill_all(config, Console())
    except UserError as error:
        print(f"error: {spell_flags(str(error), Config)}", file=sys.stderr)
        return 2
    return 1 if num_skipped else 0


def plan(config: Config) -> tuple[list[Job], list[str]]:
    """Return the jobs, and a sentence for every picture that is left out.

    Raises:
        UserError: A folder is missing or empty, no names match, or the results would
            be among the pictures or the masks.
    """
    images, masks = _by_stem(config.images), _by_stem(config.masks)
    _check_folders(config)
    jobs, left_out = [], []
    for stem, image in images.items():
        mask = masks.get(stem) if config.masks.is_dir() else config.masks
        out = config.out / f"{stem}.png"
        if mask is None:
            left_out.append(
                f"{image} has no mask {config.masks / stem}.png or the like"
            )
        elif out.exists() and not config.force:
            left_out.append(f"{out} exists: add --force to replace it")
        elif out.resolve() in (image.resolve(), mask.resolve()):
            left_out.append(f"{out} is a source itself: name another folder")
        else:
            jobs.append(Job(image, mask, out))
    if config.masks.is_dir() and not images.keys() & masks.keys():
        raise UserError(
            f"no mask in {config.masks} has the name of a picture: {left_out[0]}."
        )
    return jobs, left_out


def fill(
    job: Job, inpainter: Inpainter, *, invert: bool, note: Callable[[str], None]
) -> UInt8[np.ndarray, "h w 3"]:
    """Fill the holes of a job's picture.

    Args:
        job: The picture and its mask.
        inpainter: The trained inpainter.
        invert: True if the hole is black.
        note: Called with a sentence on each oddity.

    Raises:
        UserError: A file is broken, the mask has another size, or it is all hole.
    """
    image = decode_image(job.image)
    mask, is_binary = load_mask(job.mask)
    mask = ~mask if invert else mask
    if mask.shape != image.shape[:2]:
        raise UserError(
            f"{job.mask} has {mask.shape[1]}x{mask.shape[0]} pixels and {job.image} "
            f"{image.shape[1]}x{image.shape[0]}: give both in one size"
        )
    hint = "leave --invert out" if invert else "add --invert"
    if mask.all():
        raise UserError(f"{job.mask} is all hole, inverted perhaps: {hint}")
    if not is_binary:
        note(f"{job.mask} has grey values: 128 and above counts as white")
    if mask.mean() > 0.5:
        note(f"{job.mask} is {mask.mean():.0%} hole: it looks inverted: {hint}")
    if not mask.any():
        note(f"{job.mask} has no hole: its picture is copied")
        return image
    return inpainter(image, mask)


def write_png(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a PNG file atomically, and create its folder."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    files.write_bytes(path, data.getvalue())


def _fill_all(config: Config, console: Console) -> int:
    """Fill all pictures; return the number of skipped ones and print why."""
    said: set[str] = set()

    def say(sentence: str) -> None:
        if sentence not in said:  # one mask may serve many pictures
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        said.add(sentence)

    def note(sentence: str) -> None:
        say(f"note: {sentence}.")

    jobs, left_out = plan(config)
    inpainter = Inpainter.load(config.weights, config.resolution)
    with files.disk_errors(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
    for reason in left_out:
        say(f"skipped: {reason}.")
    num_written = 0
    with progress_bar(console) as bar:
        task = bar.add_task("pictures", total=len(jobs), unit="pictures")
        for job in jobs:
            try:
                filled = fill(job, inpainter, invert=config.invert, note=note)
            except UserError as error:
                say(f"skipped: {str(error).rstrip('.')}.")
            else:
                write_png(job.out, filled)
                num_written += 1
            bar.advance(task)
    total = len(jobs) + len(left_out)
    say(f"Wrote {num_written} of {total} pictures to {config.out}.")
    return total - num_written


def _by_stem(path: Path) -> dict[str, Path]:
    """Map paths below the folder, without suffix, to files; or the name of one file.

    Raises:
        UserError: There is no file, or two would have the same result.
    """
    if path.is_file():
        return {path.stem: path}
    found: dict[str, Path] = {}
    for name in list_images(path).names:
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if stem in found:
            raise UserError(
                f"{found[stem]} and {path / name} differ in type only: rename one."
            )
        found[stem] = path / name
    if not found:
        raise UserError(f"{path} holds no images: give a folder of images or a file.")
    return found


def _check_folders(config: Config) -> None:
    if config.masks.samefile(config.images):
        raise UserError(
            f"images and masks are both {config.images}: put each mask under its "
            "picture's name into a folder of its own."
        )
    if config.out.exists() and not config.out.is_dir():
        raise UserError(f"{config.out} is a file: name a folder for the results.")
    for folder in (config.images, config.masks):
        if folder.is_dir() and config.out.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"results in {config.out} would lie among the files of {folder}: name "
                "another folder."
            )


if __name__ == "__main__":
    program = "python -m tools.inpaint"
    flags = (tyro.conf.FlagCreatePairsOff,)
    sys.exit(main(tyro.cli(Config, prog=program, description=__doc__, config=flags)))
