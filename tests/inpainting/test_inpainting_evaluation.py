"""The comparison: known answers, honest intervals, readable files."""

import json
import re
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.data.batches import PictureBatch, plan_batch
from jaxgrow.errors import UserError
from jaxgrow.inpainting import baselines
from jaxgrow.inpainting.batch import Data, gather
from jaxgrow.inpainting.evaluation import compare, intervals, results, unet_baseline
from jaxgrow.storage.provenance import git_revision, record_provenance


BINS = ("0-10", "10-20", "20-30")


def rectangles(n, side, height):
    """One hole of `height` rows and half the width, at the same place in each."""
    masks = np.zeros((n, side, side, 1), np.uint8)
    masks[:, 2 : 2 + height, 2 : 2 + side // 2] = 1
    return masks


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def masks_by_bin():
    heights = {"0-10": 3, "10-20": 5, "20-30": 8}
    return {bin: rectangles(6, 16, height) for bin, height in heights.items()}


def constant(value):
    """Fills every hole with one grey value."""

    def fill(images, masks):
        return np.where(masks[..., None], np.uint8(value), images)

    return fill


def absent(images, masks):
    raise baselines.MissingPackageError("opencv-python-headless")


@pytest.fixture(scope="module")
def result(images, masks_by_bin):
    methods = {"generator": constant(128), "black": constant(0), "Telea": absent}
    return compare.evaluate(
        methods,
        images,
        masks_by_bin,
        np.array([0, 0, 1, 1, 2, 2]),
        [f"photo{i}" for i in range(6)],
    )


@pytest.fixture(scope="module")
def source():
    return record_provenance(
        ["python", "-m", "experiments.places_grow", "a b"],
        seeds={"masks": 1, "data": 0},
        wall_s=12.3,
    )


def squared_error_in_holes(images, masks, value):
    hole = masks[0, ..., 0] == 1
    return (((value - images.astype(np.float64)) / 255) ** 2)[:, hole].mean(axis=(1, 2))


def test_psnr_is_averaged_over_images_and_pooled_over_errors(
    result, images, masks_by_bin
):
    errors = {
        bin: squared_error_in_holes(images, masks, 128)
        for bin, masks in masks_by_bin.items()
    }
    errors["10-50"] = np.concatenate([errors["10-20"], errors["20-30"]])
    errors["overall"] = np.concatenate([errors[bin] for bin in BINS])
    for bin, mse in errors.items():
        mean = (-10 * np.log10(mse)).mean()
        pooled = -10 * np.log10(mse.mean())
        assert result.metric("generator", bin, "psnr_hole") == pytest.approx(mean)
        found = result.metric("generator", bin, "psnr_hole_pooled")
        assert found == pytest.approx(pooled, abs=1e-4)


def test_there_is_a_row_per_method_and_bin_with_every_metric(result):
    keys = [(row.method, row.bin) for row in result.rows]
    bins = [*BINS, "10-50", "overall"]
    assert keys == [(method, bin) for method in ("generator", "black") for bin in bins]
    assert [row.num_images for row in result.rows] == 2 * [6, 6, 6, 12, 18]
    for row in result.rows:
        assert {"l1_hole", "psnr_hole", "ssim_hole", "l1", "psnr", "ssim"} <= set(
            row.metrics
        )
        assert {"hf_error", "hf_bias", "mosaic"} <= set(row.metrics)


def test_a_method_without_its_package_says_what_it_needs(result):
    assert result.missing == {"Telea": "needs pip install 'jaxgrow[eval]'"}


def test_differences_are_paired_and_lie_in_their_interval(result, images, masks_by_bin):
    masks = masks_by_bin["10-20"]
    gain = -10 * np.log10(
        squared_error_in_holes(images, masks, 128)
        / squared_error_in_holes(images, masks, 0)
    )
    found = {d.metric: d for d in result.differences if d.bin == "10-20"}
    assert set(found) == {"psnr_hole", "psnr_hole_pooled"}
    assert found["psnr_hole"].mean == pytest.approx(gain.mean(), abs=1e-4)
    for metric, difference in found.items():
        rows = [result.metric(m, "10-20", metric) for m in ("generator", "black")]
        assert difference.mean == pytest.approx(rows[0] - rows[1], abs=1e-4)
        assert difference.low <= difference.mean <= difference.high
    assert {d.baseline for d in result.differences} == {"black"}


def test_methods_never_see_what_the_hole_hides(images, masks_by_bin):
    def peek(given, masks):
        assert not given[masks].any()
        return given

    compare.evaluate({"generator": peek}, images, masks_by_bin, np.arange(6), ["a"] * 6)


def test_a_method_that_changes_known_pixels_is_refused(images, masks_by_bin):
    methods = {"generator": lambda x, m: x ^ 1}
    with pytest.raises(ValueError, match="generator changed known pixels"):
        compare.evaluate(methods, images, masks_by_bin, np.arange(6), ["a"] * 6)


def test_padding_the_last_batch_changes_no_value(images, masks_by_bin):
    masks = masks_by_bin["20-30"]
    filled = constant(128)(images, masks[..., 0] == 1)
    whole = compare.measure(filled, images, masks)
    parts = compare.measure(filled, images, masks, batch_size=4)
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, atol=1e-5, err_msg=name)


def test_the_interval_is_that_of_a_mean_over_photographs():
    rng = np.random.default_rng(0)
    effects = rng.normal(1.0, 2.0, 200)
    photo = np.repeat(np.arange(200), 5)
    zero, ones = np.zeros(1000), np.ones(1000)
    ours = {"psnr_hole": effects[photo], "mse_hole": 0.01 * ones}
    theirs = {"psnr_hole": zero, "mse_hole": 0.1 * ones}

    found = intervals.differences(
        {"net": {"0-10": ours}, "other": {"0-10": theirs}}, "net", photo, 1000, seed=0
    )

    single, pooled = found
    # Crops of a photograph repeat its effect: they must not narrow the interval.
    half = 1.96 * effects.std() / np.sqrt(200)
    assert single.mean == pytest.approx(effects.mean())
    assert single.low == pytest.approx(effects.mean() - half, abs=0.06)
    assert single.high == pytest.approx(effects.mean() + half, abs=0.06)
    assert (pooled.low, pooled.mean, pooled.high) == pytest.approx((10, 10, 10))


def test_resamples_draw_as_many_photographs_as_there_are():
    draws = intervals.draw_photos(20, 100, seed=0)
    np.testing.assert_array_equal(draws[0], 1)
    np.testing.assert_array_equal(draws.sum(axis=1), 20)
    np.testing.assert_array_equal(draws, intervals.draw_photos(20, 100, seed=0))


def test_protocol_hash_changes_with_a_mask_a_name_and_a_bin(masks_by_bin):
    names = list("abcdef")
    hashes = [compare.protocol_hash(masks_by_bin, names)]
    hashes.append(compare.protocol_hash(masks_by_bin, names[::-1]))
    renamed = {f"{bin}0": masks for bin, masks in masks_by_bin.items()}
    hashes.append(compare.protocol_hash(renamed, names))
    other = {bin: masks.copy() for bin, masks in masks_by_bin.items()}
    other["0-10"][3, 0, 0] ^= 1
    hashes.append(compare.protocol_hash(other, names))
    assert len(set(hashes)) == 4
    assert hashes[0] == compare.protocol_hash(dict(masks_by_bin), names)


def test_result_files_record_where_they_come_from(result, source, tmp_path):
    results.write_results(tmp_path, [result], source, {"networks": {}})
    written = json.loads((tmp_path / "results.json").read_text())
    origin = written["provenance"]
    assert origin["command"][-1] == "a b"
    assert origin["seeds"] == {"masks": 1, "data": 0}
    assert origin["wall_s"] == 12.3
    assert origin["versions"]["jax"] == jax.__version__
    assert origin["device"].startswith("cpu")
    assert written["made_from"] == {"networks": {}}
    (found,) = written["results"]
    assert len(found["protocol_sha256"]) == 64
    assert len(found["rows"]) == len(result.rows)
    text = (tmp_path / "results.md").read_text()
    assert "`python -m experiments.places_grow 'a b'`" in text
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"results.json", "results.md", "panel.png", "panel_16px.png"}


def test_markdown_tables_are_rectangular_and_bold_the_best(result, source):
    text = results.to_markdown([result], source)
    for table in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    psnr = text.split("by percent of the area")[1]
    (best,) = re.findall(r"^\| generator.*$", psnr, re.MULTILINE)
    assert best.count("**") == 2 * 5
    assert "| Telea     | needs pip install 'jaxgrow[eval]' |" in psnr


def test_the_picture_shows_every_example_enlarged(result):
    panel = results.draw_panel(result)
    assert len(result.examples) == 2 * len(BINS) + 3
    # masked, generator, black, original; cells of 8 x 16 pixels and gaps of 4.
    assert panel.height > 6 * 128
    assert 4 * 132 < panel.width < 4 * 132 + 120
    pixels = np.asarray(panel)
    original = result.examples[-1].original.repeat(8, axis=0).repeat(8, axis=1)
    np.testing.assert_array_equal(pixels[-132:-4, -132:-4], original)


def test_the_last_examples_are_the_best_the_median_and_the_worst(result):
    def psnr(example):
        fill, original = example.fills["generator"], example.original
        error = (fill.astype(float) - original)[example.hole] / 255
        return -10 * np.log10(max((error**2).mean(), (0.5 / 255) ** 2 / 3))

    best, median, worst = result.examples[-3:]
    assert [best.label, median.label, worst.label] == ["best", "median", "worst"]
    found = [psnr(example) for example in result.examples]
    assert psnr(best) == max(found)
    assert psnr(worst) == min(found)
    assert psnr(worst) < psnr(median) < psnr(best)


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_revision_is_none_outside_a_repository_or_without_git(tmp_path, monkeypatch):
    file, other = tmp_path / "module.py", tmp_path / "other.py"
    file.write_text("")
    assert git_revision(file) is None
    other.write_text("")
    git(tmp_path, "init")
    git(tmp_path, "add", "other.py")
    git(tmp_path, "commit", "-m", "somebody else's")
    assert git_revision(file) is None
    assert git_revision(other) is not None
    monkeypatch.setenv("PATH", "")
    assert git_revision(other) is None


def test_revision_says_when_the_code_was_edited(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("")
    git(tmp_path, "init")
    git(tmp_path, "add", "module.py")
    git(tmp_path, "commit", "-m", "first")
    assert re.fullmatch("[0-9a-f]{40}", git_revision(file) or "")
    file.write_text("edited")
    assert re.fullmatch(r"[0-9a-f]{40}\+changes", git_revision(file) or "")


def test_a_net_becomes_a_fill_of_exact_pixels():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 4, 4, 3), np.uint8)
    holes = rng.random((5, 4, 4)) < 0.5

    fill = unet_baseline.as_fill(lambda sign, x, mask: sign * x, -1.0, batch_size=2)

    expected = np.where(holes[..., None], 255 - images, images)
    np.testing.assert_array_equal(fill(images, holes), expected)
    np.testing.assert_array_equal(fill(images[:0], holes[:0]), images[:0])


def test_the_weights_of_a_fill_are_no_constants_of_its_program():
    given = []

    def paint(weights, x, mask):
        given.append(weights)
        return x

    fill = unet_baseline.as_fill(paint, np.ones(3))
    fill(np.zeros((1, 4, 4, 3), np.uint8), np.ones((1, 4, 4), bool))
    assert given
    assert all(isinstance(weights, jax.core.Tracer) for weights in given)


@pytest.mark.parametrize(("resolution", "count"), [(4, 66_447), (64, 328_887)])
def test_the_u_net_s_budget_is_the_paper_s_generator(resolution, count):
    assert unet_baseline.count_generator_params(resolution) == count


@pytest.mark.slow
def test_the_u_net_learns_on_the_batches_of_the_plan():
    # Images of one random colour: the hole's colour is the known pixels'.
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (64, 1, 1, 3), np.uint8)
    images = colours.repeat(4, axis=1).repeat(4, axis=2)
    masks = rectangles(4, 4, 2)
    steps, progress = [], []

    def plan(step):
        steps.append(step)
        return plan_batch(7, step, 32, len(images), len(masks))

    fill = unet_baseline.train_unet(
        images,
        masks,
        plan,
        num_steps=300,
        learning_rate=1e-2,
        hole_weight=4.0,
        seed=7,
        max_params=5_000,
        on_progress=lambda done, total: progress.append((done, total)),
    )

    assert steps == list(range(300))
    assert progress == [(100, 300), (200, 300), (300, 300)]
    filled = fill(images, masks[:1].repeat(64, axis=0)[..., 0] == 1)
    error = np.abs(filled.astype(int) - images).mean() * 4  # of 4 x 4, 4 are a hole
    assert error < 25  # the mean colour is 64 away


def test_the_u_net_s_loss_weighs_the_hole_like_the_generator_s():
    net, hole_weight = unet_baseline.UNet(width=1), 3.0
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (2, 4, 4, 3), np.uint8))
    masks = jnp.asarray(rectangles(2, 4, 2))
    data = Data(images=images, masks=masks)
    index = jnp.arange(2)
    batch = PictureBatch(index, index < 0, index, jnp.zeros(2, jnp.int32))
    zeros = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape),
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4, 4, 4))),
    )
    tx = unet_baseline.optax.sgd(0.0)

    step = jax.jit(unet_baseline._make_step(net, tx, hole_weight))
    _, loss = step((zeros, tx.init(zeros)), data, batch)

    error = np.abs(np.asarray(images) / 127.5 - 1)  # of a net whose output is 0
    weight = np.where(np.asarray(masks) == 1, hole_weight, 1.0)
    np.testing.assert_allclose(loss, (weight * error).mean(), rtol=1e-5)


def test_paired_masks_stay_with_their_images():
    masks = (np.random.default_rng(0).random((8, 4, 4, 1)) < 0.5).astype(np.uint8)
    white_in_the_hole = (255 * masks).repeat(3, axis=-1)
    data = Data(images=None, masks=jnp.asarray(masks))
    for step in range(3):
        batch = plan_batch(0, step, 8, 8, 8, is_paired=True)
        batch = batch._replace(images=white_in_the_hole[batch.image_index])
        real, mask = gather(data, batch)
        np.testing.assert_array_equal(real[..., :1], 2 * mask - 1)


def test_a_u_net_that_diverges_is_named_with_its_step(monkeypatch):
    def diverging(*_):
        return lambda state, data, batch: (state, jnp.nan * batch.images.size)

    monkeypatch.setattr(unet_baseline, "_make_step", diverging)
    with pytest.raises(UserError, match="after 3 steps at 4 px: lower its learning"):
        unet_baseline.train_unet(
            np.zeros((4, 4, 4, 3), np.uint8),
            rectangles(2, 4, 2),
            lambda step: plan_batch(0, step, 2, 4, 2),
            num_steps=3,
            learning_rate=1e-3,
            hole_weight=1.0,
            seed=0,
            max_params=500,
        )
