"""Comparison of methods on the same photographs and holes, with intervals."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, UInt8

from jaxgrow.devices.parallel import RowsFn
from jaxgrow.evaluation.figures import MetricColumns
from jaxgrow.inpainting.baselines import FillFn, MissingPackageError
from jaxgrow.inpainting.evaluation.intervals import Difference, differences, pooled_psnr
from jaxgrow.metrics import image, spectrum
from jaxgrow.pretrained.feature_metrics import FeatureMetrics, FeatureNets


MaskBins = Mapping[str, UInt8[np.ndarray, "n r r 1"]]

HARDER, OVERALL = "10-50", "overall"
_REFERENCE = "generator"
_EXAMPLES_PER_BIN = 2
_RANKED = ("best", "median", "worst")  # examples, by the reference's hole PSNR


@dataclasses.dataclass(frozen=True)
class MetricRow:
    """Means of one method over the images of one bin.

    Attributes:
        method: Name of the method.
        bin: Percent of the area that is hole ("20-30"), "10-50" or "overall".
        num_images: Pairs of a photograph and a hole in the means.
        metrics: Means of l1, psnr and ssim over the image and `*_hole` over the hole,
            where errors below 8-bit rounding cap PSNR at 58.9 dB. psnr_hole_pooled is
            the PSNR of the mean squared error over all holes, which the worst images
            decide. hf_bias is the mean `high_frequency_error` in dB, hf_error that of
            its size; mosaic the mean `mosaic_index`, NaN if no hole is large enough.
            With weights lpips of the image, and in "10-50" and "overall" fid, which
            compares the pictures of several bins with the originals.
    """

    method: str
    bin: str
    num_images: int
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Example:
    """One photograph, one hole, and the fills of all methods.

    `label` is the bin of the hole, or "best", "median" or "worst" by hole PSNR of the
    reference among all photographs and holes.
    """

    label: str
    original: UInt8[np.ndarray, "r r 3"]
    hole: Bool[np.ndarray, "r r"]
    fills: dict[str, UInt8[np.ndarray, "r r 3"]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalResult:
    """The comparison at one resolution.

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
        notes: Remarks for the reader of the figures.
        examples: Pictures for `draw_panel`.
    """

    resolution: int
    reference: str
    num_photos: int
    protocol_sha256: str
    pixels_sha256: str
    rows: list[MetricRow]
    differences: list[Difference]
    missing: dict[str, str]
    labels: dict[str, str]
    needs: dict[str, str]
    notes: tuple[str, ...]
    examples: list[Example]

    def metric(self, method: str, bin: str, name: str) -> float:
        """Return one figure; KeyError if there is no such row."""
        metrics = {(row.method, row.bin): row.metrics for row in self.rows}
        return metrics[method, bin][name]


def evaluate(
    methods: Mapping[str, FillFn],
    images: UInt8[np.ndarray, "n r r 3"],
    masks_by_bin: MaskBins,
    image_index: Int[np.ndarray, " n"],
    names: Sequence[str],
    *,
    nets: FeatureNets | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> EvalResult:
    """Compare methods on every image, once per bin of hole area.

    Methods get the images with black holes, so none can look at the answer. A method
    that changes a known pixel is refused; one that raises `MissingPackageError` goes to
    `EvalResult.missing`. The 95 % intervals of the generator's differences from the
    others resample photographs, not crops, with replacement, the same ones for both.

    Args:
        methods: Name -> fill function, in the table's order, with "generator".
        images: Validation images.
        masks_by_bin: Bin -> one mask per image, 1 = hole.
        image_index: The photograph that each image is a crop of.
        names: Name of each image, for the protocol's hash.
        nets: Networks of LPIPS and FID.
        on_progress: Called with (done, all) after each method and bin.
    """
    nets = nets or FeatureNets()
    feature_metrics = FeatureMetrics(nets, images)
    measured, missing = dict[str, _Measurements](), dict[str, str]()
    for number, (name, fill) in enumerate(methods.items()):
        found, bins = _Measurements(name, feature_metrics), len(masks_by_bin)
        try:
            for done, (bin, masks) in enumerate(masks_by_bin.items(), start=1):
                filled = _fill_honestly(name, fill, images, masks)
                found.add(bin, filled, images, masks)
                on_progress(number * bins + done, len(methods) * bins)
            measured[name] = found
        except MissingPackageError as error:
            missing[name] = error.needs
    columns = {name: found.columns() for name, found in measured.items()}
    return EvalResult(
        resolution=images.shape[1],
        reference=_REFERENCE,
        num_photos=len(np.unique(image_index)),
        protocol_sha256=protocol_hash(masks_by_bin, names),
        pixels_sha256=hashlib.sha256(images.tobytes()).hexdigest(),
        rows=[row for found in measured.values() for row in found.rows()],
        differences=differences(columns, _REFERENCE, image_index),
        missing=missing,
        labels=feature_metrics.labels,
        needs={k: v for k, v in nets.needs.items() if k not in feature_metrics.labels},
        notes=feature_metrics.notes,
        examples=_examples(
            {name: methods[name] for name in measured},
            images,
            masks_by_bin,
            columns[_REFERENCE],
        ),
    )


class _Measurements:
    """Figures of one method's fills, bin by bin."""

    def __init__(self, method: str, feature_metrics: FeatureMetrics):
        self.method, self._feature_metrics = method, feature_metrics
        self._by_bin: dict[str, MetricColumns] = {}

    def add(self, bin: str, filled, images, masks) -> None:
        columns = measure(filled, images, masks)
        columns |= self._feature_metrics.add(self.method, bin, filled)
        self._by_bin[bin] = columns

    def columns(self) -> dict[str, MetricColumns]:
        """Return the metrics of each image by bin, "10-50" and "overall" last."""
        joined = {
            union: {
                name: np.concatenate([self._by_bin[bin][name] for bin in bins])
                for name in self._by_bin[bins[0]]
            }
            for union, bins in _unions(self._by_bin).items()
        }
        return {**self._by_bin, **joined}

    def rows(self) -> Iterator[MetricRow]:
        unions = _unions(self._by_bin)
        for bin, columns in self.columns().items():
            metrics = _means(columns)
            if bin in unions:
                metrics |= self._feature_metrics.distance(self.method, unions[bin])
            yield MetricRow(self.method, bin, len(columns["l1"]), metrics)


def measure(
    filled: UInt8[np.ndarray, "n r r 3"],
    images: UInt8[np.ndarray, "n r r 3"],
    masks: UInt8[np.ndarray, "n r r 1"],
    batch_size: int = 64,
) -> MetricColumns:
    """Return l1, psnr, ssim, `*_hole`, mse_hole, hf and mosaic of each image.

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
    """Return the SHA-256 over image names, bins and masks, in their order."""
    digest = hashlib.sha256("\0".join(names).encode(errors="surrogateescape"))
    for bin, masks in masks_by_bin.items():
        digest.update(f"\0{bin} {masks.shape}\0".encode())
        digest.update(masks.astype(np.uint8).tobytes())
    return digest.hexdigest()


def _examples(
    methods: Mapping[str, FillFn],
    images: UInt8[np.ndarray, "n r r 3"],
    masks_by_bin: MaskBins,
    reference: Mapping[str, MetricColumns],
) -> list[Example]:
    """Return evenly spaced images, other ones in every bin, and ranked ones."""
    bins, n = list(masks_by_bin), len(images)
    per_bin = min(_EXAMPLES_PER_BIN, n)
    spaced = np.linspace(0, n - 1, per_bin * len(bins)).round().astype(int)
    chosen = [(b, b, i) for k, b in enumerate(bins) for i in spaced[k :: len(bins)]]
    order = np.argsort([-reference[b]["psnr_hole"] for b in bins], axis=None)
    for label, rank in zip(_RANKED, (0, len(order) // 2, -1), strict=True):
        k, i = divmod(int(order[rank]), n)
        chosen.append((label, bins[k], i))
    labels, bins_of, rows = zip(*chosen, strict=True)
    shown = images[list(rows)]
    masks = np.stack([masks_by_bin[b][i] for b, i in zip(bins_of, rows, strict=True)])
    fills = {m: _fill_honestly(m, fill, shown, masks) for m, fill in methods.items()}
    return [
        Example(
            label, shown[k], masks[k, ..., 0] == 1, {m: f[k] for m, f in fills.items()}
        )
        for k, label in enumerate(labels)
    ]


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


def _unions(bins: Iterable[str]) -> dict[str, list[str]]:
    """Return the bins of "10-50" and of "overall", those without bins left out."""
    bins = list(bins)
    harder = [bin for bin in bins if int(bin.split("-")[0]) >= 10]
    return {union: of for union, of in ((HARDER, harder), (OVERALL, bins)) if of}


def _means(columns: MetricColumns) -> dict[str, float]:
    plain = ("l1_hole", "psnr_hole", "ssim_hole", "l1", "psnr", "ssim", "lpips")
    metrics = {name: float(columns[name].mean()) for name in plain if name in columns}
    mse_hole = columns["mse_hole"].mean(keepdims=True)
    metrics["psnr_hole_pooled"] = pooled_psnr(mse_hole).item()
    metrics["hf_error"] = float(np.abs(columns["hf"]).mean())
    metrics["hf_bias"] = float(columns["hf"].mean())
    mosaic = columns["mosaic"][~np.isnan(columns["mosaic"])]
    metrics["mosaic"] = float(mosaic.mean()) if len(mosaic) else float("nan")
    return metrics
