"""LPIPS and FID in the comparison: right figures, honest names, or what they need."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm

from experiments.report.inpainting import evaluation_tables
from jaxgrow.inpainting.evaluation.compare import evaluate
from jaxgrow.inpainting.evaluation.results import to_json, to_markdown
from jaxgrow.metrics import lpips
from jaxgrow.metrics.inception_distance import pixel_features
from jaxgrow.metrics.lpips import Lpips
from jaxgrow.pretrained import networks
from jaxgrow.pretrained.feature_metrics import FeatureNets
from jaxgrow.pretrained.networks import FeatureNet
from jaxgrow.storage.provenance import record_provenance
from tests.support.oracles import quick_jit


NUM, SIDE = 5, 16
BINS = {"0-10": 3, "10-20": 5, "20-30": 8}
HEADS = [jnp.array([1.0, 2.0, 0.5])]


def layers(x):
    return [jnp.abs(x[:, ::2, ::2])]


@quick_jit
def distance(x, y):
    return lpips.distance(layers, HEADS, x, y)


def means(x):
    """Four features of an image of 299 px, not linear in its pixels."""
    mean = x.mean(axis=(1, 2))
    return jnp.concatenate([mean, jnp.square(x[..., :1]).mean(axis=(1, 2))], axis=1)


def inception():
    provenance = networks.WeightsProvenance(
        network="inception_fid",
        source="a test",
        licence="none",
        source_sha256=None,
        is_random=True,
        input=networks.input_format("inception_fid"),
    )
    return FeatureNet(means, provenance)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (NUM, SIDE, SIDE, 3), np.uint8)


@pytest.fixture(scope="module")
def masks():
    found = {}
    for bin, height in BINS.items():
        found[bin] = np.zeros((NUM, SIDE, SIDE, 1), np.uint8)
        found[bin][:, 2 : 2 + height, 2:10] = 1
    return found


def grey(images, holes):
    return np.where(holes[..., None], np.uint8(90), images)


def black(images, holes):
    return images


def compare(images, masks, nets):
    methods = {"generator": grey, "black": black}
    photo, names = np.arange(NUM), [f"photo{i}" for i in range(NUM)]
    return evaluate(methods, images, masks, photo, names, nets=nets)


@pytest.fixture(scope="module")
def result(images, masks):
    net = Lpips(layers, HEADS, "LPIPS (a test)")
    nets = FeatureNets(net, inception(), {"lpips": "weights", "fid": "weights"})
    return compare(images, masks, nets)


@pytest.fixture(scope="module")
def source():
    return record_provenance(["python"], seeds={}, wall_s=1.0)


def filled(fill, images, masks, bins):
    holes = [masks[bin][..., 0] == 1 for bin in bins]
    given = [np.where(h[..., None], np.uint8(0), images) for h in holes]
    return np.concatenate([fill(g, h) for g, h in zip(given, holes, strict=True)])


@pytest.mark.parametrize(("method", "fill"), [("generator", grey), ("black", black)])
def test_lpips_is_the_mean_over_whole_pictures_of_every_bin(
    result, images, masks, method, fill
):
    unions = {**{bin: [bin] for bin in BINS}, "10-50": ["10-20", "20-30"]}
    for bin, parts in unions.items():
        x, y = (
            pixels / np.float32(127.5) - np.float32(1.0)
            for pixels in (
                filled(fill, images, masks, parts),
                np.concatenate([images] * len(parts)),
            )
        )
        expected = float(np.mean(distance(x, y)))
        assert result.metric(method, bin, "lpips") == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("method", "fill"), [("generator", grey), ("black", black)])
def test_fid_is_the_distance_of_all_fills_to_the_originals_each_once(
    result, images, masks, method, fill
):
    features_fn = quick_jit(pixel_features(means))
    for union, parts in {"10-50": ["10-20", "20-30"], "overall": list(BINS)}.items():
        real, fake = (
            np.asarray(features_fn(jnp.asarray(pixels)), np.float64)
            for pixels in (images, filled(fill, images, masks, parts))
        )
        c_real, c_fake = np.cov(real.T), np.cov(fake.T)
        expected = np.square(real.mean(0) - fake.mean(0)).sum() + np.trace(
            c_real + c_fake - 2.0 * sqrtm(c_real @ c_fake).real
        )
        found = result.metric(method, union, "fid")
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-8)
        assert found > 0


def test_a_single_bin_has_no_fid(result):
    with pytest.raises(KeyError):
        result.metric("generator", "10-20", "fid")


def test_figures_are_named_and_their_limits_told(result, source):
    assert result.needs == {}
    assert result.labels == {"lpips": "LPIPS (a test)", "fid": "FID (RANDOM weights)"}
    assert any("16 px were enlarged to 64 px" in note for note in result.notes)
    assert any("of 5 images is biased upwards" in note for note in result.notes)
    text = to_markdown([result], source)
    assert text.count("FID (RANDOM weights) |") == text.count("LPIPS (a test) |") == 2
    for note in result.notes:
        assert note in text


def test_without_weights_the_files_and_the_report_say_what_is_needed(
    images, masks, source
):
    needs = {
        "lpips": "needs weights: python -m tools.export_weights squeezenet_lpips",
        "fid": "needs weights: python -m tools.export_weights inception_fid",
    }
    result = compare(images, masks, FeatureNets(needs=needs))
    assert result.labels == {}
    assert result.needs == needs
    text = to_markdown([result], source)
    (plain,) = json.loads(json.dumps(to_json([result], source)))["results"]
    footnote = evaluation_tables(plain)[0].footnote
    for name, metric in (("LPIPS", "lpips"), ("FID", "fid")):
        assert f"{name} {needs[metric]}" in text
        assert f"{name} {needs[metric]}" in footnote
    assert all("lpips" not in row.metrics for row in result.rows)


def test_the_report_shows_the_columns_and_marks_the_lowest(result, source):
    (plain,) = to_json([result], source)["results"]
    table = evaluation_tables(plain)[0]
    assert table.head[-2:] == ["LPIPS (a test)", "FID (RANDOM weights)"]
    for column, metric in ((-2, "lpips"), (-1, "fid")):
        values = [result.metric(m, "10-50", metric) for m in ("generator", "black")]
        best = int(np.argmin(values))
        assert (best, len(table.head) + column) in table.best
    assert "enlarged" in table.footnote
