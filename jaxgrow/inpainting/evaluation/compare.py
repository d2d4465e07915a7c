"""Every method on the same photographs and holes, with paired intervals."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, UInt8

from jaxgrow.devices.parallel import RowsFn
from jaxgrow.inpainting.baselines import FillFn, MissingPackageError
from jaxgrow.inpainting.evaluation.intervals import (
    Difference,
    PerImage,
    differences,
    pooled_psnr,
)
from jaxgrow.metrics import image, spectrum
from jaxgrow.pretrained.feature_metrics import FeatureMetrics, FeatureNets


MaskBins = Mapping[str, UInt8[np.ndarray, "n r r 1"]]

HARDER, OVERALL = "10-50", "overall"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """Means of one method over the images of one bin.

    Attributes:
        method: Name of the method.
        bin: Percent of the area that is hole ("20-30"), "10-50" or "overall".
        num_images: How many pairs of a photograph and a hole went into the means.
        metrics: l1, psnr, ssim over the image and `*_hole` over the hole;
            psnr_hole_pooled; hf_error, hf_bias and mosaic over the hole; lpips of the
            image, and of "10-50" and "overall" fid, where there are weights.
    """

    method: str
    bin: str
    num_images: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One photograph, one hole, and what every method made of it."""

    bin: str
    original: UInt8[np.ndarray, "r r 3"]
    hole: Bool[np.ndarray, "r r"]
    fills: dict[str, UInt8[np.ndarray, "r r 3"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalResult:
    """What `evaluate` found at one resolution.

    Attributes:
        resolution: Side of the images in pixels.
        reference: The method that the differences are about.
        num_photos: Photographs that the images are crops of.
        protocol_sha256: Hash of bins, masks and image names: equal hashes, same test.
        pixels_sha256: Hash of the images' pixels.
        rows: One per method and bin, "10-50" and "overall" last.
        differences: One per baseline, bin and kind of hole PSNR.
        missing: Methods that could not run -> what they need.
        labels: lpips, fid, those that were measured -> name of the figure.
        needs: lpips, fid, those that were not -> what they need.
        notes: What a reader of the figures must know.
        examples: Pictures for `draw_panel`, chosen by position alone.
    """

    resolution: int
    reference: str
    num_photos: int
    protocol_sha256: str
    pixels_sha256: str
    rows: list[Row]
    differences: list[Difference]
    missing: dict[str, str]
    labels: dict[str, str]
    needs: dict[str, str]
    notes: tuple[str, ...]
    examples: list[Example]

    def metric(self, method: str, bin: str, name: str) -> float:
        """One figure; KeyError if there is no such row."""
        for row in self.rows:
            if (row.method, row.bin) == (method, bin):
                return row.metrics[name]
        raise KeyError((method, bin))


def evaluate(
    methods: Mapping[str, FillFn],
    images: UInt8[np.ndarray, "n r r 3"],
    masks_by_bin: MaskBins,
    image_index: Int[np.ndarray, " n"],
    names: Sequence[str],
    *,
    nets: FeatureNets | None = None,
    reference: str = "generator",
    num_resamples: int = 1000,
    seed: int = 0,
    examples_per_bin: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvalResult:
    """Compares methods on every image, once per bin of hole area.

    The methods get the images with black holes, so none can look at the answer, and a
    method that changes a known pixel is refused. psnr_hole is the mean over images of
    each image's own PSNR in its hole (errors below 8-bit rounding count as that, a cap
    of 58.9 dB); psnr_hole_pooled is the PSNR of the mean over images of the hole's
    mean squared error, which the worst images decide. hf_bias is the mean
    `high_frequency_error` in dB, hf_error the mean of its size, mosaic the mean
    `mosaic_index` over the images whose hole is large enough to tell (NaN if none is).

    The 95 % intervals resample photographs, not crops, with replacement, and take the
    same photographs for the reference and the baseline.

    Args:
        methods: Name -> fill function, in the order of the table. One that raises
            `MissingPackageError` becomes a row that says so.
        images: Validation images.
        masks_by_bin: Bin -> one mask per image, 1 = hole.
        image_index: The photograph that each image is a crop of.
        names: Name of each image, for the protocol's hash.
        nets: Of LPIPS and FID. FID is the distance of a method's pictures of several
            bins to the originals, each of which counts once.
        reference: The method to compare the others with.
        num_resamples: Bootstrap resamples.
        seed: Seed of the resampling.
        examples_per_bin: Images kept for the picture, evenly spaced.
        on_progress: Called with (done, all) after each method and bin.
    """
    if reference not in methods:
        raise ValueError(f"no method {reference!r} among {list(methods)}")
    nets = nets or FeatureNets()
    feature_metrics = FeatureMetrics(nets, images)
    shown = _examples(list(masks_by_bin), len(images), examples_per_bin)
    values: dict[str, dict[str, PerImage]] = {}
    distances: dict[tuple[str, str], dict[str, float]] = {}
    missing: dict[str, str] = {}
    kept: dict[tuple[str, str], UInt8[np.ndarray, "k r r 3"]] = {}
    for number, (name, fill) in enumerate(methods.items()):
        measured: dict[str, PerImage] = {}
        try:
            for done, (bin, masks) in enumerate(masks_by_bin.items(), start=1):
                filled = _fill_honestly(name, fill, images, masks)
                measured[bin] = measure(filled, images, masks)
                measured[bin] |= feature_metrics.add(name, bin, filled)
                kept[name, bin] = filled[shown[bin]]
                if on_progress is not None:
                    bins = len(masks_by_bin)
                    on_progress(number * bins + done, len(methods) * bins)
        except MissingPackageError as error:
            missing[name] = error.needs
        else:
            values[name] = _with_unions(measured)
            for union, bins in _unions(measured).items():
                distances[name, union] = feature_metrics.distance(name, bins)
    examples = [
        Example(
            bin=bin,
            original=images[i],
            hole=masks[i, ..., 0] == 1,
            fills={name: kept[name, bin][k] for name in values},
        )
        for bin, masks in masks_by_bin.items()
        for k, i in enumerate(shown[bin])
    ]
    return EvalResult(
        resolution=images.shape[1],
        reference=reference,
        num_photos=len(np.unique(image_index)),
        protocol_sha256=protocol_hash(masks_by_bin, names),
        pixels_sha256=hashlib.sha256(images.tobytes()).hexdigest(),
        rows=[
            _summary(method, bin, per_image, distances.get((method, bin), {}))
            for method, by_bin in values.items()
            for bin, per_image in by_bin.items()
        ],
        differences=differences(values, reference, image_index, num_resamples, seed),
        missing=missing,
        labels=feature_metrics.labels,
        needs={k: v for k, v in nets.needs.items() if k not in feature_metrics.labels},
        notes=feature_metrics.notes,
        examples=examples,
    )


def measure(
    filled: UInt8[np.ndarray, "n r r 3"],
    images: UInt8[np.ndarray, "n r r 3"],
    masks: UInt8[np.ndarray, "n r r 1"],
    batch_size: int = 64,
) -> PerImage:
    """All metrics of each image: l1, psnr, ssim, `*_hole`, mse_hole, hf and mosaic.

    The devices of this machine share the images.
    """
    found = _measure_fn().in_batches(batch_size, (), filled, images, masks)
    return {name: values.astype(np.float64) for name, values in found.items()}


@functools.cache
def _measure_fn() -> RowsFn:
    return RowsFn(_measure_rows)


def _measure_rows(_, filled, images, masks):
    x, y = (jnp.asarray(v, jnp.float32) / 255.0 for v in (filled, images))
    mask = jnp.asarray(masks, jnp.float32)
    mse_hole = image.mse(x, y, mask)
    return {
        "l1_hole": image.l1(x, y, mask),
        "mse_hole": mse_hole,
        "psnr_hole": image.psnr_of_mse(mse_hole),
        "ssim_hole": image.ssim(x, y, mask),
        "l1": image.l1(x, y),
        "psnr": image.psnr(x, y),
        "ssim": image.ssim(x, y),
        "hf": spectrum.high_frequency_error(x, y, mask),
        "mosaic": spectrum.mosaic_index(x, y, mask),
    }


def protocol_hash(masks_by_bin: MaskBins, names: Sequence[str]) -> str:
    """SHA-256 over the image names, the bins and every mask, in their order."""
    digest = hashlib.sha256("\0".join(names).encode())
    for bin, masks in masks_by_bin.items():
        digest.update(f"\0{bin} {masks.shape}\0".encode())
        digest.update(masks.astype(np.uint8).tobytes())
    return digest.hexdigest()


def _examples(bins: list[str], num_images: int, per_bin: int) -> dict[str, list[int]]:
    """Evenly spaced images for the picture, other ones in every bin."""
    per_bin = min(per_bin, num_images)
    spaced = np.linspace(0, num_images - 1, per_bin * len(bins)).round().astype(int)
    return {bin: spaced[i :: len(bins)].tolist() for i, bin in enumerate(bins)}


def _fill_honestly(
    name: str,
    fill: FillFn,
    images: UInt8[np.ndarray, "n r r 3"],
    masks: UInt8[np.ndarray, "n r r 1"],
) -> UInt8[np.ndarray, "n r r 3"]:
    holes = masks[..., 0] == 1
    given = np.where(holes[..., None], np.uint8(0), images)
    filled = fill(given, holes)
    if not np.array_equal(filled[~holes], images[~holes]):
        raise ValueError(f"{name} changed known pixels")
    return filled


def _with_unions(by_bin: dict[str, PerImage]) -> dict[str, PerImage]:
    joined = {
        union: {
            k: np.concatenate([by_bin[bin][k] for bin in bins]) for k in by_bin[bins[0]]
        }
        for union, bins in _unions(by_bin).items()
    }
    return {**by_bin, **joined}


def _unions(bins: Iterable[str]) -> dict[str, list[str]]:
    """Those of "10-50" (that start at 10 % or more) and of "overall", unless empty."""
    bins = list(bins)
    harder = [bin for bin in bins if int(bin.split("-")[0]) >= 10]
    return {union: of for union, of in ((HARDER, harder), (OVERALL, bins)) if of}


def _summary(
    method: str, bin: str, per_image: PerImage, distances: dict[str, float]
) -> Row:
    plain = ("l1_hole", "psnr_hole", "ssim_hole", "l1", "psnr", "ssim", "lpips")
    metrics = {n: float(per_image[n].mean()) for n in plain if n in per_image}
    metrics |= distances
    mse_hole = per_image["mse_hole"].mean(keepdims=True)
    metrics["psnr_hole_pooled"] = pooled_psnr(mse_hole).item()
    metrics["hf_error"] = float(np.abs(per_image["hf"]).mean())
    metrics["hf_bias"] = float(per_image["hf"].mean())
    told = per_image["mosaic"][~np.isnan(per_image["mosaic"])]
    metrics["mosaic"] = float(told.mean()) if len(told) else float("nan")
    return Row(method=method, bin=bin, num_images=len(per_image["l1"]), metrics=metrics)
