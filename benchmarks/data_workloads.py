"""Data pipelines as workloads: JPEG files, a memory map, arrays on the device."""

import functools
import io
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks import measure
from benchmarks.measure import Sides
from benchmarks.sizes import Sizes
from benchmarks.view_twins import torch
from jaxgrow.data.batches import plan_batch, plan_rows
from jaxgrow.data.file_sources import ImageFolder
from jaxgrow.data.files import map_in_threads
from jaxgrow.data.pyramid import cut_levels
from jaxgrow.inpainting.batch import Data, gather


_SIDE, _FILE_SIDE, _BATCH = 64, 256, 128


class _Scenes:
    """A usual PyTorch data set: decode, crop and shrink pictures one by one."""

    def __init__(self, files: list[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        with Image.open(self.files[i]) as image:
            small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        return torch.from_numpy(np.array(small))


def jpeg_sides(sizes: Sizes) -> Sides:
    """Build the decoding of JPEG files of 256 px to 64 px by area means."""
    folder = tempfile.TemporaryDirectory()
    files = _write_files(Path(folder.name), sizes.files)
    source = ImageFolder(Path(folder.name))
    box = np.array([[0, 0, _FILE_SIDE]])

    def cut(i: int) -> np.ndarray:
        return cut_levels(source[i], box, (_SIDE,))[_SIDE][0]

    def ours() -> np.ndarray:
        return np.stack(list(map_in_threads(cut, range(len(source)))))

    loader = torch.utils.data.DataLoader(
        _Scenes(files), batch_size=min(_BATCH, len(files))
    )

    def theirs() -> Any:
        return list(loader)

    # Both round a mean of 16 pixels; Pillow computes it in integers.
    found = np.concatenate([np.asarray(x) for x in theirs()])
    assert np.abs(ours().astype(int) - found).max() <= 1
    return Sides(
        ours=ours,
        twins={"PyTorch DataLoader": theirs},
        items=len(files),
        unit="images",
        checked="8-bit pictures, at most 1 apart",
        close=folder.cleanup,
    )


def _write_files(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    files = []
    for i in range(count):
        blocks = rng.integers(0, 256, (16, 16, 3), np.uint8)
        image = Image.fromarray(blocks).resize((_FILE_SIDE, _FILE_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        files.append(folder / f"{i:05}.jpg")
        files[-1].write_bytes(buffer.getvalue())
    return files


def _rows(sizes: Sizes) -> np.ndarray:
    shape = (sizes.rows, _SIDE, _SIDE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


class _Mapped:
    """A memory-mapped data set, one row at a time."""

    def __init__(self, images: np.ndarray):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Any:
        return torch.from_numpy(np.array(self.images[i]))


def map_sides(sizes: Sizes) -> Sides:
    """Build shuffled batches of 128 from a file that is mapped into memory."""
    folder = tempfile.TemporaryDirectory()
    file = Path(folder.name) / "images.npy"
    np.save(file, _rows(sizes))
    images = np.load(file, mmap_mode="r")
    steps = min(8, len(images) // _BATCH)

    def ours() -> list[np.ndarray]:
        plans = (plan_rows(0, k, _BATCH, len(images)) for k in range(steps))
        return [np.asarray(images[rows]) for rows in plans]

    order = [r for k in range(steps) for r in plan_rows(0, k, _BATCH, len(images))]
    loader = torch.utils.data.DataLoader(
        _Mapped(images), batch_size=_BATCH, sampler=[int(r) for r in order]
    )

    def theirs() -> Any:
        return list(loader)

    for mine, other in zip(ours(), theirs(), strict=True):
        np.testing.assert_array_equal(mine, np.asarray(other.cpu()))
    return Sides(
        ours=ours,
        twins={"PyTorch DataLoader": theirs},
        items=steps * _BATCH,
        unit="images",
        checked="pictures of every batch, bit for bit",
        close=folder.cleanup,
    )


def device_sides(sizes: Sizes) -> Sides:
    """Build batches of 128 with masks, gathered, mirrored and scaled on the device."""
    images = _rows(sizes)
    masks = np.random.default_rng(1).integers(0, 2, (256, _SIDE, _SIDE, 1), np.uint8)
    data = Data(jnp.asarray(images), jnp.asarray(masks))
    plan = plan_batch(0, 0, _BATCH, len(images), len(masks))
    plan = plan._replace(mask_symmetry=np.zeros_like(plan.mask_symmetry))
    batch = jax.device_put(plan)
    program = jax.jit(gather).lower(data, batch).compile()
    torch.set_num_threads(measure.num_cpus())
    rows, flip, mask_rows = (
        torch.tensor(np.asarray(x)) for x in (plan[0], plan[1], plan[2])
    )
    their_images = torch.tensor(images)
    their_masks = torch.tensor(masks)

    def theirs() -> Any:
        x = their_images[rows]
        x = torch.where(flip[:, None, None, None], x.flip(2), x)
        return x.float() / 127.5 - 1.0, their_masks[mask_rows].float()

    for mine, other in zip(program(data, batch), theirs(), strict=True):
        np.testing.assert_allclose(mine, other.cpu().numpy(), atol=1e-6)
    return Sides(
        ours=functools.partial(program, data, batch),
        twins={"PyTorch": theirs},
        items=_BATCH,
        unit="images",
        checked="pictures and masks, 1e-06",
        program=program,
    )
