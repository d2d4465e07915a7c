"""Runs of System 1 that go all the way in seconds, and what they say."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy
from PIL import Image

from experiments.places_grow.__main__ import main


_SIZE = 24
TINY = (
    *("smoke", "--net.width", "6", "--net.num-sub-blocks", "1"),
    *("--batch-size", "4", "--num-masks", "16", "--devices", "1"),
    *("--data.source", "folder", "--data.val-fraction", "0.3"),
    *("--data.crops-per-image", "2", "--unet-steps", "0", "--vgg-weights", "None"),
    *("--weights-dir", str(Path(__file__).parent)),  # which has no weights
    *("--log-every", "2", "--validate-every", "2"),
)
# The cheapest: one stage, no norm to compile, one kind of step.
ONE_STAGE = (
    *(*TINY, "--growth.resolutions", "4", "--growth.steps", "4", "--growth.fade", "0"),
    *("--net.norm", "none", "--losses.r1-gamma", "0", "--no-evaluate"),
)


class Said(NamedTuple):
    """How a command line ended."""

    status: int
    out: str
    err: str

    @property
    def error(self):
        """The one sentence of a refusal."""
        assert self.status == 2, self
        (line,) = self.err.splitlines()
        assert line.startswith("error: ")
        return line.removeprefix("error: ")


def run(capsys, *arguments):
    """Runs a command line in this process."""
    capsys.readouterr()
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as exiting:
        status = exiting.code
    return Said(status, *capsys.readouterr())


def picture(seed=0, size=_SIZE):
    """A smooth picture, like none with another seed."""
    corners = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
    return Image.fromarray(corners).resize((size, size), Image.Resampling.BICUBIC)


def hole(size=_SIZE, value=255):
    """A mask with a hole of a quarter of the picture."""
    pixels = np.zeros((size, size), np.uint8)
    pixels[: size // 2, : size // 2] = value
    return Image.fromarray(pixels)


def write_pictures(folder: Path, num_pictures=7) -> Path:
    """Pictures 0.png, 1.png, ... in a new folder."""
    folder.mkdir(parents=True)
    for i in range(num_pictures):
        picture(i).save(folder / f"{i}.png")
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def tensors_of(run: Path, resolution=4) -> dict[str, bytes]:
    """The bits of the weights that a stage of a run has left."""
    file = run / "weights" / f"generator_r{resolution}.safetensors"
    tensors = safetensors.numpy.load_file(file)
    return {name: tensor.tobytes() for name, tensor in tensors.items()}
