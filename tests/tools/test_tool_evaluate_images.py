import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from skimage import metrics as oracle

from jaxgrow.evaluation import classifiers as saved_classifiers
from jaxgrow.evaluation import folders as module
from jaxgrow.metrics import frechet, paired
from jaxgrow.metrics.inception_distance import network_input, resize_one
from jaxgrow.metrics.lpips import Lpips
from jaxgrow.pretrained import networks
from tests.support import small_views
from tools import evaluate_images, export_weights


SIZE = (12, 14)


def picture(seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(*size, 3)).cumsum(0).cumsum(1)
    return np.uint8(np.clip(128 + 12 * waves, 0, 255))


def hole(top=3, size=SIZE):
    mask = np.zeros(size, np.uint8)
    mask[top : top + 5, 2:9] = 255
    return mask


def filled(seed=0, top=3, size=SIZE):
    """A picture with noise in its hole."""
    real, inside = picture(seed, size), hole(top, size) > 0
    noise = np.random.default_rng(99 + seed).integers(-40, 40, real.shape)
    changed = np.uint8(np.clip(real.astype(int) + noise, 0, 255))
    return np.where(inside[..., None], changed, real)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


NAMES = ["a", "b.c", "deep/er/d"]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(NAMES):
        write(tmp_path / "real" / f"{name}.png", picture(i))
        write(tmp_path / "fake" / f"{name}.bmp", filled(i, top=3 + i))
        write(tmp_path / "masks" / f"{name}.gif", hole(top=3 + i))
    return tmp_path


@pytest.fixture
def run(folders, capsys):
    """Runs the tool in the folder: (status, what it said)."""

    def call(*args):
        base = ["--real", "real", "--fake", "fake", *args]
        status = evaluate_images.main(base)
        said = capsys.readouterr()
        return status, said.out + said.err

    return call


def middle(x):
    """Two numbers in place of Inception's features."""
    assert x.shape[1:] == (299, 299, 3)
    return 256.0 * x[:, 150, 150, :2]


def provenance(network, is_random):
    return networks.WeightsProvenance(
        network=network,
        source="a test",
        licence="none needed",
        source_sha256=None,
        is_random=is_random,
        input=networks.input_format(network),
    )


@pytest.fixture
def weights(monkeypatch):
    """Small stand-ins for both networks."""
    net = networks.FeatureNet(middle, provenance("inception_fid", False))
    monkeypatch.setattr(networks, "load_inception", lambda path: net)
    lpips = Lpips(lambda x: [x], [jnp.ones(3)], "LPIPS (test)")
    monkeypatch.setattr(networks, "load_lpips", lambda path: lpips)
    loaded = networks.Pretrained({}, provenance("squeezenet_lpips", True))
    monkeypatch.setattr(networks, "load_features", lambda path, network: loaded)
    return ["--weights-inception", "i", "--weights-lpips", "l"]


def figures(path="out.json"):
    """The content of the file and its figures by key."""
    with open(path) as file:
        content = json.load(file)
    return content, {f["metric"]: f for f in content["figures"]}


def test_pairs_are_measured_as_scikit_image_does(run):
    status, said = run("--masks", "masks", "--out", "out.json")
    assert status == 0
    content, found = figures()
    psnr, psnr_hole, l1_hole, ssim_whole = [], [], [], []
    for i, name in enumerate(NAMES):
        real, fake, inside = picture(i), filled(i, 3 + i), hole(3 + i) > 0
        psnr.append(oracle.peak_signal_noise_ratio(real, fake))
        psnr_hole.append(oracle.peak_signal_noise_ratio(real[inside], fake[inside]))
        error = np.abs(real[inside] / 255.0 - fake[inside] / 255.0)
        l1_hole.append(error.mean())
        ssim_whole.append(
            oracle.structural_similarity(
                real,
                fake,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                channel_axis=-1,
            )
        )
        np.testing.assert_allclose(
            content["per_image"][name]["psnr"], psnr[-1], rtol=1e-5
        )
    for metric, values in [
        ("psnr", psnr),
        ("psnr_hole", psnr_hole),
        ("l1_hole", l1_hole),
        ("ssim", ssim_whole),
    ]:
        wanted, spread = np.mean(values), np.std(values, ddof=1)
        np.testing.assert_allclose(found[metric]["value"], wanted, rtol=1e-4)
        half_width = 1.96 * spread / np.sqrt(3)
        np.testing.assert_allclose(found[metric]["half_width"], half_width, rtol=1e-3)
    assert f"{np.mean(psnr):.2f}" in said
    assert set(found) == {
        *("psnr", "ssim", "l1", "psnr_hole", "ssim_hole", "l1_hole"),
        *("lpips", "fid", "p_ids", "u_ids"),
    }
    assert (content["num_real"], content["num_fake"]) == (3, 3)
    assert "note:" not in said
    assert "resizing" in content
    assert content["provenance"]["versions"]["jax"]


def test_a_metric_without_weights_says_how_to_get_them(run):
    status, said = run("--out", "out.json")
    assert status == 0
    needs = {
        "lpips": "needs weights: python -m tools.export_weights squeezenet_lpips "
        "--out FILE",
        "fid": "needs weights: python -m tools.export_weights inception_fid --out FILE",
    }
    _, found = figures()
    for metric, sentence in needs.items():
        assert found[metric]["needs"] == sentence
        assert found[metric]["value"] is None
        assert sentence in said
    assert found["psnr"]["needs"] is None
    assert "psnr_hole" not in found


def test_weights_fill_the_columns(run, weights, folders):
    for i in range(3, 40):  # more than one batch
        write(folders / "real" / f"n{i:02}.png", picture(i))
        write(folders / "fake" / f"n{i:02}.png", picture(100 + i))
    status, said = run("--out", "out.json", *weights)
    assert status == 0
    content, found = figures()
    stems = [*NAMES, *(f"n{i:02}" for i in range(3, 40))]
    real = [picture(i) for i in range(40)]
    fake = [filled(i, 3 + i) if i < 3 else picture(100 + i) for i in range(40)]
    order = np.argsort(stems)
    assert list(content["per_image"]) == sorted(stems)
    features = [
        np.stack([resize_one(x)[150, 150, :2] for x in images])
        for images in (real, fake)
    ]
    distance = frechet.frechet_distance(*map(frechet.stats_of, features))
    np.testing.assert_allclose(found["fid"]["value"], distance.value, rtol=1e-5)
    scores = paired.discriminative_scores(*(f[order] for f in features))
    np.testing.assert_allclose(found["p_ids"]["value"], scores.p_ids)
    np.testing.assert_allclose(found["u_ids"]["value"], scores.u_ids)
    assert found["lpips"]["title"] == "LPIPS (test)"
    assert found["lpips"]["value"] > 0
    assert "note: FID of 40 images is biased upwards" in said
    assert "note: LPIPS (test): images of 12 px were enlarged" in said
    assert content["weights"]["inception"]["source"] == "a test"
    assert content["weights"]["lpips"]["is_random"] is True


def test_sets_whose_names_mean_nothing_give_fid_alone(run, weights, folders):
    write(folders / "fake" / "one_more.png", picture(7, (20, 9)))
    assert run(*weights)[0] == 2
    status, said = run("--unpaired", "--out", "out.json", *weights)
    assert status == 0
    content, found = figures()
    assert list(found) == ["fid"]
    assert (content["num_real"], content["num_fake"]) == (3, 4)
    assert content["per_image"] == {}
    assert "4 generated, 3 real images" in said


@pytest.mark.slow
def test_a_trained_classifier_gives_a_distance_of_its_own_name(
    run, folders, monkeypatch
):
    """Through files as `classifier_distance` through arrays, whatever the batches."""
    monkeypatch.setattr(module, "_CLASSIFIER_BATCH", 2)
    classifier = small_views.coherence_classifier()
    saved_classifiers.save_classifier(
        folders / "coherence_classifier.safetensors", classifier, {}
    )
    real = np.stack([picture(i) for i in range(3)])
    fake = np.stack([filled(i, top=3 + i) for i in range(3)])
    features_fn = saved_classifiers.classifier_features(classifier)
    expected = frechet.frechet_distance(
        *(frechet.stats_of_images(features_fn, images) for images in (real, fake))
    )
    for options in ([], ["--unpaired"]):
        args = [
            "--classifier",
            "coherence_classifier.safetensors",
            "--out",
            "out.json",
            "--force",
        ]
        status, said = run(*args, *options)
        assert status == 0
        assert "classifier Frechet distance" in said
        figure = figures()[1]["classifier_distance"]
        np.testing.assert_allclose(figure["value"], expected.value, rtol=1e-3)
        assert "note: classifier Frechet distance of 3 images is biased" in said
    write(folders / "fake" / "a.bmp", picture(0, (20, 20)))
    status, said = run("--unpaired", "--classifier", "coherence_classifier.safetensors")
    assert status == 2
    assert "a classifier compares images of one size" in said


@pytest.mark.slow
def test_inception_of_real_size_measures_two_folders(run, folders, tmp_path):
    """Random weights of tools.export_weights; the oracle works with the raw rows."""
    path = tmp_path / "inception.safetensors"
    assert (
        export_weights.main(["inception_fid", "--out", str(path), "--random", "0"]) == 0
    )
    status, said = run("--weights-inception", str(path), "--out", "out.json")
    assert status == 0
    assert "FID (RANDOM weights)" in said
    assert "3 images cannot fill the covariance of 2,048 features" in said
    content, found = figures()
    assert content["weights"]["inception"]["is_random"] is True
    features_fn = networks.load_inception(path).features_fn
    stats = []
    for make in (picture, lambda i: filled(i, 3 + i)):
        pixels = np.stack([resize_one(make(i)) for i in range(3)])
        rows = np.asarray(features_fn(network_input(jnp.asarray(pixels))), np.float64)
        assert rows.shape == (3, 2048)
        stats.append((rows.mean(0), rows - rows.mean(0)))
    (mean_a, a), (mean_b, b) = stats
    # tr (C_a C_b)^(1/2) is the sum of the singular values of A B^T / (n - 1).
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    spread = np.square(a).sum() + np.square(b).sum()
    expected = np.square(mean_a - mean_b).sum() + (spread - 2.0 * overlap) / 2.0
    np.testing.assert_allclose(found["fid"]["value"], expected, rtol=1e-3)
    assert expected > 0


def test_random_weights_are_named(run, weights, monkeypatch):
    net = networks.FeatureNet(middle, provenance("inception_fid", True))
    monkeypatch.setattr(networks, "load_inception", lambda path: net)
    _, said = run("--weights-inception", "i")
    assert "FID (RANDOM weights)" in said


def test_a_missing_scikit_learn_costs_two_columns(run, weights, monkeypatch):
    monkeypatch.setattr(paired, "is_available", lambda: False)
    status, said = run("--out", "out.json", *weights)
    assert status == 0
    _, found = figures()
    assert found["fid"]["value"] > 0
    assert found["p_ids"]["needs"].startswith("needs scikit-learn: pip install")
    assert found["u_ids"]["needs"] in said


def test_images_of_several_sizes_and_one_mask_file_of_theirs(run, folders):
    write(folders / "real" / "z.png", picture(5, (9, 8)))
    write(folders / "fake" / "z.png", picture(6, (9, 8)))
    status, _ = run("--out", "out.json")
    assert status == 0
    psnr = oracle.peak_signal_noise_ratio(picture(5, (9, 8)), picture(6, (9, 8)))
    found = figures()[0]["per_image"]["z"]
    np.testing.assert_allclose(found["psnr"], psnr, rtol=1e-5)
    status, said = run("--masks", "masks/a.gif")
    assert status == 2
    assert "masks/a.gif has 14x12 pixels and real/z.png 8x9" in said


def test_what_looks_odd_is_remarked_on(run, folders):
    status, said = run("--masks", "masks", "--invert")
    assert status == 0
    assert "3 of 3 generated images differ from the real ones outside of the" in said
    assert "note: most masks are more than half hole: they look inverted." in said
    write(folders / "masks" / "spare.png", hole())
    assert run("--masks", "masks")[0] == 0


def test_equal_folders_have_equal_hashes(run, folders):
    for i, name in enumerate(NAMES):
        write(folders / "fake" / f"{name}.bmp", picture(i))
    assert run("--out", "out.json")[0] == 0
    content, found = figures()
    assert content["real_sha256"] == content["fake_sha256"]
    np.testing.assert_allclose(found["psnr"]["value"], 58.92, atol=0.01)
    write(folders / "fake" / "a.bmp", filled(0))
    assert run("--out", "out.json", "--force")[0] == 0
    assert figures()[0]["fake_sha256"] != content["fake_sha256"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--real", "absent"], "folder absent does not exist"),
        (["--fake", "absent"], "folder absent does not exist"),
        (["--masks", "absent"], "folder absent does not exist"),
        (["--real", "empty"], "empty holds no images"),
        (["--fake", "real"], "real and fake are both real"),
        (["--fake", "short"], "2 of 3 images in real have no counterpart in short"),
        (["--real", "short"], "2 of 3 images in fake have no counterpart in short"),
        (["--masks", "short"], "2 of 3 images in real have no counterpart in short"),
        (["--fake", "twice"], "twice/a.bmp and twice/a.png differ in type only"),
        (["--fake", "large"], "large/a.png has 20x20 pixels and real/a.png 14x12"),
        (["--fake", "broken"], "image broken/a.png cannot be read"),
        (["--masks", "black.png"], "black.png has no hole to measure in"),
        (["--unpaired"], "--unpaired measures FID alone and takes --weights-inc"),
        (["--unpaired", "--masks", "masks"], "--unpaired measures no holes"),
        (["--invert"], "--invert is about --masks"),
        (["--out", "real"], "real is a folder: name a JSON file"),
        (["--out", "black.png"], "black.png exists: add --force"),
        (["--weights-inception", "absent"], "absent"),
        (["--weights-lpips", "black.png"], "black.png is damaged or no .safe"),
    ],
)
def test_a_mistake_is_one_sentence(run, folders, args, message):
    (folders / "empty").mkdir()
    write(folders / "short" / "a.png", hole())
    for kind in ("png", "bmp"):
        write(folders / "twice" / f"a.{kind}", picture())
    for i, name in enumerate(NAMES):
        write(folders / "large" / f"{name}.png", picture(i, (20, 20)))
        write(folders / "broken" / f"{name}.png", picture(i))
    whole = (folders / "broken" / "a.png").read_bytes()
    (folders / "broken" / "a.png").write_bytes(whole[: len(whole) // 2])
    write(folders / "black.png", 0 * hole())
    status, said = run(*args)
    assert status == 2
    assert message in said.splitlines()[-1]
    assert said.splitlines()[-1].startswith("error: ")


def test_too_few_images_for_fid_are_refused(run, weights, folders):
    for kind, pixels in (("real", picture()), ("fake", filled())):
        write(folders / "one" / kind / "a.png", pixels)
    args = ["--real", "one/real", "--fake", "one/fake"]
    status, said = run(*args, *weights)
    assert status == 2
    assert "FID takes 2 images or more on either side, not 1 and 1" in said
    status, said = run(*args, "--out", "out.json")
    assert status == 0
    assert figures()[1]["psnr"]["half_width"] is None
