"""Pictures, their masks and their results: the work of one call of `tools.inpaint`."""

import collections
import dataclasses
import os
from pathlib import Path, PurePosixPath
from typing import Protocol

from jaxgrow.data.files import list_images, stem_of
from jaxgrow.data.image_files import is_jpeg
from jaxgrow.errors import UserError
from tools.inpaint_pictures import Format


FORMATS: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}


class Places(Protocol):
    """The fields of the command line that a plan depends on."""

    @property
    def images(self) -> Path: ...

    @property
    def masks(self) -> Path: ...

    @property
    def out(self) -> Path: ...

    @property
    def format(self) -> Format | None: ...

    @property
    def force(self) -> bool: ...


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture, its mask and its result."""

    image: Path
    mask: Path
    out: Path


@dataclasses.dataclass(frozen=True)
class Plan:
    """The pictures of a command.

    Attributes:
        jobs: The pictures to fill.
        left_out: A sentence for every picture that cannot be filled.
        done: Number of pictures whose results exist.
        remarks: Sentences on files that are no pictures.
    """

    jobs: list[Job]
    left_out: list[str]
    done: int
    remarks: list[str]


def plan(config: Places) -> Plan:
    """Find the pictures and their masks.

    Raises:
        UserError: A folder is missing or empty, no names match, or the results would
            be among the pictures or the masks.
    """
    _check_folders(config)
    images, remarks = _names(config.images, without=config.masks)
    masks, more = _names(config.masks, without=None)
    partners = collections.defaultdict(list)
    for name in masks:
        partners[stem_of(name)].append(name)
    outs = {name: _out_of(config, name) for name in images}
    same = collections.Counter(outs.values())
    found = Plan([], [], 0, [*remarks, *more])
    num_done = 0
    for name, out in outs.items():
        image = config.images / name if config.images.is_dir() else config.images
        paths = [config.masks]
        if config.masks.is_dir():
            own = partners[stem_of(name)]
            # Two names may differ only in how their accents are written.
            exact = [mask for mask in own if _stem(mask) == _stem(name)]
            paths = [config.masks / mask for mask in (exact or own)]
        if not paths:
            wanted = config.masks / f"{_stem(name)}.png"
            found.left_out.append(f"{image} has no mask {wanted} or the like")
        elif len(paths) > 1:
            found.left_out.append(f"{image} has two masks, {paths[0]} and {paths[1]}")
        elif same[out] > 1:
            found.left_out.append(f"{image} and another picture would both be {out}")
        elif any(_is_same(out, source) for source in (image, paths[0])):
            found.left_out.append(f"{out} is a source itself: name another folder")
        elif out.exists() and not config.force:
            num_done += 1
        else:
            found.jobs.append(Job(image, paths[0], out))
    if config.masks.is_dir() and not any(partners[stem_of(name)] for name in images):
        raise UserError(
            f"no mask in {config.masks} has the name of a picture: {found.left_out[0]}."
        )
    return dataclasses.replace(found, done=num_done)


def _names(path: Path, *, without: Path | None) -> tuple[list[str], list[str]]:
    """Return the pictures below a folder, or the name of one file; and remarks.

    Raises:
        UserError: There is no file.
    """
    if path.is_file():
        return [path.name], []
    found = list_images(path, without=without)
    if not found.names:
        raise UserError(f"{path} holds no images: give a folder of images or a file.")
    return found.names, found.remarks(path)


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _out_of(config: Places, name: str) -> Path:
    """Return the file of a picture's result."""
    if _is_file(config):
        return config.out
    source = config.images / name if config.images.is_dir() else config.images
    kind = config.format or ("jpeg" if is_jpeg(source) else "png")
    ending = PurePosixPath(name).suffix
    if kind == "png":
        ending = ".png"
    elif ending.lower() not in (".jpg", ".jpeg", ".jpe", ".jfif"):
        ending = ".jpg"
    return config.out / f"{_stem(name)}{ending}"


def _is_file(config: Places) -> bool:
    """True if the result is named as a file."""
    is_named = config.out.suffix.lower() in FORMATS and not config.out.is_dir()
    return is_named and config.images.is_file()


def folder_of(config: Places) -> Path:
    """Return the folder that the results are written to."""
    return config.out.absolute().parent if _is_file(config) else config.out


def _is_same(one: Path, other: Path) -> bool:
    # Path.resolve fails on a link that leads to itself.
    return os.path.realpath(one) == os.path.realpath(other)


def _check_folders(config: Places) -> None:
    if _is_same(config.masks, config.images):
        raise UserError(
            f"images and masks are both {config.images}: put each mask under its "
            "picture's name into a folder of its own."
        )
    if _is_file(config):
        kind = FORMATS[config.out.suffix.lower()]
        if config.format not in (None, kind):
            raise UserError(f"{config.out} is no {config.format}: name it otherwise.")
        return
    if os.path.lexists(config.out) and not config.out.is_dir():
        raise UserError(f"{config.out} is a file: name a folder for the results.")
    if config.out.suffix.lower() in FORMATS and not config.out.is_dir():
        raise UserError(
            f"{config.out} is named like a picture, but {config.images} is a folder: "
            "name a folder for the results."
        )
    out = Path(os.path.realpath(config.out))
    for folder in (config.images, config.masks):
        if folder.is_dir() and out.is_relative_to(os.path.realpath(folder)):
            raise UserError(
                f"results in {config.out} would lie among the files of {folder}: name "
                "another folder."
            )
